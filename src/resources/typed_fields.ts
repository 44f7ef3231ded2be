/**
 * Objects through the eyes of their schema: which members, items and values are fields that can have an owner. What the
 * schema calls atomic, and what it does not describe, is one field however much it holds. Pure.
 * Source: sigs.k8s.io/structured-merge-diff `typed` (ToFieldSet, Compare).
 */
import { ANNOTATION } from '../api/schema.ts'
import { DroverError } from '../base/errors.ts'
import { isObject, jsonEqual } from '../base/json.ts'
import { EMPTY_SET, type FieldSet, makeNode, union } from './field_set.ts'
import { mapValues, type Schema } from './validate.ts'

export type Members = Readonly<Record<string, unknown>>

/** How the owners of a value share it. */
export type Shape =
  | { type: 'leaf' }
  | { type: 'members' }
  | { type: 'map'; keys: readonly string[]; items: Schema }
  | { type: 'set' }

const LEAF: Shape = { type: 'leaf' }

export function shapeOf(schema: Schema | undefined): Shape {
  if (schema === undefined || schema[ANNOTATION.ignored] === true) return LEAF
  if (schema.type === 'object') {
    if (schema[ANNOTATION.mapType] === 'atomic') return LEAF
    return schema.properties === undefined && mapValues(schema) === undefined ? LEAF : { type: 'members' }
  }
  if (schema.type !== 'array') return LEAF
  const listType = schema[ANNOTATION.listType]
  if (listType === 'set') return { type: 'set' }
  if (listType !== 'map') return LEAF
  const keys = schema[ANNOTATION.listMapKeys]
  return { type: 'map', keys: Array.isArray(keys) ? keys.map(String).sort() : [], items: schema.items ?? {} }
}

/** The schema of a member, and whether the schema names it. */
export function memberOf(schema: Schema, name: string): { schema: Schema | undefined; named: boolean } {
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, name)) {
    return { schema: schema.properties[name], named: true }
  }
  return { schema: mapValues(schema), named: false }
}

/** The element of an item: its keys, with the schema's default where one is left out. */
export function itemElement(shape: Shape, item: unknown): string {
  if (shape.type !== 'map') return `v:${JSON.stringify(item)}`
  const own = isObject(item) ? item : {}
  const pairs: Record<string, unknown> = {}
  for (const key of shape.keys) {
    const value = own[key] ?? shape.items.properties?.[key]?.default
    if (value !== undefined) pairs[key] = value
  }
  return `k:${JSON.stringify(pairs)}`
}

/** Items by their element, the first of equals. */
export function itemsOf(shape: Shape, list: readonly unknown[]): Map<string, unknown> {
  const items = new Map<string, unknown>()
  for (const item of list) {
    const element = itemElement(shape, item)
    if (!items.has(element)) items.set(element, item)
  }
  return items
}

const itemSchema = (shape: Shape): Schema | undefined => (shape.type === 'map' ? shape.items : undefined)

/** The fields that an object sets. */
export function fieldSetOf(value: unknown, schema: Schema): FieldSet {
  return childrenOf(value, schema)
}

function childrenOf(value: unknown, schema: Schema | undefined): Record<string, FieldSet> {
  const shape = shapeOf(schema)
  const children: Record<string, FieldSet> = {}
  if (shape.type === 'members' && schema !== undefined && isObject(value)) {
    for (const [name, member] of Object.entries(value)) {
      if (member === undefined) continue
      const known = memberOf(schema, name)
      const node = nodeOf(member, known.schema, !known.named)
      if (node !== undefined) children[`f:${name}`] = node
    }
  } else if ((shape.type === 'map' || shape.type === 'set') && Array.isArray(value)) {
    for (const [element, item] of itemsOf(shape, value)) {
      children[element] = nodeOf(item, itemSchema(shape), true) ?? EMPTY_SET
    }
  }
  return children
}

/** `own`: the entry is a field even when others are below it. */
function nodeOf(value: unknown, schema: Schema | undefined, own: boolean): FieldSet | undefined {
  const shape = shapeOf(schema)
  const isLeaf = shape.type === 'leaf' || (isObject(value) && Object.keys(value).length === 0)
  return makeNode(own || isLeaf, isLeaf ? {} : childrenOf(value, schema))
}

export interface Comparison {
  /** Added or given another value. */
  changed: FieldSet
  /** No longer there; what was below went too. */
  removed: FieldSet
}

const NONE: Comparison = { changed: EMPTY_SET, removed: EMPTY_SET }

/** What a change from `before` to `after` did to the fields. */
export function compareFields(before: unknown, after: unknown, schema: Schema): Comparison {
  if (before === after) return NONE
  const changed: Record<string, FieldSet> = {}
  const removed: Record<string, FieldSet> = {}
  for (const { element, from, to, schema: below } of pairsOf(before, after, schema)) {
    const node = compareNode(from, to, below)
    if (node.changed !== undefined) changed[element] = node.changed
    if (node.removed !== undefined) removed[element] = node.removed
  }
  return { changed, removed }
}

interface NodeComparison {
  changed: FieldSet | undefined
  removed: FieldSet | undefined
}

function compareNode(from: unknown, to: unknown, schema: Schema | undefined): NodeComparison {
  if (from === to) return { changed: undefined, removed: undefined }
  if (to === undefined) return { changed: undefined, removed: EMPTY_SET }
  if (from === undefined) return { changed: makeNode(true, childrenOf(to, schema)), removed: undefined }
  if (shapeOf(schema).type === 'leaf' || schema === undefined || isEmptyValue(from) || isEmptyValue(to)) {
    if (jsonEqual(from, to)) return { changed: undefined, removed: undefined }
    if (shapeOf(schema).type === 'leaf') return { changed: EMPTY_SET, removed: undefined }
  }
  const { changed, removed } = compareFields(from, to, schema ?? {})
  return { changed: makeNode(false, { ...changed }), removed: makeNode(false, { ...removed }) }
}

function isEmptyValue(value: unknown): boolean {
  return isObject(value) && Object.keys(value).length === 0
}

interface Pair {
  element: string
  from: unknown
  to: unknown
  schema: Schema | undefined
}

function* pairsOf(before: unknown, after: unknown, schema: Schema): Generator<Pair> {
  const shape = shapeOf(schema)
  if (shape.type === 'members') {
    const [old, now] = [isObject(before) ? before : {}, isObject(after) ? after : {}]
    for (const name of new Set([...Object.keys(old), ...Object.keys(now)])) {
      yield { element: `f:${name}`, from: own(old, name), to: own(now, name), schema: memberOf(schema, name).schema }
    }
  } else if (shape.type !== 'leaf') {
    const [old, now] = [before, after].map((list) => itemsOf(shape, Array.isArray(list) ? list : []))
    for (const element of new Set([...(old?.keys() ?? []), ...(now?.keys() ?? [])])) {
      yield { element, from: old?.get(element), to: now?.get(element), schema: itemSchema(shape) }
    }
  }
}

/** Own members only: labels may be called `constructor`. */
export function own(members: Members, name: string): unknown {
  return Object.hasOwn(members, name) ? members[name] : undefined
}

/** `config` laid over `live`: members and items that it does not name stay. Throws `invalid` for an item twice. */
export function mergeConfig(live: unknown, config: unknown, schema: Schema | undefined, path = ''): unknown {
  const shape = shapeOf(schema)
  if (shape.type === 'members' && schema !== undefined && isObject(config)) {
    const merged: Record<string, unknown> = isObject(live) ? { ...live } : {}
    for (const [name, value] of Object.entries(config)) {
      const at = path === '' ? name : `${path}.${name}`
      merged[name] = mergeConfig(own(merged, name), value, memberOf(schema, name).schema, at)
    }
    return merged
  }
  if (shape.type === 'leaf' || !Array.isArray(config)) return config
  return mergeLists(Array.isArray(live) ? live : [], config, shape, path)
}

/** In the order of the config; items that it does not name keep their place behind those they followed. */
function mergeLists(live: readonly unknown[], config: readonly unknown[], shape: Shape, path: string): unknown[] {
  const present = itemsOf(shape, live)
  const wanted = itemsOf(shape, config)
  if (wanted.size < config.length) refuseRepeated(config, shape, path)
  const others = live.map((item) => ({ element: itemElement(shape, item), item }))
  const places = new Map(others.map(({ element }, index) => [element, index]))
  const merged: unknown[] = []
  let next = 0
  const takeOthers = (until: string | undefined): void => {
    for (; next < others.length; next++) {
      const other = others[next]
      if (other === undefined || other.element === until) break
      if (!wanted.has(other.element)) merged.push(other.item)
    }
  }
  for (const [element, item] of wanted) {
    if ((places.get(element) ?? -1) >= next) takeOthers(element)
    merged.push(
      shape.type === 'map' ? mergeConfig(present.get(element), item, shape.items, path + element.slice(2)) : item,
    )
  }
  takeOthers(undefined)
  return merged
}

function refuseRepeated(config: readonly unknown[], shape: Shape, path: string): never {
  const seen = new Set<string>()
  const index = config.findIndex((item) => seen.size === seen.add(itemElement(shape, item)).size)
  const at = `${path}[${index}]`
  const message = `${itemElement(shape, config[index]).slice(2)} stands in the list twice; its owner could not be told`
  throw new DroverError('invalid', `${at}: Duplicate value: ${message}`, {
    fields: [{ path: at, reason: 'Duplicate', message }],
  })
}

/**
 * The merged object without what the manager applied last time and nobody owns now. A field that goes takes what is
 * below it along (the defaults of a container that is no longer applied), unless somebody owns some of that.
 */
export function pruneFields(value: unknown, schema: Schema | undefined, before: FieldSet, owned: FieldSet): unknown {
  const shape = shapeOf(schema)
  if (shape.type === 'members' && schema !== undefined && isObject(value)) {
    const kept: Record<string, unknown> = {}
    for (const [name, member] of Object.entries(value)) {
      const [old, now] = [before[`f:${name}`], owned[`f:${name}`]]
      if (old !== undefined && now === undefined) continue
      const below = old === undefined || now === undefined ? undefined : memberOf(schema, name).schema
      kept[name] = old === undefined || now === undefined ? member : pruneFields(member, below, old, now)
    }
    return kept
  }
  if (shape.type === 'leaf' || !Array.isArray(value)) return value
  return value.flatMap((item) => {
    const element = itemElement(shape, item)
    const [old, now] = [before[element], owned[element]]
    if (old !== undefined && now === undefined) return []
    return [old === undefined || now === undefined ? item : pruneFields(item, itemSchema(shape), old, now)]
  })
}

export const unionAll = (sets: readonly FieldSet[]): FieldSet => sets.reduce(union, EMPTY_SET)
