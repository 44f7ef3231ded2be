/**
 * How many pods each ReplicaSet of a deployment should have: pure. Each function returns the sets that change, with
 * their new numbers. Meanings after Kubernetes' deployment controller (rolling, recreate, proportional scaling).
 *
 * Two promises of a rolling update, each about our own acts alone:
 *  - wanted pods of all sets never go above replicas + maxSurge;
 *  - we never take a set below what keeps replicas - maxUnavailable available.
 */
import { ANNOTATION } from '../../api/names.ts'
import { availableOf, type Bounds, byCreation, replicasOf, type StoredSet, sumAvailable, sumReplicas } from './sets.ts'

export type Sizes = Map<StoredSet, number>

/** What the new set should have; `existing` are all sets, with the new one if it is there. */
export function newSetSize(bounds: Bounds, current: number, existing: readonly StoredSet[]): number {
  if (current >= bounds.replicas) return bounds.replicas
  const room = bounds.replicas + bounds.maxSurge - sumReplicas(existing)
  return room <= 0 ? current : Math.min(bounds.replicas, current + room)
}

/** One step of a rolling update: either the new set grows (or shrinks to its size), or old ones give way. */
export function planRolling(bounds: Bounds, newSet: StoredSet, oldSets: readonly StoredSet[]): Sizes {
  const sizes: Sizes = new Map()
  const size = newSetSize(bounds, replicasOf(newSet), [newSet, ...oldSets])
  if (size !== replicasOf(newSet)) return sizes.set(newSet, size)
  return shrinkOldSets(bounds, newSet, oldSets)
}

function shrinkOldSets(bounds: Bounds, newSet: StoredSet, oldSets: readonly StoredSet[]): Sizes {
  const sizes: Sizes = new Map()
  const old = oldSets.filter((set) => replicasOf(set) > 0).sort(byCreation)
  const minAvailable = bounds.replicas - bounds.maxUnavailable
  // Pods of the new set that do not serve yet may be counted on by nobody.
  const newUnavailable = replicasOf(newSet) - availableOf(newSet)
  let room = sumReplicas([newSet, ...old]) - minAvailable - newUnavailable
  for (const set of old) {
    // Pods that do not serve go first: losing them costs nothing.
    const gone = Math.min(replicasOf(set) - availableOf(set), Math.max(0, room))
    room -= gone
    if (gone > 0) sizes.set(set, replicasOf(set) - gone)
  }
  let spare = Math.min(room, sumAvailable([newSet, ...old]) - minAvailable)
  for (const set of old) {
    if (spare <= 0) break
    const size = sizes.get(set) ?? replicasOf(set)
    const gone = Math.min(size, spare)
    spare -= gone
    if (gone > 0) sizes.set(set, size - gone)
  }
  return sizes
}

/** Recreate: the old sets end first. */
export function planStopOld(oldSets: readonly StoredSet[]): Sizes {
  return new Map(oldSets.filter((set) => replicasOf(set) > 0).map((set) => [set, 0]))
}

/** Whether somebody changed `replicas` since the sets were last sized. */
export function isScaling(bounds: Bounds, sets: readonly StoredSet[]): boolean {
  return sets.some((set) => {
    const desired = set.metadata.annotations?.[ANNOTATION.desiredReplicas]
    return replicasOf(set) > 0 && desired !== undefined && Number(desired) !== bounds.replicas
  })
}

/**
 * A change of `replicas`, or a paused deployment. One active set takes it whole; in the middle of a rollout each takes
 * a share, so that a rollout that goes wrong does not get all the new pods.
 */
export function planScale(bounds: Bounds, newSet: StoredSet | undefined, oldSets: readonly StoredSet[]): Sizes {
  const all = newSet === undefined ? [...oldSets] : [newSet, ...oldSets]
  const active = all.filter((set) => replicasOf(set) > 0)
  if (active.length <= 1) {
    const only = active[0] ?? newSet ?? [...oldSets].sort(byCreation).at(-1)
    return only === undefined || replicasOf(only) === bounds.replicas ? new Map() : new Map([[only, bounds.replicas]])
  }
  if (newSet !== undefined && isSaturated(bounds, newSet)) return planStopOld(oldSets)
  return planShares(bounds, active)
}

function isSaturated(bounds: Bounds, set: StoredSet): boolean {
  const desired = Number(set.metadata.annotations?.[ANNOTATION.desiredReplicas])
  return replicasOf(set) === bounds.replicas && desired === bounds.replicas && availableOf(set) === bounds.replicas
}

function planShares(bounds: Bounds, active: readonly StoredSet[]): Sizes {
  const allowed = bounds.replicas > 0 ? bounds.replicas + bounds.maxSurge : 0
  const change = allowed - sumReplicas(active)
  const sizes: Sizes = new Map()
  if (change === 0) return sizes
  // The larger set first; among equals the newer gains first and the older loses first.
  const ordered = [...active].sort(
    (a, b) => replicasOf(b) - replicasOf(a) || (change > 0 ? byCreation(b, a) : byCreation(a, b)),
  )
  let left = change
  for (const set of ordered) {
    const share = shareOf(bounds, set)
    const part = change > 0 ? Math.min(Math.max(share, 0), left) : Math.max(Math.min(share, 0), left)
    left -= part
    sizes.set(set, replicasOf(set) + part)
  }
  // Rounding leaves a few over: they go to the first that can take them.
  for (const set of ordered) {
    const size = sizes.get(set) ?? 0
    const next = Math.max(0, size + left)
    left -= next - size
    sizes.set(set, next)
  }
  return change < 0 ? keepServing(bounds, ordered, sizes) : sizes
}

/** Shares may take pods that serve and leave others that do not: as long as too few serve, one is given for the other. */
function keepServing(bounds: Bounds, sets: readonly StoredSet[], sizes: Sizes): Sizes {
  const sizeOf = (set: StoredSet): number => sizes.get(set) ?? replicasOf(set)
  const serving = (): number => sets.reduce((sum, set) => sum + Math.min(sizeOf(set), availableOf(set)), 0)
  while (serving() < bounds.replicas - bounds.maxUnavailable) {
    const gains = sets.find((set) => availableOf(set) > sizeOf(set))
    const gives = sets.find((set) => sizeOf(set) > availableOf(set))
    if (gains === undefined || gives === undefined) break
    sizes.set(gains, sizeOf(gains) + 1)
    sizes.set(gives, sizeOf(gives) - 1)
  }
  return sizes
}

function shareOf(bounds: Bounds, set: StoredSet): number {
  const size = replicasOf(set)
  if (bounds.replicas === 0) return -size
  const before = Number(set.metadata.annotations?.[ANNOTATION.maxReplicas])
  if (!Number.isFinite(before) || before <= 0) return 0
  return Math.round((size * (bounds.replicas + bounds.maxSurge)) / before) - size
}
