/**
 * What to do next about one pod. Pure: facts in; one step, or the time to look again, out.
 *
 *   prepare -> image -> start   once for each init container in turn, then for each container
 *   look                        at the connections of a pod that is to go, before its first signal
 *   signal -> kill              a container that must stop: deleted, unhealthy, or of another image
 *   remove ... -> cleanUp -> reportRemoved   once nothing runs and the pod is to go
 *
 * Invariants: a container is started only when none of its name runs, with the attempt after the highest on disk;
 * a pod that is fenced gains none until a server has spoken; a pod that is to go gets no signal before the server's leave or the end of the wait for it; nothing of a pod is removed while a container of it runs; a pod that is to go never gains a container.
 */
import type { Container, Pod } from '../../api/pod.ts'
import type { ContainerState } from '../runtime/runtime.ts'
import {
  attemptKey,
  attemptsOf,
  crashesAfter,
  currentInit,
  isRunning,
  NOTE,
  outcome,
  type PodFacts,
  restartAtMs,
  restartsAfter,
  SHOW_PULL_ERROR_MS,
  wasFenced,
} from './facts.ts'

/** Arguments of each kind of step. The executor is a map over the same keys: a step without one does not compile. */
export interface StepArguments {
  prepare: Record<never, never>
  refreshVolumes: Record<never, never>
  image: { container: string; attempt: number }
  start: { container: string; attempt: number; crashes: number; isInit: boolean }
  /** Looks whether clients still hold busy connections. */
  look: { pid: number }
  /** Asks a container to stop, then kills it at the deadline. */
  signal: { id: string; signal: string; deadlineMs: number; reason: string }
  kill: { id: string }
  remove: { id: string }
  cleanUp: Record<never, never>
  reportRemoved: Record<never, never>
}

export type Step = { [K in keyof StepArguments]: { type: K } & StepArguments[K] }[keyof StepArguments]

export interface Plan {
  step: Step | undefined
  /** Nothing to do before this time unless something changes. */
  againAtMs: number | undefined
}

/** How often connections that hold a pod back are looked at. */
const LOOK_AGAIN_MS = 100
/** A kill that had no effect is repeated. */
const KILL_AGAIN_MS = 2_000
const DEFAULT_GRACE_SECONDS = 30

const now = (step: Step): Plan => ({ step, againAtMs: undefined })
const later = (againAtMs: number | undefined): Plan => ({ step: undefined, againAtMs })
const NOTHING: Plan = later(undefined)

/** The first plan that has a step; else the earliest time of all. */
function firstOf(plans: readonly Plan[]): Plan {
  let againAtMs: number | undefined
  for (const plan of plans) {
    if (plan.step !== undefined) return plan
    if (plan.againAtMs !== undefined) againAtMs = Math.min(againAtMs ?? plan.againAtMs, plan.againAtMs)
  }
  return later(againAtMs)
}

export function planPod(facts: PodFacts): Plan {
  const { pod } = facts
  if (pod === undefined || facts.terminateByMs !== undefined) return planTermination(facts, facts.terminateByMs ?? 0)
  if (outcome(facts) !== undefined) {
    // Evicted, or over: what still runs must stop; the dead stay for their logs until the pod is deleted.
    return firstOf(facts.containers.map((container) => planStop(facts, container, graceEnd(facts, pod), 'PodFinished')))
  }
  if (!facts.prepared) return planPrepare(facts, pod)
  const refresh = facts.volumesStale ? [now({ type: 'refreshVolumes' })] : []
  return firstOf([...refresh, ...planDebris(facts), ...planContainers(facts, pod)])
}

function planPrepare(facts: PodFacts, pod: Pod): Plan {
  if (!facts.networkReady && pod.spec.hostNetwork !== true) return NOTHING
  const { retryAtMs } = facts.preparing ?? {}
  return retryAtMs !== undefined && retryAtMs > facts.nowMs ? later(retryAtMs) : now({ type: 'prepare' })
}

/** Half-made containers, and dead ones older than the one kept for `logs --previous`. */
function planDebris(facts: PodFacts): Plan[] {
  const plans: Plan[] = []
  const names = new Set(facts.containers.map((container) => container.name))
  for (const name of names) {
    const [newest, ...older] = attemptsOf(facts, name)
    if (newest?.phase === 'created') plans.push(now({ type: 'remove', id: newest.id }))
    for (const { id, phase } of older.slice(1)) if (phase === 'exited') plans.push(now({ type: 'remove', id }))
  }
  return plans
}

function planContainers(facts: PodFacts, pod: Pod): Plan[] {
  const init = currentInit(facts)
  if (init !== undefined) return [planContainer(facts, pod, init, true)]
  return pod.spec.containers.map((container) => planContainer(facts, pod, container, false))
}

function planContainer(facts: PodFacts, pod: Pod, container: Container, isInit: boolean): Plan {
  const attempts = attemptsOf(facts, container.name)
  const [newest] = attempts
  if (newest === undefined) return planStart(facts, container, { attempt: 0, crashes: 0, isInit })
  const running = attempts.find(isRunning)
  if (running !== undefined) {
    const reason = reasonToStop(facts, container, running)
    return reason === undefined ? NOTHING : planStop(facts, running, graceEnd(facts, pod), reason)
  }
  if (newest.phase !== 'exited') return NOTHING
  const replaced = newest.annotations[NOTE.image] !== container.image || wasFenced(facts, newest)
  if (!replaced && !restartsAfter(pod, newest, isInit)) return NOTHING
  const atMs = replaced ? 0 : restartAtMs(facts, newest)
  if (atMs > facts.nowMs) return later(atMs)
  const crashes = replaced ? 0 : crashesAfter(newest)
  return planStart(facts, container, { attempt: newest.attempt + 1, crashes, isInit })
}

function reasonToStop(facts: PodFacts, container: Container, running: ContainerState): string | undefined {
  if (running.annotations[NOTE.image] !== container.image) return 'the image of the container has changed'
  return facts.probes.get(running.id)?.unhealthy
}

function planStart(
  facts: PodFacts,
  container: Container,
  next: { attempt: number; crashes: number; isInit: boolean },
): Plan {
  const key = attemptKey(container.name, next.attempt)
  const image = facts.images.get(key)
  const failed = image?.state === 'failed' ? image : undefined
  if (failed !== undefined && (failed.retryAtMs ?? Number.POSITIVE_INFINITY) > facts.nowMs) {
    // The status shows the failure itself first, then that we wait: it is written anew when the one becomes the other.
    const showsWaitAtMs = failed.failedAtMs + SHOW_PULL_ERROR_MS
    return later(showsWaitAtMs > facts.nowMs ? showsWaitAtMs : failed.retryAtMs)
  }
  if (image === undefined || failed !== undefined) {
    return now({ type: 'image', container: container.name, attempt: next.attempt })
  }
  if (image.state === 'pulling') return NOTHING
  // Whoever gives the right to run wakes the worker.
  if (facts.fenced === true) return NOTHING
  const blocked = facts.blocked.get(key)
  if (blocked !== undefined && (blocked.retryAtMs ?? Number.POSITIVE_INFINITY) > facts.nowMs) {
    return later(blocked.retryAtMs)
  }
  return now({ type: 'start', container: container.name, ...next })
}

function graceEnd(facts: PodFacts, pod: Pod): number {
  return facts.nowMs + (pod.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS) * 1000
}

/** `deadlineMs` counts only for a container that has not been asked yet. */
function planStop(facts: PodFacts, container: ContainerState, deadlineMs: number, reason: string): Plan {
  if (!isRunning(container)) return NOTHING
  const { id } = container
  const stop = facts.stops.get(id)
  if (stop === undefined) {
    if (deadlineMs <= facts.nowMs) return now({ type: 'kill', id })
    return now({ type: 'signal', id, signal: container.annotations[NOTE.stopSignal] ?? 'SIGTERM', deadlineMs, reason })
  }
  const killAtMs =
    stop.killedAtMs === undefined ? Math.min(stop.deadlineMs, deadlineMs) : stop.killedAtMs + KILL_AGAIN_MS
  return killAtMs <= facts.nowMs ? now({ type: 'kill', id }) : later(killAtMs)
}

function planTermination(facts: PodFacts, deadlineMs: number): Plan {
  const running = facts.containers.filter(isRunning)
  if (running.length > 0) {
    const held = planDrain(facts, running)
    if (held !== undefined) return held
    return firstOf(running.map((container) => planStop(facts, container, deadlineMs, 'the pod is being deleted')))
  }
  const [next] = facts.containers
  if (next !== undefined) return now({ type: 'remove', id: next.id })
  return facts.cleaned ? now({ type: 'reportRemoved' }) : now({ type: 'cleanUp' })
}

/** What to wait for before the first signal; undefined: nothing more. */
function planDrain(facts: PodFacts, running: readonly ContainerState[]): Plan | undefined {
  const { drain, nowMs, stops } = facts
  if (drain === undefined || running.some(({ id }) => stops.has(id))) return undefined
  const { leaveByMs, quietByMs, looked } = drain
  if (leaveByMs !== undefined && leaveByMs > nowMs) return later(leaveByMs)
  const pid = running.find((container) => container.pid !== undefined)?.pid
  if (quietByMs === undefined || quietByMs <= nowMs || pid === undefined) return undefined
  const lookAtMs = looked === undefined ? nowMs : looked.atMs + LOOK_AGAIN_MS
  if (lookAtMs <= nowMs) return now({ type: 'look', pid })
  return looked?.busy === 0 ? undefined : later(Math.min(lookAtMs, quietByMs))
}
