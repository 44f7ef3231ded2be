/**
 * Jobs: a pod that is made never brings a job above its parallelism, nor the pods that have succeeded and those that may
 * above its completions; and no success is counted that there was not. A write of the user is known to all after KNOWN_MS.
 */
import { isPodFinished, isTerminating } from '../../src/api/conditions.ts'
import { COMPLETION_INDEX, INDEX_FAILURES, type Job, jobOutcome, TRACKING_FINALIZER } from '../../src/api/job.ts'
import type { Stored } from '../../src/api/meta.ts'
import type { Pod } from '../../src/api/pod.ts'
import { jsonEqual } from '../../src/base/json.ts'
import type { Change, Watcher } from './watcher.ts'
import type { World } from './world.ts'

const KNOWN_MS = 2_500

function jobUidOf({ metadata }: Stored<Pod>): string | undefined {
  return metadata.ownerReferences?.find(({ controller, kind }) => controller === true && kind === 'Job')?.uid
}

export class Jobs {
  readonly #world: World
  readonly #watcher: Watcher
  /** Pods that have succeeded, by uid of their job. */
  readonly #succeeded = new Map<string, Set<string>>()
  readonly #changedMs = new Map<string, number>()

  constructor(world: World, watcher: Watcher) {
    this.#world = world
    this.#watcher = watcher
  }

  check({ kind, old, object }: Change): void {
    if (kind === 'jobs' && object !== undefined)
      this.#onJob(old as Stored<Job> | undefined, object as unknown as Stored<Job>)
    if (kind === 'pods' && object !== undefined) this.#onPod(old === undefined, object as Stored<Pod>)
  }

  /**
   * Removed from its node by force, in its job's books, and the last of an index that counts its own failures: the
   * object, not the pod, waits for the one that carries the count on (docs/design/workloads.md), which is a back-off away.
   */
  keepsForItsCount(pod: Stored<Pod>): boolean {
    const { uid, finalizers, deletionGracePeriodSeconds } = pod.metadata
    if (!isTerminating(pod) || deletionGracePeriodSeconds !== 0) return false
    if (finalizers?.length !== 1 || finalizers[0] !== TRACKING_FINALIZER) return false
    const jobUid = jobUidOf(pod)
    const job = this.#watcher.list<Job>('jobs').find(({ metadata }) => metadata.uid === jobUid)
    if (job?.spec.backoffLimitPerIndex === undefined || jobOutcome(job) !== undefined) return false
    if (job.status?.uncountedTerminatedPods?.failed?.includes(uid) !== true) return false
    const failures = (each: Stored<Pod>): number => Number(each.metadata.annotations?.[INDEX_FAILURES] ?? 0)
    const index = pod.metadata.annotations?.[COMPLETION_INDEX]
    return !this.#watcher.pods.some(
      (each) =>
        jobUidOf(each) === jobUid &&
        each.metadata.annotations?.[COMPLETION_INDEX] === index &&
        failures(each) > failures(pod),
    )
  }

  #onJob(old: Stored<Job> | undefined, job: Stored<Job>): void {
    const { uid, name } = job.metadata
    if (!jsonEqual(old?.spec, job.spec)) this.#changedMs.set(uid, this.#world.time.nowMs)
    const counted = job.status?.succeeded ?? 0
    const there = this.#succeeded.get(uid)?.size ?? 0
    if (counted > there) this.#world.fail('jobs count once', `${name} counts ${counted} successes, there were ${there}`)
  }

  #onPod(made: boolean, pod: Stored<Pod>): void {
    const uid = jobUidOf(pod)
    if (uid === undefined) return
    const succeeded = this.#succeeded.get(uid) ?? new Set<string>()
    this.#succeeded.set(uid, succeeded)
    // One that the job has given up counts for nothing, however it ends.
    const counts = pod.metadata.finalizers?.includes(TRACKING_FINALIZER) === true
    if (counts && pod.status?.phase === 'Succeeded') succeeded.add(pod.metadata.uid)
    if (!made || this.#world.time.nowMs - (this.#changedMs.get(uid) ?? 0) <= KNOWN_MS) return
    const job = this.#watcher.list<Job>('jobs').find(({ metadata }) => metadata.uid === uid)
    if (job === undefined) return
    const active = this.#watcher.pods.filter(
      (each) => jobUidOf(each) === uid && !isPodFinished(each) && !isTerminating(each),
    ).length
    const { parallelism = 1, completions, completionMode } = job.spec
    const left = completions === undefined || completionMode === 'Indexed' ? active : completions - succeeded.size
    const most = Math.min(parallelism, Math.max(0, left))
    if (active <= most) return
    this.#world.fail(
      'jobs keep their size',
      `${pod.metadata.name} is pod ${active} of ${job.metadata.name}, which may have ${most}`,
    )
  }
}
