/** Pods and hosts for tests of the network: pinned namespaces with busybox in them, ended and removed by their maker. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { run, runOk, start } from '../../src/base/process.ts'

export interface TestNamespace {
  path: string
  /** Runs a program inside to its end. */
  exec(args: readonly string[], input?: string): Promise<{ exitCode: number; stdout: string; stderr: string }>
  /** Starts a program inside that runs until `remove`. */
  start(args: readonly string[]): ChildProcess
  remove(): Promise<void>
}

/** A namespace that exists already, e.g. a local cluster's host; `remove` ends what was started and leaves it. */
export function enterNamespace(path: string): TestNamespace {
  const children: ChildProcess[] = []
  const enter = `--net=${path}`
  return {
    path,
    exec: (args, input) =>
      run('nsenter', [enter, ...args], { timeoutMs: 15_000, ...(input === undefined ? {} : { input }) }),
    start(args) {
      const child = start('nsenter', [enter, ...args], { stdio: 'ignore' })
      children.push(child)
      return child
    },
    async remove() {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue
        const ended = once(child, 'exit')
        child.kill('SIGKILL')
        await ended
      }
    },
  }
}

export async function createNamespace(name: string): Promise<TestNamespace> {
  await runOk('ip', ['netns', 'add', name])
  const inner = enterNamespace(`/run/netns/${name}`)
  return {
    ...inner,
    async remove() {
      await inner.remove()
      await runOk('ip', ['netns', 'del', name])
    },
  }
}

/** Answers on TCP and UDP with its name and the address it was asked from. */
const SERVER = `
const [name, tcp, udp] = process.argv.slice(1)
const answer = (address) => JSON.stringify({ name, from: address.replace('::ffff:', '') })
require('node:net').createServer((socket) => {
  socket.on('error', () => undefined)
  socket.end(answer(socket.remoteAddress))
}).listen(Number(tcp), '0.0.0.0')
const datagrams = require('node:dgram').createSocket('udp4')
datagrams.on('message', (_, from) => datagrams.send(answer(from.address), from.port, from.address))
datagrams.bind(Number(udp), '0.0.0.0')
`

/** Asks several times, one after the other, and prints the answers or what went wrong. UDP keeps one socket. */
const CLIENT = `
const [protocol, address, port, count] = process.argv.slice(1)
const overTcp = () => new Promise((resolve) => {
  const socket = require('node:net').connect({ host: address, port: Number(port), timeout: 3000 })
  let text = ''
  socket.on('data', (data) => { text += data })
  socket.on('end', () => resolve(JSON.parse(text)))
  socket.on('error', (error) => resolve({ error: error.code }))
  socket.on('timeout', () => { socket.destroy(); resolve({ error: 'TIMEOUT' }) })
})
const datagrams = protocol === 'udp' ? require('node:dgram').createSocket('udp4') : undefined
const overUdp = () => new Promise((resolve) => {
  const timer = setTimeout(() => resolve({ error: 'TIMEOUT' }), 3000)
  const done = (value) => { clearTimeout(timer); resolve(value) }
  datagrams.removeAllListeners()
  datagrams.on('message', (data) => done(JSON.parse(data)))
  datagrams.on('error', (error) => done({ error: error.code }))
  datagrams.send('x')
})
const main = async () => {
  if (datagrams) await new Promise((resolve) => datagrams.connect(Number(port), address, resolve))
  const answers = []
  for (let i = 0; i < Number(count); i++) answers.push(await (datagrams ? overUdp() : overTcp()))
  console.log(JSON.stringify(answers))
  process.exit(0)
}
main()
`

export const TCP_PORT = 8080
export const UDP_PORT = 8053

export interface Answer {
  name?: string
  /** The client's address as the server saw it. */
  from?: string
  error?: string
}

export function startAnswering(namespace: TestNamespace, name: string): ChildProcess {
  return namespace.start([process.execPath, '-e', SERVER, name, String(TCP_PORT), String(UDP_PORT)])
}

/** From inside a namespace; from the test's own when undefined. */
export async function ask(
  from: TestNamespace | undefined,
  target: { protocol?: 'tcp' | 'udp'; address: string; port: number; count?: number },
): Promise<Answer[]> {
  const { protocol = 'tcp', address, port, count = 1 } = target
  const args = [process.execPath, '-e', CLIENT, protocol, address, String(port), String(count)]
  const [program = '', ...rest] = args
  const result = from === undefined ? await run(program, rest, { timeoutMs: 30_000 }) : await from.exec(args)
  if (result.exitCode !== 0) throw new Error(`client ended with ${result.exitCode}: ${result.stderr}`)
  return JSON.parse(result.stdout) as Answer[]
}
