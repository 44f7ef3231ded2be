/** A real etcd of a test's own: free ports on loopback, data in a temporary directory, gone when the test is. */
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { start } from '../../src/base/process.ts'

export interface TestEtcd {
  /** `http://127.0.0.1:<port>` */
  endpoint: string
  port: number
  dataDir: string
  pid(): number
  /** SIGKILL; the data stays. */
  kill(): Promise<void>
  /** Starts it again on the same port and data. */
  restart(): Promise<void>
  stop(): Promise<void>
}

export interface TestEtcdOptions {
  /** More flags for etcd. */
  args?: readonly string[]
}

const START_TIMEOUT_MS = 20_000
const ATTEMPTS = 5

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

export async function startTestEtcd(options: TestEtcdOptions = {}): Promise<TestEtcd> {
  const dataDir = await mkdtemp(join(tmpdir(), 'drvt-etcd-'))
  // Another process may take a free port before etcd does: then try others.
  for (let attempt = 1; ; attempt++) {
    const ports = { client: await freePort(), peer: await freePort() }
    const instance = new Instance(dataDir, ports, options.args ?? [])
    try {
      await instance.restart()
      return instance
    } catch (error) {
      await instance.kill()
      await rm(join(dataDir, 'data'), { recursive: true, force: true })
      if (attempt < ATTEMPTS) continue
      await rm(dataDir, { recursive: true, force: true })
      throw error
    }
  }
}

class Instance implements TestEtcd {
  readonly endpoint: string
  readonly port: number
  readonly dataDir: string
  readonly #args: readonly string[]
  readonly #peerPort: number
  #child: ChildProcess | undefined

  constructor(dataDir: string, ports: { client: number; peer: number }, args: readonly string[]) {
    this.dataDir = dataDir
    this.port = ports.client
    this.endpoint = `http://127.0.0.1:${ports.client}`
    this.#peerPort = ports.peer
    this.#args = args
    // A test run that is cut short must not leave servers behind.
    process.once('exit', () => this.#child?.kill('SIGKILL'))
  }

  pid(): number {
    return this.#child?.pid ?? 0
  }

  async restart(): Promise<void> {
    const peer = `http://127.0.0.1:${this.#peerPort}`
    const args = [
      ...['--name', 'test', '--data-dir', join(this.dataDir, 'data')],
      ...['--listen-client-urls', this.endpoint, '--advertise-client-urls', this.endpoint],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `test=${peer}`],
      ...['--logger', 'zap', '--log-outputs', join(this.dataDir, 'etcd.log')],
      ...this.#args,
    ]
    const child = start('etcd', args, { stdio: 'ignore' })
    child.on('error', () => undefined)
    this.#child = child
    await this.#untilHealthy(child)
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async stop(): Promise<void> {
    await this.#end('SIGKILL')
    await rm(this.dataDir, { recursive: true, force: true })
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill(signal)
    await gone
  }

  async #untilHealthy(child: ChildProcess): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS
    while (performance.now() < deadline) {
      if (child.exitCode !== null || child.pid === undefined) break
      const healthy = await fetch(`${this.endpoint}/health`, { signal: AbortSignal.timeout(2_000) }).then(
        async (response) => (await response.text()).includes('true'),
        () => false,
      )
      if (healthy) return
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
    const log = await readFile(join(this.dataDir, 'etcd.log'), 'utf8').catch(() => '')
    throw new Error(`etcd on ${this.endpoint} did not start:\n${log.slice(-2_000)}`)
  }
}
