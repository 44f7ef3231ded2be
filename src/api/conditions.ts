/** Conditions of a status: read one, set one. Source: Kubernetes API conventions, "Typical status properties". */
import { timestamp } from '../base/clock.ts'
import type { Condition } from './meta.ts'
import { POD_CONDITION } from './names.ts'
import type { Pod } from './pod.ts'

export interface ConditionValue {
  type: string
  status: Condition['status']
  reason?: string
  message?: string
}

export function findCondition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type)
}

/**
 * The list with this condition set. `lastTransitionTime` moves only when the status does. When nothing changes, the
 * very same list is returned, so that callers can tell whether a write is due.
 */
export function withCondition(
  conditions: readonly Condition[] | undefined,
  value: ConditionValue,
  nowMs: number,
): readonly Condition[] {
  const list = conditions ?? []
  const old = findCondition(list, value.type)
  const same = old?.status === value.status && old.reason === value.reason && old.message === value.message
  if (same) return list
  const lastTransitionTime =
    old?.status === value.status && old.lastTransitionTime ? old.lastTransitionTime : timestamp(nowMs)
  const next: Condition = { ...value, lastTransitionTime }
  return old === undefined ? [...list, next] : list.map((condition) => (condition === old ? next : condition))
}

export function isPodReady(pod: Pod): boolean {
  return findCondition(pod.status?.conditions, POD_CONDITION.ready)?.status === 'True'
}

/** Its containers have ended for good. */
export function isPodFinished(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed'
}

export function isTerminating(object: { metadata: { deletionTimestamp?: string } }): boolean {
  return object.metadata.deletionTimestamp !== undefined
}
