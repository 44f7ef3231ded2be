/** How an agent's report joins what is stored: each field keeps its one writer. Pure. */
import { findCondition } from '../api/conditions.ts'
import type { Condition } from '../api/meta.ts'
import { POD_CONDITION } from '../api/names.ts'
import type { PodSpec, PodStatus } from '../api/pod.ts'
import { gatedReady } from '../api/readiness_gates.ts'
import { jsonEqual } from '../base/json.ts'

/** Conditions that the agent writes. All others belong to the scheduler, controllers and users' own controllers. */
const AGENT_CONDITIONS = new Set<string>([
  POD_CONDITION.initialized,
  POD_CONDITION.readyToStart,
  POD_CONDITION.containersReady,
  POD_CONDITION.ready,
])

const FINISHED = new Set(['Succeeded', 'Failed'])

export interface MergeContext {
  /** RFC 3339. */
  now: string
  /** Whether the pod stands in a service. */
  needsRoute?: () => boolean
  /** The pod's, whose conditions others write. */
  readinessGates?: PodSpec['readinessGates']
}

/** The status to store, or undefined when the report says nothing new. */
export function mergePodStatus(
  current: PodStatus | undefined,
  word: PodStatus,
  { now, needsRoute = () => false, readinessGates }: MergeContext,
): PodStatus | undefined {
  const old = current ?? {}
  const reported = withGates(word, old, readinessGates)
  const routed = routedCondition(old, reported, needsRoute)
  const disrupted = disruption(old, reported)
  const others = [
    ...(old.conditions ?? []).filter(
      ({ type }) => !AGENT_CONDITIONS.has(type) && type !== routed?.type && type !== disrupted?.type,
    ),
    ...(disrupted === undefined ? [] : [withTransition(disrupted, old.conditions, now)]),
    ...(routed === undefined ? [] : [withTransition(routed, old.conditions, now)]),
  ]
  const own = (reported.conditions ?? [])
    .filter(({ type }) => AGENT_CONDITIONS.has(type))
    .map((condition) => withTransition(condition, old.conditions, now))
  const merged: PodStatus = { ...reported, conditions: [...own, ...others] }
  // The first start counts, not an agent's first sight of a pod that it adopted.
  const startTime = old.startTime ?? reported.startTime
  if (startTime !== undefined) merged.startTime = startTime
  // A pod's address is for life; an agent that adopts a finished pod no longer sees it.
  if (merged.podIP === undefined && old.podIP !== undefined) {
    merged.podIP = old.podIP
    if (old.podIPs !== undefined) merged.podIPs = old.podIPs
  }
  if (old.nominatedNodeName !== undefined) merged.nominatedNodeName = old.nominatedNodeName
  // A pod that is over stays over: phases only move forward.
  if (old.phase !== undefined && FINISHED.has(old.phase) && !FINISHED.has(reported.phase ?? '')) {
    merged.phase = old.phase
    if (old.reason !== undefined) merged.reason = old.reason
    if (old.message !== undefined) merged.message = old.message
  }
  return jsonEqual(merged, old) ? undefined : merged
}

/** The agent's word on Ready is of containers alone; gates are judged by what stands in the store now. */
function withGates(word: PodStatus, old: PodStatus, readinessGates: PodSpec['readinessGates'] = []): PodStatus {
  if (readinessGates.length === 0) return word
  const { conditions = [] } = word
  const known = [...conditions, ...(old.conditions ?? []).filter(({ type }) => !AGENT_CONDITIONS.has(type))]
  const judged = gatedReady({ readinessGates }, known)
  const isReady = ({ type, status }: Condition): boolean => type === POD_CONDITION.ready && status === 'True'
  return { ...word, conditions: conditions.map((one) => (isReady(one) ? { ...one, ...judged } : one)) }
}

/** Said by whoever ends a pod, the agent among others: the first word stays, and a report without it takes nothing back. */
function disruption(old: PodStatus, reported: PodStatus): Condition | undefined {
  const type = POD_CONDITION.disruptionTarget
  if (findCondition(old.conditions, type)?.status === 'True') return undefined
  return findCondition(reported.conditions, type)
}

/**
 * Routed becomes False in the very write that makes a pod Ready, so that there is no moment at which it counts as
 * available before nodes route to it; and again when it ceases to be Ready. Undefined: as it is.
 */
function routedCondition(old: PodStatus, reported: PodStatus, needsRoute: () => boolean): Condition | undefined {
  const isReady = (status: PodStatus): boolean =>
    findCondition(status.conditions, POD_CONDITION.ready)?.status === 'True'
  const [before, after] = [isReady(old), isReady(reported)]
  if (before === after) return undefined
  const type = POD_CONDITION.routed
  const known = findCondition(old.conditions, type)
  if (!after) return known === undefined ? undefined : { type, status: 'False', reason: 'PodNotReady' }
  return known !== undefined || needsRoute() ? { type, status: 'False', reason: 'NotYetConfirmed' } : undefined
}

/** Gives a condition its transition time: kept while the status is the same. */
export function withTransition(condition: Condition, known: readonly Condition[] | undefined, now: string): Condition {
  const old = known?.find(({ type }) => type === condition.type)
  const lastTransitionTime =
    old?.status === condition.status && old.lastTransitionTime
      ? old.lastTransitionTime
      : (condition.lastTransitionTime ?? now)
  return { ...condition, lastTransitionTime }
}
