/**
 * Strategic merge patch: a merge patch that knows from the schema which lists are sets or maps in disguise.
 * Source: Kubernetes "Strategic Merge Patch" (sig-api-machinery design note) and its directives:
 * `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/<list>`, `$setElementOrder/<list>`. Pure; the input is not changed.
 */
import { ANNOTATION } from '../api/schema.ts'
import { DroverError } from '../base/errors.ts'
import { isObject, jsonEqual } from '../base/json.ts'
import { mapValues, type Schema } from './validate.ts'

type Members = Record<string, unknown>

const PATCH = '$patch'
const RETAIN = '$retainKeys'
const DELETE_FROM = '$deleteFromPrimitiveList/'
const ORDER = '$setElementOrder/'

function fail(path: string, message: string): never {
  throw new DroverError('invalid', `the strategic merge patch cannot be applied: ${path || 'patch'}: ${message}`)
}

export function applyStrategicPatch(document: Members, patch: unknown, schema: unknown): Members {
  if (!isObject(patch)) fail('', 'must be an object')
  return mergeMembers(document, patch, schema as Schema, '')
}

function mergeMembers(original: Members, patch: Members, schema: Schema | undefined, path: string): Members {
  const directive = patch[PATCH]
  if (directive === 'replace') return stripped(without(patch, PATCH), schema, path)
  if (directive === 'delete') return {}
  if (directive !== undefined && directive !== 'merge') fail(path, `unknown ${PATCH} ${JSON.stringify(directive)}`)
  const result: Members = { ...original }
  retain(result, patch, path)
  for (const [key, value] of Object.entries(patch)) {
    if (key === PATCH || key === RETAIN || key === '__proto__') continue
    if (key.startsWith(DELETE_FROM) || key.startsWith(ORDER)) continue
    const at = path === '' ? key : `${path}.${key}`
    if (value === null) delete result[key]
    else result[key] = mergeValue(result[key], value, memberSchema(schema, key), at)
  }
  deleteFromLists(result, patch, path)
  orderLists(result, original, patch, schema, path)
  return result
}

function without(members: Members, key: string): Members {
  const { [key]: _dropped, ...rest } = members
  return rest
}

/** The patch as a value of its own: nothing to merge with, directives done. */
function stripped(patch: Members, schema: Schema | undefined, path: string): Members {
  return mergeMembers({}, patch, schema, path)
}

function memberSchema(schema: Schema | undefined, key: string): Schema | undefined {
  if (schema === undefined) return undefined
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, key)) return schema.properties[key]
  return mapValues(schema)
}

function mergeValue(original: unknown, patch: unknown, schema: Schema | undefined, path: string): unknown {
  if (isObject(patch)) return mergeMembers(isObject(original) ? original : {}, patch, schema, path)
  if (!Array.isArray(patch)) return patch
  const before: readonly unknown[] = Array.isArray(original) ? original : []
  if (schema?.[ANNOTATION.patchStrategy] !== 'merge') return structuredClone(patch)
  const key = schema[ANNOTATION.patchMergeKey]
  if (typeof key === 'string') return mergeByKey(before, patch, { key, items: schema.items, path })
  return [...before, ...patch.filter((item) => !before.some((other) => jsonEqual(item, other)))]
}

interface ListPlace {
  key: string
  items: Schema | undefined
  path: string
}

function mergeByKey(before: readonly unknown[], patch: readonly unknown[], place: ListPlace): unknown[] {
  const { key, items, path } = place
  const members = patch.map((item, index) => (isObject(item) ? item : fail(`${path}[${index}]`, 'must be an object')))
  const replaces = members.some((item) => item[PATCH] === 'replace' && item[key] === undefined)
  let result: unknown[] = replaces ? [] : [...before]
  for (const [index, item] of members.entries()) {
    if (replaces && item[PATCH] === 'replace' && item[key] === undefined) continue
    const id = item[key]
    if (id === undefined) fail(`${path}[${index}]`, `does not contain the merge key "${key}"`)
    const found = result.findIndex((other) => isObject(other) && other[key] === id)
    if (item[PATCH] === 'delete') result = result.filter((other) => !(isObject(other) && other[key] === id))
    else if (found < 0) result.push(stripped(item, items, `${path}[${index}]`))
    else result[found] = mergeMembers(result[found] as Members, item, items, `${path}[${index}]`)
  }
  return result
}

function retain(result: Members, patch: Members, path: string): void {
  const keys = patch[RETAIN]
  if (keys === undefined) return
  if (!Array.isArray(keys)) fail(path, `${RETAIN} must be a list`)
  for (const key of Object.keys(result)) if (!keys.includes(key)) delete result[key]
}

function deleteFromLists(result: Members, patch: Members, path: string): void {
  for (const [directive, gone] of Object.entries(patch)) {
    if (!directive.startsWith(DELETE_FROM)) continue
    if (!Array.isArray(gone)) fail(path, `${directive} must be a list`)
    const name = directive.slice(DELETE_FROM.length)
    const list = result[name]
    if (Array.isArray(list)) result[name] = list.filter((item) => !gone.some((other) => jsonEqual(item, other)))
  }
}

function orderLists(
  result: Members,
  original: Members,
  patch: Members,
  schema: Schema | undefined,
  path: string,
): void {
  for (const [directive, order] of Object.entries(patch)) {
    if (!directive.startsWith(ORDER)) continue
    if (!Array.isArray(order)) fail(path, `${directive} must be a list`)
    const name = directive.slice(ORDER.length)
    const list = result[name]
    if (!Array.isArray(list)) continue
    const key = memberSchema(schema, name)?.[ANNOTATION.patchMergeKey]
    const idOf = (item: unknown): unknown => (typeof key === 'string' && isObject(item) ? item[key] : item)
    const before = Array.isArray(original[name]) ? original[name].map(idOf) : []
    result[name] = ordered(list, order.map(idOf), before, idOf)
  }
}

/** Items that the order names come in that order; the others stay before what followed them. */
function ordered(
  list: readonly unknown[],
  order: readonly unknown[],
  before: readonly unknown[],
  idOf: (item: unknown) => unknown,
): unknown[] {
  const rank = (item: unknown): number => order.findIndex((id) => jsonEqual(id, idOf(item)))
  const was = (item: unknown): number => before.findIndex((id) => jsonEqual(id, idOf(item)))
  const named = list.filter((item) => rank(item) >= 0).sort((a, b) => rank(a) - rank(b))
  const others = list.filter((item) => rank(item) < 0)
  const result: unknown[] = []
  for (const item of named) {
    while (others.length > 0 && was(item) >= 0 && was(others[0]) >= 0 && was(others[0]) < was(item)) {
      result.push(others.shift())
    }
    result.push(item)
  }
  return [...result, ...others]
}
