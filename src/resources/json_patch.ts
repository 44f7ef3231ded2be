/** JSON Patch. Source: RFC 6902; pointers: RFC 6901. Works in place on a private copy. */
import { DroverError } from '../base/errors.ts'
import { isObject, jsonEqual } from '../base/json.ts'

/** Kubernetes' own bound. */
const MAX_OPERATIONS = 10_000
/**
 * What all copies and tests of one patch may walk over, in characters and members. A copy of the whole into itself doubles
 * it: thirty operations would fill any memory.
 */
const MAX_WORK = 4 << 20

interface Root {
  document: unknown
  workLeft: number
}

type Container = Record<string, unknown> | unknown[]

function fail(message: string): never {
  throw new DroverError('invalid', `the JSON patch cannot be applied: ${message}`)
}

/** The patch is well formed and does not fit the object. */
function misfit(message: string): never {
  const fields = [{ path: '', reason: 'Invalid' as const, message }]
  throw new DroverError('invalid', `the JSON patch cannot be applied: ${message}`, { fields })
}

export function applyJsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) fail('it must be a list of operations')
  if (patch.length > MAX_OPERATIONS) fail(`it has ${patch.length} operations; at most ${MAX_OPERATIONS}`)
  const root: Root = { document: structuredClone(document), workLeft: MAX_WORK }
  for (const [index, operation] of patch.entries()) {
    if (!isObject(operation)) fail(`operation ${index} must be an object`)
    applyOne(root, operation, index)
  }
  return root.document
}

function applyOne(root: Root, operation: Record<string, unknown>, index: number): void {
  const { op, path, from, value } = operation
  if (typeof path !== 'string') fail(`operation ${index} has no path`)
  const needsValue = op === 'add' || op === 'replace' || op === 'test'
  if (needsValue && value === undefined) fail(`operation ${index} (${op} ${path}) has no value`)
  if ((op === 'move' || op === 'copy') && typeof from !== 'string')
    fail(`operation ${index} (${op} ${path}) has no from`)
  switch (op) {
    case 'add':
      add(root, path, structuredClone(value))
      return
    case 'remove':
      remove(root, path)
      return
    case 'replace':
      if (path === '') root.document = structuredClone(value)
      else {
        read(root, path)
        const { parent, token } = locate(root, path)
        set(parent, token, structuredClone(value))
      }
      return
    case 'move':
      if (path.startsWith(`${from}/`)) misfit(`${from} cannot be moved into itself`)
      add(root, path, remove(root, from as string))
      return
    case 'copy':
      add(root, path, structuredClone(charged(root, read(root, from as string))))
      return
    case 'test':
      if (!jsonEqual(charged(root, read(root, path)), value)) misfit(`testing value ${path} failed`)
      return
    default:
      fail(`operation ${index}: unknown op ${JSON.stringify(op)}; use add, remove, replace, move, copy or test`)
  }
}

/** The value, when there is work left to walk over it. */
function charged(root: Root, value: unknown): unknown {
  const open = [value]
  while (open.length > 0) {
    const next = open.pop()
    root.workLeft -= typeof next === 'string' ? 1 + next.length : 1
    if (root.workLeft < 0) {
      throw new DroverError('tooLarge', 'the JSON patch copies and tests too much; send the object as a whole')
    }
    if (typeof next === 'object' && next !== null) for (const item of Object.values(next)) open.push(item)
  }
  return value
}

function tokensOf(pointer: string): string[] {
  if (pointer === '') return []
  if (!pointer.startsWith('/')) fail(`"${pointer}" is no JSON pointer: it must start with "/"`)
  return pointer
    .slice(1)
    .split('/')
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function child(container: unknown, token: string, pointer: string): unknown {
  if (Array.isArray(container)) return container[arrayIndex(token, container.length - 1, pointer)]
  if (isObject(container) && Object.hasOwn(container, token)) return container[token]
  return misfit(`there is nothing at ${pointer}`)
}

function arrayIndex(token: string, last: number, pointer: string): number {
  const index = /^(0|[1-9]\d*)$/.test(token) ? Number(token) : -1
  if (index < 0 || index > last) misfit(`there is nothing at ${pointer}`)
  return index
}

function read(root: Root, pointer: string): unknown {
  let value = root.document
  for (const token of tokensOf(pointer)) value = child(value, token, pointer)
  return value
}

function locate(root: Root, pointer: string): { parent: Container; token: string } {
  const tokens = tokensOf(pointer)
  const token = tokens.pop()
  if (token === undefined) fail('the whole object cannot be removed')
  let parent = root.document
  for (const step of tokens) parent = child(parent, step, pointer)
  if (!Array.isArray(parent) && !isObject(parent)) misfit(`there is nothing at ${pointer}`)
  if (token === '__proto__') fail(`"${pointer}" is not a field`)
  return { parent, token }
}

function set(parent: Container, token: string, value: unknown): void {
  if (Array.isArray(parent)) parent[Number(token)] = value
  else parent[token] = value
}

function add(root: Root, pointer: string, value: unknown): void {
  if (pointer === '') {
    root.document = value
    return
  }
  const { parent, token } = locate(root, pointer)
  if (!Array.isArray(parent)) parent[token] = value
  else if (token === '-') parent.push(value)
  else parent.splice(arrayIndex(token, parent.length, pointer), 0, value)
}

function remove(root: Root, pointer: string): unknown {
  const value = read(root, pointer)
  const { parent, token } = locate(root, pointer)
  if (Array.isArray(parent)) parent.splice(Number(token), 1)
  else delete parent[token]
  return value
}
