/**
 * Watches over what the node has left. Short of something, it says so by a condition (the server then sends no new pods),
 * gets back what costs nobody anything (images that nothing uses), and evicts pods one at a time, each only when the one
 * before is gone and it was not enough. The disk has a watch of its own: what pods take of it only a walk tells, which may take
 * a minute, and memory is gone in less.
 */
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { repeat } from '../../base/service.ts'
import {
  evictionMessage,
  Held,
  type PodUse,
  rankForEviction,
  type Shortage,
  type Signals,
  shortagesOf,
  type Thresholds,
} from './plan.ts'

const DEFAULT_EVERY_MS = 5_000
/** How long an eviction may take before another is tried. */
const EVICTION_TIMEOUT_MS = 60_000

export interface PressureOptions {
  clock: Clock
  log: Logger
  /** How often it looks. Default 5 s. */
  everyMs?: number | undefined
  /** How long a shortage is still told after it is over. */
  holdMs: number
  read(): Promise<Signals>
  thresholds(signals: Signals): Thresholds
  /** Pods that run here and what they use. */
  pods(what: Shortage, signal?: AbortSignal): Promise<PodUse[]>
  /** Ends a pod as failed; its containers get no time. */
  evict(uid: string, message: string): void
  /** Whether a pod still has what it used. */
  holds(uid: string): boolean
  /** Removes what nothing uses until this says that it is enough; resolves when it is gone. */
  reclaimDisk(isEnough: () => Promise<boolean>): Promise<void>
  /** The shortages have changed. */
  onChange(shortages: readonly Shortage[]): void
}

export class PressureMonitor {
  readonly #options: PressureOptions
  readonly #held: Held
  #said: readonly Shortage[] = []
  #evicted: { uid: string; atMs: number } | undefined

  constructor(options: PressureOptions) {
    this.#options = options
    this.#held = new Held(options.holdMs)
  }

  async run(signal: AbortSignal): Promise<void> {
    const { everyMs = DEFAULT_EVERY_MS } = this.#options
    const options = { ...this.#options, everyMs, failure: 'what the node has left could not be looked at' }
    await Promise.all([
      repeat(() => this.look(), options, signal),
      repeat((over) => this.lookAtDisk(over), options, signal),
    ])
  }

  /** Looks once, says what is short, and does what is to do about all but the disk. */
  async look(): Promise<void> {
    const { clock, read, thresholds, onChange, pods } = this.#options
    const signals = await read()
    const limits = thresholds(signals)
    const short = shortagesOf(signals, limits)
    const said = this.#held.see(short, clock.monotonicMs())
    if (said.length !== this.#said.length || said.some((what) => !this.#said.includes(what))) onChange(said)
    this.#said = said
    const what = short.find((one) => one !== 'disk')
    if (what !== undefined) this.#evictFor(what, await pods(what), signals[what].available, limits)
  }

  /** Looks once whether the disk is short, and does what is to do about it. */
  async lookAtDisk(signal?: AbortSignal): Promise<void> {
    const { log, read, thresholds, reclaimDisk, pods } = this.#options
    const seen = await read()
    const limits = thresholds(seen)
    const isShort = (signals: Signals): boolean => shortagesOf(signals, limits).includes('disk')
    if (!isShort(seen)) return
    await reclaimDisk(async () => !isShort(await read())).catch((error: unknown) => {
      log.warn({ err: error }, 'images that nothing uses could not be removed')
    })
    if (this.#isEvicting() || !isShort(await read())) return
    const running = await pods('disk', signal)
    // Much may have gone while they were measured.
    const after = await read()
    if (isShort(after)) this.#evictFor('disk', running, after.disk.available, limits)
  }

  #evictFor(what: Shortage, running: readonly PodUse[], available: number, limits: Thresholds): void {
    const { clock, log, evict, holds } = this.#options
    if (this.#isEvicting()) return
    const [first] = rankForEviction(
      running.filter(({ uid }) => uid !== this.#evicted?.uid && holds(uid)),
      what,
    )
    if (first === undefined) return
    const message = evictionMessage(what, available, limits[what], first)
    log.warn({ pod: first.uid, what, message }, 'evicting a pod: the node runs short')
    this.#evicted = { uid: first.uid, atMs: clock.monotonicMs() }
    evict(first.uid, message)
  }

  /** Whether the last one is still on its way out. */
  #isEvicting(): boolean {
    const { clock, holds } = this.#options
    const last = this.#evicted
    return last !== undefined && holds(last.uid) && clock.monotonicMs() - last.atMs < EVICTION_TIMEOUT_MS
  }
}
