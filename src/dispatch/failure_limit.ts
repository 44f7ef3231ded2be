/**
 * How often one address may fail: ten times a minute, then it waits. Bounded: past the limit of addresses the oldest is
 * forgotten, so that an attacker with many addresses costs memory no more than that.
 */
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'

const MAX_FAILURES = 10
const WINDOW_MS = 60_000
const MAX_ADDRESSES = 10_000

interface Window {
  startMs: number
  count: number
}

export class FailureLimit {
  readonly #clock: Clock
  readonly #windows = new Map<string, Window>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Throws `tooManyRequests` while the address must wait. */
  check(address: string): void {
    const window = this.#current(address)
    if (window === undefined || window.count < MAX_FAILURES) return
    const seconds = Math.ceil((window.startMs + WINDOW_MS - this.#clock.monotonicMs()) / 1000)
    throw new DroverError('tooManyRequests', `too many failed attempts from ${address}; try again in ${seconds} s`, {
      retryAfterSeconds: seconds,
    })
  }

  add(address: string): void {
    const window = this.#current(address)
    if (window !== undefined) {
      window.count++
      return
    }
    const oldest = this.#windows.keys().next().value
    if (this.#windows.size >= MAX_ADDRESSES && oldest !== undefined) this.#windows.delete(oldest)
    this.#windows.set(address, { startMs: this.#clock.monotonicMs(), count: 1 })
  }

  #current(address: string): Window | undefined {
    const window = this.#windows.get(address)
    if (window === undefined) return undefined
    if (this.#clock.monotonicMs() - window.startMs < WINDOW_MS) return window
    this.#windows.delete(address)
    return undefined
  }
}
