/**
 * Asks a name server as fast as it answers, from several sockets with a fixed number of questions under way, and prints
 * what came: `dns_load.js ADDRESS PORT SERVICES SECONDS QUESTIONS`. Every answer is checked for its address.
 */
import { createSocket } from 'node:dgram'
import { benchAddress, benchName } from './dns_names.ts'

const SOCKETS = 8
const WARM_UP_MS = 500
const LOST_AFTER_MS = 1_000

const [address = '127.0.0.1', ...numbers] = process.argv.slice(2)
const [port = 0, services = 1, seconds = 1, underWay = 64] = numbers.map(Number)

const questions = Array.from({ length: services }, (_, index) => {
  const labels = benchName(index)
    .split('.')
    .flatMap((label) => [label.length, ...Buffer.from(label)])
  return Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1])
})
const expected = Array.from({ length: services }, (_, index) => Buffer.from(benchAddress(index).split('.').map(Number)))

let answered = 0
let wrong = 0
let lost = 0
let measuring = false
const latenciesMs: number[] = []

function client(): void {
  const socket = createSocket('udp4')
  const slots = Math.max(1, Math.round(underWay / SOCKETS))
  const asked = Array.from({ length: slots }, () => ({ name: 0, atMs: 0 }))
  let next = Math.floor(Math.random() * services)
  const ask = (slot: number): void => {
    const entry = asked[slot]
    next = (next + 7919) % services
    const question = questions[next]
    if (entry === undefined || question === undefined) return
    entry.name = next
    entry.atMs = performance.now()
    const packet = Buffer.from(question)
    packet.writeUInt16BE(slot, 0)
    socket.send(packet)
  }
  socket.on('message', (packet) => {
    const slot = packet.readUInt16BE(0)
    const entry = asked[slot]
    if (entry === undefined) return
    if (measuring) {
      answered++
      latenciesMs.push(performance.now() - entry.atMs)
      const want = expected[entry.name]
      if (want === undefined || !packet.includes(want)) wrong++
    }
    ask(slot)
  })
  socket.connect(port, address, () => {
    for (let slot = 0; slot < slots; slot++) ask(slot)
  })
  setInterval(() => {
    const nowMs = performance.now()
    for (const [slot, entry] of asked.entries()) {
      if (nowMs - entry.atMs < LOST_AFTER_MS) continue
      if (measuring) lost++
      ask(slot)
    }
  }, LOST_AFTER_MS).unref()
}

for (let i = 0; i < SOCKETS; i++) client()
setTimeout(() => {
  measuring = true
  // The parent reads the server's clock at these two lines.
  process.stdout.write('begin\n')
  const startedMs = performance.now()
  setTimeout(() => {
    measuring = false
    const elapsed = (performance.now() - startedMs) / 1000
    const sorted = latenciesMs.sort((a, b) => a - b)
    const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? Number.NaN
    const result = { answered, wrong, lost, perSecond: answered / elapsed, p50Ms: at(0.5), p99Ms: at(0.99) }
    process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0))
  }, seconds * 1000)
}, WARM_UP_MS)
