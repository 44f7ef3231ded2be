/** What controllers ask of a pod. */
import { findCondition, isPodFinished, isPodReady, isTerminating } from '../../api/conditions.ts'
import { POD_CONDITION } from '../../api/names.ts'
import type { Pod } from '../../api/pod.ts'

/** Counts as a replica: it runs or may come to run. */
export function isActive(pod: Pod): boolean {
  return !isPodFinished(pod) && !isTerminating(pod)
}

/** When it last became ready; undefined while it is not. */
export function readySinceMs(pod: Pod): number | undefined {
  const ready = findCondition(pod.status?.conditions, POD_CONDITION.ready)
  if (ready?.status !== 'True') return undefined
  return Date.parse(ready.lastTransitionTime ?? '') || 0
}

/** Not known to be missing from some live node's service table. */
export function isRouted(pod: Pod): boolean {
  return findCondition(pod.status?.conditions, POD_CONDITION.routed)?.status !== 'False'
}

/**
 * How long until the pod is available: 0 when it is, undefined when only a change can make it so. Ready for
 * `minReadySeconds`, and not known to be missing from some live node's service table.
 */
export function availableInMs(pod: Pod, minReadySeconds: number, nowMs: number): number | undefined {
  if (!isPodReady(pod)) return undefined
  if (!isRouted(pod)) return undefined
  if (minReadySeconds === 0) return 0
  return Math.max(0, (readySinceMs(pod) ?? nowMs) + minReadySeconds * 1000 - nowMs)
}
