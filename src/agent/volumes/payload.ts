/** Pure: the files that a ConfigMap or Secret volume shall hold. */
import type { ConfigMap } from '../../api/configmap.ts'
import type { Secret } from '../../api/secret.ts'
import { DroverError } from '../../base/errors.ts'

export interface PayloadFile {
  data: Buffer
  mode: number
}

/** By path relative to the volume. */
export type Payload = ReadonlyMap<string, PayloadFile>

const DEFAULT_MODE = 0o644
/** Readable by the group that the pod's volumes belong to. */
const GROUP_READ = 0o440

interface KeySource {
  items?: readonly { key: string; path: string; mode?: number }[]
  defaultMode?: number
  optional?: boolean
}

export function configMapData(map: ConfigMap): Map<string, Buffer> {
  const text = Object.entries(map.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'utf8')] as const)
  const binary = Object.entries(map.binaryData ?? {}).map(
    ([key, value]) => [key, Buffer.from(value, 'base64')] as const,
  )
  return new Map([...text, ...binary])
}

export function secretData(secret: Secret): Map<string, Buffer> {
  return new Map(Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64')]))
}

/** `what` names the source in messages: `ConfigMap default/settings`. `data` undefined: the source does not exist. */
export function payload(
  source: KeySource,
  data: ReadonlyMap<string, Buffer> | undefined,
  what: string,
  options: { fsGroup: boolean },
): Payload {
  const files = new Map<string, PayloadFile>()
  if (data === undefined) {
    if (source.optional === true) return files
    throw new DroverError('notFound', `${what} not found`)
  }
  const fallback = source.defaultMode ?? DEFAULT_MODE
  const items = source.items ?? [...data.keys()].map((key) => ({ key, path: key }))
  for (const item of items) {
    const value = data.get(item.key)
    if (value === undefined) {
      if (source.optional === true) continue
      throw new DroverError('notFound', `${what} has no key ${JSON.stringify(item.key)}`)
    }
    const mode = ('mode' in item ? item.mode : undefined) ?? fallback
    files.set(checkedPath(item.path, what), { data: value, mode: options.fsGroup ? mode | GROUP_READ : mode })
  }
  return files
}

/** Paths stay inside the volume and out of the names that the writer keeps for itself (`..data`). */
function checkedPath(path: string, what: string): string {
  const parts = path.split('/')
  const bad = path === '' || path.startsWith('/') || path.includes('\0') || parts.some((part) => part === '')
  if (bad || parts.includes('.') || parts.includes('..') || path.startsWith('..')) {
    throw new DroverError('invalid', `${what}: item path ${JSON.stringify(path)} must be relative, without ".."`)
  }
  return path
}
