/**
 * Every field that Kubernetes documents for a kind, from the models of its JavaScript client, which are generated from
 * Kubernetes' own OpenAPI document: the oracle for "nothing is accepted and ignored".
 */
import * as client from '@kubernetes/client-node'
import type { KindDefinition } from '../../src/api/kind.ts'
import { mapValues, type Schema } from '../../src/resources/validate.ts'

interface Attribute {
  baseName: string
  type: string
}

const MODELS = client as unknown as Readonly<Record<string, { attributeTypeMap?: readonly Attribute[] } | undefined>>

/** Kinds whose model has another name than its version and kind. */
const MODEL_NAMES: Readonly<Record<string, string>> = { Event: 'CoreV1Event' }

/** What a list or map is of. */
const itemType = (type: string): string =>
  /^(?:Array<(.+)>|Set<(.+)>|\{ \[key: string\]: (.+); \})$/.exec(type)?.slice(1).find(Boolean) ?? type

export function modelOf(kind: KindDefinition): string {
  return MODEL_NAMES[kind.kind] ?? `V1${kind.kind}`
}

export function isModel(name: string): boolean {
  return MODELS[name]?.attributeTypeMap !== undefined
}

/** The schema of a list's items or a map's values, or the schema itself. */
function inner(schema: Schema): Schema {
  const [first] = (schema.anyOf ?? []).filter(({ type }) => type !== 'null')
  if (first !== undefined && schema.anyOf?.length === 2 && first.type === 'object') return inner(first)
  if (schema.type === 'array') return inner(schema.items ?? {})
  return schema.properties === undefined ? (mapValues(schema) ?? schema) : schema
}

/** Paths that Kubernetes documents and the schema does not know; what is below an ignored field counts as known. */
export function unknownFields(kind: KindDefinition): string[] {
  const missing: string[] = []
  walk(modelOf(kind), kind.schema as Schema, '', missing, new Set())
  return missing
}

function walk(model: string, given: Schema, path: string, missing: string[], above: ReadonlySet<string>): void {
  const schema = inner(given)
  if (schema['x-drover-ignored'] === true || schema.properties === undefined) return
  for (const { baseName, type } of MODELS[model]?.attributeTypeMap ?? []) {
    const name = baseName === '_continue' ? 'continue' : baseName
    const at = path === '' ? name : `${path}.${name}`
    const property = schema.properties[name]
    const below = itemType(itemType(type))
    if (property === undefined) missing.push(at)
    else if (isModel(below) && !above.has(below)) walk(below, property, at, missing, new Set([...above, below]))
  }
}
