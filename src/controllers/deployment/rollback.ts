/**
 * Automatic rollback: pure. A rollout that fails is answered by the set that last had all its pods available. The
 * deployment's template stays as its user wrote it; that its set failed, and which set stands in, is written on the
 * failed set. So there is no quarrel with whoever applies the template again, it is not tried again until it changes,
 * and any leader carries on from what is stored.
 * Rejected: writing the old template into the deployment, which the next apply would undo, and fail again.
 */
import { findCondition, isTerminating } from '../../api/conditions.ts'
import type { Deployment } from '../../api/deployment.ts'
import { ANNOTATION } from '../../api/names.ts'
import { revisionOf, type StoredSet } from './sets.ts'
import type { DeploymentStatus } from './status.ts'

export interface Rollback {
  from: StoredSet
  to: StoredSet
  reason: string
  message: string
}

/** The rollback that stands, if the deployment's own set has failed and the one that stands in is still there. */
export function rollbackInForce(wanted: StoredSet | undefined, sets: readonly StoredSet[]): Rollback | undefined {
  const annotations = wanted?.metadata.annotations ?? {}
  const name = annotations[ANNOTATION.rolledBackTo]
  if (wanted === undefined || name === undefined) return undefined
  const to = sets.find((set) => set.metadata.name === name && !isTerminating(set))
  if (to === undefined || to === wanted) return undefined
  const { [ANNOTATION.rolledBackReason]: reason = 'Failed', [ANNOTATION.rolledBackMessage]: message = '' } = annotations
  return { from: wanted, to, reason, message }
}

/** Whether all pods of the set were available under its present revision. */
export function hasCompleted(set: StoredSet): boolean {
  return completedRevision(set) > 0 && completedRevision(set) === revisionOf(set)
}

function completedRevision(set: StoredSet): number {
  return Number(set.metadata.annotations?.[ANNOTATION.completedRevision] ?? 0) || 0
}

export interface RollbackInput {
  deployment: Deployment
  newSet: StoredSet
  oldSets: readonly StoredSet[]
  /** As this pass found it. */
  status: DeploymentStatus
  /** Why the pods of the new set are known to fail. */
  trouble: string | undefined
}

/** The rollback to begin; undefined while the rollout may yet succeed, or there is nothing to go back to. */
export function planRollback({ deployment, newSet, oldSets, status, trouble }: RollbackInput): Rollback | undefined {
  if (deployment.spec.paused === true || hasCompleted(newSet)) return undefined
  const progressing = findCondition(status.conditions, 'Progressing')
  const late = progressing?.reason === 'ProgressDeadlineExceeded'
  if (!late && trouble === undefined) return undefined
  const [to] = oldSets
    .filter((set) => completedRevision(set) > 0 && !isTerminating(set))
    .sort((a, b) => revisionOf(b) - revisionOf(a))
  if (to === undefined) return undefined
  const seconds = deployment.spec.progressDeadlineSeconds
  const why = trouble ?? `no progress within ${seconds} s`
  const message = `Revision ${revisionOf(newSet)} (${newSet.metadata.name}) failed: ${why}; ${to.metadata.name}, last available as revision ${completedRevision(to)}, stands in until the template changes`
  return { from: newSet, to, reason: trouble === undefined ? 'ProgressDeadlineExceeded' : 'CrashLoop', message }
}
