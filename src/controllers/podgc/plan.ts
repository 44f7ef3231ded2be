/** Which finished pods are too many: pure. They are kept for people to read, the newest longest. */
import { isPodFinished, isTerminating } from '../../api/conditions.ts'
import type { Stored } from '../../api/meta.ts'
import type { Pod } from '../../api/pod.ts'

/** Finished pods kept in all. */
export const MAX_FINISHED = 1000

export function planPodGarbage(pods: readonly Stored<Pod>[], limit = MAX_FINISHED): Stored<Pod>[] {
  const finished = pods.filter((pod) => isPodFinished(pod) && !isTerminating(pod))
  const excess = finished.length - limit
  if (excess <= 0) return []
  return finished
    .sort((a, b) => (a.metadata.creationTimestamp < b.metadata.creationTimestamp ? -1 : 1))
    .slice(0, excess)
}
