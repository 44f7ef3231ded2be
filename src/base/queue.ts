/**
 * A work queue of keys (after client-go's workqueue). A key that is added while it runs runs once more afterwards;
 * one key never runs twice at once; many adds before a run collapse into one. Failures come back with back-off.
 * The queue holds keys only, so its size is bounded by the number of distinct objects.
 */
import { type BackoffPolicy, backoffDelayMs } from './backoff.ts'
import type { Clock, Timer } from './clock.ts'
import { DroverError } from './errors.ts'
import type { Logger } from './log.ts'
import type { Random } from './random.ts'

export interface WorkQueueOptions {
  name: string
  clock: Clock
  random: Random
  log: Logger
  concurrency?: number
  backoff?: BackoffPolicy
}

/** What a reconcile asks for: nothing, or to be called again later. */
export type ReconcileResult = undefined | { againAfterMs: number }

const DEFAULT_BACKOFF: BackoffPolicy = { initialMs: 20, maxMs: 30_000, factor: 2, jitter: 0.2 }

export class WorkQueue {
  readonly #options: WorkQueueOptions
  readonly #reconcile: (key: string, signal: AbortSignal) => Promise<ReconcileResult>
  readonly #ready = new Set<string>()
  readonly #running = new Set<string>()
  readonly #again = new Set<string>()
  readonly #failures = new Map<string, number>()
  readonly #timers = new Map<string, { timer: Timer; dueMs: number }>()
  #idle: (() => void)[] = []
  #signal: AbortSignal | undefined

  constructor(options: WorkQueueOptions, reconcile: (key: string, signal: AbortSignal) => Promise<ReconcileResult>) {
    this.#options = options
    this.#reconcile = reconcile
  }

  get size(): number {
    return this.#ready.size + this.#running.size
  }

  add(key: string): void {
    if (this.#signal?.aborted) return
    this.#cancelTimer(key)
    if (this.#running.has(key)) this.#again.add(key)
    else this.#ready.add(key)
    this.#pump()
  }

  /** Adds the key after a delay; an earlier pending time wins. */
  addAfter(key: string, delayMs: number): void {
    // Nothing may be armed once the queue has been stopped: the timer would outlive it.
    if (this.#signal?.aborted) return
    const dueMs = this.#options.clock.monotonicMs() + delayMs
    const pending = this.#timers.get(key)
    if (pending !== undefined && pending.dueMs <= dueMs) return
    pending?.timer.cancel()
    const timer = this.#options.clock.schedule(delayMs, () => {
      this.#timers.delete(key)
      this.add(key)
    })
    this.#timers.set(key, { timer, dueMs })
  }

  /** Forgets a key that waits; one that runs ends by itself. */
  forget(key: string): void {
    this.#cancelTimer(key)
    this.#ready.delete(key)
    this.#again.delete(key)
    this.#failures.delete(key)
  }

  /** Works until the signal is raised, then waits for what runs. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal
    this.#pump()
    if (!signal.aborted)
      await new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
    for (const { timer } of this.#timers.values()) timer.cancel()
    this.#timers.clear()
    this.#ready.clear()
    if (this.#running.size > 0) await new Promise<void>((done) => this.#idle.push(done))
  }

  #cancelTimer(key: string): void {
    this.#timers.get(key)?.timer.cancel()
    this.#timers.delete(key)
  }

  #pump(): void {
    const signal = this.#signal
    if (signal === undefined || signal.aborted) return
    const limit = this.#options.concurrency ?? 1
    for (const key of this.#ready) {
      if (this.#running.size >= limit) return
      this.#ready.delete(key)
      this.#running.add(key)
      void this.#runOne(key, signal)
    }
  }

  async #runOne(key: string, signal: AbortSignal): Promise<void> {
    try {
      const result = await this.#reconcile(key, signal)
      this.#failures.delete(key)
      if (result !== undefined) this.addAfter(key, result.againAfterMs)
    } catch (thrown) {
      this.#failed(key, DroverError.from(thrown), signal)
    } finally {
      this.#running.delete(key)
      if (this.#again.delete(key) && !signal.aborted) this.#ready.add(key)
      if (this.#running.size === 0 && signal.aborted) for (const done of this.#idle.splice(0)) done()
      this.#pump()
    }
  }

  #failed(key: string, error: DroverError, signal: AbortSignal): void {
    if (signal.aborted || error.code === 'cancelled') return
    const { name, log, random, backoff = DEFAULT_BACKOFF } = this.#options
    const failures = (this.#failures.get(key) ?? 0) + 1
    this.#failures.set(key, failures)
    const delayMs = backoffDelayMs(backoff, failures, random)
    const level = error.temporary && failures < 5 ? 'debug' : 'warn'
    log[level]({ queue: name, key, failures, delayMs: Math.round(delayMs), err: error }, 'reconcile failed; will retry')
    this.addAfter(key, delayMs)
  }
}
