/**
 * Building blocks of the schemas. One TypeBox schema per kind is the single source of its TypeScript type, its
 * validation, its OpenAPI document, its patch keys and the list of fields that are accepted but not honoured.
 */
import Type, { type TSchema } from 'typebox'
import { MAX_QUANTITY_LENGTH, QUANTITY_PATTERN } from '../base/quantity.ts'

/** JSON Schema annotations of our own and of Kubernetes' OpenAPI extensions. */
export const ANNOTATION = {
  /** Kubernetes documents the field, Drover stores it and warns that it does nothing: `true` (of any shape), `always`, or values. */
  ignored: 'x-drover-ignored',
  /** Stored and shown for people and clients; nothing in a cluster acts on it, in Kubernetes neither. */
  kept: 'x-drover-kept',
  patchStrategy: 'x-kubernetes-patch-strategy',
  patchMergeKey: 'x-kubernetes-patch-merge-key',
  listType: 'x-kubernetes-list-type',
  listMapKeys: 'x-kubernetes-list-map-keys',
  mapType: 'x-kubernetes-map-type',
} as const

/** Options of an object or map that has one owner as a whole: server-side apply never merges its members. */
export const ATOMIC = { [ANNOTATION.mapType]: 'atomic' } as const

export const opt = Type.Optional

/** An object that has these fields and no others. */
export function object<P extends Type.TProperties>(properties: P, options: Type.TSchemaOptions = {}) {
  return Type.Object(properties, { ...options, additionalProperties: false })
}

/** A list that strategic merge joins by the value of `key`. */
export function listByKey<T extends TSchema>(items: T, key: string, ...mapKeys: string[]) {
  return Type.Array(items, {
    [ANNOTATION.patchStrategy]: 'merge',
    [ANNOTATION.patchMergeKey]: key,
    [ANNOTATION.listType]: 'map',
    [ANNOTATION.listMapKeys]: mapKeys.length > 0 ? mapKeys : [key],
  })
}

/** A list of plain values that strategic merge treats as a set. */
export function setOf<T extends TSchema>(items: T) {
  return Type.Array(items, { [ANNOTATION.patchStrategy]: 'merge', [ANNOTATION.listType]: 'set' })
}

/** A field that Kubernetes documents and Drover does not honour (yet): stored, and answered with a warning. */
export function ignored() {
  return Type.Optional(Type.Unknown({ [ANNOTATION.ignored]: true }))
}

/** Many of these: `...ignoredAll('awsElasticBlockStore', 'azureDisk')`. */
export function ignoredAll<const N extends string>(...names: readonly N[]) {
  return Object.fromEntries(names.map((name) => [name, ignored()])) as Record<N, ReturnType<typeof ignored>>
}

// Some of a schema's own marks are not enumerable, so a spread would lose them.
function marked<T extends TSchema>(schema: T, mark: Readonly<Record<string, unknown>>) {
  const copy = Object.defineProperties({}, Object.getOwnPropertyDescriptors(schema)) as T
  Object.assign(copy, mark)
  return Type.Optional(copy)
}

/** Checked like any other field, and answered with the warning of `ignored`: with values, only where it has one of them. */
export function unhonoured<T extends TSchema>(schema: T, ...values: readonly string[]) {
  return marked(schema, { [ANNOTATION.ignored]: values.length === 0 ? 'always' : values })
}

/**
 * A field that is there to be read by people and clients, in Kubernetes as here: stored and shown, and nothing in the
 * cluster acts on it. Everything else that is neither ignored nor kept is honoured: a test looks for the code.
 */
export function kept<T extends TSchema>(schema: T) {
  return marked(schema, { [ANNOTATION.kept]: true })
}

/** One of these words. */
export function oneOf<const T extends readonly string[]>(...words: T) {
  return Type.Unsafe<T[number]>({ type: 'string', enum: words })
}

/** Of a port. The default stands in the schema because lists of ports are keyed by it. */
export const protocol = Type.Unsafe<'TCP' | 'UDP' | 'SCTP'>({
  type: 'string',
  enum: ['TCP', 'UDP', 'SCTP'],
  default: 'TCP',
})

export const text = Type.String()
/** One owner for all of it, as selectors have. */
export const atomicStringMap = Type.Record(text, text, ATOMIC)
export const bool = Type.Boolean()
export const int32 = Type.Integer({ minimum: -(2 ** 31), maximum: 2 ** 31 - 1 })
export const int64 = Type.Integer()
export const count = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })
export const portNumber = Type.Integer({ minimum: 1, maximum: 65535 })
export const stringMap = Type.Record(text, text)
/** RFC 3339; `metav1.Time` and `MicroTime`. */
export const time = Type.String({ format: 'date-time' })
export const quantity = Type.Unsafe<string | number>({
  anyOf: [{ type: 'string', pattern: QUANTITY_PATTERN, maxLength: MAX_QUANTITY_LENGTH }, { type: 'number' }],
})
export const quantityMap = Type.Unsafe<Record<string, string | number>>({
  type: 'object',
  additionalProperties: quantity,
})
/** A number, or a name or percentage. */
export const intOrString = Type.Unsafe<number | string>({
  anyOf: [{ type: 'integer' }, { type: 'string' }],
  'x-kubernetes-int-or-string': true,
})
/** Base64, as Kubernetes writes `[]byte`. */
export const base64 = Type.Unsafe<string>({
  type: 'string',
  format: 'byte',
  pattern: '^[A-Za-z0-9+/\\s]*={0,2}\\s*$',
})
