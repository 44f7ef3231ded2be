/** Polls a condition with a deadline: what tests use in place of sleeping. */
import { sleep, systemClock } from '../../src/base/clock.ts'

export interface EventuallyOptions {
  timeoutMs?: number
  intervalMs?: number
}

/**
 * Calls `probe` until it returns without throwing and with something other than false or undefined; gives that back.
 * Past the deadline it throws what the last call threw.
 */
export async function eventually<T>(
  probe: () => T | Promise<T>,
  options: EventuallyOptions = {},
): Promise<Exclude<T, false | undefined>> {
  const { timeoutMs = 5_000, intervalMs = 20 } = options
  const deadlineMs = systemClock.monotonicMs() + timeoutMs
  let last: unknown = new Error('the condition never held')
  while (true) {
    try {
      const value = await probe()
      if (value !== false && value !== undefined) return value as Exclude<T, false | undefined>
      last = new Error(`the condition did not hold within ${timeoutMs} ms`)
    } catch (error) {
      last = error
    }
    if (systemClock.monotonicMs() > deadlineMs) throw last
    await sleep(systemClock, intervalMs)
  }
}
