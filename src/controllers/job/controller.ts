/** Runs each Job's pods to their end and keeps its books: first the books, then what follows from them. */

import { isPodFinished } from '../../api/conditions.ts'
import {
  COMPLETION_INDEX,
  INDEX_FAILURES,
  JOB_NAME_LABEL,
  type Job,
  jobKind,
  jobOutcome,
  TRACKING_FINALIZER,
} from '../../api/job.ts'
import { splitKey } from '../../api/kind.ts'
import type { Stored } from '../../api/meta.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { DroverError } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ReconcileResult } from '../../base/queue.ts'
import { randomSuffix } from '../../base/random.ts'
import type { Service } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { controllerOf, OrphanIndex } from '../common/owners.ts'
import { claimPods, createPod, deletePod, ownPods, podFromTemplate, watchOwners } from '../common/workload.ts'
import { changeObject, deleteObject } from '../common/writes.ts'
import { isReleased, type JobStatus, planStatus } from './account.ts'
import { hasOwnLimits } from './per_index.ts'
import { planJob } from './plan.ts'
import { isTracked } from './verdict.ts'

/** Room for `-` and the suffix within a host name's 63 characters. */
const MAX_NAME_BASE = 57

export function createJobController(context: ControllerContext): Service {
  const { resources, clock } = context
  const orphans = new OrphanIndex<Pod>()

  async function reconcile(key: string): Promise<ReconcileResult> {
    const { namespace, name } = splitKey(key)
    const job = resources.get(jobKind, namespace, name)
    if (job === undefined) {
      await releaseOrphans(context, namespace, name)
      return undefined
    }
    if (jobOutcome(job) === undefined) await claimPods(context, { kind: jobKind, owner: job, orphans })
    const status = planStatus({ job, pods: ownPods(context, job), nowMs: clock.now() })
    const booked = jsonEqual(status, job.status) ? job : await writeBooks(context, job, status)
    if (booked === undefined) return undefined
    return follow(context, booked)
  }

  return queueService({
    id: 'job-controller',
    context,
    reconcile,
    watch: (queue) => {
      const stops = [orphans.watch(resources, podKind), ...watchOwners(context, jobKind, queue)]
      // Pods of jobs that went while nobody led.
      for (const pod of resources.list(podKind)) {
        const owner = controllerOf(pod)
        if (owner?.kind === jobKind.kind && isTracked(pod)) queue.add(`${pod.metadata.namespace ?? ''}/${owner.name}`)
      }
      // `watchOwners` forgets a job that goes; its pods' finalizers still have to.
      stops.push(
        resources.subscribe(jobKind, ({ type, object }) => {
          if (type === 'DELETED') queue.add(`${object.metadata.namespace ?? ''}/${object.metadata.name}`)
        }),
      )
      return stops
    },
  })
}

/** What the stored books ask for. */
async function follow(context: ControllerContext, job: Stored<Job>): Promise<ReconcileResult> {
  const plan = planJob({ job, pods: ownPods(context, job), nowMs: context.clock.now() })
  if (plan.expired) {
    await deleteObject(context, jobKind, job, { propagation: 'Background' })
    return undefined
  }
  await settleAll([
    ...plan.release.map((pod) => release(context, pod, (current) => isReleased(job, current))),
    ...plan.track.map((pod) => track(context, pod)),
    ...plan.delete.map((pod) => giveUp(context, job, pod)),
    ...plan.create.map((index) => createPod(context, job, newPod(context, job, index, plan.failures))),
  ])
  return plan.againAfterMs === undefined ? undefined : { againAfterMs: plan.againAfterMs }
}

/**
 * Writes exactly over the job that was judged: counters that were computed from older books would count twice or never.
 * Undefined when the job has gone.
 */
async function writeBooks(
  context: ControllerContext,
  job: Stored<Job>,
  status: JobStatus,
): Promise<Stored<Job> | undefined> {
  const written = await changeObject(context, jobKind, job, {
    part: 'status',
    change(current) {
      if (current.metadata.resourceVersion !== job.metadata.resourceVersion) {
        throw new DroverError('conflict', `job ${job.metadata.name} has changed; reading it again`)
      }
      return { ...current, status }
    },
  })
  if (written !== undefined) tell(context, job, written)
  return written?.metadata.uid === job.metadata.uid ? written : undefined
}

function tell({ events }: ControllerContext, before: Job, after: Stored<Job>): void {
  const was = new Map(before.status?.conditions?.map(({ type, status }) => [type, status]))
  for (const { type, status, reason = '', message = '' } of after.status?.conditions ?? []) {
    if (was.get(type) === status) continue
    if (type === 'Complete' && status === 'True') events.record(after, 'Normal', 'Completed', 'Job completed')
    if (type === 'FailureTarget' && status === 'True') events.record(after, 'Warning', reason, message)
    if (type === 'Suspended') events.record(after, 'Normal', status === 'True' ? 'Suspended' : 'Resumed', message)
  }
}

/** One that has ended well since it was judged is left: as it is now, it is not in the books. */
async function release(
  context: ControllerContext,
  pod: Stored<Pod>,
  isDue: (current: Pod) => boolean = () => true,
): Promise<void> {
  await changeObject(context, podKind, pod, {
    part: 'main',
    change: (current) => (isDue(current) ? withoutTracking(current) : undefined),
  })
}

async function track(context: ControllerContext, pod: Stored<Pod>): Promise<void> {
  await changeObject(context, podKind, pod, {
    part: 'main',
    change(current) {
      const { metadata } = current
      if (isTracked(current) || metadata.deletionTimestamp !== undefined) return undefined
      return { ...current, metadata: { ...metadata, finalizers: [...(metadata.finalizers ?? []), TRACKING_FINALIZER] } }
    },
  })
}

function withoutTracking(pod: Pod): Pod | undefined {
  if (!isTracked(pod)) return undefined
  const finalizers = (pod.metadata.finalizers ?? []).filter((finalizer) => finalizer !== TRACKING_FINALIZER)
  const { finalizers: _all, ...metadata } = pod.metadata
  return { ...pod, metadata: finalizers.length > 0 ? { ...metadata, finalizers } : metadata }
}

/** Ends a pod that is not wanted. One that has ended by itself meanwhile is left, for it counts. */
async function giveUp(context: ControllerContext, job: Stored<Job>, pod: Stored<Pod>): Promise<void> {
  const left = await changeObject(context, podKind, pod, {
    part: 'main',
    change: (current) => (isPodFinished(current) ? undefined : withoutTracking(current)),
  })
  if (left !== undefined && !isTracked(left)) await deletePod(context, job, pod)
}

/** The job is gone: what it had to count nobody asks for any more. */
async function releaseOrphans(context: ControllerContext, namespace: string, jobName: string): Promise<void> {
  const pods = context.resources.list(podKind, { namespace }).filter((pod) => {
    const owner = controllerOf(pod)
    return owner?.kind === jobKind.kind && owner.name === jobName && isTracked(pod)
  })
  await settleAll(pods.map((pod) => release(context, pod)))
}

function newPod(
  context: ControllerContext,
  job: Stored<Job>,
  index: number | undefined,
  failures: ReadonlyMap<number, number>,
): Pod {
  const stem = index === undefined ? job.metadata.name : `${job.metadata.name}-${index}`
  const base = stem.slice(0, MAX_NAME_BASE).replace(/[-.]+$/, '')
  const pod = podFromTemplate(jobKind, job, job.spec.template, `${base}-${randomSuffix(context.random)}`)
  const finalizers = new Set([...(pod.metadata.finalizers ?? []), TRACKING_FINALIZER])
  if (job.spec.manualSelector !== true) pod.metadata.labels[JOB_NAME_LABEL] = job.metadata.name
  if (index === undefined) return { ...pod, metadata: { ...pod.metadata, finalizers: [...finalizers] } }
  pod.metadata.labels[COMPLETION_INDEX] = String(index)
  pod.metadata.annotations[COMPLETION_INDEX] = String(index)
  if (hasOwnLimits(job)) pod.metadata.annotations[INDEX_FAILURES] = String(failures.get(index) ?? 0)
  pod.spec.hostname ??= stem.slice(0, 63)
  for (const container of [...(pod.spec.initContainers ?? []), ...pod.spec.containers]) {
    if (container.env?.some(({ name }) => name === 'JOB_COMPLETION_INDEX') === true) continue
    container.env = [...(container.env ?? []), { name: 'JOB_COMPLETION_INDEX', value: String(index) }]
  }
  return { ...pod, metadata: { ...pod.metadata, finalizers: [...finalizers] } }
}
