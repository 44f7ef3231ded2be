/**
 * What a deployment needs next: pure. One small step at a time: the sets' changes wake the controller again, and the
 * next pass sees what the last one did. Nothing about a rollout is remembered outside stored objects.
 */
import { isTerminating } from '../../api/conditions.ts'
import { type Deployment, deploymentKind } from '../../api/deployment.ts'
import { isExclusive } from '../../api/exclusive.ts'
import type { Stored } from '../../api/meta.ts'
import { ANNOTATION, LABEL } from '../../api/names.ts'
import type { ReplicaSet } from '../../api/replicaset.ts'
import { controllerReference } from '../common/owners.ts'
import { templateHash } from './hash.ts'
import { planRollback, type Rollback, rollbackInForce } from './rollback.ts'
import { isScaling, newSetSize, planRolling, planScale, planStopOld, type Sizes } from './scaling.ts'
import { type Bounds, boundsOf, findNewSet, replicasOf, revisionOf, type StoredSet } from './sets.ts'
import { type DeploymentStatus, isComplete, planStatus } from './status.ts'

const REVISION_HISTORY = 'deployment.kubernetes.io/revision-history'
/** Speak of one object alone: they are not handed on from the deployment to its sets. */
const OWN_ANNOTATIONS: ReadonlySet<string> = new Set([
  ANNOTATION.lastApplied,
  ANNOTATION.revision,
  ANNOTATION.desiredReplicas,
  ANNOTATION.maxReplicas,
  REVISION_HISTORY,
  'deprecated.deployment.rollback.to',
  ANNOTATION.completedRevision,
  ANNOTATION.rolledBackTo,
  ANNOTATION.rolledBackReason,
  ANNOTATION.rolledBackMessage,
])

export interface DeploymentSnapshot {
  deployment: Stored<Deployment>
  /** Sets that the deployment controls, their counts as their pods stand now. */
  sets: readonly StoredSet[]
  /** By uid of the set: pods which have not ended, terminating ones too. Sets without any are not in it. */
  podsLeft: ReadonlyMap<string, number>
  /** Rollouts that fail go back. */
  autoRollback?: boolean
  /** By uid of sets: why their pods are known to fail. */
  troubles?: ReadonlyMap<string, string>
  nowMs: number
}

export interface DeploymentSteps {
  createSet: { set: ReplicaSet }
  updateSet: {
    set: StoredSet
    replicas: number
    minReadySeconds: number
    annotations: Record<string, string>
  }
  deleteSet: { set: StoredSet }
  rollBack: { rollback: Rollback }
  annotate: { annotations: Record<string, string> }
  setStatus: { status: DeploymentStatus }
}
/** One map of arguments gives the union; the executor's switch over it is complete or does not compile. */
export type DeploymentStep = { [K in keyof DeploymentSteps]: { type: K } & DeploymentSteps[K] }[keyof DeploymentSteps]

export interface DeploymentPlan {
  steps: DeploymentStep[]
  againAfterMs: number | undefined
}

export function planDeployment(snapshot: DeploymentSnapshot): DeploymentPlan {
  const { deployment, sets, nowMs } = snapshot
  const wanted = findNewSet(deployment, sets)
  const rollback = snapshot.autoRollback === true ? rollbackInForce(wanted, sets) : undefined
  const newSet = rollback?.to ?? wanted
  const oldSets = sets.filter((set) => set !== newSet)
  if (isTerminating(deployment)) return { steps: [], againAfterMs: undefined }

  const bounds = boundsOf(deployment)
  const revision = planRevision(newSet, oldSets)
  const free = planSizes(snapshot, bounds, newSet, oldSets)
  const exclusive = [deployment, ...sets.filter(({ metadata }) => snapshot.podsLeft.has(metadata.uid))].some(
    ({ spec }) => isExclusive(spec.template),
  )
  const { sizes, create } = exclusive ? oneAtATime(snapshot, bounds, free) : free
  const made = create === undefined ? undefined : newReplicaSet(deployment, { replicas: create, revision, bounds })
  const act =
    made !== undefined
      ? { reason: 'NewReplicaSetCreated', message: `Created new replica set "${made.metadata.name}"` }
      : newSet !== undefined && revisionOf(newSet) !== revision
        ? { reason: 'FoundNewReplicaSet', message: `Found new replica set "${newSet.metadata.name}"` }
        : undefined
  const found = { deployment, newSet, oldSets, nowMs, act, rollback }
  const { status, againAfterMs } = planStatus(found)
  const begun = rollback === undefined ? beginRollback(snapshot, { newSet, oldSets, status }) : undefined
  const complete = newSet !== undefined && isComplete(deployment, status)

  const steps: DeploymentStep[] = []
  if (made !== undefined) steps.push({ type: 'createSet', set: made })
  steps.push(...planSetUpdates({ deployment, sets, newSet, bounds, sizes, revision, complete }))
  if (complete) {
    // Without the set that failed its template would be tried again.
    const spare = oldSets.filter((set) => set !== rollback?.from)
    steps.push(...planHistory(deployment, spare))
  }
  if (begun !== undefined) steps.push({ type: 'rollBack', rollback: begun })
  // Said in the same write as the failure itself: nobody is to see the one without the other.
  steps.push({
    type: 'setStatus',
    status: begun === undefined ? status : planStatus({ ...found, rollback: begun }).status,
  })
  if (made !== undefined || newSet !== undefined) {
    steps.push({ type: 'annotate', annotations: { [ANNOTATION.revision]: String(revision) } })
  }
  return { steps, againAfterMs }
}

function beginRollback(
  { deployment, autoRollback, troubles }: DeploymentSnapshot,
  found: { newSet: StoredSet | undefined; oldSets: readonly StoredSet[]; status: DeploymentStatus },
): Rollback | undefined {
  const { newSet } = found
  if (autoRollback !== true || newSet === undefined) return undefined
  return planRollback({ ...found, deployment, newSet, trouble: troubles?.get(newSet.metadata.uid) })
}

/** A set that comes into use again gets a new, highest number, so that numbers tell the order of rollouts. */
function planRevision(newSet: StoredSet | undefined, oldSets: readonly StoredSet[]): number {
  const highestOld = Math.max(0, ...oldSets.map(revisionOf))
  return Math.max(newSet === undefined ? 0 : revisionOf(newSet), highestOld + 1)
}

interface PlannedSizes {
  sizes: Sizes
  /** Of a set that is to be made. */
  create?: number
}

/** Exclusive pods: sets grow into the room that others have left, not into what they have merely been told to leave. */
function oneAtATime(
  { sets, podsLeft }: DeploymentSnapshot,
  { replicas }: Bounds,
  { sizes, create }: PlannedSizes,
): PlannedSizes {
  const held = (set: StoredSet): number => Math.max(replicasOf(set), podsLeft.get(set.metadata.uid) ?? 0)
  let room = Math.max(0, replicas - sets.reduce((sum, set) => sum + held(set), 0))
  const limited: Sizes = new Map()
  for (const [set, size] of sizes) {
    const most = Math.min(size, held(set) + room)
    room -= Math.max(0, most - held(set))
    if (most !== replicasOf(set)) limited.set(set, most)
  }
  return create === undefined ? { sizes: limited } : { sizes: limited, create: Math.min(create, room) }
}

/** New numbers for the sets, and the size of a new one if it is time to make it. */
function planSizes(
  { deployment, sets, podsLeft }: DeploymentSnapshot,
  bounds: Bounds,
  newSet: StoredSet | undefined,
  oldSets: readonly StoredSet[],
): PlannedSizes {
  if (deployment.spec.paused === true || isScaling(bounds, sets)) return { sizes: planScale(bounds, newSet, oldSets) }
  if (deployment.spec.strategy?.type === 'Recreate') {
    const stop = planStopOld(oldSets)
    if (stop.size > 0) return { sizes: stop }
    // Two templates never run side by side: that is what Recreate is chosen for.
    if (oldSets.some((set) => podsLeft.has(set.metadata.uid))) return { sizes: new Map() }
    if (newSet === undefined) return { sizes: new Map(), create: bounds.replicas }
    return { sizes: replicasOf(newSet) === bounds.replicas ? new Map() : new Map([[newSet, bounds.replicas]]) }
  }
  if (newSet === undefined) return { sizes: new Map(), create: newSetSize(bounds, 0, oldSets) }
  return { sizes: planRolling(bounds, newSet, oldSets) }
}

function sizeAnnotations({ replicas, maxSurge }: Bounds): Record<string, string> {
  return { [ANNOTATION.desiredReplicas]: String(replicas), [ANNOTATION.maxReplicas]: String(replicas + maxSurge) }
}

function handedOn(deployment: Deployment): Record<string, string> {
  const entries = Object.entries(deployment.metadata.annotations ?? {}).filter(([key]) => !OWN_ANNOTATIONS.has(key))
  return Object.fromEntries(entries)
}

function newReplicaSet(
  deployment: Stored<Deployment>,
  { replicas, revision, bounds }: { replicas: number; revision: number; bounds: Bounds },
): ReplicaSet {
  const { spec, metadata } = deployment
  const hash = { [LABEL.podTemplateHash]: templateHash(spec.template, deployment.status?.collisionCount ?? 0) }
  const template = structuredClone(spec.template)
  template.metadata = { ...template.metadata, labels: { ...template.metadata?.labels, ...hash } }
  return {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: `${metadata.name}-${hash[LABEL.podTemplateHash]}`,
      namespace: metadata.namespace ?? '',
      labels: { ...template.metadata.labels },
      annotations: { ...handedOn(deployment), [ANNOTATION.revision]: String(revision), ...sizeAnnotations(bounds) },
      ownerReferences: [controllerReference(deploymentKind, deployment)],
    },
    spec: {
      replicas,
      minReadySeconds: spec.minReadySeconds ?? 0,
      selector: { ...spec.selector, matchLabels: { ...spec.selector.matchLabels, ...hash } },
      template,
    },
  }
}

interface UpdateInput {
  deployment: Stored<Deployment>
  sets: readonly StoredSet[]
  newSet: StoredSet | undefined
  bounds: Bounds
  sizes: Sizes
  revision: number
  /** All pods of the new set are available, and no others are left. */
  complete: boolean
}

/** One write a set: its size, and what the set of the present template takes over from the deployment. */
function planSetUpdates(input: UpdateInput): DeploymentStep[] {
  const { deployment, sets, newSet, bounds, sizes, revision, complete } = input
  const steps: DeploymentStep[] = []
  const scaling = isScaling(bounds, sets)
  for (const set of sets) {
    const annotations: Record<string, string> = {}
    if (sizes.has(set) || (scaling && replicasOf(set) > 0)) Object.assign(annotations, sizeAnnotations(bounds))
    if (set === newSet) Object.assign(annotations, handedOn(deployment), revisionAnnotations(set, revision))
    if (set === newSet && complete && bounds.replicas > 0) annotations[ANNOTATION.completedRevision] = String(revision)
    const step = {
      type: 'updateSet' as const,
      set,
      replicas: sizes.get(set) ?? replicasOf(set),
      minReadySeconds: set === newSet ? (deployment.spec.minReadySeconds ?? 0) : (set.spec.minReadySeconds ?? 0),
      annotations,
    }
    const differs = Object.entries(annotations).some(([key, value]) => set.metadata.annotations?.[key] !== value)
    const resized = step.replicas !== replicasOf(set) || step.minReadySeconds !== (set.spec.minReadySeconds ?? 0)
    if (differs || resized) steps.push(step)
  }
  return steps
}

function revisionAnnotations(set: StoredSet, revision: number): Record<string, string> {
  const old = revisionOf(set)
  if (old === revision) return {}
  const history = [set.metadata.annotations?.[REVISION_HISTORY], old > 0 ? String(old) : undefined]
  const past = history.filter((text) => text !== undefined && text !== '').join(',')
  return { [ANNOTATION.revision]: String(revision), ...(past === '' ? {} : { [REVISION_HISTORY]: past }) }
}

/** Empty old sets beyond the limit, lowest revision first. */
function planHistory(deployment: Deployment, oldSets: readonly StoredSet[]): DeploymentStep[] {
  const limit = deployment.spec.revisionHistoryLimit ?? 10
  const kept = oldSets.filter((set) => !isTerminating(set))
  const isEmpty = (set: StoredSet): boolean =>
    replicasOf(set) === 0 &&
    (set.status?.replicas ?? 0) === 0 &&
    (set.metadata.generation ?? 0) <= (set.status?.observedGeneration ?? 0)
  return kept
    .sort((a, b) => revisionOf(a) - revisionOf(b))
    .slice(0, Math.max(0, kept.length - limit))
    .filter(isEmpty)
    .map((set) => ({ type: 'deleteSet', set }))
}
