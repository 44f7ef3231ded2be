/** A clock that moves when told. Timers fire in order of their time, then of their making. */
import type { Clock, Timer } from '../../src/base/clock.ts'

export interface ManualClock extends Clock {
  /** Sets the wall clock forward or, by less than nothing, back; no time passes. */
  jump(ms: number): void
  /** Moves time on, firing what falls due; promises get to run after each timer. */
  advance(ms: number): Promise<void>
  readonly pending: number
}

export function createManualClock(startMs = Date.parse('2026-01-01T00:00:00Z')): ManualClock {
  let elapsedMs = 0
  let jumpedMs = 0
  let made = 0
  const timers = new Map<number, { dueMs: number; callback: () => void }>()
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  return {
    now: () => startMs + elapsedMs + jumpedMs,
    jump(ms) {
      jumpedMs += ms
    },
    monotonicMs: () => elapsedMs,
    get pending() {
      return timers.size
    },
    schedule(delayMs, callback): Timer {
      const id = made++
      timers.set(id, { dueMs: elapsedMs + Math.max(0, delayMs), callback })
      return { cancel: () => timers.delete(id) }
    },
    async advance(ms) {
      const untilMs = elapsedMs + ms
      await settle()
      for (;;) {
        const due = [...timers].filter(([, timer]) => timer.dueMs <= untilMs)
        const next = due.sort(([a, x], [b, y]) => x.dueMs - y.dueMs || a - b)[0]
        if (next === undefined) break
        timers.delete(next[0])
        elapsedMs = Math.max(elapsedMs, next[1].dueMs)
        next[1].callback()
        await settle()
      }
      elapsedMs = untilMs
      await settle()
    },
  }
}
