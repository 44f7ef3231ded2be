/** A `drover server` of a benchmark's own on an etcd of its own, measured from outside; and HTTP/2 towards it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { freePort, startTestEtcd, type TestEtcd } from '../support/etcd.ts'
import { eventually } from '../support/eventually.ts'

const TOKEN = 'drvb-api-benchmark-token'
const START_TIMEOUT_MS = 60_000
/** The kernel's unit for processor time, fixed on Linux. */
const TICKS_PER_SECOND = 100

export class BenchServer {
  readonly #etcd: TestEtcd
  readonly #dataDir: string
  readonly #child: ChildProcess
  readonly #origin: string
  readonly #ca: string

  private constructor(given: { etcd: TestEtcd; dataDir: string; child: ChildProcess; origin: string; ca: string }) {
    this.#etcd = given.etcd
    this.#dataDir = given.dataDir
    this.#child = given.child
    this.#origin = given.origin
    this.#ca = given.ca
  }

  static async start(): Promise<BenchServer> {
    const etcd = await startTestEtcd({ args: ['--snapshot-count', '5000', '--log-level', 'error'] })
    const dataDir = await mkdtemp(join(tmpdir(), 'drvb-api-'))
    await writeFile(join(dataDir, 'tokens'), `${TOKEN},bench,system:masters\n`, { mode: 0o600 })
    const [port, nodePort] = [await freePort(), await freePort()]
    const program = process.env.DROVER_PROGRAM ?? resolve('dist/drover.js')
    const flags = {
      'data-dir': dataDir,
      'run-dir': join(dataDir, 'run'),
      listen: `127.0.0.1:${port}`,
      'node-listen': `127.0.0.1:${nodePort}`,
      etcd: etcd.endpoint,
      'token-file': join(dataDir, 'tokens'),
      'log-level': 'error',
    }
    const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value])
    const child = spawn(process.execPath, [program, 'server', '--no-join-line', ...args], { stdio: 'inherit' })
    try {
      const ca = await eventually(() => readFile(join(dataDir, 'pki', 'ca.crt'), 'utf8'), {
        timeoutMs: START_TIMEOUT_MS,
      })
      const server = new BenchServer({ etcd, dataDir, child, origin: `https://127.0.0.1:${port}`, ca })
      await eventually(() => server.isReady(), { timeoutMs: START_TIMEOUT_MS, intervalMs: 200 })
      return server
    } catch (error) {
      child.kill('SIGKILL')
      await etcd.stop()
      throw error
    }
  }

  get etcdEndpoint(): string {
    return this.#etcd.endpoint
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  session(): ClientHttp2Session {
    return openSession(this.#origin, this.#ca)
  }

  async isReady(): Promise<boolean> {
    const session = this.session()
    try {
      return (await call(session, 'GET', '/readyz')).status === 200
    } finally {
      session.destroy()
    }
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    await ended
    await this.#etcd.stop()
    await rm(this.#dataDir, { recursive: true, force: true })
  }
}

export function openSession(origin: string, ca: string): ClientHttp2Session {
  const session = connect(origin, { ca, settings: { initialWindowSize: 4 << 20 } })
  session.setMaxListeners(0)
  session.on('error', () => undefined)
  session.on('connect', () => session.setLocalWindowSize(16 << 20))
  return session
}

export function open(session: ClientHttp2Session, method: string, path: string, body?: Buffer): ClientHttp2Stream {
  const head = {
    ':method': method,
    ':path': path,
    authorization: `Bearer ${TOKEN}`,
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  }
  const stream = session.request(head, { endStream: body === undefined })
  if (body !== undefined) stream.end(body)
  return stream
}

/** The whole answer; its bytes are counted, and kept when they are few. */
export function call(
  session: ClientHttp2Session,
  method: string,
  path: string,
  body?: Buffer,
): Promise<{ status: number; bytes: number; text: string }> {
  const stream = open(session, method, path, body)
  return new Promise((done, fail) => {
    let [status, bytes, text] = [0, 0, '']
    stream.on('response', (headers) => {
      status = Number(headers[':status'])
    })
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes < 10_000) text += chunk.toString()
    })
    stream.on('error', fail)
    stream.on('end', () => done({ status, bytes, text }))
  })
}

/** Processor time that a process has used, in milliseconds. */
export function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND
}

export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kib) * 1024
}
