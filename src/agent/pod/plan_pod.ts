/**
 * What to do next about one pod. Pure: facts in; one step, or the time to look again, out.
 *
 *   prepare -> image -> start -> postStart   once for each init container in turn, then for each container
 *   look                        at the connections of a pod that is to go, before its first signal
 *   preStop -> signal -> kill   a container that must stop: deleted, unhealthy, or of another image
 *   release                     once nothing runs of a pod that is over
 *   remove ... -> cleanUp -> reportRemoved   once nothing runs and the pod is to go
 *
 * Invariants: a container is started only when none of its name runs, with the attempt after the highest on disk;
 * a pod that is fenced gains none until a server has spoken; a pod that is to go gets no signal before the server's leave or the end of the wait for it; nothing of a pod is removed while a container of it runs; a pod that is to go never gains a container.
 */
import type { Container, Pod } from '../../api/pod.ts'
import { graceMsOf } from '../../api/termination.ts'
import type { ContainerState } from '../runtime/runtime.ts'
import {
  attemptKey,
  attemptsOf,
  awaitsPostStart,
  crashesAfter,
  currentInit,
  isRunning,
  isSidecar,
  NOTE,
  outcome,
  type PodFacts,
  type Role,
  restartAtMs,
  restartsAfter,
  SHOW_PULL_ERROR_MS,
  sidecarsOf,
  wasFenced,
} from './facts.ts'

/** Arguments of each kind of step. The executor is a map over the same keys: a step without one does not compile. */
export interface StepArguments {
  prepare: Record<never, never>
  refreshVolumes: Record<never, never>
  image: { container: string; attempt: number }
  start: { container: string; attempt: number; crashes: number; isInit: boolean }
  /** Runs the hook that makes a container that was started one that runs. */
  postStart: { id: string }
  /** Looks whether clients still hold busy connections. */
  look: { pid: number }
  /** Runs the hook that comes before the signal, until the deadline at most. */
  preStop: { id: string; deadlineMs: number; reason: string }
  /** Asks a container to stop, then kills it at the deadline, but not before it had a little time. */
  signal: { id: string; signal: string; deadlineMs: number; reason: string }
  kill: { id: string }
  remove: { id: string }
  /** Gives back what a pod that is over has no use for: its volumes, its address; if it was evicted, what it has written. */
  release: Record<never, never>
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
    const isOver = facts.released || facts.containers.some(isRunning)
    if (!isOver) return now({ type: 'release' })
    return planStopAll(facts, graceEnd(facts, pod, facts.failed?.graceSeconds), 'PodFinished')
  }
  const over = later(facts.activeUntilMs)
  if (!facts.prepared) return firstOf([planPrepare(facts, pod), over])
  const due = later(facts.volumesDueMs)
  const refresh = facts.volumesStale ? [now({ type: 'refreshVolumes' })] : []
  return firstOf([...refresh, ...planDebris(facts), ...planContainers(facts, pod), over, due])
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

/** The init container whose turn it is, with the sidecars before it; or all sidecars and containers. */
function planContainers(facts: PodFacts, pod: Pod): Plan[] {
  const init = currentInit(facts)
  const inits = pod.spec.initContainers ?? []
  const begun = init === undefined ? inits : inits.slice(0, inits.indexOf(init) + 1)
  const beside = begun.filter((each) => isSidecar(each) || each === init)
  const plans = beside.map((each) => planContainer(facts, pod, each, isSidecar(each) ? 'sidecar' : 'init'))
  if (init !== undefined) return plans
  return [...plans, ...planApps(facts, pod)]
}

/**
 * Each for itself, but that the first start of one comes after the postStart hooks of those before it: a proxy's hook holds
 * back the program that needs the proxy. Images are pulled meanwhile. Source: the kubelet's SyncPod.
 */
function planApps(facts: PodFacts, pod: Pod): Plan[] {
  let held = false
  return pod.spec.containers.map((container) => {
    const plan = planContainer(facts, pod, container, 'app')
    const waits = held && plan.step?.type === 'start' && attemptsOf(facts, container.name).length === 0
    held ||= holdsNext(facts, container)
    return waits ? NOTHING : plan
  })
}

/** Until its first start is over, its hook with it. One that cannot be started holds nobody back, nor does one that is started again. */
function holdsNext(facts: PodFacts, container: Container): boolean {
  if (container.lifecycle?.postStart === undefined) return false
  const [newest] = attemptsOf(facts, container.name)
  if (newest === undefined || newest.phase === 'created') {
    const key = attemptKey(container.name, newest?.attempt ?? 0)
    return facts.images.get(key)?.state !== 'failed' && !facts.blocked.has(key)
  }
  return newest.attempt === 0 && isRunning(newest) && awaitsPostStart(facts, container, newest.id)
}

function planContainer(facts: PodFacts, pod: Pod, container: Container, role: Role): Plan {
  const attempts = attemptsOf(facts, container.name)
  const [newest] = attempts
  const isInit = role !== 'app'
  if (newest === undefined) return planStart(facts, container, { attempt: 0, crashes: 0, isInit })
  const running = attempts.find(isRunning)
  if (running !== undefined) return planRunning(facts, pod, container, running)
  if (newest.phase !== 'exited') return NOTHING
  const replaced = newest.annotations[NOTE.image] !== container.image || wasFenced(facts, newest)
  if (!replaced && !restartsAfter(pod, newest, role)) return NOTHING
  const atMs = replaced ? 0 : restartAtMs(facts, newest)
  if (atMs > facts.nowMs) return later(atMs)
  const crashes = replaced ? 0 : crashesAfter(newest)
  return planStart(facts, container, { attempt: newest.attempt + 1, crashes, isInit })
}

function planRunning(facts: PodFacts, pod: Pod, container: Container, running: ContainerState): Plan {
  const { id } = running
  const reason = reasonToStop(facts, container, running)
  if (reason !== undefined) {
    const deadlineMs = graceEnd(facts, pod, facts.probes.get(id)?.graceSeconds)
    return planStop(facts, running, { deadlineMs, reason })
  }
  const hooked = container.lifecycle?.postStart !== undefined && !facts.hooks.has(id)
  return hooked ? now({ type: 'postStart', id }) : NOTHING
}

function reasonToStop(facts: PodFacts, container: Container, running: ContainerState): string | undefined {
  if (running.annotations[NOTE.image] !== container.image) return 'the image of the container has changed'
  const hook = facts.hooks.get(running.id)
  if (typeof hook === 'object') return hook.failed
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

function graceEnd(facts: PodFacts, pod: Pod, ownSeconds?: number): number {
  const seconds = ownSeconds ?? pod.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS
  return facts.nowMs + seconds * 1000
}

interface Stopping {
  /** Counts only for a container that has not been asked yet. */
  deadlineMs: number
  reason: string
  /** False: others must end first. */
  isItsTurn?: boolean
}

function planStop(
  facts: PodFacts,
  container: ContainerState,
  { deadlineMs, reason, isItsTurn = true }: Stopping,
): Plan {
  if (!isRunning(container)) return NOTHING
  const { id } = container
  const stop = facts.stops.get(id)
  const ask = (byMs: number): Plan =>
    now({ type: 'signal', id, signal: container.annotations[NOTE.stopSignal] ?? 'SIGTERM', deadlineMs: byMs, reason })
  if (stop?.killedAtMs === undefined && isForced(facts, deadlineMs)) return now({ type: 'kill', id })
  if (stop === undefined) {
    // One that others have left no time is asked too, and has the little that every signal gives.
    if (deadlineMs <= facts.nowMs) return ask(deadlineMs)
    if (hasPreStop(facts, container)) return now({ type: 'preStop', id, deadlineMs, reason })
    return isItsTurn ? ask(deadlineMs) : later(deadlineMs)
  }
  const limitMs = Math.min(stop.deadlineMs, deadlineMs)
  if (stop.before !== undefined) {
    const waits = stop.before === 'hook' || !isItsTurn
    return waits && limitMs > facts.nowMs ? later(limitMs) : ask(limitMs)
  }
  const killAtMs =
    stop.killedAtMs === undefined ? Math.max(limitMs, stop.notBeforeMs ?? 0) : stop.killedAtMs + KILL_AGAIN_MS
  return killAtMs <= facts.nowMs ? now({ type: 'kill', id }) : later(killAtMs)
}

/** Whether no grace was given at all; one that is over was given. */
function isForced({ nowMs, pod, terminateByMs }: PodFacts, deadlineMs: number): boolean {
  if (deadlineMs > nowMs) return false
  return terminateByMs === undefined || (pod !== undefined && graceMsOf(pod) === 0)
}

function hasPreStop({ pod }: PodFacts, { name }: ContainerState): boolean {
  const all = [...(pod?.spec.containers ?? []), ...(pod?.spec.initContainers ?? [])]
  return all.find((container) => container.name === name)?.lifecycle?.preStop !== undefined
}

/** Sidecars serve the others to their end: they are asked last, the one that started last first. */
function planStopAll(facts: PodFacts, deadlineMs: number, reason: string): Plan {
  const order = sidecarsOf(facts.pod).map(({ name }) => name)
  const running = facts.containers.filter(isRunning)
  const last = Math.max(...running.map(({ name }) => (order.includes(name) ? order.indexOf(name) : order.length)))
  const isItsTurn = ({ name }: ContainerState): boolean => !order.includes(name) || order.indexOf(name) === last
  return firstOf(
    running.map((container) => planStop(facts, container, { deadlineMs, reason, isItsTurn: isItsTurn(container) })),
  )
}

function planTermination(facts: PodFacts, deadlineMs: number): Plan {
  const running = facts.containers.filter(isRunning)
  if (running.length > 0) {
    const held = planDrain(facts, running)
    if (held !== undefined) return held
    return planStopAll(facts, deadlineMs, 'the pod is being deleted')
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
