/** CronJob. Source: Kubernetes batch/v1. */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { isCode } from '../base/errors.ts'
import { parseSchedule } from './cron.ts'
import { isTimeZone } from './cron_zone.ts'
import { defaultJobSpec, JobSpec, jobSpecErrors } from './job.ts'
import { defineKind } from './kind.ts'
import { ObjectMeta, typeMeta } from './meta.ts'
import { isDnsSubdomain } from './names.ts'
import { formatAge } from './pod_kind.ts'
import { bool, count, int64, object, oneOf, opt, text, time } from './schema.ts'

/** On a job that a CronJob made: the time for which it was due. RFC 3339. */
export const SCHEDULED_AT_ANNOTATION = 'batch.kubernetes.io/cronjob-scheduled-timestamp'

/** Room for `-` and the minute's number within 63 characters. */
const MAX_NAME = 52

const ObjectReference = object({
  apiVersion: opt(text),
  kind: opt(text),
  namespace: opt(text),
  name: opt(text),
  uid: opt(text),
  resourceVersion: opt(text),
  fieldPath: opt(text),
})

export const CronJob = object({
  ...typeMeta('batch/v1', 'CronJob'),
  spec: object({
    schedule: text,
    timeZone: opt(text),
    startingDeadlineSeconds: opt(int64),
    concurrencyPolicy: opt(oneOf('Allow', 'Forbid', 'Replace')),
    suspend: opt(bool),
    jobTemplate: object({ metadata: opt(ObjectMeta), spec: JobSpec }),
    successfulJobsHistoryLimit: opt(count),
    failedJobsHistoryLimit: opt(count),
  }),
  status: opt(
    object({
      active: opt(Type.Array(ObjectReference)),
      lastScheduleTime: opt(time),
      lastSuccessfulTime: opt(time),
    }),
  ),
})
export type CronJob = Static<typeof CronJob>

function scheduleFault(schedule: string): string | undefined {
  try {
    parseSchedule(schedule)
    return undefined
  } catch (error) {
    if (isCode(error, 'invalid')) return (error as Error).message
    throw error
  }
}

function validateCronJob({ metadata, spec }: CronJob): FieldError[] {
  const errors = jobSpecErrors(spec.jobTemplate.spec, 'spec.jobTemplate.spec')
  const name = metadata.name ?? ''
  if (!isDnsSubdomain(name) || name.length > MAX_NAME) {
    const message = `must be a DNS subdomain of at most ${MAX_NAME} characters`
    errors.push({ path: 'metadata.name', reason: 'Invalid', message })
  }
  const fault = scheduleFault(spec.schedule)
  if (fault !== undefined) errors.push({ path: 'spec.schedule', reason: 'Invalid', message: fault })
  if (spec.timeZone !== undefined && !isTimeZone(spec.timeZone)) {
    const message = `"${spec.timeZone}" is no time zone; write for example Europe/Berlin or Etc/UTC`
    errors.push({ path: 'spec.timeZone', reason: 'Invalid', message })
  }
  if ((spec.startingDeadlineSeconds ?? 0) < 0) {
    errors.push({ path: 'spec.startingDeadlineSeconds', reason: 'Invalid', message: 'must not be negative' })
  }
  return errors
}

export const cronJobKind = defineKind<CronJob>({
  group: 'batch',
  version: 'v1',
  kind: 'CronJob',
  plural: 'cronjobs',
  singular: 'cronjob',
  shortNames: ['cj'],
  categories: ['all'],
  namespaced: true,
  schema: CronJob,
  hasStatus: true,
  hasGeneration: true,
  applyDefaults(cron) {
    const { spec } = cron
    spec.concurrencyPolicy ??= 'Allow'
    spec.suspend ??= false
    spec.successfulJobsHistoryLimit ??= 3
    spec.failedJobsHistoryLimit ??= 1
    defaultJobSpec(spec.jobTemplate.spec)
    cron.status ??= {}
  },
  validate: validateCronJob,
  columns: [
    { name: 'Schedule', type: 'string', description: 'When it runs', value: ({ spec }) => spec.schedule },
    {
      name: 'Timezone',
      type: 'string',
      description: "The schedule's time zone",
      value: ({ spec }) => spec.timeZone ?? '<none>',
    },
    {
      name: 'Suspend',
      type: 'string',
      description: 'Whether it starts nothing now',
      value: ({ spec }) => (spec.suspend === true ? 'True' : 'False'),
    },
    {
      name: 'Active',
      type: 'integer',
      description: 'Jobs that run',
      value: ({ status }) => status?.active?.length ?? 0,
    },
    {
      name: 'Last Schedule',
      type: 'string',
      description: 'How long ago it last started a job',
      value: ({ status }, nowMs) =>
        status?.lastScheduleTime === undefined ? '<none>' : formatAge(nowMs - Date.parse(status.lastScheduleTime)),
    },
  ],
})
