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

/** What a set's status says of its pods. */
export interface ReplicaCounts {
  /** Active ones. */
  replicas: number
  readyReplicas: number
  availableReplicas: number
  /** Told to end, and not ended yet. */
  terminatingReplicas: number
}

/**
 * How the pods of one set stand: the one reading for the set's own status and for whoever sums up sets, so that both can
 * be said at once. `againAfterMs`: when a ready pod will have been ready for long enough.
 */
export function countReplicas(
  pods: readonly Pod[],
  minReadySeconds: number,
  nowMs: number,
): { counts: ReplicaCounts; againAfterMs: number | undefined } {
  const counts: ReplicaCounts = { replicas: 0, readyReplicas: 0, availableReplicas: 0, terminatingReplicas: 0 }
  let againAfterMs: number | undefined
  for (const pod of pods) {
    if (isPodFinished(pod)) continue
    if (isTerminating(pod)) {
      counts.terminatingReplicas++
      continue
    }
    counts.replicas++
    if (!isPodReady(pod)) continue
    counts.readyReplicas++
    const waitMs = availableInMs(pod, minReadySeconds, nowMs)
    if (waitMs === 0) counts.availableReplicas++
    else if (waitMs !== undefined) againAfterMs = Math.min(waitMs, againAfterMs ?? waitMs)
  }
  return { counts, againAfterMs }
}

/** Whether the change may move a set's counts: most of what befalls a pod on its way up does not. */
export function changesCounts(old: Pod, pod: Pod): boolean {
  return (
    isActive(old) !== isActive(pod) ||
    isPodFinished(old) !== isPodFinished(pod) ||
    readySinceMs(old) !== readySinceMs(pod) ||
    isRouted(old) !== isRouted(pod)
  )
}
