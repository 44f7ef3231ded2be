/**
 * A job's books: which ends of pods have been counted, and what the job's conditions follow. Pure.
 *
 * A completion is counted once, whatever dies in between:
 *
 *     pod ends ─► its uid stands in status.uncountedTerminatedPods ─► its finalizer goes ─► the counter goes up, the uid goes
 *              one status write                            one pod write               one status write
 *
 * The finalizer keeps the pod until its end is in the books, whoever deletes it (users, pod garbage, a lost node); the uid in the books
 * keeps it from being counted again while the finalizer stands. Indexes are a set, so they need no such list. Rejected: counting the
 * finished pods that are stored, which a deletion of any of them would undo.
 *
 * A pod that was told to end counts as failed before it has ended. While its finalizer stands it may still end well: then it is a
 * success and no failure.
 */
import { findCondition, isPodFinished, isPodReady, isTerminating, withCondition } from '../../api/conditions.ts'
import { type Job, jobOutcome } from '../../api/job.ts'
import type { Condition, Stored } from '../../api/meta.ts'
import type { Pod } from '../../api/pod.ts'
import { timestamp } from '../../base/clock.ts'
import { formatIndexes, indexOfPod, parseIndexes } from './indexes.ts'
import { failedIndexes, failsIndex, hasOwnLimits, successRule } from './per_index.ts'
import { isTracked, restartsOf, verdictOn } from './verdict.ts'

export type JobStatus = NonNullable<Job['status']>

export interface JobSnapshot {
  job: Stored<Job>
  /** Pods that the job controls. */
  pods: readonly Stored<Pod>[]
  nowMs: number
}

interface Decision {
  reason: string
  message: string
}

export function isActivePod(pod: Pod): boolean {
  return !isPodFinished(pod) && !isTerminating(pod)
}

export function completionsDone({ spec, status }: Job): Set<number> {
  return parseIndexes(status?.completedIndexes, spec.completions ?? 0)
}

/** Succeeded pods (or indexes), counted or about to be. */
export function succeededOf(job: Job): number {
  if (job.spec.completionMode === 'Indexed') return completionsDone(job).size
  return (job.status?.succeeded ?? 0) + (job.status?.uncountedTerminatedPods?.succeeded?.length ?? 0)
}

export function failedOf({ status }: Job): number {
  return (status?.failed ?? 0) + (status?.uncountedTerminatedPods?.failed?.length ?? 0)
}

/** Whether the books, as stored, hold how this pod ended; then it needs no longer be kept. */
export function isAccounted(job: Job, pod: Pod): boolean {
  const verdict = verdictOn(job, pod)
  const uid = pod.metadata.uid ?? ''
  const { succeeded = [], failed = [] } = job.status?.uncountedTerminatedPods ?? {}
  switch (verdict?.end) {
    case undefined:
      return false
    case 'ignored':
      return true
    case 'succeeded': {
      if (job.spec.completionMode !== 'Indexed') return succeeded.includes(uid)
      const index = indexOfPod(pod)
      // An index that the job does not have completes nothing.
      return index === undefined || index >= (job.spec.completions ?? 0) || completionsDone(job).has(index)
    }
    case 'fatal':
    case 'failed':
      return failed.includes(uid)
  }
}

/** Whether nothing of the pod is left to count: the job is over, or how the pod ended is in the books. */
export function isReleased(job: Stored<Job>, pod: Pod): boolean {
  return jobOutcome(job) !== undefined || isTerminating(job) || isAccounted(job, pod)
}

/** The status as the books and the pods now say. Conditions that were reached stay. */
export function planStatus(snapshot: JobSnapshot): JobStatus {
  const { job, pods, nowMs } = snapshot
  const { fatal, ...counted } = count(snapshot)
  const active = pods.filter(isActivePod)
  const status: JobStatus = {
    ...job.status,
    ...counted,
    active: active.length,
    ready: active.filter(isPodReady).length,
    terminating: pods.filter((pod) => isTerminating(pod) && !isPodFinished(pod)).length,
  }
  if (jobOutcome(job) !== undefined || isTerminating(job)) return status
  if (job.spec.suspend === true) delete status.startTime
  else status.startTime ??= timestamp(nowMs)
  const next = { ...job, status }
  status.conditions = [...conclude({ ...snapshot, job: next }, fatal)]
  if (status.conditions.length === 0) delete status.conditions
  if (findCondition(status.conditions, 'Complete')?.status === 'True') status.completionTime ??= timestamp(nowMs)
  return status
}

function count({ job, pods }: JobSnapshot): Partial<JobStatus> & { fatal: string | undefined } {
  const tracked = new Map(pods.filter(isTracked).map((pod) => [pod.metadata.uid as string, pod]))
  const old = job.status ?? {}
  const pending = old.uncountedTerminatedPods ?? {}
  // Those whose finalizer has gone are booked for good.
  const keptSucceeded = (pending.succeeded ?? []).filter((uid) => tracked.has(uid))
  const endedWell = (uid: string): boolean => tracked.get(uid)?.status?.phase === 'Succeeded'
  const tookBack = (pending.failed ?? []).filter(endedWell)
  const keptFailed = (pending.failed ?? []).filter((uid) => tracked.has(uid) && !endedWell(uid))
  let succeeded = (old.succeeded ?? 0) + (pending.succeeded ?? []).length - keptSucceeded.length
  const failed = (old.failed ?? 0) + (pending.failed ?? []).length - keptFailed.length - tookBack.length
  const isIndexed = job.spec.completionMode === 'Indexed'
  const indexes = completionsDone(job)
  const lost = failedIndexes(job)
  let fatal: string | undefined
  for (const [uid, pod] of tracked) {
    const verdict = verdictOn(job, pod)
    if (verdict === undefined || verdict.end === 'ignored') continue
    if (verdict.end === 'succeeded') {
      const index = indexOfPod(pod)
      if (!isIndexed) {
        if (!keptSucceeded.includes(uid)) keptSucceeded.push(uid)
      } else if (index !== undefined && index < (job.spec.completions ?? 0)) indexes.add(index)
      continue
    }
    if (verdict.end === 'fatal') fatal ??= verdict.message
    if (!keptFailed.includes(uid)) keptFailed.push(uid)
    const index = indexOfPod(pod)
    if (index !== undefined && hasOwnLimits(job) && failsIndex(job, pod)) lost.add(index)
  }
  for (const index of indexes) lost.delete(index)
  if (isIndexed) succeeded = indexes.size
  const uncounted = {
    ...(keptSucceeded.length > 0 && { succeeded: keptSucceeded }),
    ...(keptFailed.length > 0 && { failed: keptFailed }),
  }
  return {
    succeeded,
    failed,
    uncountedTerminatedPods: uncounted,
    ...(isIndexed && { completedIndexes: formatIndexes(indexes) }),
    ...(hasOwnLimits(job) && { failedIndexes: formatIndexes(lost) }),
    fatal,
  }
}

/** Conditions: first what has been decided, then, when no pod is left that could change anything, what has become of it. */
function conclude(snapshot: JobSnapshot, fatal: string | undefined): readonly Condition[] {
  const { job, pods, nowMs } = snapshot
  let conditions: readonly Condition[] = job.status?.conditions ?? []
  const isSet = (type: string): boolean => findCondition(conditions, type)?.status === 'True'
  const decided = isSet('FailureTarget') || isSet('SuccessCriteriaMet')
  if (!decided) {
    const failure = failureOf(snapshot, fatal)
    const met = successOf(snapshot)
    if (met !== undefined) {
      conditions = withCondition(conditions, { type: 'SuccessCriteriaMet', status: 'True', ...met }, nowMs)
    } else if (failure !== undefined) {
      conditions = withCondition(conditions, { type: 'FailureTarget', status: 'True', ...failure }, nowMs)
    } else conditions = withSuspension(job, conditions, nowMs)
  }
  const { succeeded = [], failed = [] } = job.status?.uncountedTerminatedPods ?? {}
  const open = pods.some((pod) => isTracked(pod) || !isPodFinished(pod)) || succeeded.length + failed.length > 0
  if (open) return conditions
  for (const [target, type] of [
    ['SuccessCriteriaMet', 'Complete'],
    ['FailureTarget', 'Failed'],
  ] as const) {
    const found = findCondition(conditions, target)
    if (found?.status !== 'True') continue
    const { reason = '', message = '' } = found
    conditions = withCondition(conditions, { type, status: 'True', reason, message }, nowMs)
  }
  return conditions
}

function successOf(snapshot: JobSnapshot): Decision | undefined {
  const { job } = snapshot
  const rule = successRule(job, completionsDone(job))
  if (rule !== undefined) return { reason: 'SuccessPolicy', message: `Matched rules at index ${rule}` }
  return isDone(snapshot)
    ? { reason: 'CompletionsReached', message: 'Reached expected number of succeeded pods' }
    : undefined
}

function isDone({ job, pods }: JobSnapshot): boolean {
  const { completions } = job.spec
  const succeeded = succeededOf(job)
  if (completions !== undefined) return succeeded >= completions
  // A work queue: one that succeeded says that there is no more work, the others finish what they hold.
  return succeeded > 0 && !pods.some(isActivePod)
}

function failureOf({ job, pods, nowMs }: JobSnapshot, fatal: string | undefined): Decision | undefined {
  const { backoffLimit = 6, activeDeadlineSeconds, maxFailedIndexes, template } = job.spec
  if (fatal !== undefined) return { reason: 'PodFailurePolicy', message: fatal }
  const restarts = pods.filter(isActivePod).reduce((sum, pod) => sum + restartsOf(pod), 0)
  const restarted =
    template.spec.restartPolicy === 'OnFailure' && (backoffLimit === 0 ? restarts > 0 : restarts >= backoffLimit)
  if (failedOf(job) > backoffLimit || restarted) {
    return { reason: 'BackoffLimitExceeded', message: 'Job has reached the specified backoff limit' }
  }
  const lost = failedIndexes(job).size
  if (lost > (maxFailedIndexes ?? Number.POSITIVE_INFINITY)) {
    const message = 'Job has exceeded the specified maximal number of failed indexes'
    return { reason: 'MaxFailedIndexesExceeded', message }
  }
  if (lost > 0 && lost + completionsDone(job).size >= (job.spec.completions ?? 0)) {
    return { reason: 'FailedIndexes', message: 'Job has failed indexes' }
  }
  const { startTime } = job.status ?? {}
  if (activeDeadlineSeconds !== undefined && startTime !== undefined) {
    if (nowMs >= Date.parse(startTime) + activeDeadlineSeconds * 1000) {
      return { reason: 'DeadlineExceeded', message: 'Job was active longer than specified deadline' }
    }
  }
  return undefined
}

function withSuspension({ spec }: Job, conditions: readonly Condition[], nowMs: number): readonly Condition[] {
  const was = findCondition(conditions, 'Suspended')?.status === 'True'
  if (spec.suspend === true) {
    const value = { type: 'Suspended', status: 'True', reason: 'JobSuspended', message: 'Job suspended' } as const
    return withCondition(conditions, value, nowMs)
  }
  if (!was) return conditions
  const value = { type: 'Suspended', status: 'False', reason: 'JobResumed', message: 'Job resumed' } as const
  return withCondition(conditions, value, nowMs)
}
