/**
 * What the planner and the status see of one pod: its wanted object, what the drivers' lists show, and notes that the
 * worker can lose at any time without harm (an agent that was killed makes them anew).
 */
import type { Container, Pod } from '../../api/pod.ts'
import type { ContainerState } from '../runtime/runtime.ts'

/** Annotations on containers: what must be known of one after the agent was killed. */
export const NOTE = {
  podNamespace: 'drover.dev/pod-namespace',
  podName: 'drover.dev/pod-name',
  image: 'drover.dev/image',
  imageId: 'drover.dev/image-id',
  /** How many restarts in a row came before this one without a long run between them. */
  crashes: 'drover.dev/crashes',
  stopSignal: 'drover.dev/stop-signal',
  logPath: 'drover.dev/log-path',
} as const

export interface Waiting {
  reason: string
  message?: string
  /** When to try again, on the monotonic clock. Absent: only when something else changes. */
  retryAtMs?: number
}

/** An image as the next attempt of a container needs it. */
export type ImageFact =
  | { state: 'pulling' }
  | { state: 'present' }
  | ({ state: 'failed'; failedAtMs: number; failures: number } & Waiting)

/** How long a failed pull shows its own reason before it shows that we wait. */
export const SHOW_PULL_ERROR_MS = 2_000

export interface ProbeFact {
  /** The startup probe has passed, or there is none. */
  started: boolean
  /** Undefined: adopted from an earlier agent and not probed since. */
  ready: boolean | undefined
  /** Why the container must be restarted. */
  unhealthy?: string
  /** The grace that the failed probe gives instead of the pod's. */
  graceSeconds?: number
}

/** A container's postStart hook: under way, over, or why it failed. */
export type HookFact = 'running' | 'done' | { failed: string }

export interface StopFact {
  deadlineMs: number
  /** What comes before its signal: its preStop hook, or its turn. Absent: it was asked to stop. */
  before?: 'hook' | 'turn'
  /** It is not killed before, whatever is left of the grace. */
  notBeforeMs?: number
  killedAtMs?: number
}

/** What holds back the first signal to a pod that is to go. */
export interface DrainFact {
  /** Until when to wait for the server's leave; undefined: it was given, or nobody needs to give it. */
  leaveByMs: number | undefined
  /** Until when busy connections are waited for; undefined: they are not. */
  quietByMs: number | undefined
  /** The last look at its connections. */
  looked: { atMs: number; busy: number } | undefined
}

/** Why the node has ended a pod. */
export interface NodeFailure {
  reason: string
  message: string
  /** What its containers are given instead of the pod's own grace. */
  graceSeconds?: number
  /** It is no fault of the pod's: the node had no room. */
  isDisruption?: true
}

/** Reason of a pod that took too much, or that the node had no room for any more. */
export const EVICTED = 'Evicted'
/** Reason of a pod that waits until another gives its address back. */
export const NO_POD_ADDRESS = 'NoPodAddress'

export interface PodFacts {
  /** Undefined: nobody wants it any more, or no server has said what it is. */
  pod: Pod | undefined
  uid: string
  /** Set while the pod is to go: when its containers are killed. */
  terminateByMs: number | undefined
  /** Undefined: it is stopped without waiting. */
  drain?: DrainFact | undefined
  networkReady: boolean
  /** Sandbox, interface, volumes and files stand, as this agent has seen itself. */
  prepared: boolean
  /** What the volumes were written from has changed. */
  volumesStale: boolean
  /** When a token in them must be renewed. */
  volumesDueMs?: number | undefined
  preparing: Waiting | undefined
  /** Everything but containers is gone. */
  /** It is over and has given back what it held. */
  released: boolean
  cleaned: boolean
  containers: readonly ContainerState[]
  /** By container name and attempt, see `attemptKey`. */
  images: ReadonlyMap<string, ImageFact>
  /** Why a container could not be made or started; by container name and attempt. */
  blocked: ReadonlyMap<string, Waiting>
  /** By container id. */
  probes: ReadonlyMap<string, ProbeFact>
  stops: ReadonlyMap<string, StopFact>
  /** postStart hooks, by container id. */
  hooks: ReadonlyMap<string, HookFact>
  /** The node has ended it: its time is over, or it took more than it may. */
  failed?: NodeFailure | undefined
  /** When its time is over, if it has a bound. */
  activeUntilMs?: number | undefined
  /** It is exclusive, and no server has lately said that it may run here: nothing of it is started. */
  fenced?: boolean
  /** When the fencer last ended something of it. */
  fencedAtMs?: number | undefined
  /** When containers ended, by id, on the clock of `nowMs`: what the disk says is wall time. */
  exitedAtMs: ReadonlyMap<string, number>
  /** On the monotonic clock, as are all deadlines: a wall clock that is set neither ends a wait nor makes it longer. */
  nowMs: number
}

/** The fencer notes whole seconds, and its note and the exit are written by two processes. */
const FENCE_NOTE_MS = 2_000

/** Whether the fencer ended it: no fault of its own. */
export function wasFenced({ fencedAtMs }: Pick<PodFacts, 'fencedAtMs'>, { exit }: ContainerState): boolean {
  if (fencedAtMs === undefined || exit === undefined || exit.code !== SIGKILLED) return false
  return Math.abs(exit.finishedAtMs - fencedAtMs) <= FENCE_NOTE_MS
}

const SIGKILLED = 137

export function attemptKey(name: string, attempt: number): string {
  return `${name}/${attempt}`
}

/** Whether the key is of an attempt of this container. */
export function isAttemptOf(key: string, container: string): boolean {
  return key.slice(0, key.lastIndexOf('/')) === container
}

/** Containers of this name, newest attempt first. */
export function attemptsOf(facts: Pick<PodFacts, 'containers'>, name: string): ContainerState[] {
  return facts.containers.filter((container) => container.name === name).sort((a, b) => b.attempt - a.attempt)
}

export const isRunning = (container: ContainerState | undefined): boolean => container?.phase === 'running'

/** A container that ran this long has recovered: its next exit is its first. */
export const STABLE_RUN_MS = 600_000
const FIRST_BACKOFF_MS = 10_000
const MAX_BACKOFF_MS = 300_000

/** How many crashes in a row this exit makes: 1 for the first. */
export function crashesAfter(exited: ContainerState): number {
  const ranMs = (exited.exit?.finishedAtMs ?? 0) - (exited.startedAtMs ?? exited.exit?.finishedAtMs ?? 0)
  return ranMs >= STABLE_RUN_MS ? 1 : Number(exited.annotations[NOTE.crashes] ?? 0) + 1
}

/** The delay before the restart after this many crashes: at once the first time, then 10 s, doubling. */
export function restartDelayMs(crashes: number): number {
  return crashes <= 1 ? 0 : Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(20, crashes - 2))
}

export function restartAtMs({ exitedAtMs }: Pick<PodFacts, 'exitedAtMs'>, exited: ContainerState): number {
  return (exitedAtMs.get(exited.id) ?? 0) + restartDelayMs(crashesAfter(exited))
}

/**
 * Places exits on the monotonic clock, by how long ago they were when they were first seen; one that seems to lie in
 * the future was just now. `known` are those placed before, which stay.
 */
export function exitTimes(
  containers: readonly ContainerState[],
  { nowMs, wallMs }: { nowMs: number; wallMs: number },
  known: ReadonlyMap<string, number>,
): Map<string, number> {
  const times = new Map<string, number>()
  for (const { id, exit } of containers) {
    if (exit !== undefined) times.set(id, known.get(id) ?? nowMs - Math.max(0, wallMs - exit.finishedAtMs))
  }
  return times
}

/** An init container that is started again and again: it runs beside what comes after it. */
export const isSidecar = (container: Container): boolean => container.restartPolicy === 'Always'

export type Role = 'init' | 'sidecar' | 'app'

/** Whether a container that ended like this is started again, as long as the pod lives. */
export function restartsAfter(pod: Pod, exited: ContainerState, role: Role): boolean {
  if (role === 'sidecar') return true
  const policy = pod.spec.restartPolicy ?? 'Always'
  const failed = (exited.exit?.code ?? 1) !== 0
  if (policy === 'Never') return false
  return policy === 'Always' && role === 'app' ? true : failed
}

/**
 * The first init container that has not ended well, or of a sidecar: that has not started; undefined when all have, or
 * when the pod is past them. A sidecar that dies while later ones are under way does not bring the pod back to it.
 */
export function currentInit(facts: PodFacts): Container | undefined {
  const { pod } = facts
  if (pod === undefined) return undefined
  const started = pod.spec.containers.some((container) => attemptsOf(facts, container.name).length > 0)
  if (started) return undefined
  const inits = pod.spec.initContainers ?? []
  const reached = inits.findLastIndex((init) => attemptsOf(facts, init.name).length > 0)
  return inits.slice(Math.max(0, reached)).find((init) => !isInitDone(facts, init))
}

function isInitDone(facts: PodFacts, init: Container): boolean {
  const [newest] = attemptsOf(facts, init.name)
  if (newest === undefined) return false
  if (isSidecar(init)) return isRunning(newest) && facts.probes.get(newest.id)?.started === true
  return newest.phase === 'exited' && newest.exit?.code === 0
}

/** Sidecars of the pod, in the order in which they start. */
export function sidecarsOf(pod: Pod | undefined): Container[] {
  return (pod?.spec.initContainers ?? []).filter(isSidecar)
}

/** Whether its postStart hook is still to come or on its way: until then nothing is said of the container. */
export function awaitsPostStart({ hooks }: Pick<PodFacts, 'hooks'>, container: Container, id: string): boolean {
  return container.lifecycle?.postStart !== undefined && hooks.get(id) !== 'done'
}

/** How the pod ended, once it has: nothing but sidecars runs and nothing is to be started again. */
export function outcome(facts: PodFacts): 'Succeeded' | 'Failed' | undefined {
  const { pod } = facts
  if (pod === undefined) return undefined
  const assigned = pod.status?.phase
  if (assigned === 'Succeeded' || assigned === 'Failed') return assigned
  return facts.failed === undefined ? ownOutcome(facts, pod) : 'Failed'
}

function ownOutcome(facts: PodFacts, pod: Pod): 'Succeeded' | 'Failed' | undefined {
  const sidecars = new Set(sidecarsOf(pod).map(({ name }) => name))
  if (facts.containers.some(({ name, phase }) => phase !== 'exited' && !sidecars.has(name))) return undefined
  const init = currentInit(facts)
  if (init !== undefined) {
    const [newest] = attemptsOf(facts, init.name)
    if (isSidecar(init)) return undefined
    return newest?.phase === 'exited' && !restartsAfter(pod, newest, 'init') ? 'Failed' : undefined
  }
  let failed = false
  for (const { name } of pod.spec.containers) {
    const [newest] = attemptsOf(facts, name)
    if (newest === undefined || restartsAfter(pod, newest, 'app')) return undefined
    failed ||= newest.exit?.code !== 0
  }
  return failed ? 'Failed' : 'Succeeded'
}
