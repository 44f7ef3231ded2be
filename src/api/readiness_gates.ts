/**
 * Ready of a pod whose containers are ready: its readiness gates have the last word, each a condition that somebody else
 * writes. The agent knows its containers only; who writes Ready into the store, where those conditions are, asks here.
 * Source: Kubernetes "Pod Readiness"; kubelet, `GeneratePodReadyCondition`, its words too.
 */
import { type ConditionValue, findCondition } from './conditions.ts'
import type { Condition } from './meta.ts'
import type { PodSpec } from './pod.ts'

export function gatedReady(
  { readinessGates = [] }: Pick<PodSpec, 'readinessGates'>,
  conditions: readonly Condition[] | undefined,
): Pick<ConditionValue, 'status' | 'reason' | 'message'> {
  const unmet = readinessGates.flatMap(({ conditionType }) => {
    const status = findCondition(conditions, conditionType)?.status
    if (status === 'True') return []
    if (status === undefined)
      return [`corresponding condition of pod readiness gate "${conditionType}" does not exist.`]
    return [`the status of pod readiness gate "${conditionType}" is not "True", but ${status}`]
  })
  if (unmet.length === 0) return { status: 'True' }
  return { status: 'False', reason: 'ReadinessGatesNotReady', message: unmet.join(', ') }
}
