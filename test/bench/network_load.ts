/** Small load programs that run inside network namespaces, as `node -e`: a stream, a ping-pong, connections one by one. */
import { createInterface } from 'node:readline'
import { start } from '../../src/base/process.ts'
import type { TestNamespace } from '../support/netns.ts'

const STREAM_WARM_UP_MS = 20

const SERVER = `
const net = require('node:net')
net.createServer((socket) => { socket.on('error', () => undefined); socket.on('data', () => undefined) }).listen(7001)
net.createServer((socket) => { socket.setNoDelay(true); socket.on('error', () => undefined); socket.pipe(socket) }).listen(7002)
net.createServer((socket) => { socket.on('error', () => undefined); socket.end() }).listen(7003)
`

/** Reads `stream MS` and `ping COUNT`, does each over a connection of its own, and writes bytes a second or the median in microseconds. */
const CLIENT = `
const [address] = process.argv.slice(1)
const chunk = Buffer.alloc(256 << 10)
const open = (port) => new Promise((resolve, reject) => {
  const socket = require('node:net').connect(port, address)
  socket.on('connect', () => resolve(socket)); socket.on('error', reject)
})
const stream = async (ms) => {
  const socket = await open(7001)
  const sent = () => socket.bytesWritten - socket.writableLength
  const pump = () => { while (socket.write(chunk)); }
  socket.on('drain', pump); pump()
  const after = (time) => new Promise((resolve) => setTimeout(resolve, time))
  // The window opens first.
  await after(${STREAM_WARM_UP_MS})
  const [before, start] = [sent(), process.hrtime.bigint()]
  await after(ms)
  const rate = (sent() - before) / (Number(process.hrtime.bigint() - start) / 1e9)
  socket.off('drain', pump); socket.destroy()
  return rate
}
const ping = (count) => open(7002).then((socket) => new Promise((resolve) => {
  socket.setNoDelay(true)
  const times = []
  let sent
  const send = () => { sent = process.hrtime.bigint(); socket.write('x') }
  socket.on('data', () => {
    times.push(Number(process.hrtime.bigint() - sent) / 1e3)
    if (times.length < count) return send()
    socket.destroy(); resolve(times.sort((a, b) => a - b)[times.length >> 1])
  })
  send()
}))
require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  const [what, number] = line.split(' ')
  console.log(JSON.stringify(await (what === 'stream' ? stream : ping)(Number(number)).catch(() => null)))
})
`

const CONNECT = `
const [address, port, count] = process.argv.slice(1)
const one = () => new Promise((resolve, reject) => {
  const start = process.hrtime.bigint()
  const socket = require('node:net').connect(Number(port), address)
  socket.on('connect', () => { const time = Number(process.hrtime.bigint() - start) / 1e3; socket.resetAndDestroy(); resolve(time) })
  socket.on('error', reject)
})
const main = async () => {
  const times = []
  for (let i = 0; i < Number(count); i++) times.push(await one())
  console.log(JSON.stringify(times))
}
main()
`

export function startLoadServer(place: TestNamespace): void {
  place.start([process.execPath, '-e', SERVER])
}

async function run<T>(place: TestNamespace, program: string, args: (string | number)[]): Promise<T> {
  const result = await place.exec([process.execPath, '-e', program, ...args.map(String)])
  if (result.exitCode !== 0) throw new Error(`load program ended with ${result.exitCode}: ${result.stderr}`)
  return JSON.parse(result.stdout) as T
}

/** A client that stays, so that a measurement starts no program. */
export interface LoadClient {
  /** Bytes a second; undefined when nobody listens. */
  stream(ms: number): Promise<number | undefined>
  /** The median of round trips, in microseconds. */
  pingPong(count: number): Promise<number | undefined>
  end(): void
}

export function startLoadClient(from: TestNamespace, address: string): LoadClient {
  const program = [process.execPath, '-e', CLIENT, address]
  const child = start('nsenter', [`--net=${from.path}`, ...program], { stdio: ['pipe', 'pipe', 'inherit'] })
  const { stdin, stdout } = child
  if (stdin === null || stdout === null) throw new Error('a child without pipes')
  const waiting: ((line: string) => void)[] = []
  createInterface({ input: stdout }).on('line', (line) => waiting.shift()?.(line))
  const ask = (line: string): Promise<number | undefined> =>
    new Promise((resolve) => {
      waiting.push((answer) => resolve((JSON.parse(answer) as number | null) ?? undefined))
      stdin.write(`${line}\n`)
    })
  return {
    stream: (ms) => ask(`stream ${ms}`),
    pingPong: (count) => ask(`ping ${count}`),
    end: () => child.kill('SIGKILL'),
  }
}

/** Times to connect in microseconds. */
export const connections = (from: TestNamespace, address: string, port: number, count: number): Promise<number[]> =>
  run(from, CONNECT, [address, port, count])
