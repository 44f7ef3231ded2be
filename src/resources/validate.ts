/**
 * Checks an object against its kind's schema: one walk finds what is wrong (with Kubernetes' paths), what is unknown
 * and what is known but not honoured. Unknown members are removed from the object, a private copy, and so are empty words.
 *
 * Rejected: ajv. It compiles some hundred kilobytes of code per kind, words errors in JSON Schema's terms, and a second
 * walk would still have to find unknown and unhonoured fields. The schemas use a small part of JSON Schema; the walk
 * refuses words that it does not know, and a test holds its verdicts against ajv's.
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { isDnsLabel, isDnsSubdomain, isLabelKey } from '../api/names.ts'
import { validateLabels } from '../api/pod_rules.ts'
import { ANNOTATION } from '../api/schema.ts'
import { assert, type FieldError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'

/** The words of JSON Schema that the kinds use. */
export interface Schema {
  type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean' | 'null'
  properties?: Readonly<Record<string, Schema>>
  required?: readonly string[]
  additionalProperties?: boolean | Schema
  patternProperties?: Readonly<Record<string, Schema>>
  items?: Schema
  anyOf?: readonly Schema[]
  enum?: readonly unknown[]
  const?: unknown
  pattern?: string
  format?: string
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  default?: unknown
  [annotation: `x-${string}`]: unknown
}

const WORDS = new Set(
  (
    'type properties required additionalProperties patternProperties items anyOf enum const pattern format minimum ' +
    'maximum minLength maxLength title description default'
  ).split(' '),
)

export interface SchemaFindings {
  errors: FieldError[]
  /** Paths of members that the schema does not know; they have been removed. */
  unknown: string[]
  /** Paths of members that are kept and do nothing. */
  ignored: string[]
}

/** `path` is where the value stands, for a part of an object. */
export function checkSchema(schema: unknown, value: unknown, path = ''): SchemaFindings {
  const findings: SchemaFindings = { errors: [], unknown: [], ignored: [] }
  walk(schema as Schema, value, path, findings)
  return findings
}

/** What a map schema says of its values: `additionalProperties` or the one pattern of a TypeBox record. */
export function mapValues(schema: Schema): Schema | undefined {
  if (typeof schema.additionalProperties === 'object') return schema.additionalProperties
  const patterns = Object.values(schema.patternProperties ?? {})
  assert(patterns.length <= 1, 'a schema has at most one pattern of members')
  return patterns[0]
}

function walk(schema: Schema, value: unknown, path: string, findings: SchemaFindings): void {
  for (const word of Object.keys(schema)) {
    assert(WORDS.has(word) || word.startsWith('x-'), `the walk knows no schema word "${word}" (at ${path})`)
  }
  if (schema[ANNOTATION.ignored] === true) {
    findings.ignored.push(path)
    return
  }
  const unhonoured = schema[ANNOTATION.ignored]
  if (unhonoured === 'always') findings.ignored.push(path)
  else if (Array.isArray(unhonoured) && unhonoured.includes(value)) findings.ignored.push(`${path}=${show(value)}`)
  if (schema.anyOf !== undefined) {
    walkAnyOf(schema.anyOf, value, path, findings)
    return
  }
  const fault = schema.type === undefined ? undefined : typeFault(schema.type, value)
  if (fault !== undefined) {
    findings.errors.push({ path, reason: 'Invalid', message: fault })
    return
  }
  if (schema.type === 'object') walkObject(schema, value as Record<string, unknown>, path, findings)
  else if (schema.type === 'array') walkArray(schema, value as unknown[], path, findings)
  else findings.errors.push(...scalarFaults(schema, value, path))
}

function walkAnyOf(choices: readonly Schema[], value: unknown, path: string, findings: SchemaFindings): void {
  let closest: SchemaFindings | undefined
  for (const choice of choices) {
    const tried: SchemaFindings = { errors: [], unknown: [], ignored: [] }
    walk(choice, value, path, tried)
    if (tried.errors.length === 0) {
      findings.ignored.push(...tried.ignored)
      findings.unknown.push(...tried.unknown)
      return
    }
    // The choice whose type fits says most about what is wrong.
    const fits = choice.type !== undefined && typeFault(choice.type, value) === undefined
    if (closest === undefined || fits) closest = tried
  }
  findings.errors.push(...(closest?.errors ?? []))
}

function walkObject(schema: Schema, value: Record<string, unknown>, path: string, findings: SchemaFindings): void {
  const at = (member: string): string => (path === '' ? member : `${path}.${member}`)
  for (const name of schema.required ?? []) {
    if (value[name] === undefined)
      findings.errors.push({ path: at(name), reason: 'Required', message: 'must be given' })
  }
  const values = mapValues(schema)
  for (const [name, member] of Object.entries(value)) {
    const known =
      schema.properties !== undefined && Object.hasOwn(schema.properties, name) ? schema.properties[name] : undefined
    if (known !== undefined && member === '' && isOptionalWord(schema, name)) delete value[name]
    else if (known !== undefined) walk(known, member, at(name), findings)
    else if (values !== undefined) walk(values, member, `${path}[${name}]`, findings)
    else if (schema.additionalProperties === false) {
      findings.unknown.push(at(name))
      delete value[name]
    }
  }
}

/** Where a word may be left out, an empty one is none: Kubernetes knows no difference, and its clients write either. */
function isOptionalWord({ properties, required = [] }: Schema, name: string): boolean {
  const words = properties?.[name]?.enum
  return words !== undefined && !words.includes('') && !required.includes(name)
}

function walkArray(schema: Schema, value: unknown[], path: string, findings: SchemaFindings): void {
  if (schema.items === undefined) return
  for (const [index, item] of value.entries()) walk(schema.items, item, `${path}[${index}]`, findings)
}

const TYPE_WORDS = {
  object: 'an object',
  array: 'a list',
  string: 'a string',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  null: 'null',
} as const

function typeFault(type: NonNullable<Schema['type']>, value: unknown): string | undefined {
  const fits =
    type === 'object'
      ? isObject(value)
      : type === 'array'
        ? Array.isArray(value)
        : type === 'integer'
          ? Number.isInteger(value)
          : type === 'null'
            ? value === null
            : typeof value === type
  return fits ? undefined : `${show(value)} must be ${TYPE_WORDS[type]}`
}

const DATE_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i

function scalarFaults(schema: Schema, value: unknown, path: string): FieldError[] {
  const fault = (reason: FieldError['reason'], message: string): FieldError[] => [{ path, reason, message }]
  if (schema.enum !== undefined && !schema.enum.includes(value)) {
    return fault('NotSupported', `${show(value)}: supported values: ${schema.enum.map(show).join(', ')}`)
  }
  if (schema.const !== undefined && schema.const !== value) {
    return fault('Invalid', `${show(value)} must be ${show(schema.const)}`)
  }
  if (typeof value === 'number') {
    if (schema.minimum !== undefined && value < schema.minimum) {
      return fault('Invalid', `${value} must be greater than or equal to ${schema.minimum}`)
    }
    if (schema.maximum !== undefined && value > schema.maximum) {
      return fault('Invalid', `${value} must be less than or equal to ${schema.maximum}`)
    }
  }
  if (typeof value !== 'string') return []
  if (schema.maxLength !== undefined && value.length > schema.maxLength) {
    return fault('TooLong', `may not be more than ${schema.maxLength} characters`)
  }
  if (schema.minLength !== undefined && value.length < schema.minLength) return fault('Invalid', 'may not be empty')
  if (schema.format === 'date-time' && !(DATE_TIME.test(value) && !Number.isNaN(Date.parse(value)))) {
    return fault('Invalid', `${show(value)} must be a time as in RFC 3339, for example 2026-01-31T12:00:00Z`)
  }
  if (schema.pattern !== undefined && !new RegExp(schema.pattern).test(value)) {
    const form = schema.format === 'byte' ? 'base64' : schema.pattern
    return fault('Invalid', `${show(value)} must match ${form}`)
  }
  return []
}

const SHOWN_CHARACTERS = 60

function show(value: unknown): string {
  if (isObject(value)) return 'an object'
  if (Array.isArray(value)) return 'a list'
  const text = JSON.stringify(value) ?? String(value)
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text
}

/** Kubernetes' bound on all annotations of one object together. */
const MAX_ANNOTATION_BYTES = 256 * 1024

/** Rules that every object keeps, whatever its kind. Runs after the schema. */
export function validateMeta(kind: KindDefinition, { metadata }: KubeObject): FieldError[] {
  const errors: FieldError[] = []
  const add = (path: string, message: string): void => {
    errors.push({ path: `metadata.${path}`, reason: 'Invalid', message })
  }
  const { name = '', namespace = '', annotations = {}, ownerReferences = [], finalizers = [] } = metadata
  if (!kind.hasPathNames && !isDnsSubdomain(name)) {
    add('name', `"${name}" must be lower case letters, digits, "-" or ".", and start and end with a letter or digit`)
  }
  if (kind.namespaced && !isDnsLabel(namespace)) add('namespace', `"${namespace}" is not a DNS label`)
  errors.push(...validateLabels(metadata.labels, 'metadata.labels'))
  let bytes = 0
  for (const [key, value] of Object.entries(annotations)) {
    if (!isLabelKey(key.toLowerCase())) add('annotations', `"${key}" is not an annotation key`)
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value)
  }
  if (bytes > MAX_ANNOTATION_BYTES) {
    errors.push({
      path: 'metadata.annotations',
      reason: 'TooLong',
      message: `may not be more than ${MAX_ANNOTATION_BYTES} bytes`,
    })
  }
  for (const finalizer of finalizers)
    if (!isLabelKey(finalizer)) add('finalizers', `"${finalizer}" is no qualified name`)
  if (ownerReferences.filter((owner) => owner.controller === true).length > 1) {
    add('ownerReferences', 'only one owner can be the controller')
  }
  return errors
}
