/**
 * Watches over what the node has left. Short of something, it says so by a condition (the server then sends no new pods),
 * gets back what costs nobody anything (images that nothing uses), and evicts pods one at a time, each only when the one
 * before is gone and it was not enough.
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
  pods(what: Shortage): Promise<PodUse[]>
  /** Ends a pod as failed; its containers get no time. */
  evict(uid: string, message: string): void
  /** Whether a pod still has what it used. */
  holds(uid: string): boolean
  /** Removes what nothing uses; resolves when it is gone. */
  reclaimDisk(): Promise<void>
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

  run(signal: AbortSignal): Promise<void> {
    const failure = 'what the node has left could not be looked at'
    return repeat(
      () => this.look(),
      { ...this.#options, everyMs: this.#options.everyMs ?? DEFAULT_EVERY_MS, failure },
      signal,
    )
  }

  /** Looks once, and does what is to do. */
  async look(): Promise<void> {
    const { clock, read, thresholds, onChange, reclaimDisk } = this.#options
    const signals = await read()
    const limits = thresholds(signals)
    const short = shortagesOf(signals, limits)
    const said = this.#held.see(short, clock.monotonicMs())
    if (said.length !== this.#said.length || said.some((what) => !this.#said.includes(what))) onChange(said)
    this.#said = said
    const [what] = short
    if (what === undefined) return
    if (what === 'disk') {
      await reclaimDisk()
      const after = await read()
      if (!shortagesOf(after, limits).includes('disk')) return
    }
    await this.#evictFor(what, signals, limits)
  }

  async #evictFor(what: Shortage, signals: Signals, limits: Thresholds): Promise<void> {
    const { clock, log, pods, evict, holds } = this.#options
    const running = await pods(what)
    const nowMs = clock.monotonicMs()
    const last = this.#evicted
    if (last !== undefined && holds(last.uid) && nowMs - last.atMs < EVICTION_TIMEOUT_MS) return
    const [first] = rankForEviction(
      running.filter(({ uid }) => uid !== last?.uid),
      what,
    )
    if (first === undefined) return
    const message = evictionMessage(what, signals[what].available, limits[what], first)
    log.warn({ pod: first.uid, what, message }, 'evicting a pod: the node runs short')
    this.#evicted = { uid: first.uid, atMs: nowMs }
    evict(first.uid, message)
  }
}
