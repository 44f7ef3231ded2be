/**
 * The patch that `apply` sends. What the new manifest says is itself a strategic merge patch: maps merge, keyed lists
 * merge by key. What it no longer says is found by comparing it with the manifest applied before (kept in the
 * `last-applied-configuration` annotation), and removed by directives. What others set is left alone.
 * Source: Kubernetes "Declarative Management of Objects", "How apply calculates differences".
 */
import type { TSchema } from 'typebox'
import { isObject } from '../base/json.ts'

interface SchemaView {
  properties?: Record<string, SchemaView>
  items?: SchemaView
  'x-kubernetes-patch-strategy'?: string
  'x-kubernetes-patch-merge-key'?: string
}

type Value = Record<string, unknown>

/** `last` is undefined when nothing was applied before. */
export function planPatch(schema: TSchema, last: Value | undefined, next: Value): Value {
  return patchMap(schema as SchemaView, last ?? {}, next)
}

function patchMap(schema: SchemaView | undefined, last: Value, next: Value): Value {
  const patch: Value = {}
  for (const key of Object.keys(last)) if (next[key] === undefined || next[key] === null) patch[key] = null
  for (const [key, value] of Object.entries(next)) {
    const field = schema?.properties?.[key]
    patch[key] = patchValue(field, last[key], value)
    const mergeKey = field?.['x-kubernetes-patch-merge-key']
    if (mergeKey !== undefined && Array.isArray(value)) patch[`$setElementOrder/${key}`] = orderOf(value, mergeKey)
  }
  return patch
}

/** Says in which order the merged list stands: the manifest's. */
function orderOf(list: unknown[], mergeKey: string): unknown[] {
  return list.map((item) => (isObject(item) ? { [mergeKey]: item[mergeKey] } : item))
}

function patchValue(schema: SchemaView | undefined, last: unknown, next: unknown): unknown {
  if (isObject(next)) return patchMap(schema, isObject(last) ? last : {}, next)
  const mergeKey = schema?.['x-kubernetes-patch-merge-key']
  if (Array.isArray(next) && Array.isArray(last) && mergeKey !== undefined) {
    return patchList(schema?.items, mergeKey, last, next)
  }
  return next
}

function patchList(items: SchemaView | undefined, mergeKey: string, last: unknown[], next: unknown[]): unknown[] {
  const keyOf = (item: unknown): unknown => (isObject(item) ? item[mergeKey] : undefined)
  const kept = next.map((item) => {
    const before = last.find((old) => keyOf(old) === keyOf(item))
    return patchValue(items, before, item)
  })
  const removed = last.filter((old) => !next.some((item) => keyOf(item) === keyOf(old)))
  return [...kept, ...removed.map((old) => ({ $patch: 'delete', [mergeKey]: keyOf(old) }))]
}
