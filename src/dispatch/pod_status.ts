/** How an agent's report joins what is stored: each field keeps its one writer. Pure. */
import { findCondition } from '../api/conditions.ts'
import type { Condition } from '../api/meta.ts'
import { POD_CONDITION } from '../api/names.ts'
import type { PodStatus } from '../api/pod.ts'
import { jsonEqual } from '../base/json.ts'

/** Conditions that the agent writes. All others belong to the scheduler, controllers and users' own controllers. */
const AGENT_CONDITIONS = new Set<string>([
  POD_CONDITION.initialized,
  POD_CONDITION.readyToStart,
  POD_CONDITION.containersReady,
  POD_CONDITION.ready,
])

const FINISHED = new Set(['Succeeded', 'Failed'])

/**
 * The status to store, or undefined when the report says nothing new. `now` is RFC 3339; `needsRoute` tells whether the
 * pod stands in a service.
 */
export function mergePodStatus(
  current: PodStatus | undefined,
  reported: PodStatus,
  now: string,
  needsRoute: () => boolean = () => false,
): PodStatus | undefined {
  const old = current ?? {}
  const routed = routedCondition(old, reported, needsRoute)
  const others = [
    ...(old.conditions ?? []).filter(({ type }) => !AGENT_CONDITIONS.has(type) && type !== routed?.type),
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
