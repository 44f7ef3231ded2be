/**
 * Keeps one etcd running as a child: a cluster of a single member on loopback, every port with mutual TLS. It survives
 * the death of the process that started it: the next one finds it by its command line and adopts it, so that there is
 * never a second etcd on the same data. One that dies is started again.
 *
 * The command line is the whole state: one that runs with other arguments than ours (an upgrade) is replaced.
 * Rejected: a file with the process id, which can be stale, missing, or name someone else's process.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdir, open, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type BackoffPolicy, backoffDelayMs } from '../../base/backoff.ts'
import { type Clock, sleep } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { run, start } from '../../base/process.ts'
import type { Random } from '../../base/random.ts'
import type { Service } from '../../base/service.ts'
import { findProcesses, isRunning, type Ports, portsFor, probeHealth } from './server_host.ts'
import { progressIntervalFlag } from './version.ts'

/** Paths of PEM files. etcd reads them again at each handshake, so that they can be renewed in place. */
export interface EtcdPki {
  caFile: string
  /** For 127.0.0.1; usages server and client, since etcd dials itself. */
  serverCertFile: string
  serverKeyFile: string
  clientCertFile: string
  clientKeyFile: string
}

export interface EtcdServerOptions {
  /** Holds `etcd/` (its data), `etcd.log` and `ports.json`. */
  dataDir: string
  name?: string
  pki: EtcdPki
  clock: Clock
  random: Random
  log: Logger
  /** Space for the database before etcd refuses writes. Default 2 GiB. */
  quotaBytes?: number
  /** Leaves etcd running when the service is stopped; the next start adopts it. Default false. */
  leaveRunning?: boolean
}

export interface EtcdServer extends Service {
  /** `https://127.0.0.1:<port>`, once etcd answers there. Rejects when the signal is raised first. */
  endpoint(signal?: AbortSignal): Promise<string>
  /** The process id of the running etcd, if any. */
  pid(): number | undefined
}

const POLL_MS = 100
const HEALTH_POLL_MS = 30
const STOP_GRACE_MS = 10_000
const LOG_BYTES = 10 << 20
const DEFAULT_QUOTA_BYTES = 2 << 30
/** Entries that etcd keeps in memory between snapshots; ours hold up to a megabyte each. */
const SNAPSHOT_ENTRIES = 5_000
const RESTART: BackoffPolicy = { initialMs: 50, maxMs: 5_000, factor: 2, jitter: 0.2 }
const STABLE_MS = 10_000

export function createEtcdServer(options: EtcdServerOptions): EtcdServer {
  return new ChildEtcd(options)
}

class ChildEtcd implements EtcdServer {
  readonly id = 'etcd'
  readonly #options: EtcdServerOptions
  #pid: number | undefined
  #ports: Ports | undefined

  constructor(options: EtcdServerOptions) {
    this.#options = options
  }

  pid(): number | undefined {
    return this.#pid
  }

  async endpoint(signal?: AbortSignal): Promise<string> {
    const { clock, pki } = this.#options
    for (;;) {
      const url = this.#ports === undefined ? undefined : `https://127.0.0.1:${this.#ports.client}`
      if (url !== undefined && this.#pid !== undefined && (await probeHealth(url, pki))) return url
      await sleep(clock, HEALTH_POLL_MS, signal)
    }
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, log, dataDir } = this.#options
    await mkdir(join(dataDir, 'etcd'), { recursive: true, mode: 0o700 })
    const version = await etcdVersion()
    let failures = 0
    while (!signal.aborted) {
      const startedMs = clock.monotonicMs()
      const args = await this.#prepare(version)
      const pid = await this.#adoptOrStart(args, signal)
      if (pid === undefined) return
      this.#pid = pid
      await this.#untilEnded(pid, signal)
      if (signal.aborted) return await this.#stop(pid)
      this.#pid = undefined
      failures = clock.monotonicMs() - startedMs > STABLE_MS ? 1 : failures + 1
      log.warn({ pid, failures }, `etcd ended; starting it again (its log: ${join(dataDir, 'etcd.log')})`)
      await sleep(clock, backoffDelayMs(RESTART, failures, random), signal).catch(() => undefined)
    }
  }

  /** The arguments to run with: the same as last time, unless a port has been taken since. */
  async #prepare(version: string): Promise<string[]> {
    const { dataDir } = this.#options
    const owner = await findProcesses(this.#etcdDir())
    this.#ports = await portsFor(join(dataDir, 'ports.json'), owner.length > 0)
    return this.#arguments(this.#ports, version)
  }

  #etcdDir(): string {
    return join(this.#options.dataDir, 'etcd')
  }

  #arguments(ports: Ports, version: string): string[] {
    const { name = 'drover', pki, quotaBytes = DEFAULT_QUOTA_BYTES, dataDir } = this.#options
    const client = `https://127.0.0.1:${ports.client}`
    const peer = `https://127.0.0.1:${ports.peer}`
    return [
      ...['--name', name, '--data-dir', this.#etcdDir()],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `${name}=${peer}`],
      ...['--client-cert-auth', '--trusted-ca-file', pki.caFile],
      ...['--cert-file', pki.serverCertFile, '--key-file', pki.serverKeyFile],
      ...['--peer-client-cert-auth', '--peer-trusted-ca-file', pki.caFile],
      ...['--peer-cert-file', pki.serverCertFile, '--peer-key-file', pki.serverKeyFile],
      ...['--quota-backend-bytes', String(quotaBytes), '--snapshot-count', String(SNAPSHOT_ENTRIES)],
      ...[progressIntervalFlag(version), '2s'],
      // A single member waits out the election time at each start, and there is no other that could take over.
      ...['--heartbeat-interval', '50', '--election-timeout', '300'],
      ...['--logger', 'zap', '--log-outputs', join(dataDir, 'etcd.log'), '--log-level', 'warn'],
    ]
  }

  async #adoptOrStart(args: readonly string[], signal: AbortSignal): Promise<number | undefined> {
    const { log } = this.#options
    for (const found of await findProcesses(this.#etcdDir())) {
      if (sameArguments(found.args, args)) {
        log.info({ pid: found.pid }, 'adopted the etcd that was left running')
        return found.pid
      }
      log.info({ pid: found.pid }, 'an etcd with other arguments holds our data; replacing it')
      await this.#end(found.pid)
    }
    if (signal.aborted) return undefined
    return this.#start(args)
  }

  async #start(args: readonly string[]): Promise<number> {
    const { dataDir, log } = this.#options
    const logPath = join(dataDir, 'etcd.log')
    await rotate(logPath)
    const output = await open(logPath, 'a', 0o600)
    try {
      // A session of its own: a signal to the terminal's group must not end it before those who write to it.
      const child = start('etcd', args, { stdio: ['ignore', output.fd, output.fd], detached: true })
      const pid = await started(child)
      child.unref()
      log.info({ pid }, 'started etcd')
      return pid
    } finally {
      await output.close()
    }
  }

  /** Polls: an adopted process is no child of ours, so nothing tells us of its end. */
  async #untilEnded(pid: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && (await isRunning(pid, this.#etcdDir()))) {
      await sleep(this.#options.clock, POLL_MS, signal).catch(() => undefined)
    }
  }

  async #stop(pid: number): Promise<void> {
    if (this.#options.leaveRunning !== true) await this.#end(pid)
    this.#pid = undefined
  }

  /** SIGTERM, then SIGKILL. */
  async #end(pid: number): Promise<void> {
    const { clock, log } = this.#options
    const deadlineMs = clock.monotonicMs() + STOP_GRACE_MS
    signalProcess(pid, 'SIGTERM')
    while (await isRunning(pid, this.#etcdDir())) {
      if (clock.monotonicMs() > deadlineMs) {
        log.warn({ pid }, 'etcd did not end in time; killing it')
        signalProcess(pid, 'SIGKILL')
      }
      await sleep(clock, POLL_MS / 4)
    }
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    // It has ended already.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function started(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve(child.pid ?? 0))
    child.once('error', (error) => reject(missingEtcd(error)))
  })
}

function missingEtcd(cause: unknown): DroverError {
  const text =
    'the program etcd cannot be run; install it (Debian: apt-get install etcd-server) or name one with --etcd'
  return new DroverError('unsupported', text, { cause })
}

async function etcdVersion(): Promise<string> {
  const result = await run('etcd', ['--version']).catch((error: unknown) => {
    throw missingEtcd(error)
  })
  return /etcd Version: (\S+)/.exec(result.stdout)?.[1] ?? '3.4.0'
}

function sameArguments(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((arg, i) => arg === b[i])
}

async function rotate(path: string): Promise<void> {
  const size = await stat(path).then(
    (stats) => stats.size,
    () => 0,
  )
  if (size > LOG_BYTES) await rename(path, `${path}.1`)
}
