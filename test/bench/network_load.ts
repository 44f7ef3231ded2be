/** Small load programs that run inside network namespaces, as `node -e`: a stream, a ping-pong, connections one by one. */
import type { TestNamespace } from '../support/netns.ts'

const SERVER = `
const net = require('node:net')
net.createServer((socket) => { socket.on('error', () => undefined); socket.on('data', () => undefined) }).listen(7001)
net.createServer((socket) => { socket.setNoDelay(true); socket.on('error', () => undefined); socket.pipe(socket) }).listen(7002)
net.createServer((socket) => { socket.on('error', () => undefined); socket.end() }).listen(7003)
`

const STREAM = `
const [address, ms] = process.argv.slice(1)
const chunk = Buffer.alloc(256 << 10)
const socket = require('node:net').connect(7001, address)
let stop = false
const pump = () => { while (!stop && socket.write(chunk)); }
socket.on('connect', () => {
  const start = process.hrtime.bigint()
  pump(); socket.on('drain', pump)
  setTimeout(() => {
    stop = true
    console.log(JSON.stringify((socket.bytesWritten - socket.writableLength) / (Number(process.hrtime.bigint() - start) / 1e9)))
    process.exit(0)
  }, Number(ms))
})
`

const PING = `
const [address, count] = process.argv.slice(1)
const socket = require('node:net').connect(7002, address)
socket.setNoDelay(true)
const times = []
let sent
const send = () => { sent = process.hrtime.bigint(); socket.write('x') }
socket.on('connect', send)
socket.on('data', () => {
  times.push(Number(process.hrtime.bigint() - sent) / 1e3)
  if (times.length < Number(count)) return send()
  console.log(JSON.stringify(times)); process.exit(0)
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

/** Bytes a second. */
export const stream = (from: TestNamespace, address: string, ms: number): Promise<number> =>
  run(from, STREAM, [address, ms])
/** Round trips in microseconds. */
export const pingPong = (from: TestNamespace, address: string, count: number): Promise<number[]> =>
  run(from, PING, [address, count])
/** Times to connect in microseconds. */
export const connections = (from: TestNamespace, address: string, port: number, count: number): Promise<number[]> =>
  run(from, CONNECT, [address, port, count])
