/**
 * The pod's status as Kubernetes words it, from the same facts that the planner sees. Pure; times of transitions are
 * the server's to add. Source: Kubernetes "Pod Lifecycle", `PodStatus`, `ContainerState`.
 */
import type { Condition } from '../../api/meta.ts'
import { POD_CONDITION } from '../../api/names.ts'
import type { Container, ContainerStatus, Pod, PodSpec, PodStatus, ContainerState as State } from '../../api/pod.ts'
import { timestamp } from '../../base/clock.ts'
import { parseQuantity } from '../../base/quantity.ts'
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
  restartDelayMs,
  restartsAfter,
  SHOW_PULL_ERROR_MS,
} from './facts.ts'

export interface StatusContext {
  podIP: string | undefined
  hostIP: string
  /** When this agent first saw the pod. */
  startedAtMs: number
  /** By container id: what the container left in its termination message file. */
  messages: ReadonlyMap<string, string>
}

export function podStatus(facts: PodFacts, pod: Pod, context: StatusContext): PodStatus {
  const init = currentInit(facts)
  const initStatuses = (pod.spec.initContainers ?? []).map((container) =>
    containerStatus(facts, pod, container, context, {
      role: isSidecar(container) ? 'sidecar' : 'init',
      current: init === undefined || init.name === container.name,
    }),
  )
  const statuses = pod.spec.containers.map((container) =>
    containerStatus(facts, pod, container, context, { role: 'app', current: init === undefined }),
  )
  const ended = outcome(facts)
  // A pod is over once nothing of it runs: what waits for its end must not begin beside it.
  const over = pod.status?.phase === ended || !facts.containers.some(isRunning)
  const phase = ended !== undefined && over ? ended : hasStarted(facts, pod) ? 'Running' : 'Pending'
  const sidecars = initStatuses.filter((_, index) => isSidecar((pod.spec.initContainers ?? [])[index] as Container))
  const { podIP, hostIP } = context
  return {
    phase,
    ...(phase === 'Failed' ? whyFailed(facts, pod) : {}),
    conditions: [
      ...conditions(pod, init, [...sidecars, ...statuses], ended),
      ...cannotPrepare(facts, pod),
      ...(phase === 'Failed' ? disrupted(facts, pod) : []),
    ],
    hostIP,
    hostIPs: [{ ip: hostIP }],
    ...(podIP === undefined ? {} : { podIP, podIPs: [{ ip: podIP }] }),
    startTime: timestamp(context.startedAtMs),
    ...(initStatuses.length === 0 ? {} : { initContainerStatuses: initStatuses }),
    containerStatuses: statuses,
    qosClass: qosClass(pod.spec),
    ...(pod.metadata.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
  }
}

/** In the words of whoever ended it: this node, or the server. */
function whyFailed({ failed }: PodFacts, { status }: Pod): Pick<PodStatus, 'reason' | 'message'> {
  if (failed !== undefined) return { reason: failed.reason, message: failed.message }
  const { reason, message } = status?.phase === 'Failed' ? status : {}
  return { ...(reason === undefined ? {} : { reason }), ...(message === undefined ? {} : { message }) }
}

function hasStarted(facts: PodFacts, pod: Pod): boolean {
  return pod.spec.containers.some(({ name }) => attemptsOf(facts, name).length > 0)
}

/** True once every container that this agent adopted has been probed: before that its readiness is not known. */
export function isReadinessKnown(facts: PodFacts): boolean {
  return [...facts.probes.values()].every(({ ready }) => ready !== undefined)
}

interface Place {
  role: Role
  /** Its turn has come. */
  current: boolean
}

function containerStatus(
  facts: PodFacts,
  pod: Pod,
  container: Container,
  { messages }: StatusContext,
  { role, current }: Place,
): ContainerStatus {
  const [newest, previous] = attemptsOf(facts, container.name)
  const base = {
    name: container.name,
    image: container.image ?? '',
    imageID: newest?.annotations[NOTE.imageId] ?? '',
    restartCount: newest?.attempt ?? 0,
    ...(newest === undefined ? {} : { containerID: `runc://${newest.id}` }),
  }
  if (newest !== undefined && isRunning(newest) && awaitsPostStart(facts, container, newest.id)) {
    const lastState = previous?.exit === undefined ? {} : terminated(previous, messages)
    return { ...base, state: { waiting: { reason: 'ContainerCreating' } }, lastState, started: false, ready: false }
  }
  if (newest !== undefined && isRunning(newest)) {
    const probe = facts.probes.get(newest.id)
    const started = probe?.started ?? true
    return {
      ...base,
      state: { running: newest.startedAtMs === undefined ? {} : { startedAt: timestamp(newest.startedAtMs) } },
      lastState: previous?.exit === undefined ? {} : terminated(previous, messages),
      started,
      ready: role !== 'init' && started && (probe?.ready ?? false),
    }
  }
  if (newest?.phase === 'exited') {
    const again = facts.terminateByMs === undefined && outcome(facts) === undefined
    if (again && restartsAfter(pod, newest, role)) {
      return {
        ...base,
        state: { waiting: waitingToRestart(facts, pod, newest) },
        lastState: terminated(newest, messages),
        started: false,
        ready: false,
      }
    }
    return {
      ...base,
      state: terminated(newest, messages),
      lastState: previous?.exit === undefined ? {} : terminated(previous, messages),
      started: false,
      ready: role === 'init' && newest.exit?.code === 0,
    }
  }
  return {
    ...base,
    state: { waiting: firstWaiting(facts, container, { role, current }) },
    lastState: {},
    started: false,
    ready: false,
  }
}

type WaitingState = NonNullable<State['waiting']>

function firstWaiting(facts: PodFacts, container: Container, { role, current }: Place): WaitingState {
  const message = facts.prepared ? undefined : facts.preparing?.message
  const waits = waiting(role === 'app' && current ? 'ContainerCreating' : 'PodInitializing', message)
  return current ? (startTrouble(facts, container.name, 0) ?? waits) : waits
}

/** What stands in the way of this attempt, if anything. */
function startTrouble(facts: PodFacts, name: string, attempt: number): WaitingState | undefined {
  if (facts.fenced === true) return waiting('Fenced', 'no server has said lately that this exclusive pod may run here')
  const key = attemptKey(name, attempt)
  const image = facts.images.get(key)
  if (image?.state === 'failed') {
    const backingOff = image.reason === 'ErrImagePull' && facts.nowMs - image.failedAtMs >= SHOW_PULL_ERROR_MS
    return waiting(backingOff ? 'ImagePullBackOff' : image.reason, image.message)
  }
  const blocked = facts.blocked.get(key)
  return blocked === undefined ? undefined : waiting(blocked.reason, blocked.message)
}

function waiting(reason: string, message: string | undefined): WaitingState {
  return message === undefined ? { reason } : { reason, message }
}

function waitingToRestart(facts: PodFacts, pod: Pod, exited: ContainerState): WaitingState {
  const trouble = startTrouble(facts, exited.name, exited.attempt + 1)
  if (trouble !== undefined) return trouble
  const delayMs = restartDelayMs(crashesAfter(exited))
  if (delayMs === 0 || restartAtMs(facts, exited) <= facts.nowMs) {
    const { reason, message } = exited.exit ?? {}
    return reason === undefined ? { reason: 'ContainerCreating' } : waiting('RunContainerError', message)
  }
  const { name, namespace, uid } = pod.metadata
  const message = `back-off ${delayMs / 1000}s restarting failed container=${exited.name} pod=${name}_${namespace}(${uid})`
  return { reason: 'CrashLoopBackOff', message }
}

function terminated(container: ContainerState, messages: ReadonlyMap<string, string>): State {
  const { exit } = container
  if (exit === undefined) return {}
  const reason = exit.reason ?? (exit.oomKilled ? 'OOMKilled' : exit.code === 0 ? 'Completed' : 'Error')
  const message = exit.message ?? messages.get(container.id)
  return {
    terminated: {
      exitCode: exit.code,
      ...(exit.signal === undefined ? {} : { signal: exit.signal }),
      reason,
      ...(message === undefined || message === '' ? {} : { message }),
      startedAt: timestamp(container.startedAtMs ?? exit.finishedAtMs),
      finishedAt: timestamp(exit.finishedAtMs),
      containerID: `runc://${container.id}`,
    },
  }
}

function conditions(
  pod: Pod,
  init: Container | undefined,
  statuses: readonly ContainerStatus[],
  ended: 'Succeeded' | 'Failed' | undefined,
): Condition[] {
  const generation = pod.metadata.generation
  const unready = statuses.filter((status) => !status.ready).map((status) => status.name)
  const condition = (type: string, holds: boolean, reason: string, message: string): Condition => ({
    type,
    status: holds ? 'True' : 'False',
    ...(holds ? {} : { reason, message }),
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  })
  const notReady = ended === undefined ? 'ContainersNotReady' : ended === 'Succeeded' ? 'PodCompleted' : 'PodFailed'
  const message = ended === undefined ? `containers with unready status: [${unready.join(' ')}]` : ''
  const initialized = init === undefined || ended === 'Succeeded'
  const incomplete = `containers with incomplete status: [${init?.name ?? ''}]`
  const ready = unready.length === 0
  return [
    condition(POD_CONDITION.initialized, initialized, 'ContainersNotInitialized', incomplete),
    condition(POD_CONDITION.containersReady, ready, notReady, message),
    condition(POD_CONDITION.ready, ready, notReady, message),
  ]
}

/** Only while something stands in the way: what kubelet says here in True, everybody can see. */
function cannotPrepare({ prepared, preparing }: PodFacts, { metadata: { generation } }: Pod): Condition[] {
  if (prepared || preparing === undefined) return []
  const { reason, message = '' } = preparing
  const observed = generation === undefined ? {} : { observedGeneration: generation }
  return [{ type: POD_CONDITION.readyToStart, status: 'False', reason, message, ...observed }]
}

/**
 * In the same word that it has failed, so that whoever judges the failure sees it. A pod that took more than its own limit of the
 * disk ends by its own fault. Source: Kubernetes "Pod disruption conditions"; the kubelet's eviction manager.
 */
function disrupted({ failed }: PodFacts, { metadata: { generation } }: Pod): Condition[] {
  if (failed?.isDisruption !== true) return []
  const type = POD_CONDITION.disruptionTarget
  const observed = generation === undefined ? {} : { observedGeneration: generation }
  return [{ type, status: 'True', reason: 'TerminationByKubelet', message: failed.message, ...observed }]
}

/** Source: Kubernetes "Pod Quality of Service Classes". */
export function qosClass(spec: PodSpec): 'Guaranteed' | 'Burstable' | 'BestEffort' {
  const containers = [...(spec.initContainers ?? []), ...spec.containers]
  let any = false
  let guaranteed = true
  for (const { resources } of containers) {
    for (const name of ['cpu', 'memory'] as const) {
      const limit = parseQuantity(resources?.limits?.[name] ?? 0)
      const request = parseQuantity(resources?.requests?.[name] ?? resources?.limits?.[name] ?? 0)
      if (limit > 0 || request > 0) any = true
      if (limit === 0 || request !== limit) guaranteed = false
    }
  }
  return !any ? 'BestEffort' : guaranteed ? 'Guaranteed' : 'Burstable'
}
