/** Starts the jobs of each CronJob when they are due. */
import { type CronJob, cronJobKind, SCHEDULED_AT_ANNOTATION } from '../../api/cronjob.ts'
import { type Job, jobKind } from '../../api/job.ts'
import { type KindDefinition, keyOf, splitKey } from '../../api/kind.ts'
import type { Stored } from '../../api/meta.ts'
import { timestamp } from '../../base/clock.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ReconcileResult, WorkQueue } from '../../base/queue.ts'
import type { Service } from '../../base/service.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { controllerOf, controllerReference } from '../common/owners.ts'
import { changeObject, deleteObject } from '../common/writes.ts'
import { type CronPlan, planCronJob } from './plan.ts'

export function createCronJobController(context: ControllerContext): Service {
  const { resources, events } = context

  async function reconcile(key: string): Promise<ReconcileResult> {
    const { namespace, name } = splitKey(key)
    const cron = resources.get(cronJobKind, namespace, name)
    if (cron === undefined) return undefined
    const before = plan(context, cron)
    if (before.held) {
      const message = 'Not starting job because prior execution is running and concurrency policy is Forbid'
      events.record(cron, 'Normal', 'JobAlreadyActive', message)
    }
    for (const job of before.replace) await end(context, cron, job, 'replaced')
    if (before.start !== undefined) await start(context, cron, before.start)
    for (const job of before.forget) await end(context, cron, job, 'history')
    const after = plan(context, cron)
    if (!jsonEqual(after.status, cron.status)) {
      await changeObject(context, cronJobKind, cron, {
        part: 'status',
        change: (current) => ({ ...current, status: after.status }),
      })
    }
    return before.againAfterMs === undefined ? undefined : { againAfterMs: before.againAfterMs }
  }

  return queueService({ id: 'cronjob-controller', context, reconcile, watch: (queue) => watch(context, queue) })
}

function watch({ resources }: ControllerContext, queue: WorkQueue): (() => void)[] {
  const stops = [
    resources.subscribe(cronJobKind, ({ type, object }) => {
      if (type === 'DELETED') queue.forget(keyOf(object))
      else queue.add(keyOf(object))
    }),
    resources.subscribe(jobKind, ({ object }) => {
      const owner = controllerOf(object)
      if (owner?.kind === cronJobKind.kind) queue.add(`${object.metadata.namespace ?? ''}/${owner.name}`)
    }),
  ]
  for (const cron of resources.list(cronJobKind)) queue.add(keyOf(cron))
  return stops
}

function plan({ resources, clock }: ControllerContext, cron: Stored<CronJob>): CronPlan {
  const jobs = resources.ownedBy(jobKind, cron.metadata.uid)
  const ours = jobs.filter((job) => controllerOf(job)?.uid === cron.metadata.uid)
  return planCronJob({ cron, jobs: ours, nowMs: clock.now() })
}

async function start(
  { resources, events, fence }: ControllerContext,
  cron: Stored<CronJob>,
  { name, dueMs }: { name: string; dueMs: number },
): Promise<void> {
  const { metadata, spec } = cron.spec.jobTemplate
  const job: Job = {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name,
      namespace: cron.metadata.namespace ?? '',
      labels: { ...metadata?.labels },
      annotations: { ...metadata?.annotations, [SCHEDULED_AT_ANNOTATION]: timestamp(dueMs) },
      ownerReferences: [controllerReference(cronJobKind as KindDefinition, cron)],
    },
    spec: structuredClone(spec),
  }
  try {
    await resources.create(jobKind, job, { fence })
    events.record(cron, 'Normal', 'SuccessfulCreate', `Created job ${name}`)
  } catch (thrown) {
    const existing = resources.get(jobKind, cron.metadata.namespace ?? '', name)
    // Another pass, or the leader before this one, has made it.
    if (isCode(thrown, 'alreadyExists') && existing && controllerOf(existing)?.uid === cron.metadata.uid) return
    const error = DroverError.from(thrown)
    events.record(cron, 'Warning', 'FailedCreate', `Error creating job: ${error.message}`)
    throw error
  }
}

async function end(context: ControllerContext, cron: Stored<CronJob>, job: Stored<Job>, why: string): Promise<void> {
  await deleteObject(context, jobKind, job, { propagation: 'Background' })
  context.events.record(cron, 'Normal', 'SuccessfulDelete', `Deleted job ${job.metadata.name} (${why})`)
}
