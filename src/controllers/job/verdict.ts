/** How a job's pod ended, and what the job's failure policy makes of it: pure. */
import { findCondition, isTerminating } from '../../api/conditions.ts'
import { type Job, type PodFailurePolicyRule, TRACKING_FINALIZER } from '../../api/job.ts'
import type { ContainerStatus, Pod } from '../../api/pod.ts'

/** `ignored`: it failed, and the policy says that this does not count. */
export type Verdict =
  | { end: 'succeeded' }
  /** `failsIndex`: its index is not tried again. */
  | { end: 'failed'; failsIndex?: true }
  | { end: 'ignored' }
  | { end: 'fatal'; message: string }
  | undefined

export function isTracked(pod: Pod): boolean {
  return pod.metadata.finalizers?.includes(TRACKING_FINALIZER) === true
}

/** Nothing of it is left on its node: only the finalizer keeps the object. */
function isGone({ metadata }: Pod): boolean {
  return metadata.deletionTimestamp !== undefined && (metadata.deletionGracePeriodSeconds ?? 0) === 0
}

/** Undefined while the pod may yet succeed. */
export function verdictOn(job: Job, pod: Pod): Verdict {
  const phase = pod.status?.phase
  if (phase === 'Succeeded') return { end: 'succeeded' }
  const replacesEarly = job.spec.podReplacementPolicy !== 'Failed'
  const lost = isTerminating(pod) && (replacesEarly || isGone(pod))
  if (phase !== 'Failed' && !lost) return undefined
  return applyPolicy(job, pod)
}

function applyPolicy(job: Job, pod: Pod): Verdict {
  for (const [index, rule] of (job.spec.podFailurePolicy?.rules ?? []).entries()) {
    const match = matchRule(rule, pod)
    if (match === undefined) continue
    if (rule.action === 'Ignore') return { end: 'ignored' }
    if (rule.action === 'FailIndex') return { end: 'failed', failsIndex: true }
    if (rule.action !== 'FailJob') return { end: 'failed' }
    return { end: 'fatal', message: `${match} matching FailJob rule at index ${index}` }
  }
  return { end: 'failed' }
}

/** What of the pod the rule is about, in words; undefined when the rule does not apply. */
function matchRule({ onExitCodes, onPodConditions }: PodFailurePolicyRule, pod: Pod): string | undefined {
  const where = `${pod.metadata.namespace}/${pod.metadata.name}`
  if (onExitCodes !== undefined) {
    const { operator, values, containerName } = onExitCodes
    for (const { name, code } of exitCodes(pod)) {
      if (code === 0 || (containerName !== undefined && name !== containerName)) continue
      if (values.includes(code) === (operator === 'In')) {
        return `Container ${name} for pod ${where} failed with exit code ${code}`
      }
    }
    return undefined
  }
  const met = (onPodConditions ?? []).find(
    ({ type, status = 'True' }) => findCondition(pod.status?.conditions, type)?.status === status,
  )
  return met && `Pod ${where} has condition ${met.type}`
}

function containers({ status }: Pod): ContainerStatus[] {
  return [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
}

function exitCodes(pod: Pod): { name: string; code: number }[] {
  return containers(pod).flatMap(({ name, state }) =>
    state?.terminated === undefined ? [] : [{ name, code: state.terminated.exitCode }],
  )
}

export function restartsOf(pod: Pod): number {
  return containers(pod).reduce((sum, { restartCount }) => sum + restartCount, 0)
}

/** When it ended, as well as is known. */
export function endedAtMs(pod: Pod): number {
  const times = containers(pod).map(({ state }) => Date.parse(state?.terminated?.finishedAt ?? ''))
  const known = times.filter((time) => !Number.isNaN(time))
  if (known.length > 0) return Math.max(...known)
  return Date.parse(pod.metadata.deletionTimestamp ?? pod.metadata.creationTimestamp ?? '') || 0
}
