/**
 * Time as an argument. Nothing outside this folder touches `Date.now` or the global timers, so that a simulation can
 * own them. `now` is wall time and may jump; durations are measured with `monotonicMs`, which may not.
 */
import { DroverError } from './errors.ts'

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall time, milliseconds since the epoch. */
  now(): number
  /** Milliseconds on a clock that never jumps; only differences mean anything. */
  monotonicMs(): number
  /** Calls `callback` once after `delayMs`. A pending timer does not keep the process alive when `background`. */
  schedule(delayMs: number, callback: () => void, background?: boolean): Timer
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  schedule(delayMs, callback, background = false) {
    if (delayMs <= 0) {
      // The next turn of the loop: a timer of 0 would take a millisecond, at every hop of a change.
      const soon = setImmediate(callback)
      if (background) soon.unref()
      return { cancel: () => clearImmediate(soon) }
    }
    const handle = setTimeout(callback, Math.min(delayMs, 0x7fffffff))
    if (background) handle.unref()
    return { cancel: () => clearTimeout(handle) }
  },
}

/** For long synchronous work: what it gives lets the event loop turn when the last turn it gave is longer ago. */
export function breather(clock: Clock, everyMs = 20): () => Promise<void> {
  let lastMs = clock.monotonicMs()
  return async () => {
    if (clock.monotonicMs() - lastMs < everyMs) return
    await new Promise<void>((resolve) => clock.schedule(0, resolve))
    lastMs = clock.monotonicMs()
  }
}

/** RFC 3339 with whole seconds, as Kubernetes' `metav1.Time`. */
export function timestamp(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, 19)}Z`
}

/** RFC 3339 with microseconds, as Kubernetes' `metav1.MicroTime`. */
export function microTimestamp(epochMs: number): string {
  return new Date(epochMs).toISOString().replace('Z', '000Z')
}

function cancelled(signal: AbortSignal): DroverError {
  return new DroverError('cancelled', 'cancelled', { cause: signal.reason })
}

/** Throws `cancelled` if the signal has been raised. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelled(signal)
}

/** Waits; rejects with `cancelled` when the signal is raised first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(cancelled(signal))
      return
    }
    const onAbort = () => {
      timer.cancel()
      reject(cancelled(signal as AbortSignal))
    }
    const timer = clock.schedule(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** Bounds a promise; rejects with `timeout` and the given words. The work itself is not stopped: pass it a signal. */
export function withTimeout<T>(clock: Clock, promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.schedule(timeoutMs, () =>
      reject(new DroverError('timeout', `${what} did not finish within ${timeoutMs} ms`)),
    )
    promise.then(
      (value) => {
        timer.cancel()
        resolve(value)
      },
      (error: unknown) => {
        timer.cancel()
        reject(error)
      },
    )
  })
}
