/**
 * Long-running parts. A service is an id and a `run` that works until its signal is raised; the runner restarts one
 * that fails with back-off, and stops all in reverse order. Nothing else in the program loops for ever.
 */
import { type BackoffPolicy, backoffDelayMs } from './backoff.ts'
import { type Clock, sleep } from './clock.ts'
import { DroverError } from './errors.ts'
import type { Logger } from './log.ts'
import type { Random } from './random.ts'

export interface Service {
  readonly id: string
  run(signal: AbortSignal): Promise<void>
}

export interface RunnerOptions {
  clock: Clock
  random: Random
  log: Logger
  backoff?: BackoffPolicy
}

const RESTART: BackoffPolicy = { initialMs: 100, maxMs: 10_000, factor: 2, jitter: 0.2 }
/** A service that ran this long has recovered: its next failure starts a new back-off. */
const STABLE_MS = 30_000

async function keepRunning(service: Service, options: RunnerOptions, signal: AbortSignal): Promise<void> {
  const { clock, log, random, backoff = RESTART } = options
  let failures = 0
  while (!signal.aborted) {
    const startedMs = clock.monotonicMs()
    try {
      await service.run(signal)
      if (signal.aborted) return
      throw new DroverError('internal', `service ${service.id} returned before it was stopped`)
    } catch (thrown) {
      if (signal.aborted) return
      const error = DroverError.from(thrown)
      failures = clock.monotonicMs() - startedMs > STABLE_MS ? 1 : failures + 1
      const delayMs = backoffDelayMs(backoff, failures, random)
      log.warn(
        { service: service.id, failures, delayMs: Math.round(delayMs), err: error },
        'service failed; restarting',
      )
      await sleep(clock, delayMs, signal).catch(() => undefined)
    }
  }
}

export interface RepeatOptions {
  clock: Clock
  log: Logger
  /** Looks come when the clock reads a multiple of this: those of several parts fall together and can share what they read. */
  everyMs: number
  /** Said of a look that failed, at this level; the next comes at its time. */
  failure: string
  level?: 'debug' | 'warn'
  /** The first look waits for its time, too. */
  waits?: boolean
}

/** Looks again and again until the signal is raised. No failure ends it. */
export async function repeat(
  look: (signal: AbortSignal) => Promise<void>,
  { clock, log, everyMs, failure, level = 'warn', waits = false }: RepeatOptions,
  signal: AbortSignal,
): Promise<void> {
  for (let first = true; !signal.aborted; first = false) {
    if (!first || !waits) {
      await look(signal).catch((error: unknown) => {
        if (!signal.aborted) log[level]({ err: error }, failure)
      })
    }
    const leftMs = everyMs - (clock.monotonicMs() % everyMs)
    // A timer may be a little early: that is no second time to look.
    await sleep(clock, leftMs < everyMs / 10 ? leftMs + everyMs : leftMs, signal).catch(() => undefined)
  }
}

/** Runs all services until the signal is raised; resolves when the last has ended. Later ones are stopped first. */
export async function runServices(
  services: readonly Service[],
  options: RunnerOptions,
  signal: AbortSignal,
): Promise<void> {
  const running = services.map((service) => {
    const own = new AbortController()
    return { own, done: keepRunning(service, options, own.signal) }
  })
  if (!signal.aborted) await new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
  for (const { own, done } of running.reverse()) {
    own.abort()
    await done
  }
}
