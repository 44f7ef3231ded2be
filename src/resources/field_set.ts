/**
 * Sets of fields as Kubernetes writes them into `metadata.managedFields` (FieldsV1): a tree of path elements whose leaves
 * are members, and where `.` makes an inner node a member too. The tree is the working form and the stored form at once,
 * so nothing is converted. Elements: `f:name` a member, `k:{"key":value}` an item of a list of objects, `v:value` an item
 * of a set. The root is never a member: an empty root is an empty set. Pure; arguments are not changed.
 * Source: k8s.io/apimachinery meta/v1 `FieldsV1`, sigs.k8s.io/structured-merge-diff `fieldpath.Set`.
 */
import { isObject } from '../base/json.ts'

export interface FieldSet {
  readonly [element: string]: FieldSet
}

export const EMPTY_SET: FieldSet = Object.freeze({})
const SELF = '.'
/** Deeper than any schema; what clients send is data like any other. */
const MAX_DEPTH = 64

export function isEmptySet(set: FieldSet): boolean {
  for (const _element in set) return false
  return true
}

/** Whether an inner node or leaf is itself in the set. */
export function isMember(node: FieldSet): boolean {
  return isEmptySet(node) || node[SELF] !== undefined
}

/** A node from its parts; undefined when nothing is left of it. */
export function makeNode(member: boolean, children: Record<string, FieldSet>): FieldSet | undefined {
  if (isEmptySet(children)) return member ? EMPTY_SET : undefined
  return member ? { [SELF]: EMPTY_SET, ...children } : children
}

/** What is in either. */
export function union(a: FieldSet, b: FieldSet): FieldSet {
  const children: Record<string, FieldSet> = { ...a }
  for (const [element, node] of Object.entries(b)) {
    const other = children[element]
    children[element] = other === undefined ? node : unionNode(other, node)
  }
  return children
}

function unionNode(a: FieldSet, b: FieldSet): FieldSet {
  const { [SELF]: _own, ...children } = union(a, b)
  return makeNode(isMember(a) || isMember(b), children) ?? EMPTY_SET
}

/** What is in both. */
export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  const children: Record<string, FieldSet> = {}
  for (const [element, node] of Object.entries(a)) {
    const other = b[element]
    if (other === undefined || element === SELF) continue
    const both = makeNode(isMember(node) && isMember(other), intersection(node, other))
    if (both !== undefined) children[element] = both
  }
  return children
}

/** What is in `a` and not in `b`. With `deep`, a member of `b` takes everything below it along. */
export function difference(a: FieldSet, b: FieldSet, deep = false): FieldSet {
  const children: Record<string, FieldSet> = {}
  for (const [element, node] of Object.entries(a)) {
    if (element === SELF) continue
    const other = b[element]
    const gone = other !== undefined && isMember(other)
    if (gone && deep) continue
    const left = other === undefined ? node : makeNode(isMember(node) && !gone, difference(node, other, deep))
    if (left !== undefined) children[element] = left
  }
  return children
}

/** Members as paths of elements, for messages. */
export function* pathsOf(set: FieldSet, prefix: readonly string[] = []): Generator<readonly string[]> {
  for (const [element, node] of Object.entries(set)) {
    if (element === SELF) continue
    const path = [...prefix, element]
    if (isMember(node)) yield path
    yield* pathsOf(node, path)
  }
}

/** `.spec.containers[name="c"].image`: how conflicts name a field. */
export function pathText(path: readonly string[]): string {
  return path
    .map((element) => {
      const rest = element.slice(2)
      if (element.startsWith('f:')) return `.${rest}`
      if (element.startsWith('v:')) return `[=${rest}]`
      const keys: unknown = JSON.parse(rest)
      const pairs = Object.entries(isObject(keys) ? keys : {}).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
      return `[${pairs.join(',')}]`
    })
    .join('')
}

/** What a client sent, checked; undefined when it is no set of fields. */
export function parseFieldSet(value: unknown, depth = 0): FieldSet | undefined {
  if (!isObject(value) || depth > MAX_DEPTH) return undefined
  const children: Record<string, FieldSet> = {}
  for (const [element, below] of Object.entries(value)) {
    const node = parseFieldSet(below, depth + 1)
    if (node === undefined || !isElement(element)) return undefined
    children[element] = node
  }
  return children
}

function isElement(element: string): boolean {
  if (element === SELF || element.startsWith('f:') || element.startsWith('i:')) return true
  if (!element.startsWith('k:') && !element.startsWith('v:')) return false
  try {
    const value: unknown = JSON.parse(element.slice(2))
    return element.startsWith('v:') || isObject(value)
  } catch {
    return false
  }
}
