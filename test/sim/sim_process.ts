/**
 * A process of the simulated world: the clock that its code sees, and the one door by which anything enters it.
 * Killing it shuts the door: no timer fires, no answer and no message comes in, so its code stands still for ever
 * without having been told, as after SIGKILL. Freezing it (SIGSTOP) keeps what would enter until it goes on.
 */
import type { Clock, Timer } from '../../src/base/clock.ts'
import type { VirtualTime } from './virtual_time.ts'

const EPOCH_MS = Date.parse('2026-01-01T00:00:00Z')

export class SimProcess implements Clock {
  readonly name: string
  readonly #time: VirtualTime
  #alive = true
  #frozen = false
  #waiting: (() => void)[] = []
  /** How far its wall clock is off. */
  skewMs = 0
  /** Whatever enters is late by this: a starved machine. */
  lagMs = 0

  readonly #rate: number

  /** `rate`: of the machine's clock, to real time. */
  constructor(name: string, time: VirtualTime, rate = 1) {
    this.name = name
    this.#time = time
    this.#rate = rate
  }

  get alive(): boolean {
    return this.#alive
  }

  get frozen(): boolean {
    return this.#frozen
  }

  now(): number {
    return EPOCH_MS + Math.floor(this.#time.nowMs) + this.skewMs
  }

  monotonicMs(): number {
    return this.#time.nowMs * this.#rate
  }

  schedule(delayMs: number, callback: () => void): Timer {
    let cancelled = false
    const timer = this.#time.schedule(delayMs / this.#rate + this.lagMs, () =>
      this.enter(() => {
        if (!cancelled) callback()
      }),
    )
    return {
      cancel: () => {
        cancelled = true
        timer.cancel()
      },
    }
  }

  /** The way in. */
  enter(work: () => void): void {
    if (!this.#alive) return
    if (this.#frozen || this.#waiting.length > 0) this.#waiting.push(work)
    else work()
  }

  kill(): void {
    this.#alive = false
    this.#waiting = []
  }

  freeze(): void {
    this.#frozen = true
  }

  /** What waited comes in one by one, in order, before anything newer. */
  thaw(): void {
    this.#frozen = false
    this.#time.schedule(0, () => this.#drain())
  }

  #drain(): void {
    if (this.#frozen || !this.#alive) return
    this.#waiting.shift()?.()
    if (this.#waiting.length > 0) this.#time.schedule(0, () => this.#drain())
  }
}
