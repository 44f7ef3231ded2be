/**
 * Eviction: a deletion that a disruption budget may refuse. What it takes from the budget it writes to the budget's status
 * before it deletes, so that two evictions never take the same allowance, and it counts the healthy pods itself, so that an allowance
 * from before a pod fell ill is not used. Source: Kubernetes policy/v1 `Eviction`, "API-initiated Eviction".
 */
import { isPodFinished, isPodReady, isTerminating, withCondition } from '../api/conditions.ts'
import { healthyPods, isInBudget, pendingDisruptions } from '../api/disruption.ts'
import type { Stored } from '../api/meta.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { type PodDisruptionBudget, podDisruptionBudgetKind } from '../api/poddisruptionbudget.ts'
import { timestamp } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { DeleteOptions } from '../resources/resources.ts'
import { decodeObject } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { deleteOptions } from './mutate.ts'
import type { Target } from './router.ts'
import { notFound, successStatus } from './status_error.ts'

/** A budget that has just changed is worked out soon. */
const RETRY_AFTER_SECONDS = 1
const DISRUPTION_TARGET = 'DisruptionTarget'

export async function handleEviction(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { namespace, name } = target
  const body = decodeObject(await exchange.body(), exchange.headers['content-type'])
  const options = deleteOptions(exchange, body.deleteOptions)
  const pod = context.resources.get(podKind, namespace, name)
  if (pod === undefined) throw notFound('pods', name)
  const { uid } = pod.metadata
  if (needsLeave(pod)) await takeLeave(context, pod, options)
  if (options.dryRun !== true && !isTerminating(pod)) await markPod(context, pod)
  // Leave was given for this pod, not for one that may have its name by now.
  await context.resources.delete(podKind, namespace, name, {
    ...options,
    preconditions: { uid, ...options.preconditions },
  })
  exchange.sendStatus(successStatus({ name, kind: 'pods', uid }, 201))
}

/** Pods that serve nobody yet, or no more, may always go. */
function needsLeave(pod: Pod): boolean {
  return !isPodFinished(pod) && !isTerminating(pod) && pod.status?.phase !== 'Pending'
}

async function takeLeave(context: ApiContext, pod: Stored<Pod>, options: DeleteOptions): Promise<void> {
  const { resources, clock } = context
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
    return spend(current, { pod, pods, nowMs: clock.now() })
  }
  const write = options.dryRun === true ? { dryRun: true } : {}
  await resources.modify(podDisruptionBudgetKind, namespace, budget.metadata.name, 'status', change, write)
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

/** Says on the pod why it goes: job failure policies ask for it. */
async function markPod({ resources, clock }: ApiContext, pod: Stored<Pod>): Promise<void> {
  const { namespace = '', name, uid } = pod.metadata
  const value = {
    type: DISRUPTION_TARGET,
    status: 'True',
    reason: 'EvictionByEvictionAPI',
    message: 'Eviction API: evicting',
  } as const
  await resources.modify(podKind, namespace, name, 'status', (current) => {
    if (current.metadata.uid !== uid) return undefined
    const conditions = [...withCondition(current.status?.conditions, value, clock.now())]
    return { ...current, status: { ...current.status, conditions } }
  })
}
