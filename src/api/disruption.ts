/**
 * What a PodDisruptionBudget allows: pure, and the same for the controller that keeps its status and for the eviction that
 * asks. Source: Kubernetes policy/v1, "Specifying a Disruption Budget".
 */
import { isPodReady, isTerminating } from './conditions.ts'
import { resolveIntOrPercent } from './deployment.ts'
import type { Pod } from './pod.ts'
import type { PodDisruptionBudget } from './poddisruptionbudget.ts'
import { matchesSelector } from './selector.ts'

/** An eviction that was let through and has shown no effect for so long is taken not to have happened. */
export const DISRUPTION_TIMEOUT_MS = 120_000

export function isInBudget({ metadata, spec }: PodDisruptionBudget, pod: Pod): boolean {
  return pod.metadata.namespace === metadata.namespace && matchesSelector(spec.selector, pod.metadata.labels)
}

/** Pods by name that were let go and may still look healthy. */
export function pendingDisruptions(
  budget: PodDisruptionBudget,
  pods: readonly Pod[],
  nowMs: number,
): Record<string, string> {
  const known = new Map(pods.map((pod) => [pod.metadata.name ?? '', pod]))
  const pending = Object.entries(budget.status?.disruptedPods ?? {}).filter(([name, time]) => {
    const pod = known.get(name)
    return pod !== undefined && !isTerminating(pod) && Date.parse(time) + DISRUPTION_TIMEOUT_MS > nowMs
  })
  return Object.fromEntries(pending)
}

export function healthyPods(pods: readonly Pod[], disrupted: Readonly<Record<string, string>>): number {
  return pods.filter(
    (pod) => isPodReady(pod) && !isTerminating(pod) && !Object.hasOwn(disrupted, pod.metadata.name ?? ''),
  ).length
}

/** How many pods must stay healthy. `expected` is how many there should be, by their controllers. */
export function desiredHealthy({ spec }: PodDisruptionBudget, expected: number): number {
  if (spec.maxUnavailable !== undefined) {
    return Math.max(0, expected - (resolveIntOrPercent(spec.maxUnavailable, expected, 'up') ?? 0))
  }
  return resolveIntOrPercent(spec.minAvailable ?? 0, expected, 'up') ?? 0
}

/** Whether the answer depends on how many pods there should be, not merely on how many there are. */
export function needsExpected({ spec }: PodDisruptionBudget): boolean {
  return spec.maxUnavailable !== undefined || typeof spec.minAvailable === 'string'
}
