/**
 * What a CronJob starts, ends and forgets now: pure. A job's name is its CronJob's with the minute it was due in, so a run is made
 * once however often it is tried; what was last started is read from the status and from the jobs that are there, whichever is later.
 * Of several missed times only the last is made up for, and only within startingDeadlineSeconds.
 */
import { findCondition, isTerminating } from '../../api/conditions.ts'
import { lastTime, nextTime, parseSchedule } from '../../api/cron.ts'
import { type CronJob, SCHEDULED_AT_ANNOTATION } from '../../api/cronjob.ts'
import { type Job, jobOutcome } from '../../api/job.ts'
import type { Stored } from '../../api/meta.ts'
import { timestamp } from '../../base/clock.ts'

export interface CronSnapshot {
  cron: Stored<CronJob>
  /** Jobs that it controls. */
  jobs: readonly Stored<Job>[]
  nowMs: number
}

export interface CronPlan {
  /** Job to start, and the time for which it is due. */
  start: { name: string; dueMs: number } | undefined
  /** Running jobs that make room for it. */
  replace: Stored<Job>[]
  /** A run was due and another still goes on. */
  held: boolean
  /** Finished jobs beyond the history limits. */
  forget: Stored<Job>[]
  status: NonNullable<CronJob['status']>
  againAfterMs: number | undefined
}

const MINUTE_MS = 60_000
/** Wall time may be set: no wait is longer. */
const MAX_WAIT_MS = 600_000

export function planCronJob({ cron, jobs, nowMs }: CronSnapshot): CronPlan {
  const { spec, metadata, status: old } = cron
  const active = jobs.filter((job) => jobOutcome(job) === undefined && !isTerminating(job))
  const lastMs = lastStartedMs(cron, jobs)
  const plan: CronPlan = {
    start: undefined,
    replace: [],
    held: false,
    forget: planHistory(cron, jobs),
    status: { ...old, active: active.map(referenceTo) },
    againAfterMs: undefined,
  }
  if (active.length === 0) delete plan.status.active
  if (lastMs !== undefined) plan.status.lastScheduleTime = timestamp(lastMs)
  const succeeded = jobs.map(({ status }) => status?.completionTime ?? '').filter((time) => time !== '')
  const lastSuccess = [old?.lastSuccessfulTime ?? '', ...succeeded].sort().at(-1)
  if (lastSuccess) plan.status.lastSuccessfulTime = lastSuccess
  if (isTerminating(cron) || spec.suspend === true) return plan
  const schedule = parseSchedule(spec.schedule)
  const deadlineMs = spec.startingDeadlineSeconds === undefined ? Infinity : spec.startingDeadlineSeconds * 1000
  const afterMs = Math.max(lastMs ?? Date.parse(metadata.creationTimestamp), nowMs - deadlineMs)
  const dueMs = afterMs < nowMs ? lastTime(schedule, { afterMs, nowMs }, spec.timeZone) : undefined
  if (dueMs !== undefined) {
    if (active.length > 0 && spec.concurrencyPolicy === 'Forbid') plan.held = true
    else {
      plan.start = { name: `${metadata.name}-${Math.floor(dueMs / MINUTE_MS)}`, dueMs }
      if (spec.concurrencyPolicy === 'Replace') plan.replace = active
    }
  }
  const nextMs = nextTime(schedule, nowMs, spec.timeZone)
  if (nextMs !== undefined) plan.againAfterMs = Math.min(MAX_WAIT_MS, nextMs - nowMs)
  return plan
}

function lastStartedMs(cron: CronJob, jobs: readonly Job[]): number | undefined {
  const times = [
    cron.status?.lastScheduleTime,
    ...jobs.map((job) => job.metadata.annotations?.[SCHEDULED_AT_ANNOTATION]),
  ]
  const known = times.map((time) => Date.parse(time ?? '')).filter((time) => !Number.isNaN(time))
  return known.length > 0 ? Math.max(...known) : undefined
}

function referenceTo({ metadata, apiVersion, kind }: Stored<Job>) {
  const { name, namespace = '', uid } = metadata
  return { apiVersion, kind, name, namespace, uid }
}

/** The oldest of those that ended each way, beyond the limit. */
function planHistory({ spec }: CronJob, jobs: readonly Stored<Job>[]): Stored<Job>[] {
  const limits = { Complete: spec.successfulJobsHistoryLimit ?? 3, Failed: spec.failedJobsHistoryLimit ?? 1 } as const
  return (['Complete', 'Failed'] as const).flatMap((outcome) => {
    const ended = jobs.filter((job) => !isTerminating(job) && jobOutcome(job) === outcome)
    const endedAt = (job: Job): string =>
      findCondition(job.status?.conditions, outcome)?.lastTransitionTime ?? job.metadata.creationTimestamp ?? ''
    ended.sort((a, b) => (endedAt(a) < endedAt(b) ? -1 : 1))
    return ended.slice(0, Math.max(0, ended.length - limits[outcome]))
  })
}
