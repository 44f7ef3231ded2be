/**
 * The agent's side of its fencer (program.ts): starts it, finds one that an earlier agent started, sees to it that it lives, and
 * tells it of leases and pods through its directory. It is started when the first exclusive pod comes and outlives the agent.
 *
 * Invariant: a pod is not `guarded` before a fencer has said, in a round begun later than the pod's mark, that it lives.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, sleep } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { readIfExists } from '../../base/files.ts'
import type { Logger } from '../../base/log.ts'
import { run, start } from '../../base/process.ts'
import { identify, isAlive, type ProcessIdentity, signalProcess } from '../../base/process_table.ts'
import { FENCER } from './program.ts'

/** What the agent needs of a fencer. */
export interface Fencer {
  /** The host's clock that counts suspended time. */
  nowMs(): number
  /** From now on exclusive pods may run until then, and no longer. */
  renew(deadlineMs: number): void
  /** False while what ran under a lease that has run out may still run: no round of a fencer has begun since its end. */
  hasEnded(): boolean
  /** Whether the pod is marked as exclusive. */
  guards(podUid: string): boolean
  /** Resolves once a living fencer knows of the pod; `unavailable` when none comes to life. */
  guard(podUid: string, signal: AbortSignal): Promise<void>
  /** Nothing of the pod is left. */
  release(podUid: string): void
  /** When the fencer last killed something of the pod, wall time. */
  killedAtMs(podUid: string): number | undefined
  /** Keeps it alive while there is something to guard. */
  run(signal: AbortSignal): Promise<void>
}

export interface FencerOptions {
  /** On a file system that does not outlive a boot, such as `/run/drover/fence`. */
  directory: string
  /** Of the pods: `/drover/<cluster>/<host>`. */
  cgroupParent: string
  /** Mount points of all cgroup hierarchies. */
  cgroupMounts: readonly string[]
  clock: Clock
  log: Logger
}

const LOOK_MS = 250
/** It says ten times a second that it lives. */
const SILENT_MS = 2_000
const READY_TIMEOUT_MS = 5_000
const POLL_MS = 10
const END_TIMEOUT_MS = 5_000
const PRIORITY = '10'

/** Source: proc(5), /proc/uptime: seconds since boot, suspended ones included. */
export function uptimeMs(): number {
  return Math.round(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000)
}

export function createFencer(options: FencerOptions): Fencer {
  return new FencerProcess(options)
}

class FencerProcess implements Fencer {
  readonly #options: FencerOptions
  readonly #pods: string
  readonly #marked: Set<string>
  readonly #bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  #deadlineMs = 0
  #realTime: boolean | undefined
  #startedMs = Number.NEGATIVE_INFINITY

  constructor(options: FencerOptions) {
    this.#options = options
    this.#pods = join(options.directory, 'pods')
    mkdirSync(this.#pods, { recursive: true, mode: 0o700 })
    this.#marked = new Set(readdirSync(this.#pods))
  }

  nowMs(): number {
    return uptimeMs()
  }

  renew(deadlineMs: number): void {
    this.#deadlineMs = deadlineMs
    if (this.#marked.size > 0) this.#writeLease()
  }

  #writeLease(): void {
    const path = join(this.#options.directory, 'lease')
    // An agent that has no lease of its own leaves what the one before it was given.
    if (this.#deadlineMs === 0) return
    writeFileSync(`${path}.new`, `${this.#bootId} ${Math.floor(this.#deadlineMs)}\n`)
    renameSync(`${path}.new`, path)
  }

  hasEnded(): boolean {
    if (this.#marked.size === 0) return true
    // That of an agent before us counts too; of another boot nothing runs.
    const [bootId, deadline] = (readIfExists(join(this.#options.directory, 'lease')) ?? '').split(' ')
    const deadlineMs = Number(deadline)
    if (bootId !== this.#bootId || !(uptimeMs() >= deadlineMs)) return true
    return (this.#status()?.atMs ?? 0) >= deadlineMs
  }

  guards(podUid: string): boolean {
    return this.#marked.has(podUid)
  }

  async guard(podUid: string, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    // Before the mark: a fencer that found the pod without a lease would end it.
    this.#writeLease()
    if (!this.#marked.has(podUid)) {
      writeFileSync(join(this.#pods, podUid), '', { flag: 'a' })
      this.#marked.add(podUid)
    }
    // The clock has steps of 10 ms: a round of the same step may have begun before the mark.
    const markedMs = uptimeMs() + POLL_MS
    const untilMs = clock.monotonicMs() + READY_TIMEOUT_MS
    while ((this.#status()?.atMs ?? 0) < markedMs) {
      await this.#ensure()
      if (clock.monotonicMs() > untilMs) {
        throw new DroverError(
          'unavailable',
          'no fencer comes to life on this node (Debian: perl-base); without one no exclusive pod is started',
        )
      }
      await sleep(clock, POLL_MS, signal)
    }
  }

  release(podUid: string): void {
    if (!this.#marked.delete(podUid)) return
    rmSync(join(this.#pods, podUid), { force: true })
  }

  killedAtMs(podUid: string): number | undefined {
    const seconds = Number(readIfExists(join(this.#pods, podUid)) ?? '')
    return seconds > 0 ? seconds * 1000 : undefined
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#marked.size > 0) await this.#ensure()
      await sleep(this.#options.clock, LOOK_MS, signal).catch(() => undefined)
    }
  }

  #status(): { process: ProcessIdentity; atMs: number } | undefined {
    return fencerStatus(this.#options.directory)
  }

  /** Starts one where none lives, and in the place of one that has fallen silent. */
  async #ensure(): Promise<void> {
    const { directory, cgroupParent, cgroupMounts, log } = this.#options
    const nowMs = uptimeMs()
    const status = this.#status()
    if (status !== undefined) {
      if (nowMs - status.atMs < SILENT_MS) return
      // We may have been held up ourselves: it speaks again before it counts as dead.
      if (nowMs - this.#startedMs < SILENT_MS) return
      log.warn(
        { pid: status.process.pid, silentMs: nowMs - status.atMs },
        'the fencer is silent; another takes its place',
      )
      signalProcess(status.process, 'SIGKILL')
    } else if (nowMs - this.#startedMs < LOOK_MS) return
    this.#startedMs = nowMs
    this.#realTime ??= (await run('chrt', ['-r', PRIORITY, 'true']).catch(() => undefined))?.exitCode === 0
    const program = ['perl', '-e', FENCER, directory, cgroupParent, ...cgroupMounts]
    const [name = '', ...args] = [...(this.#realTime ? ['chrt', '-r', PRIORITY] : ['nice', '-n', '-20']), ...program]
    // Nothing of ours is left open in it, and no signal to our group reaches it.
    const child = start(name, args, { detached: true, stdio: 'ignore', cwd: '/', env: { PATH: process.env.PATH } })
    child.on('error', (error) => log.error({ err: error }, 'the fencer cannot be started'))
    child.unref()
    log.info({ pid: child.pid, realTime: this.#realTime }, 'fencer started')
  }
}

/** The fencer that lives, and when it last said so. */
function fencerStatus(directory: string): { process: ProcessIdentity; atMs: number } | undefined {
  const [pid, atMs] = (readIfExists(join(directory, 'status')) ?? '').split(' ').map(Number)
  if (!pid || atMs === undefined) return undefined
  const isFencer = (readIfExists(`/proc/${pid}/cmdline`) ?? '').includes(directory)
  const process = isFencer ? identify(pid) : undefined
  return process === undefined ? undefined : { process, atMs }
}

/** For a node that is reset: its containers are gone, and so go the fencer and what it knew. Returns when it has ended. */
export async function removeFencer(directory: string, clock: Clock): Promise<void> {
  const process = fencerStatus(directory)?.process
  if (process !== undefined) {
    signalProcess(process, 'SIGKILL')
    const untilMs = clock.monotonicMs() + END_TIMEOUT_MS
    while (isAlive(process) && clock.monotonicMs() < untilMs) await sleep(clock, POLL_MS)
  }
  rmSync(directory, { recursive: true, force: true })
}
