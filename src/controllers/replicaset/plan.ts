/**
 * What a ReplicaSet needs next: pure. A pod counts when it runs or may come to run: finished and terminating ones do
 * not, so a replacement never waits for a slow or lost node to let go.
 * Pods on a node that is being drained are replaced before they go: they do not count against the size, and leave only
 * as far as the set keeps its number of available pods without them, and disruption budgets allow.
 * Exclusive pods are the exception to both: a replacement waits until the one before is gone, wherever it is.
 * Order of deletion after Kubernetes' `ActivePodsWithRanks`, with two changes: a pod's rank on its node counts down as
 * its neighbours are chosen, so that a halved set stays spread evenly; and a pod that some node does not route to yet goes
 * before one that serves.
 */
import { isPodFinished, isPodReady, isTerminating, withCondition } from '../../api/conditions.ts'
import { isExclusive } from '../../api/exclusive.ts'
import type { Stored } from '../../api/meta.ts'
import type { Pod } from '../../api/pod.ts'
import type { ReplicaSet } from '../../api/replicaset.ts'
import { matchesSelector } from '../../api/selector.ts'
import { availableInMs, countReplicas, isActive, isRouted, readySinceMs } from '../common/pods.ts'

/** Creations and deletions of one pass; the rest follows when these have been written. */
export const MAX_IN_FLIGHT = 500

const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost'

export interface ReplicaSetSnapshot {
  replicaSet: Stored<ReplicaSet>
  /** Pods that the set controls. */
  pods: readonly Stored<Pod>[]
  /** Active pods of all sets with the same owner, by node: a crowded node gives up a pod first. */
  podsPerNode: ReadonlyMap<string, number>
  /** Nodes that are being drained. */
  drainingNodes?: ReadonlySet<string>
  nowMs: number
}

export interface ReplicaSetPlan {
  create: number
  /** More than the set's size. */
  delete: Stored<Pod>[]
  /** On their way off a drained node: a disruption budget may hold them. */
  drain: Stored<Pod>[]
  /** The bound on one pass was reached: plan again at once. */
  more: boolean
}

const NONE: ReadonlySet<string> = new Set()

export function planReplicaSet(snapshot: ReplicaSetSnapshot): ReplicaSetPlan {
  const { replicaSet, pods, podsPerNode, drainingNodes = NONE, nowMs } = snapshot
  const plan: ReplicaSetPlan = { create: 0, delete: [], drain: [], more: false }
  if (isTerminating(replicaSet)) return plan
  const { replicas = 1, minReadySeconds = 0 } = replicaSet.spec
  const active = pods.filter(isActive)
  const isLeaving = (pod: Pod): boolean => drainingNodes.has(pod.spec.nodeName ?? '')
  const isAvailable = (pod: Pod): boolean => availableInMs(pod, minReadySeconds, nowMs) === 0
  const leaving = leastWanted(active.filter(isLeaving), podsPerNode)
  const staying = active.filter((pod) => !isLeaving(pod))
  const missing = replicas - staying.length
  const exclusive = isExclusive(replicaSet.spec.template)
  const ending = pods.filter((pod) => isTerminating(pod) && !isPodFinished(pod)).length
  const inTheWay = exclusive ? leaving.length + ending : 0
  plan.create = Math.min(Math.max(0, missing - inTheWay), MAX_IN_FLIGHT)
  const surplus = leastWanted(staying, podsPerNode).slice(0, Math.max(0, -missing))
  const spare = Math.max(0, active.filter(isAvailable).length - surplus.filter(isAvailable).length - replicas)
  const replaced = exclusive
    ? leaving
    : [...leaving.filter((pod) => !isAvailable(pod)), ...leaving.filter(isAvailable).slice(0, spare)]
  // A set that is to have none loses all, as at any scale-down; only what a drain alone takes asks for leave.
  const gone = replicas === 0 ? [...surplus, ...replaced] : surplus
  const drained = replicas === 0 ? [] : replaced
  plan.delete = gone.slice(0, MAX_IN_FLIGHT)
  plan.drain = drained.slice(0, MAX_IN_FLIGHT - plan.delete.length)
  plan.more = Math.max(missing, gone.length + drained.length) > MAX_IN_FLIGHT
  return plan
}

interface Ranked {
  pod: Stored<Pod>
  /** Unbound 0, not running 1, not ready 2, ready 3, and known to every node 4: what nobody reaches yet goes first. */
  stage: number
  cost: number
  /** How many of the same would share its node if it were the next to go there. */
  crowd: number
  readySinceMs: number
  restarts: number
}

/** Least wanted first. */
function leastWanted(pods: readonly Stored<Pod>[], podsPerNode: ReadonlyMap<string, number>): Stored<Pod>[] {
  const ranked = pods.map(
    (pod): Ranked => ({
      pod,
      stage: stageOf(pod),
      cost: Number(pod.metadata.annotations?.[DELETION_COST] ?? 0) || 0,
      crowd: 0,
      readySinceMs: readySinceMs(pod) ?? 0,
      restarts: Math.max(0, ...(pod.status?.containerStatuses ?? []).map(({ restartCount }) => restartCount)),
    }),
  )
  const seen = new Map<string, number>()
  for (const entry of ranked.sort(compare)) {
    const node = entry.pod.spec.nodeName
    if (node === undefined) continue
    const before = seen.get(node) ?? 0
    entry.crowd = (podsPerNode.get(node) ?? 0) - before
    seen.set(node, before + 1)
  }
  return ranked.sort(compare).map(({ pod }) => pod)
}

function stageOf(pod: Pod): number {
  if (!pod.spec.nodeName) return 0
  if (pod.status?.phase !== 'Running') return 1
  if (!isPodReady(pod)) return 2
  return isRouted(pod) ? 4 : 3
}

function compare(a: Ranked, b: Ranked): number {
  return (
    a.stage - b.stage ||
    a.cost - b.cost ||
    b.crowd - a.crowd ||
    b.readySinceMs - a.readySinceMs ||
    b.restarts - a.restarts ||
    byAge(b.pod, a.pod)
  )
}

/** Older first; the name decides between pods of one second. */
function byAge(a: Stored<Pod>, b: Stored<Pod>): number {
  const [first, second] = [a.metadata.creationTimestamp, b.metadata.creationTimestamp]
  if (first !== second) return first < second ? -1 : 1
  return a.metadata.name < b.metadata.name ? -1 : 1
}

export interface StatusPlan {
  status: NonNullable<ReplicaSet['status']>
  /** When a ready pod will have been ready for long enough. */
  againAfterMs: number | undefined
}

export function planStatus(options: {
  replicaSet: Stored<ReplicaSet>
  pods: readonly Stored<Pod>[]
  nowMs: number
  /** Why pods could not be made or removed in this pass. */
  failure?: { reason: 'FailedCreate' | 'FailedDelete'; message: string }
}): StatusPlan {
  const { replicaSet, pods, nowMs, failure } = options
  const { spec, status: old, metadata } = replicaSet
  const { counts, againAfterMs } = countReplicas(pods, spec.minReadySeconds ?? 0, nowMs)
  const labels = { matchLabels: spec.template.metadata?.labels ?? {} }
  const isLabeled = (pod: Pod): boolean => matchesSelector(labels, pod.metadata.labels)
  const fullyLabeledReplicas = pods.filter((pod) => isActive(pod) && isLabeled(pod)).length
  const status: StatusPlan['status'] = { ...old, ...counts, fullyLabeledReplicas }
  if (metadata.generation !== undefined) status.observedGeneration = metadata.generation
  const conditions =
    failure === undefined
      ? (old?.conditions ?? []).filter(({ type }) => type !== 'ReplicaFailure')
      : withCondition(old?.conditions, { type: 'ReplicaFailure', status: 'True', ...failure }, nowMs)
  if (conditions.length > 0) status.conditions = [...conditions]
  else delete status.conditions
  return { status, againAfterMs }
}
