/** Which pods a job needs now: pure. It reads the books as they are stored (account.ts), never as they will be. */
import { findCondition, isPodFinished, isTerminating } from '../../api/conditions.ts'
import { type Job, jobOutcome } from '../../api/job.ts'
import type { Stored } from '../../api/meta.ts'
import type { Pod } from '../../api/pod.ts'
import { completionsDone, isAccounted, isActivePod, type JobSnapshot, succeededOf } from './account.ts'
import { indexOfPod } from './indexes.ts'
import { carriesCount, failedIndexes, hasOwnLimits, indexFailures } from './per_index.ts'
import { endedAtMs, isTracked, verdictOn } from './verdict.ts'

/** Creations of one pass; the rest follows when these have been written. */
export const MAX_IN_FLIGHT = 500
const FIRST_DELAY_MS = 10_000
const MAX_DELAY_MS = 600_000

export interface JobPlan {
  /** Completion indexes of new pods; undefined for those of jobs that have none. */
  create: (number | undefined)[]
  /** How often an index to be made has failed before, where each has a limit of its own. */
  failures: Map<number, number>
  /** Pods that run and are not wanted: they count for nothing, so they lose their finalizer first. */
  delete: Stored<Pod>[]
  /** Pods whose end is in the books: the finalizer goes. */
  release: Stored<Pod>[]
  /** Running pods that came from elsewhere: they get the finalizer, so that how they end will count. */
  track: Stored<Pod>[]
  /** Its time after the end is up. */
  expired: boolean
  againAfterMs: number | undefined
}

export function planJob(snapshot: JobSnapshot): JobPlan {
  const { job, pods, nowMs } = snapshot
  const plan: JobPlan = {
    create: [],
    failures: new Map(),
    delete: [],
    release: [],
    track: [],
    expired: false,
    againAfterMs: undefined,
  }
  const tracked = pods.filter(isTracked)
  const outcome = jobOutcome(job)
  if (outcome !== undefined || isTerminating(job)) {
    plan.release = tracked
    if (outcome !== undefined && !isTerminating(job)) planExpiry(job, nowMs, plan)
    return plan
  }
  const ownLimits = hasOwnLimits(job)
  const over = new Set([...completionsDone(job), ...failedIndexes(job)])
  const isKept = (pod: Pod): boolean => ownLimits && !over.has(indexOfPod(pod) ?? -1) && carriesCount(job, pod, pods)
  plan.release = tracked.filter((pod) => isAccounted(job, pod) && !(isGoingOn(job) && isKept(pod)))
  const active = pods.filter(isActivePod)
  if (job.spec.suspend === true || !isGoingOn(job)) {
    plan.delete = active
    return plan
  }
  planActive(snapshot, active, plan)
  plan.track = active.filter((pod) => !isTracked(pod) && !plan.delete.includes(pod))
  planDeadline(job, nowMs, plan)
  return plan
}

/** Neither its success nor its failure has been decided. */
function isGoingOn({ status }: Job): boolean {
  const isSet = (type: string): boolean => findCondition(status?.conditions, type)?.status === 'True'
  return !isSet('FailureTarget') && !isSet('SuccessCriteriaMet')
}

function planExpiry({ spec, status }: Job, nowMs: number, plan: JobPlan): void {
  if (spec.ttlSecondsAfterFinished === undefined) return
  const failedAt = findCondition(status?.conditions, 'Failed')?.lastTransitionTime
  const endedMs = Date.parse(status?.completionTime ?? failedAt ?? '')
  if (Number.isNaN(endedMs)) return
  const leftMs = endedMs + spec.ttlSecondsAfterFinished * 1000 - nowMs
  if (leftMs <= 0) plan.expired = true
  else plan.againAfterMs = leftMs
}

function planDeadline({ spec, status }: Job, nowMs: number, plan: JobPlan): void {
  if (spec.activeDeadlineSeconds === undefined || status?.startTime === undefined) return
  const leftMs = Math.max(0, Date.parse(status.startTime) + spec.activeDeadlineSeconds * 1000 - nowMs)
  plan.againAfterMs = Math.min(plan.againAfterMs ?? leftMs, leftMs)
}

function wantedActive({ job }: JobSnapshot, active: number): number {
  const { parallelism = 1, completions } = job.spec
  const succeeded = succeededOf(job)
  const open = (completions ?? 0) - succeeded - failedIndexes(job).size
  if (completions !== undefined) return Math.min(parallelism, Math.max(0, open))
  return succeeded > 0 ? Math.min(active, parallelism) : parallelism
}

function planActive(snapshot: JobSnapshot, active: readonly Stored<Pod>[], plan: JobPlan): void {
  const { job, pods } = snapshot
  const isIndexed = job.spec.completionMode === 'Indexed'
  const { useful, surplus } = isIndexed ? sortIndexed(job, active) : { useful: [...active], surplus: [] }
  const wanted = wantedActive(snapshot, useful.length)
  // The youngest have the least to lose.
  useful.sort((a, b) => (a.metadata.creationTimestamp < b.metadata.creationTimestamp ? -1 : 1))
  plan.delete = [...surplus, ...useful.slice(wanted)]
  // Ends that are not booked yet stand for what they may have completed; their turn comes when they are.
  const waiting = pods.filter((pod) => isTracked(pod) && !isActivePod(pod) && !isAccounted(job, pod))
  const missing = wanted - useful.length - waiting.length
  if (missing <= 0) return
  const failures = hasOwnLimits(job) ? indexFailures(job, pods) : undefined
  const delayMs = failures === undefined ? backoffMs(snapshot) : 0
  if (delayMs > 0) {
    plan.againAfterMs = delayMs
    return
  }
  const count = Math.min(missing, MAX_IN_FLIGHT)
  if (missing > count) plan.againAfterMs = 0
  if (!isIndexed) plan.create = Array.from({ length: count }, () => undefined)
  else {
    const taken = new Set([...useful, ...waiting].map(indexOfPod))
    for (const index of [...completionsDone(job), ...failedIndexes(job)]) taken.add(index)
    for (let index = 0; index < (job.spec.completions ?? 0) && plan.create.length < count; index++) {
      if (taken.has(index)) continue
      const failed = failures?.get(index)
      const waitMs = failed === undefined ? 0 : failed.lastMs + delayAfter(failed.count) - snapshot.nowMs
      if (waitMs > 0) plan.againAfterMs = Math.min(plan.againAfterMs ?? waitMs, waitMs)
      else {
        plan.create.push(index)
        if (failed !== undefined) plan.failures.set(index, failed.count)
      }
    }
  }
}

/** Pods whose index is done, is no index of the job, or has a pod already are of no use. */
function sortIndexed(job: Job, active: readonly Stored<Pod>[]): { useful: Stored<Pod>[]; surplus: Stored<Pod>[] } {
  const seen = new Set([...completionsDone(job), ...failedIndexes(job)])
  const useful: Stored<Pod>[] = []
  const surplus: Stored<Pod>[] = []
  for (const pod of active) {
    const index = indexOfPod(pod)
    const fits = index !== undefined && index < (job.spec.completions ?? 0) && !seen.has(index)
    if (fits) seen.add(index)
    ;(fits ? useful : surplus).push(pod)
  }
  return { useful, surplus }
}

/** Ten seconds after the first failure in a row, then twice as long each time. Read from the pods, so a failover keeps it. */
function backoffMs({ job, pods, nowMs }: JobSnapshot): number {
  const ended = pods
    .filter((pod) => isPodFinished(pod) || isTerminating(pod))
    .map((pod) => ({ end: verdictOn(job, pod)?.end, atMs: endedAtMs(pod) }))
    .filter(({ end }) => end !== undefined && end !== 'ignored')
    .sort((a, b) => b.atMs - a.atMs)
  const success = ended.findIndex(({ end }) => end === 'succeeded')
  const failures = success < 0 ? ended.length : success
  if (failures === 0) return 0
  return Math.max(0, (ended[0]?.atMs ?? 0) + delayAfter(failures) - nowMs)
}

function delayAfter(failures: number): number {
  return Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (failures - 1))
}
