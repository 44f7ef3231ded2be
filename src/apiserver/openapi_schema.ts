/**
 * TypeBox schemas as OpenAPI: version 3.0 for current clients, Swagger 2.0 for old ones. Exported schemas of pods and
 * metadata become named components, so that a document holds them once and `kubectl explain` can name them.
 */
import * as meta from '../api/meta.ts'
import * as pod from '../api/pod.ts'
import { isObject } from '../base/json.ts'

export type OpenApi = Record<string, unknown>
export type Dialect = 'v2' | 'v3'

const META_PREFIX = 'io.k8s.apimachinery.pkg.apis.meta.v1'
const INT_OR_STRING = 'x-kubernetes-int-or-string'
const IGNORED = 'x-drover-ignored'

/** Keywords that mean the same in OpenAPI. */
const PLAIN = ['type', 'format', 'enum', 'minimum', 'maximum', 'pattern', 'required', 'description', 'default']

export class SchemaWriter {
  readonly #dialect: Dialect
  /** Named schemas by their `properties`, which `Optional` copies share. */
  readonly #names = new Map<unknown, string>()
  readonly #components = new Map<string, OpenApi>()

  constructor(dialect: Dialect) {
    this.#dialect = dialect
    for (const [name, schema] of Object.entries(meta)) this.#nameSchema(`${META_PREFIX}.${name}`, schema)
    for (const [name, schema] of Object.entries(pod)) this.#nameSchema(`io.k8s.api.core.v1.${name}`, schema)
  }

  /** Components that were written or referred to so far. */
  get components(): ReadonlyMap<string, OpenApi> {
    return this.#components
  }

  add(name: string, schema: OpenApi): void {
    this.#components.set(name, schema)
  }

  reference(name: string): OpenApi {
    return { $ref: this.#dialect === 'v3' ? `#/components/schemas/${name}` : `#/definitions/${name}` }
  }

  /** A schema in place; parts with a name of their own as references. */
  write(schema: unknown): OpenApi {
    if (!isObject(schema)) return {}
    const name = this.#names.get(schema.properties)
    if (schema.properties === undefined || name === undefined) return this.#inline(schema)
    if (!this.#components.has(name)) {
      // Set before it is filled in: schemas may refer to themselves.
      this.#components.set(name, {})
      this.#components.set(name, this.#inline(schema))
    }
    return this.reference(name)
  }

  /** The top level of a kind, whether or not it has a name. */
  writeRoot(schema: unknown): OpenApi {
    return isObject(schema) ? this.#inline(schema) : {}
  }

  #nameSchema(name: string, schema: unknown): void {
    if (isObject(schema) && isObject(schema.properties) && schema.properties.apiVersion === undefined) {
      this.#names.set(schema.properties, name)
    }
    // An owner reference has an apiVersion and is no kind.
    if (name.endsWith('.OwnerReference') && isObject(schema)) this.#names.set(schema.properties, name)
  }

  #inline(schema: Record<string, unknown>): OpenApi {
    if (schema[IGNORED] === true) return this.#anything()
    if (schema[INT_OR_STRING] === true) return this.#union('int-or-string', ['integer', 'string'])
    if (Array.isArray(schema.anyOf)) return this.#anyOf(schema.anyOf)
    const out: OpenApi = {}
    for (const key of PLAIN) if (schema[key] !== undefined) out[key] = schema[key]
    for (const [key, value] of Object.entries(schema)) if (key.startsWith('x-kubernetes-')) out[key] = value
    if (schema.type === undefined) return this.#anything()
    if (schema.type === 'array') out.items = this.write(schema.items)
    if (isObject(schema.properties)) {
      out.properties = Object.fromEntries(
        Object.entries(schema.properties).map(([key, value]) => [key, this.#property(value)]),
      )
    }
    const values = valuesOf(schema)
    if (values !== undefined) out.additionalProperties = this.write(values)
    return out
  }

  /** Kubernetes' extensions stand beside a reference, which OpenAPI 3.0 allows only around `allOf`. */
  #property(schema: unknown): OpenApi {
    const written = this.write(schema)
    return this.#dialect === 'v3' && '$ref' in written ? { allOf: [written], default: {} } : written
  }

  #anyOf(options: readonly unknown[]): OpenApi {
    const real = options.filter((option) => isObject(option) && option.type !== 'null')
    if (real.length === 1) return this.write(real[0])
    const types = real.map((option) => (isObject(option) ? String(option.type) : 'string'))
    return this.#union('quantity', types)
  }

  /** Swagger 2.0 has no unions: a string there takes numbers too. */
  #union(format: string, types: readonly string[]): OpenApi {
    if (this.#dialect === 'v2') return format === 'quantity' ? { type: 'string' } : { type: 'string', format }
    const oneOf = types.map((type) => ({ type }))
    return format === 'quantity' ? { oneOf } : { oneOf, format }
  }

  #anything(): OpenApi {
    return this.#dialect === 'v2' ? {} : { 'x-kubernetes-preserve-unknown-fields': true }
  }
}

/** The schema of a map's values. */
function valuesOf(schema: Record<string, unknown>): unknown {
  if (isObject(schema.patternProperties)) return Object.values(schema.patternProperties)[0]
  return isObject(schema.additionalProperties) ? schema.additionalProperties : undefined
}
