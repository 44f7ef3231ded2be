/** YAML as people expect it from a cluster: block style, long strings unfolded, managed fields left out. */
import { stringify } from 'yaml'
import { isObject } from '../base/json.ts'

export function toYaml(value: unknown): string {
  return stringify(withoutManagedFields(value), { lineWidth: 0, aliasDuplicateObjects: false })
}

function withoutManagedFields(value: unknown): unknown {
  if (!isObject(value)) return value
  const copy: Record<string, unknown> = { ...value }
  if (isObject(value.metadata)) {
    const { managedFields: _managed, ...metadata } = value.metadata
    copy.metadata = metadata
  }
  if (Array.isArray(value.items)) copy.items = value.items.map(withoutManagedFields)
  return copy
}
