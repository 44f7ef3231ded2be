/**
 * What the machinery needs to know of a kind. A new kind is one file that exports a definition, and one row in
 * kinds.ts: discovery, storage, validation, defaults, tables and patches follow from here.
 */
import type { TSchema } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import type { KubeObject } from './meta.ts'

export type Cell = string | number | boolean | null

/** A column of the table that `get` prints. `priority` 0 is always shown, 1 only with `-o wide`. */
export interface PrinterColumn<T> {
  name: string
  type: 'string' | 'integer' | 'boolean' | 'date'
  description: string
  priority?: 0 | 1
  /** `nowMs` is wall time, for ages. */
  value(object: T, nowMs: number): Cell
}

/** Written as a method, so that a kind's definition fits where code works for every kind. */
type FieldGetter<T> = { get(object: T): string }['get']

export interface KindDefinition<T extends KubeObject = KubeObject> {
  /** Empty for the core group. */
  group: string
  version: string
  kind: string
  plural: string
  singular: string
  shortNames: readonly string[]
  categories: readonly string[]
  namespaced: boolean
  schema: TSchema
  /** Whether `status` has its own sub-resource: then writes to the object leave it alone, and the other way round. */
  hasStatus: boolean
  /** Whether the `scale` sub-resource maps to `spec.replicas`, `status.replicas` and `spec.selector`. */
  hasScale: boolean
  /** Whether names may be any segment of a path (`system:node`) instead of a DNS name. */
  hasPathNames: boolean
  /** Whether a change of `spec` counts `metadata.generation` up. */
  hasGeneration: boolean
  /** Fills in what the user left out. Mutates its argument, a private copy. Must be idempotent. */
  applyDefaults(object: T): void
  /** Rules beyond the schema. The schema and the defaults have been applied. */
  validate(object: T): FieldError[]
  /** Rules about change: immutable fields. */
  validateUpdate(object: T, old: T): FieldError[]
  /** Columns after NAME and before AGE. */
  columns: readonly PrinterColumn<T>[]
  /** Whether `columns` are all there is, without NAME and AGE. */
  hasOwnColumnsOnly: boolean
  /** Fields that field selectors may name, beyond `metadata.name` and `metadata.namespace`. */
  selectableFields: Readonly<Record<string, FieldGetter<T>>>
}

type Optional =
  | 'shortNames'
  | 'categories'
  | 'hasStatus'
  | 'hasScale'
  | 'hasPathNames'
  | 'hasGeneration'
  | 'applyDefaults'
  | 'validate'
  | 'validateUpdate'
  | 'columns'
  | 'hasOwnColumnsOnly'
  | 'selectableFields'

/** Completes a definition with the plain answers. */
export function defineKind<T extends KubeObject>(
  given: Omit<KindDefinition<T>, Optional> & Partial<Pick<KindDefinition<T>, Optional>>,
): KindDefinition<T> {
  return {
    shortNames: [],
    categories: [],
    hasStatus: false,
    hasScale: false,
    hasPathNames: false,
    hasGeneration: false,
    applyDefaults: () => undefined,
    validate: () => [],
    validateUpdate: () => [],
    columns: [],
    hasOwnColumnsOnly: false,
    selectableFields: {},
    ...given,
  }
}

export function apiVersionOf(kind: Pick<KindDefinition, 'group' | 'version'>): string {
  return kind.group === '' ? kind.version : `${kind.group}/${kind.version}`
}

/** `pods`, `deployments.apps`: how errors name a resource. */
export function resourceName(kind: Pick<KindDefinition, 'group' | 'plural'>): string {
  return kind.group === '' ? kind.plural : `${kind.plural}.${kind.group}`
}

/** `namespace/name`, or the name alone for cluster-wide objects: the key of work queues and caches. */
export function keyOf(object: { metadata: { name?: string; namespace?: string } }): string {
  const { name = '', namespace } = object.metadata
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`
}

export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf('/')
  return slash < 0 ? { namespace: '', name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) }
}
