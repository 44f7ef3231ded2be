/** What has become of a pod and why, from its status, its node and its events: pure. */
import { findCondition, isPodFinished, isPodReady, isTerminating } from '../api/conditions.ts'
import type { Event } from '../api/event.ts'
import { POD_CONDITION } from '../api/names.ts'
import { isNodeReady, type Node, nodeCondition } from '../api/node.ts'
import type { Pod } from '../api/pod.ts'
import type { Cause, PodState } from '../api/why.ts'

const MAX_EVENTS = 8
/** Of the ordinary course of things: they explain nothing. */
const ORDINARY: ReadonlySet<string> = new Set([
  'Pulled',
  'Pulling',
  'Created',
  'Started',
  'Scheduled',
  'SuccessfulCreate',
])
const SIGKILL_EXIT = 137
const FIRST_SIGNAL_EXIT = 128
/** Ends of pods that somebody decided, the decisive word first. */
const ENDINGS = ['TaintManagerEviction', 'Evicted', 'Preempted', 'NodeGone', 'Killing', 'SuccessfulDelete']

export function stateOf(pod: Pod): PodState {
  if (isTerminating(pod)) return 'ending'
  if (isPodFinished(pod)) return 'finished'
  if (!pod.spec.nodeName) return 'pending'
  if (isPodReady(pod)) return 'ready'
  return pod.status?.phase === 'Running' ? 'running' : 'starting'
}

type ContainerStatus = NonNullable<NonNullable<Pod['status']>['containerStatuses']>[number]

function statusesOf(pod: Pod): ContainerStatus[] {
  return [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])]
}

export function causesOf(pod: Pod, node: Node | undefined, events: readonly Event[]): Cause[] {
  const causes: Cause[] = []
  if (isTerminating(pod)) causes.push(endingCause(pod))
  if (pod.status?.reason) causes.push({ reason: pod.status.reason, message: pod.status.message ?? '' })
  if (pod.spec.nodeName) causes.push(...nodeCauses(pod.spec.nodeName, node))
  for (const status of statusesOf(pod)) causes.push(...containerCauses(pod, status))
  causes.push(...conditionCauses(pod))
  // What a condition has said already, its event need not say again.
  const said = new Set(causes.map(({ message }) => message))
  causes.push(...eventCauses(events).filter(({ message }) => !said.has(message)))
  return causes
}

function endingCause({ metadata }: Pod): Cause {
  const time = metadata.deletionTimestamp
  return {
    ...(time === undefined ? {} : { time }),
    reason: 'Deleting',
    message: `it was told to end and has until ${time} (grace ${metadata.deletionGracePeriodSeconds ?? 0} s)`,
  }
}

function nodeCauses(name: string, node: Node | undefined): Cause[] {
  if (node === undefined) return [{ reason: 'NodeGone', message: `its node ${name} no longer exists` }]
  if (isNodeReady(node)) return []
  const ready = nodeCondition(node, 'Ready')
  const time = ready?.lastTransitionTime ?? undefined
  const message = `its node ${name} is ${ready?.status === 'Unknown' ? 'lost' : 'not ready'}: ${ready?.message ?? 'it never reported'}`
  return [{ ...(time === undefined ? {} : { time }), reason: 'NodeNotReady', message }]
}

function containerCauses(pod: Pod, { name, state, lastState, restartCount = 0 }: ContainerStatus): Cause[] {
  const causes: Cause[] = []
  const waiting = state?.waiting
  if (waiting?.reason && waiting.reason !== 'PodInitializing') {
    causes.push({ reason: waiting.reason, message: `container ${name}: ${waiting.message || 'waiting'}` })
  }
  const ended = state?.terminated ?? lastState?.terminated
  const worth = ended !== undefined && (restartCount > 0 || (ended.exitCode ?? 0) !== 0)
  if (worth) {
    const time = ended.finishedAt ?? undefined
    const times = restartCount === 0 ? '' : `, restarted ${restartCount} times`
    causes.push({
      ...(time === undefined ? {} : { time }),
      reason: ended.reason ?? 'Terminated',
      message: `container ${name} ${endOf(pod, name, ended)}${times}${ended.message ? `: ${ended.message.trim()}` : ''}`,
    })
  }
  return causes
}

function endOf(pod: Pod, name: string, ended: { exitCode?: number; reason?: string }): string {
  const { exitCode = 0, reason } = ended
  if (reason === 'OOMKilled') {
    const limit = pod.spec.containers.find((one) => one.name === name)?.resources?.limits?.memory
    return `used more memory than its limit${limit === undefined ? '' : ` of ${limit}`} and was killed`
  }
  if (exitCode === SIGKILL_EXIT) return 'was killed (SIGKILL)'
  if (exitCode > FIRST_SIGNAL_EXIT) return `ended by signal ${exitCode - FIRST_SIGNAL_EXIT}`
  return `ended with exit code ${exitCode}`
}

function conditionCauses(pod: Pod): Cause[] {
  const wanted = [POD_CONDITION.scheduled, POD_CONDITION.initialized, POD_CONDITION.ready, POD_CONDITION.routed]
  return wanted.flatMap((type) => {
    const condition = findCondition(pod.status?.conditions, type)
    if (condition === undefined || condition.status === 'True' || isPodFinished(pod)) return []
    const time = condition.lastTransitionTime ?? undefined
    const message = condition.message || `${type} is ${condition.status}`
    return [{ ...(time === undefined ? {} : { time }), reason: condition.reason ?? type, message }]
  })
}

function eventCauses(events: readonly Event[]): Cause[] {
  return events
    .filter(({ reason = '' }) => !ORDINARY.has(reason))
    .map(({ reason = '', message = '', count = 1, lastTimestamp, eventTime }) => {
      const time = lastTimestamp ?? eventTime ?? undefined
      return { ...(time ? { time } : {}), reason, message: count > 1 ? `${message} (${count} times)` : message }
    })
    .sort((a, b) => ((a.time ?? '') < (b.time ?? '') ? 1 : -1))
    .slice(0, MAX_EVENTS)
}

/** What is left of a pod that is gone: the event that tells of its end. */
export function endingEvent(events: readonly Event[]): Event | undefined {
  for (const reason of ENDINGS) {
    const found = events.find((event) => event.reason === reason)
    if (found !== undefined) return found
  }
  return events.at(-1)
}

/** The one sentence: the weightiest cause first. */
export function summaryOf(pod: Pod, state: PodState, causes: readonly Cause[], placement: string | undefined): string {
  const [first] = causes
  const because = first === undefined ? '' : `: ${first.message}`
  const node = pod.spec.nodeName ?? ''
  switch (state) {
    case 'pending':
      return `waits for a node${placement === undefined ? because : `: ${placement}`}`
    case 'ready':
      return `runs on ${node} and is ready`
    case 'running':
      return `runs on ${node} but is not ready${because}`
    case 'starting':
      return `is starting on ${node}${because}`
    case 'finished':
      return `has ${pod.status?.phase === 'Succeeded' ? 'succeeded' : 'failed'}${because}`
    case 'ending':
      return `is ending on ${node}${because}`
    case 'gone':
      return 'is gone'
  }
}
