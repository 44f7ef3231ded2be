/**
 * Leave to end a pod that a disruption budget may protect: what evictions and drains ask before they delete. What one takes from the
 * budget it writes to the budget's status first, so that two never take the same allowance, and it counts the healthy pods
 * itself, so that an allowance from before a pod fell ill is not used. Source: Kubernetes policy/v1, "API-initiated Eviction".
 */
import { isPodFinished, isPodReady, isTerminating } from '../api/conditions.ts'
import { healthyPods, isInBudget, pendingDisruptions } from '../api/disruption.ts'
import type { Stored } from '../api/meta.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { type PodDisruptionBudget, podDisruptionBudgetKind } from '../api/poddisruptionbudget.ts'
import { timestamp } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { Resources, WriteOptions } from './resources.ts'

/** A budget that has just changed is worked out soon. */
const RETRY_AFTER_SECONDS = 1

/** Throws `tooManyRequests` when a budget does not allow that the pod goes. */
export async function takeLeave(
  resources: Resources,
  pod: Stored<Pod>,
  { nowMs, ...write }: { nowMs: number } & WriteOptions,
): Promise<void> {
  if (!needsLeave(pod)) return
  const namespace = pod.metadata.namespace ?? ''
  const budgets = resources.list(podDisruptionBudgetKind, { namespace }).filter((budget) => isInBudget(budget, pod))
  const [budget, ...others] = budgets
  if (budget === undefined) return
  if (others.length > 0) {
    const names = budgets.map(({ metadata }) => metadata.name).join(', ')
    throw new DroverError('internal', `pod ${pod.metadata.name} is in more than one disruption budget: ${names}`)
  }
  if (!isPodReady(pod) && mayGoUnhealthy(budget)) return
  const change = (current: PodDisruptionBudget): PodDisruptionBudget => {
    const pods = resources.list(podKind, { namespace }).filter((each) => isInBudget(current, each))
    return spend(current, { pod, pods, nowMs })
  }
  await resources.modify(podDisruptionBudgetKind, namespace, budget.metadata.name, 'status', change, write)
}

/** Pods that serve nobody yet, or no more, may always go. */
function needsLeave(pod: Pod): boolean {
  return !isPodFinished(pod) && !isTerminating(pod) && pod.status?.phase !== 'Pending'
}

/** A pod that is not ready adds nothing: it may go when the rest suffices, or whenever the budget says so. */
function mayGoUnhealthy({ spec, status }: PodDisruptionBudget): boolean {
  if (spec.unhealthyPodEvictionPolicy === 'AlwaysAllow') return true
  const { currentHealthy = 0, desiredHealthy = 0 } = status ?? {}
  return desiredHealthy > 0 && currentHealthy >= desiredHealthy
}

/** The budget with one disruption less. Throws `tooManyRequests` when there is none left. Pure. */
export function spend(
  budget: PodDisruptionBudget,
  { pod, pods, nowMs }: { pod: Pod; pods: readonly Pod[]; nowMs: number },
): PodDisruptionBudget {
  const { metadata, status = {} } = budget
  if ((status.observedGeneration ?? 0) < (metadata.generation ?? 0)) {
    const message = `The disruption budget ${metadata.name} is still being processed by the server.`
    throw new DroverError('tooManyRequests', message, { retryAfterSeconds: RETRY_AFTER_SECONDS })
  }
  const name = pod.metadata.name ?? ''
  const { [name]: granted, ...disrupted } = pendingDisruptions(budget, pods, nowMs)
  const { disruptionsAllowed = 0, desiredHealthy = 0 } = status
  const healthy = healthyPods(pods, disrupted)
  // Asked again before it went, leave was given already; what has fallen ill since counts all the same.
  const allowed = granted === undefined ? disruptionsAllowed : disruptionsAllowed + 1
  if (Math.min(allowed, healthy - desiredHealthy) <= 0) {
    // No time to retry after: clients would wait it out by themselves, ten times, before they tell anyone.
    throw new DroverError(
      'tooManyRequests',
      `Cannot evict pod as it would violate the pod's disruption budget. The disruption budget ${metadata.name} needs ${desiredHealthy} healthy pods and has ${healthy} currently`,
    )
  }
  if (granted !== undefined) return budget
  return {
    ...budget,
    status: {
      ...status,
      disruptionsAllowed: disruptionsAllowed - 1,
      disruptedPods: { ...status.disruptedPods, [name]: timestamp(nowMs) },
    },
  }
}
