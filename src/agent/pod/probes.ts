/** What a probe's results mean. Pure. Source: Kubernetes "Configure Liveness, Readiness and Startup Probes". */
import type { Container, Probe } from '../../api/pod.ts'
import type { ProbeFact } from './facts.ts'

export interface ProbeResult {
  ok: boolean
  message: string
  /** There was an answer, whatever it said. */
  answered?: boolean
  /** What answered a request over TLS does not speak it. */
  plain?: boolean
}

/** Counts of results in a row, and the word that stands. */
export interface ProbeState {
  successes: number
  failures: number
  passing: boolean | undefined
  message: string
}

export const UNPROBED: ProbeState = { successes: 0, failures: 0, passing: undefined, message: '' }

/** `counts` is false for tries between a probe's periods: their success is welcome, their failure is no failure yet. */
export function afterResult(state: ProbeState, probe: Probe, result: ProbeResult, counts: boolean): ProbeState {
  if (result.ok) {
    const successes = state.successes + 1
    const passing = successes >= (probe.successThreshold ?? 1) ? true : state.passing
    return { successes, failures: 0, passing, message: result.message }
  }
  if (!counts) return { ...state, successes: 0, message: result.message }
  const failures = state.failures + 1
  const passing = failures >= (probe.failureThreshold ?? 3) ? false : state.passing
  return { successes: 0, failures, passing, message: result.message }
}

/** Tries before the first period has passed, so that a container that is up at once is seen at once. */
const FIRST_RETRY_MS = 100

/** A try that is over. Times are on the monotonic clock. */
export interface Tried {
  beganMs: number
  /** When the last try began whose failure counts, or the first of all. */
  periodBeganMs: number
  /** How many came before it. */
  tries: number
}

/**
 * When to probe again: a period after the last try; sooner, doubling, until it first passes. Periods count from beginning to
 * beginning, as the kubelet's do: a program that never answers is not given the time that it took away.
 */
export function nextTry(
  probe: Probe,
  state: ProbeState,
  { beganMs, periodBeganMs, tries }: Tried,
  nowMs: number,
): { atMs: number; counts: boolean } {
  const periodMs = (probe.periodSeconds ?? 10) * 1000
  // A first success that more must follow: those come a period apart, or they would all be of one moment.
  if (state.passing !== undefined || state.successes > 0) {
    return { atMs: Math.max(nowMs, beganMs + periodMs), counts: true }
  }
  // Failures count once a period, as if there were no tries between.
  const dueMs = Math.max(nowMs, periodBeganMs + periodMs)
  const soonMs = nowMs + FIRST_RETRY_MS * 2 ** Math.min(20, tries)
  return soonMs < dueMs ? { atMs: soonMs, counts: false } : { atMs: dueMs, counts: true }
}

export interface ProbeStates {
  startup: ProbeState
  readiness: ProbeState
  liveness: ProbeState
}

/** What the planner and the status need to know. */
export function probeFact(container: Container, states: ProbeStates, adopted: boolean): ProbeFact {
  const started = container.startupProbe === undefined || states.startup.passing === true
  const unhealthy = unhealthyReason(container, states)
  return {
    started: started || (adopted && states.startup.passing === undefined),
    ready: readiness(container, states, started, adopted),
    ...(unhealthy === undefined ? {} : unhealthy),
  }
}

function readiness(
  container: Container,
  { startup, readiness: state }: ProbeStates,
  started: boolean,
  adopted: boolean,
): boolean | undefined {
  if (!started) return adopted && startup.passing === undefined && startup.failures === 0 ? undefined : false
  if (container.readinessProbe === undefined) return true
  if (state.passing === undefined && state.failures === 0 && adopted) return undefined
  return state.passing === true
}

function unhealthyReason(
  { name, startupProbe, livenessProbe }: Container,
  { startup, liveness }: ProbeStates,
): Pick<ProbeFact, 'unhealthy' | 'graceSeconds'> | undefined {
  const failed = startup.passing === false ? 'startup' : liveness.passing === false ? 'liveness' : undefined
  if (failed === undefined) return undefined
  const graceSeconds = (failed === 'startup' ? startupProbe : livenessProbe)?.terminationGracePeriodSeconds
  return {
    unhealthy: `Container ${name} failed ${failed} probe, will be restarted`,
    ...(graceSeconds === undefined ? {} : { graceSeconds }),
  }
}
