/**
 * Rows for people. kubectl prints what stands here and nothing else, so the columns are the kind's own, mostly with
 * NAME before and AGE after. Source: k8s.io/apimachinery/pkg/apis/meta/v1 `Table`.
 */
import type { Cell, KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { formatAge } from '../api/pod_kind.ts'
import { DroverError } from '../base/errors.ts'

export type IncludeObject = 'None' | 'Metadata' | 'Object'

export interface ColumnDefinition {
  name: string
  type: string
  format: string
  description: string
  priority: number
}

export interface Row {
  cells: Cell[]
  object?: unknown
}

export function includeObjectParam(query: URLSearchParams): IncludeObject {
  const value = query.get('includeObject') || 'Metadata'
  if (value === 'None' || value === 'Metadata' || value === 'Object') return value
  throw new DroverError('invalid', `includeObject: "${value}" is none of None, Metadata, Object`)
}

export function columnDefinitions(kind: KindDefinition): ColumnDefinition[] {
  const name = { name: 'Name', type: 'string', format: 'name', description: 'Name of the object', priority: 0 }
  const age = { name: 'Age', type: 'string', format: '', description: 'Time since it was made', priority: 0 }
  const own = kind.columns.map(({ name, type, description, priority = 0 }) => ({
    name,
    // Dates are written as ages already.
    type: type === 'date' ? 'string' : type,
    format: '',
    description,
    priority,
  }))
  if (kind.hasOwnColumnsOnly) return own
  // kubectl prints by priority but in this order: wide columns stand behind AGE, as they do in Kubernetes.
  return [name, ...own.filter(isNarrow), age, ...own.filter((column) => !isNarrow(column))]
}

const isNarrow = ({ priority }: { priority?: number }): boolean => (priority ?? 0) === 0

export function metadataOnly({ metadata }: KubeObject): object {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata }
}

function cell(column: KindDefinition['columns'][number], object: KubeObject, nowMs: number): Cell {
  const value = column.value(object, nowMs)
  if (column.type !== 'date' || typeof value !== 'string') return value
  return ageOf(value, nowMs)
}

function ageOf(since: string | null | undefined, nowMs: number): string {
  const epochMs = Date.parse(since ?? '')
  return Number.isNaN(epochMs) ? '<unknown>' : formatAge(nowMs - epochMs)
}

function cellsOf(kind: KindDefinition, object: KubeObject, nowMs: number): Cell[] {
  const all = (columns: KindDefinition['columns']): Cell[] => columns.map((column) => cell(column, object, nowMs))
  if (kind.hasOwnColumnsOnly) return all(kind.columns)
  const narrow = all(kind.columns.filter(isNarrow))
  const wide = all(kind.columns.filter((column) => !isNarrow(column)))
  return [object.metadata.name ?? '', ...narrow, ageOf(object.metadata.creationTimestamp, nowMs), ...wide]
}

export interface TableOptions {
  version: 'v1' | 'v1beta1'
  include: IncludeObject
  nowMs: number
}

export function toRow(kind: KindDefinition, object: KubeObject, { include, nowMs }: TableOptions): Row {
  const cells = cellsOf(kind, object, nowMs)
  if (include === 'None') return { cells, object: null }
  return { cells, object: include === 'Object' ? object : metadataOnly(object) }
}

/** `columns` are left out of every watch event but the first. */
export function toTable(
  kind: KindDefinition,
  objects: readonly KubeObject[],
  options: TableOptions & { metadata: object; columns: boolean },
): object {
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${options.version}`,
    metadata: options.metadata,
    columnDefinitions: options.columns ? columnDefinitions(kind) : [],
    rows: objects.map((object) => toRow(kind, object, options)),
  }
}
