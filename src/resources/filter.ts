/** Which objects a list or watch shows, and what an event looks like through a selector. */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { matchesSelector } from '../api/selector.ts'
import { DroverError } from '../base/errors.ts'
import { atRevision } from './codec.ts'
import type { ListFilter, ResourceEvent } from './resources.ts'

export type Matcher = (object: KubeObject) => boolean

/** Undefined when the filter lets everything through. Throws `invalid` for a field that cannot be selected. */
export function matcherOf(kind: KindDefinition, filter: ListFilter): Matcher | undefined {
  const checks: Matcher[] = []
  const { namespace, labels, fields } = filter
  if (namespace !== undefined && namespace !== '' && kind.namespaced) {
    checks.push(({ metadata }) => metadata.namespace === namespace)
  }
  if (labels !== undefined) checks.push(({ metadata }) => matchesSelector(labels, metadata.labels))
  for (const { field, value, equal } of fields ?? []) {
    const read = fieldGetter(kind, field)
    checks.push((object) => (read(object) === value) === equal)
  }
  if (checks.length === 0) return undefined
  return (object) => checks.every((check) => check(object))
}

function fieldGetter(kind: KindDefinition, field: string): (object: KubeObject) => string {
  if (field === 'metadata.name') return ({ metadata }) => metadata.name ?? ''
  if (field === 'metadata.namespace') return ({ metadata }) => metadata.namespace ?? ''
  const get = Object.hasOwn(kind.selectableFields, field) ? kind.selectableFields[field] : undefined
  if (get === undefined) {
    const known = ['metadata.name', 'metadata.namespace', ...Object.keys(kind.selectableFields)]
    throw new DroverError(
      'invalid',
      `field label not supported: ${field}; ${kind.plural} can be selected by ${known.join(', ')}`,
    )
  }
  return (object) => get(object)
}

/**
 * An object that starts to match is new to the watcher, one that stops is gone: then the last state that matched is
 * shown, at the revision of the change. Undefined when the watcher sees nothing of it.
 */
export function seenThrough(matches: Matcher | undefined, event: ResourceEvent): ResourceEvent | undefined {
  if (matches === undefined) return event
  const now = matches(event.object)
  if (event.type !== 'MODIFIED') return now ? event : undefined
  const before = matches(event.old)
  if (now && before) return event
  if (now) return { type: 'ADDED', object: event.object, revision: event.revision }
  if (before) return { type: 'DELETED', object: atRevision(event.old, event.revision), revision: event.revision }
  return undefined
}
