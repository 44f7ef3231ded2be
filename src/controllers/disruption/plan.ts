/** The status of a PodDisruptionBudget: pure. When it cannot be worked out, nothing is allowed. */
import { withCondition } from '../../api/conditions.ts'
import {
  DISRUPTION_TIMEOUT_MS,
  desiredHealthy,
  healthyPods,
  isInBudget,
  pendingDisruptions,
} from '../../api/disruption.ts'
import type { Stored } from '../../api/meta.ts'
import type { Pod } from '../../api/pod.ts'
import type { PodDisruptionBudget } from '../../api/poddisruptionbudget.ts'

export interface BudgetSnapshot {
  budget: Stored<PodDisruptionBudget>
  /** Pods of its namespace. */
  pods: readonly Stored<Pod>[]
  /** How many of the budget's pods there should be; or why that is not known. */
  expected(pods: readonly Stored<Pod>[]): { pods: number } | { fault: string }
  nowMs: number
}

export interface BudgetPlan {
  status: NonNullable<PodDisruptionBudget['status']>
  againAfterMs: number | undefined
}

export function planBudget({ budget, pods, expected, nowMs }: BudgetSnapshot): BudgetPlan {
  const ours = pods.filter((pod) => isInBudget(budget, pod))
  const disruptedPods = pendingDisruptions(budget, ours, nowMs)
  const currentHealthy = healthyPods(ours, disruptedPods)
  const wanted = expected(ours)
  const base = {
    ...(budget.metadata.generation !== undefined && { observedGeneration: budget.metadata.generation }),
    ...(Object.keys(disruptedPods).length > 0 && { disruptedPods }),
    currentHealthy,
  }
  const allowed = (status: 'True' | 'False', reason: string, message: string) => [
    ...withCondition(budget.status?.conditions, { type: 'DisruptionAllowed', status, reason, message }, nowMs),
  ]
  const times = Object.values(disruptedPods).map((time) => Date.parse(time) + DISRUPTION_TIMEOUT_MS - nowMs)
  const againAfterMs = times.length > 0 ? Math.max(0, Math.min(...times)) : undefined
  if ('fault' in wanted) {
    const { desiredHealthy: desired = 0, expectedPods = 0 } = budget.status ?? {}
    const conditions = allowed('False', 'SyncFailed', wanted.fault)
    return {
      status: { ...base, desiredHealthy: desired, expectedPods, disruptionsAllowed: 0, conditions },
      againAfterMs,
    }
  }
  const desired = desiredHealthy(budget, wanted.pods)
  const disruptionsAllowed = wanted.pods > 0 ? Math.max(0, currentHealthy - desired) : 0
  const conditions =
    disruptionsAllowed > 0 ? allowed('True', 'SufficientPods', '') : allowed('False', 'InsufficientPods', '')
  const status = { ...base, desiredHealthy: desired, expectedPods: wanted.pods, disruptionsAllowed, conditions }
  return { status, againAfterMs }
}
