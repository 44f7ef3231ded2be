/**
 * Where objects live in the store: `/drover/<group or core>/<plural>/<namespace or _>/<name>`. Book-keeping that is no
 * object lives under `/drover-meta/`; the watch cache watches both, so that every write of ours moves its revision.
 */

import type { KindDefinition } from '../api/kind.ts'
import { isDnsLabel, isDnsSubdomain } from '../api/names.ts'
import { DroverError } from '../base/errors.ts'

export const OBJECT_PREFIX = '/drover/'
export const META_PREFIX = '/drover-meta/'
/** Covers both prefixes. */
export const WATCH_PREFIX = '/drover'

type Located = Pick<KindDefinition, 'group' | 'plural' | 'namespaced'>

/** `<group or core>/<plural>`: a kind's part of the key, and its name inside the cache. */
export function tableId(kind: Pick<KindDefinition, 'group' | 'plural'>): string {
  return `${kind.group === '' ? 'core' : kind.group}/${kind.plural}`
}

/** Throws `invalid` for names that could not stand in a path: a key must never reach another object's place. */
export function storeKey(kind: Located, namespace: string, name: string): string {
  if (kind.namespaced && !isDnsLabel(namespace)) {
    throw new DroverError('invalid', `"${namespace}" is not the name of a namespace`)
  }
  if (!isDnsSubdomain(name) && !isSafeName(name)) {
    throw new DroverError('invalid', `"${name}" cannot be the name of an object`)
  }
  return `${OBJECT_PREFIX}${tableId(kind)}/${kind.namespaced ? namespace : '_'}/${name}`
}

/** Some kinds (RBAC roles such as `system:node`) allow more than DNS names. */
function isSafeName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && name.length <= 253 && !/[/%\s]/.test(name)
}

export interface ParsedKey {
  table: string
  namespace: string
  name: string
}

/** Undefined for keys that hold no object. */
export function parseKey(key: string): ParsedKey | undefined {
  if (!key.startsWith(OBJECT_PREFIX)) return undefined
  const parts = key.slice(OBJECT_PREFIX.length).split('/')
  const [group, plural, namespace, name] = parts
  if (parts.length !== 4 || !group || !plural || !namespace || !name) return undefined
  return { table: `${group}/${plural}`, namespace: namespace === '_' ? '' : namespace, name }
}
