/** Exponential back-off with jitter, as plain data: the caller owns the waiting. */
import type { Random } from './random.ts'

export interface BackoffPolicy {
  initialMs: number
  maxMs: number
  factor: number
  /** Share of the delay that is random, 0 to 1; half above, half below. */
  jitter: number
}

export const reconnectPolicy: BackoffPolicy = { initialMs: 100, maxMs: 5_000, factor: 2, jitter: 0.5 }

/** The delay before attempt number `failures` + 1; `failures` counts from 1. */
export function backoffDelayMs(policy: BackoffPolicy, failures: number, random: Random): number {
  const plain = Math.min(policy.maxMs, policy.initialMs * policy.factor ** Math.max(0, failures - 1))
  return plain * (1 + policy.jitter * (random.next() - 0.5))
}
