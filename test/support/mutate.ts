/** Turns a valid document into a doubtful one: what hostile and mistaken clients send. */
import fc from 'fast-check'
import { isObject } from '../../src/base/json.ts'

/** Replaces one value, somewhere along the path, by another. */
export function mutate(value: unknown, path: readonly number[], put: unknown): unknown {
  const [step, ...rest] = path
  const keys = Array.isArray(value) ? [...value.keys()].map(String) : isObject(value) ? Object.keys(value) : []
  if (step === undefined || keys.length === 0) return put
  const key = keys[step % keys.length] ?? ''
  if (Array.isArray(value)) return value.map((item, index) => (String(index) === key ? mutate(item, rest, put) : item))
  return { ...(value as object), [key]: mutate((value as Record<string, unknown>)[key], rest, put) }
}

export const oddValue = fc.constantFrom<unknown>(
  ...[0, -1, 1.5, 2 ** 40, '', 'x', '10', 'a b', '1e99', true, null, '2026-01-01T00:00:00Z'],
  ...[[], {}, ['x'], [1], [null], [{}], { name: 'x' }],
)
export const pathInto = fc.array(fc.nat(20), { maxLength: 8 })
