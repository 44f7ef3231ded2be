/**
 * A deployment's status from its ReplicaSets: pure. Reasons and messages are Kubernetes' own, because
 * `kubectl rollout status`, Helm and others read them.
 */
import { findCondition } from '../../api/conditions.ts'
import type { Deployment } from '../../api/deployment.ts'
import type { Condition, Stored } from '../../api/meta.ts'
import { timestamp } from '../../base/clock.ts'
import { jsonEqual } from '../../base/json.ts'
import { isOnTheWayUp } from '../common/writes.ts'
import type { Rollback } from './rollback.ts'
import { boundsOf, type StoredSet, sumReplicas } from './sets.ts'

export type DeploymentStatus = NonNullable<Deployment['status']>

/** No deadline at all, as Kubernetes writes it. */
const NO_DEADLINE = 2 ** 31 - 1

/** The reason of a rollout that has moved. */
const PROGRESSED = 'ReplicaSetUpdated'

export interface StatusInput {
  deployment: Stored<Deployment>
  newSet: StoredSet | undefined
  oldSets: readonly StoredSet[]
  nowMs: number
  /** What this pass does for progress, which the sets cannot show yet. */
  act?: { reason: string; message: string } | undefined
  /** The deployment's own set has failed, and an older one stands in. */
  rollback?: Rollback | undefined
}

export interface StatusPlan {
  status: DeploymentStatus
  /** When the progress deadline may have passed. */
  againAfterMs: number | undefined
}

type Counter = 'replicas' | 'readyReplicas' | 'availableReplicas' | 'terminatingReplicas'

export function planStatus(input: StatusInput): StatusPlan {
  const { deployment, newSet, oldSets, nowMs } = input
  const all = newSet === undefined ? oldSets : [newSet, ...oldSets]
  const sum = (field: Counter): number => all.reduce((total, set) => total + (set.status?.[field] ?? 0), 0)
  const availableReplicas = sum('availableReplicas')
  const status: DeploymentStatus = {
    ...deployment.status,
    replicas: sum('replicas'),
    updatedReplicas: newSet?.status?.replicas ?? 0,
    readyReplicas: sum('readyReplicas'),
    availableReplicas,
    unavailableReplicas: Math.max(0, sumReplicas(all) - availableReplicas),
    terminatingReplicas: sum('terminatingReplicas'),
  }
  if (deployment.metadata.generation !== undefined) status.observedGeneration = deployment.metadata.generation
  const conditions = [
    availableCondition(deployment, availableReplicas),
    progressCondition(input, status),
    failureCondition(all),
    rollbackCondition(input),
  ].filter((condition) => condition !== undefined)
  status.conditions = conditions.map((next) => stamp(deployment, next, nowMs))
  return { status, againAfterMs: deadlineInMs(deployment, status, nowMs) }
}

type Unstamped = Omit<Condition, 'lastUpdateTime' | 'lastTransitionTime'> & { touched?: boolean }

/** Times move with what they speak of: the transition with the status, the update with anything, or when touched. */
function stamp(deployment: Deployment, { touched = false, ...next }: Unstamped, nowMs: number): Condition {
  const old = findCondition(deployment.status?.conditions, next.type)
  const now = timestamp(nowMs)
  const same = old?.status === next.status && old.reason === next.reason && old.message === next.message
  return {
    ...next,
    lastUpdateTime: same && !touched ? (old?.lastUpdateTime ?? now) : now,
    lastTransitionTime: old?.status === next.status ? (old?.lastTransitionTime ?? now) : now,
  }
}

function availableCondition(deployment: Deployment, available: number): Unstamped {
  const { replicas, maxUnavailable } = boundsOf(deployment)
  return available >= replicas - maxUnavailable
    ? {
        type: 'Available',
        status: 'True',
        reason: 'MinimumReplicasAvailable',
        message: 'Deployment has minimum availability.',
      }
    : {
        type: 'Available',
        status: 'False',
        reason: 'MinimumReplicasUnavailable',
        message: 'Deployment does not have minimum availability.',
      }
}

function rollbackCondition({ rollback }: StatusInput): Unstamped | undefined {
  if (rollback === undefined) return undefined
  return { type: 'RolledBack', status: 'True', reason: rollback.reason, message: rollback.message }
}

function failureCondition(sets: readonly StoredSet[]): Unstamped | undefined {
  for (const set of sets) {
    const failure = findCondition(set.status?.conditions, 'ReplicaFailure')
    if (failure === undefined) continue
    const { lastTransitionTime: _transition, lastUpdateTime: _update, ...rest } = failure
    return rest
  }
  return undefined
}

/**
 * Whether the next status will say all that this one does: pods are on the way up, and of the conditions only the
 * progress was touched, which is reckoned from the stored counts and so is found again.
 */
export function mayPutOff(before: DeploymentStatus | undefined, after: DeploymentStatus, wanted: number): boolean {
  if (!isOnTheWayUp(before, after, wanted) || before?.observedGeneration !== after.observedGeneration) return false
  if (before?.conditions?.length !== after.conditions?.length) return false
  return (after.conditions ?? []).every((next) => {
    const old = findCondition(before?.conditions, next.type)
    return jsonEqual(old, next) || (next.reason === PROGRESSED && old?.status === next.status)
  })
}

/** All pods are of the new template, all serve, and no others are left. */
export function isComplete(deployment: Deployment, status: DeploymentStatus): boolean {
  const { replicas } = boundsOf(deployment)
  return status.updatedReplicas === replicas && status.replicas === replicas && status.availableReplicas === replicas
}

function hasMoved(status: DeploymentStatus, old: DeploymentStatus = {}): boolean {
  const rest = (of: DeploymentStatus): number => (of.replicas ?? 0) - (of.updatedReplicas ?? 0)
  return (
    (status.updatedReplicas ?? 0) > (old.updatedReplicas ?? 0) ||
    rest(status) < rest(old) ||
    (status.readyReplicas ?? 0) > (old.readyReplicas ?? 0) ||
    (status.availableReplicas ?? 0) > (old.availableReplicas ?? 0)
  )
}

function deadlineSeconds({ spec }: Deployment): number | undefined {
  const seconds = spec.progressDeadlineSeconds ?? NO_DEADLINE
  return seconds === NO_DEADLINE ? undefined : seconds
}

function progressCondition(input: StatusInput, status: DeploymentStatus): Unstamped | undefined {
  const { deployment, newSet, act } = input
  const old = findCondition(deployment.status?.conditions, 'Progressing')
  const type = 'Progressing'
  // In the words that make every client's `rollout status` fail: what was asked for did not come about.
  if (input.rollback !== undefined) {
    return { type, status: 'False', reason: 'ProgressDeadlineExceeded', message: input.rollback.message }
  }
  if (deadlineSeconds(deployment) === undefined) return undefined
  if (deployment.spec.paused === true) {
    if (old?.reason === 'ProgressDeadlineExceeded') return old
    return { type, status: 'Unknown', reason: 'DeploymentPaused', message: 'Deployment is paused' }
  }
  if (act !== undefined) return { type, status: 'True', touched: true, ...act }
  const settled = old?.reason === 'NewReplicaSetAvailable' && status.replicas === status.updatedReplicas
  if (settled) return old
  const subject =
    newSet === undefined ? `Deployment "${deployment.metadata.name}"` : `ReplicaSet "${newSet.metadata.name}"`
  if (isComplete(deployment, status)) {
    const message = `${subject} has successfully progressed.`
    return { type, status: 'True', reason: 'NewReplicaSetAvailable', message }
  }
  if (old?.reason === 'DeploymentPaused') {
    const message = 'Deployment is resumed'
    return { type, status: 'Unknown', reason: 'DeploymentResumed', message, touched: true }
  }
  if (hasMoved(status, deployment.status)) {
    return { type, status: 'True', reason: PROGRESSED, message: `${subject} is progressing.`, touched: true }
  }
  if (old !== undefined && isTimedOut(deployment, old, input.nowMs)) {
    const message = `${subject} has timed out progressing.`
    return { type, status: 'False', reason: 'ProgressDeadlineExceeded', message }
  }
  return old ?? { type, status: 'True', reason: PROGRESSED, message: `${subject} is progressing.` }
}

function isTimedOut(deployment: Deployment, condition: Condition, nowMs: number): boolean {
  if (condition.reason === 'ProgressDeadlineExceeded') return true
  if (condition.reason === 'NewReplicaSetAvailable') return false
  const seconds = deadlineSeconds(deployment)
  return seconds !== undefined && nowMs >= Date.parse(condition.lastUpdateTime ?? '') + seconds * 1000
}

function deadlineInMs(deployment: Deployment, status: DeploymentStatus, nowMs: number): number | undefined {
  const seconds = deadlineSeconds(deployment)
  const condition = findCondition(status.conditions, 'Progressing')
  if (seconds === undefined || condition === undefined || deployment.spec.paused === true) return undefined
  if (condition.reason === 'NewReplicaSetAvailable' || condition.reason === 'ProgressDeadlineExceeded') return undefined
  return Math.max(1, Date.parse(condition.lastUpdateTime ?? '') + seconds * 1000 - nowMs)
}
