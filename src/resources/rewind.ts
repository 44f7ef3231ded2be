/** A kind's objects as they stood at a revision, from how they stand and what has happened since. Pure. */
import { keyOf } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import type { Matcher } from './filter.ts'
import type { Delivery } from './hub.ts'

/** `since`: the last first. `present` holds what matches now. */
export function rewind(
  present: readonly Stored<KubeObject>[],
  since: readonly Delivery[],
  matches: Matcher | undefined,
): Stored<KubeObject>[] {
  if (since.length === 0) return [...present]
  const objects = new Map(present.map((object) => [keyOf(object), object]))
  for (const { event, ended } of since) {
    const before = event.type === 'MODIFIED' ? event.old : ended
    if (before !== undefined && (matches?.(before) ?? true)) objects.set(keyOf(before), before)
    else objects.delete(keyOf(event.object))
  }
  return [...objects.values()]
}
