/** Readings of a deployment's ReplicaSets: pure helpers of the planner. */
import { type Deployment, resolveIntOrPercent } from '../../api/deployment.ts'
import { isExclusive } from '../../api/exclusive.ts'
import type { Stored } from '../../api/meta.ts'
import { ANNOTATION } from '../../api/names.ts'
import type { ReplicaSet } from '../../api/replicaset.ts'
import { sameTemplate } from './hash.ts'

export type StoredSet = Stored<ReplicaSet>

export const replicasOf = (set: ReplicaSet): number => set.spec.replicas ?? 1

/** Wanted pods of these sets. */
export const sumReplicas = (sets: readonly ReplicaSet[]): number => sets.reduce((sum, set) => sum + replicasOf(set), 0)

/**
 * Available pods that the set will keep. Its pods may be more than the last scaling left it: what was given up already is
 * not counted twice.
 */
export const availableOf = (set: ReplicaSet): number => Math.min(set.status?.availableReplicas ?? 0, replicasOf(set))

export const sumAvailable = (sets: readonly ReplicaSet[]): number =>
  sets.reduce((sum, set) => sum + availableOf(set), 0)

export function revisionOf(set: ReplicaSet): number {
  const revision = Number(set.metadata.annotations?.[ANNOTATION.revision] ?? 0)
  return Number.isSafeInteger(revision) ? revision : 0
}

/** Older first; the name decides between sets of one second. */
export function byCreation(a: StoredSet, b: StoredSet): number {
  const [first, second] = [a.metadata.creationTimestamp, b.metadata.creationTimestamp]
  if (first !== second) return first < second ? -1 : 1
  return a.metadata.name < b.metadata.name ? -1 : 1
}

/** The set that has the deployment's present template; the oldest, should there be several. */
export function findNewSet(deployment: Deployment, sets: readonly StoredSet[]): StoredSet | undefined {
  return [...sets].sort(byCreation).find((set) => sameTemplate(set.spec.template, deployment.spec.template))
}

export interface Bounds {
  replicas: number
  /** Pods that may exist beyond `replicas`. */
  maxSurge: number
  maxUnavailable: number
}

/** Whether the user asks for a surge that pods which may never run twice cannot have. */
export function foregoesSurge({ spec }: Deployment): boolean {
  if (!isExclusive(spec.template) || spec.strategy?.type === 'Recreate') return false
  return (resolveIntOrPercent(spec.strategy?.rollingUpdate?.maxSurge ?? '25%', spec.replicas ?? 1, 'up') ?? 0) > 0
}

/**
 * Percentages as Kubernetes resolves them: surge up, unavailable down; when both come to 0, one may be unavailable.
 * Exclusive pods never surge.
 */
export function boundsOf({ spec }: Deployment): Bounds {
  const replicas = spec.replicas ?? 1
  if (spec.strategy?.type === 'Recreate') return { replicas, maxSurge: 0, maxUnavailable: 0 }
  const { maxSurge = '25%', maxUnavailable = '25%' } = spec.strategy?.rollingUpdate ?? {}
  const surge = isExclusive(spec.template) ? 0 : (resolveIntOrPercent(maxSurge, replicas, 'up') ?? 0)
  const unavailable = resolveIntOrPercent(maxUnavailable, replicas, 'down') ?? 0
  const atLeastOne = surge === 0 && unavailable === 0 ? 1 : unavailable
  return { replicas, maxSurge: surge, maxUnavailable: Math.min(atLeastOne, replicas) }
}
