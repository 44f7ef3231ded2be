/**
 * What a StatefulSet needs next: pure. One pod an ordinal, ever: a pod is made only when no object of its name is left, and none is
 * removed but by a deletion that its node confirms. OrderedReady goes up one at a time, each waiting for those before it, and down
 * one at a time from the highest ordinal; Parallel does all at once. Updates go from the highest ordinal down to the partition,
 * with at most maxUnavailable pods away.
 *
 * Pods that do not serve and are not what the rollout wants go first, whatever their ordinal: so a fixed template reaches a set
 * that a broken one has stopped (Kubernetes waits for the broken pod for ever). One at a time, as nobody knows what they hold.
 */
import { isPodFinished, isPodReady, isTerminating } from '../../api/conditions.ts'
import { resolveIntOrPercent } from '../../api/deployment.ts'
import type { Stored } from '../../api/meta.ts'
import type { PersistentVolumeClaim } from '../../api/persistentvolumeclaim.ts'
import type { Pod } from '../../api/pod.ts'
import type { StatefulSet } from '../../api/statefulset.ts'
import { availableInMs } from '../common/pods.ts'
import { newClaims, ordinalOf, ordinalOfClaim, revisionOf } from './identity.ts'

export interface StatefulSetSnapshot {
  set: Stored<StatefulSet>
  /** Pods that the set controls, terminating ones too. */
  pods: readonly Stored<Pod>[]
  /** Claims of the set's namespace; those of others are left alone. */
  claims: readonly Stored<PersistentVolumeClaim>[]
  /** Name of the present template's revision. */
  updateRevision: string
  /** Whether the revision of this name is still stored. */
  hasRevision(name: string): boolean
  nowMs: number
}

export type StatefulSetStep =
  | { type: 'createClaim'; claim: PersistentVolumeClaim }
  | { type: 'createPod'; ordinal: number; revision: string }
  | { type: 'deletePod'; pod: Stored<Pod>; why: string }
  /** The claim goes when the set goes, or stays. */
  | { type: 'tieClaim'; claim: Stored<PersistentVolumeClaim>; tied: boolean }
  | { type: 'deleteClaim'; claim: Stored<PersistentVolumeClaim> }

export interface StatefulSetPlan {
  steps: StatefulSetStep[]
  status: NonNullable<StatefulSet['status']>
  againAfterMs: number | undefined
}

interface Place {
  ordinal: number
  pod: Stored<Pod> | undefined
  /** Revision that a pod made now would have. */
  wanted: string
  /** Not below the partition: the rollout reaches it. */
  rolled: boolean
  available: boolean
}

export function planStatefulSet(snapshot: StatefulSetSnapshot): StatefulSetPlan {
  const { set } = snapshot
  const { places, condemned, waits } = survey(snapshot)
  const steps = isTerminating(set) ? [] : [...planPods(snapshot, places, condemned), ...planClaims(snapshot)]
  return {
    steps,
    status: planStatus(snapshot, places),
    againAfterMs: waits.length > 0 ? Math.min(...waits) : undefined,
  }
}

/** The revision that pods below the partition keep. */
function currentRevision({ set, updateRevision, hasRevision }: StatefulSetSnapshot): string {
  const current = set.status?.currentRevision
  return current !== undefined && current !== '' && hasRevision(current) ? current : updateRevision
}

function survey(snapshot: StatefulSetSnapshot): { places: Place[]; condemned: Stored<Pod>[]; waits: number[] } {
  const { set, pods, updateRevision, nowMs } = snapshot
  const { replicas = 1, ordinals, minReadySeconds = 0 } = set.spec
  const start = ordinals?.start ?? 0
  const byOrdinal = new Map<number, Stored<Pod>>()
  for (const pod of pods) {
    const ordinal = ordinalOf(set, pod.metadata.name)
    if (ordinal !== undefined) byOrdinal.set(ordinal, pod)
  }
  const current = currentRevision(snapshot)
  const waits: number[] = []
  const places = Array.from({ length: replicas }, (_, index): Place => {
    const ordinal = start + index
    const pod = byOrdinal.get(ordinal)
    byOrdinal.delete(ordinal)
    const wait = pod === undefined || !isAlive(pod) ? undefined : availableInMs(pod, minReadySeconds, nowMs)
    if (wait !== undefined && wait > 0) waits.push(wait)
    const rolled = index >= partitionOf(set)
    return { ordinal, pod, wanted: rolled ? updateRevision : current, rolled, available: wait === 0 }
  })
  // Highest first: that is the order in which they leave.
  const condemned = [...byOrdinal].sort(([a], [b]) => b - a).map(([, pod]) => pod)
  return { places, condemned, waits }
}

const isAlive = (pod: Pod): boolean => !isTerminating(pod) && !isPodFinished(pod)

function partitionOf({ spec }: StatefulSet): number {
  return spec.updateStrategy?.type === 'OnDelete' ? 0 : (spec.updateStrategy?.rollingUpdate?.partition ?? 0)
}

function planPods(
  snapshot: StatefulSetSnapshot,
  places: readonly Place[],
  condemned: readonly Stored<Pod>[],
): StatefulSetStep[] {
  const { set } = snapshot
  const ordered = set.spec.podManagementPolicy !== 'Parallel'
  const broken = planBroken(set, places, condemned)
  if (broken !== undefined) return [broken]
  const steps: StatefulSetStep[] = []
  for (const place of places) {
    const done = planPlace(snapshot, place, steps)
    if (ordered && !done) return steps
  }
  if (ordered) {
    const [highest] = condemned
    if (highest !== undefined) return [...steps, ...planRemoval(highest)]
  } else steps.push(...condemned.flatMap(planRemoval))
  return [...steps, ...planUpdate(set, places)]
}

/** Brings one place to having a pod. Whether those after it may go on. */
function planPlace(
  snapshot: StatefulSetSnapshot,
  { ordinal, pod, wanted, available }: Place,
  steps: StatefulSetStep[],
) {
  const { set, claims } = snapshot
  if (pod !== undefined) {
    if (isPodFinished(pod) && !isTerminating(pod)) steps.push({ type: 'deletePod', pod, why: 'it has ended' })
    if (isAlive(pod) && !pod.spec.nodeName) steps.push(...missingClaims(set, ordinal, claims).steps)
    return available
  }
  const { steps: create, waiting } = missingClaims(set, ordinal, claims)
  steps.push(...create)
  if (!waiting) steps.push({ type: 'createPod', ordinal, revision: wanted })
  return false
}

function missingClaims(
  set: Stored<StatefulSet>,
  ordinal: number,
  claims: readonly Stored<PersistentVolumeClaim>[],
): { steps: StatefulSetStep[]; waiting: boolean } {
  const steps: StatefulSetStep[] = []
  let waiting = false
  for (const claim of newClaims(set, ordinal)) {
    const known = claims.find(({ metadata }) => metadata.name === claim.metadata.name)
    // The old data must be gone before a new claim takes its name.
    if (known !== undefined && isTerminating(known)) waiting = true
    else if (known === undefined) steps.push({ type: 'createClaim', claim })
  }
  return { steps, waiting }
}

const planRemoval = (pod: Stored<Pod>): StatefulSetStep[] =>
  isTerminating(pod) ? [] : [{ type: 'deletePod', pod, why: 'scaled down' }]

/** One pod that does not serve and holds up the rollout, while no other is on its way out. */
function planBroken(
  set: Stored<StatefulSet>,
  places: readonly Place[],
  condemned: readonly Stored<Pod>[],
): StatefulSetStep | undefined {
  if (set.spec.updateStrategy?.type === 'OnDelete') return undefined
  const all = [...places.map(({ pod }) => pod), ...condemned]
  if (all.some((pod) => pod !== undefined && isTerminating(pod))) return undefined
  const broken = places.findLast(
    ({ pod, wanted, rolled }) =>
      rolled && pod !== undefined && isAlive(pod) && !isPodReady(pod) && revisionOf(pod) !== wanted,
  )
  return broken?.pod && { type: 'deletePod', pod: broken.pod, why: 'it does not serve, and its template has changed' }
}

export function maxUnavailableOf({ spec }: StatefulSet): number {
  const asked = spec.updateStrategy?.rollingUpdate?.maxUnavailable ?? 1
  return Math.max(1, resolveIntOrPercent(asked, spec.replicas ?? 1, 'up') ?? 1)
}

function planUpdate(set: Stored<StatefulSet>, places: readonly Place[]): StatefulSetStep[] {
  if (set.spec.updateStrategy?.type === 'OnDelete') return []
  const steps: StatefulSetStep[] = []
  let away = places.filter(({ available }) => !available).length
  for (const { pod, wanted, rolled, available } of [...places].reverse()) {
    if (away >= maxUnavailableOf(set)) break
    if (!rolled || pod === undefined || !available || revisionOf(pod) === wanted) continue
    steps.push({ type: 'deletePod', pod, why: 'its template has changed' })
    away++
  }
  return steps
}

function planClaims({ set, claims, pods }: StatefulSetSnapshot): StatefulSetStep[] {
  const { replicas = 1, ordinals, persistentVolumeClaimRetentionPolicy: policy } = set.spec
  const start = ordinals?.start ?? 0
  const names = new Set(pods.map(({ metadata }) => metadata.name))
  const steps: StatefulSetStep[] = []
  for (const claim of claims) {
    const ordinal = ordinalOfClaim(set, claim)
    if (ordinal === undefined || isTerminating(claim)) continue
    const isWanted = ordinal >= start && ordinal < start + replicas
    if (!isWanted && policy?.whenScaled === 'Delete' && !names.has(`${set.metadata.name}-${ordinal}`)) {
      steps.push({ type: 'deleteClaim', claim })
      continue
    }
    const tied = claim.metadata.ownerReferences?.some(({ uid }) => uid === set.metadata.uid) === true
    const wantsTie = policy?.whenDeleted === 'Delete'
    if (tied !== wantsTie) steps.push({ type: 'tieClaim', claim, tied: wantsTie })
  }
  return steps
}

function planStatus(snapshot: StatefulSetSnapshot, places: readonly Place[]): StatefulSetPlan['status'] {
  const { set, pods, updateRevision } = snapshot
  const alive = pods.filter(isAlive)
  const onUpdate = alive.filter((pod) => revisionOf(pod) === updateRevision)
  const isThrough =
    pods.length === places.length &&
    places.every(({ pod, available }) => pod !== undefined && available && revisionOf(pod) === updateRevision)
  const current = isThrough ? updateRevision : currentRevision(snapshot)
  return {
    ...set.status,
    ...(set.metadata.generation !== undefined && { observedGeneration: set.metadata.generation }),
    replicas: pods.length,
    readyReplicas: alive.filter(isPodReady).length,
    availableReplicas: places.filter(({ available }) => available).length,
    currentReplicas: alive.filter((pod) => revisionOf(pod) === current).length,
    updatedReplicas: onUpdate.length,
    currentRevision: current,
    updateRevision,
    collisionCount: set.status?.collisionCount ?? 0,
  }
}
