/**
 * Indexes that have a limit of failures of their own (`backoffLimitPerIndex`): pure. How often an index has failed stands on
 * its pods: each new one carries the count of those before it, and the last that failed is kept, by its finalizer, until
 * there is one that carries it on. Source: Kubernetes batch/v1, "Backoff limit per index", "Success policy".
 */
import { INDEX_FAILURES, type Job } from '../../api/job.ts'
import type { Pod } from '../../api/pod.ts'
import { indexOfPod, parseIndexes } from './indexes.ts'
import { endedAtMs, verdictOn } from './verdict.ts'

export function hasOwnLimits({ spec }: Job): boolean {
  return spec.completionMode === 'Indexed' && spec.backoffLimitPerIndex !== undefined
}

export function failedIndexes({ spec, status }: Job): Set<number> {
  return parseIndexes(status?.failedIndexes, spec.completions ?? 0)
}

/** Failures of its index up to this pod's start. */
function failuresBefore({ metadata }: Pod): number {
  const count = Number(metadata.annotations?.[INDEX_FAILURES] ?? 0)
  return Number.isSafeInteger(count) && count > 0 ? count : 0
}

/** Whether with this pod's failure its index has failed for good. */
export function failsIndex(job: Job, pod: Pod): boolean {
  const verdict = verdictOn(job, pod)
  if (verdict?.end !== 'failed') return false
  return verdict.failsIndex === true || failuresBefore(pod) + 1 > (job.spec.backoffLimitPerIndex ?? 0)
}

export interface IndexFailure {
  count: number
  lastMs: number
}

/** By index: how often it has failed so far, and when it last did. */
export function indexFailures(job: Job, pods: readonly Pod[]): Map<number, IndexFailure> {
  const failures = new Map<number, IndexFailure>()
  for (const pod of pods) {
    const index = indexOfPod(pod)
    if (index === undefined) continue
    const failed = verdictOn(job, pod)?.end === 'failed'
    const count = failuresBefore(pod) + (failed ? 1 : 0)
    const known = failures.get(index)
    if (count === 0 || (known !== undefined && known.count >= count)) continue
    failures.set(index, { count, lastMs: failed ? endedAtMs(pod) : (known?.lastMs ?? 0) })
  }
  return failures
}

/** Whether this failed pod alone knows how often its index has failed. */
export function carriesCount(job: Job, pod: Pod, pods: readonly Pod[]): boolean {
  const index = indexOfPod(pod)
  if (index === undefined || verdictOn(job, pod)?.end !== 'failed') return false
  const count = failuresBefore(pod) + 1
  return !pods.some((other) => other !== pod && indexOfPod(other) === index && failuresBefore(other) >= count)
}

/** The rule of the success policy that what has succeeded meets. */
export function successRule({ spec }: Job, succeeded: ReadonlySet<number>): number | undefined {
  const met = (spec.successPolicy?.rules ?? []).findIndex(({ succeededIndexes, succeededCount }) => {
    if (succeededIndexes === undefined) return succeeded.size >= (succeededCount ?? Number.POSITIVE_INFINITY)
    const wanted = parseIndexes(succeededIndexes, spec.completions ?? 0)
    const there = [...wanted].filter((index) => succeeded.has(index)).length
    return there >= (succeededCount ?? wanted.size)
  })
  return met < 0 ? undefined : met
}
