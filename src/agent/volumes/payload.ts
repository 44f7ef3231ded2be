/** The files that volumes of ConfigMaps, Secrets, fields and tokens shall hold. Pure but for the token that is asked for. */
import type { ConfigMap } from '../../api/configmap.ts'
import type { DownwardFile, ProjectedSource, Volume } from '../../api/pod.ts'
import type { Secret } from '../../api/secret.ts'
import { DroverError } from '../../base/errors.ts'
import type { VolumeSources } from './volumes.ts'

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

export interface PayloadContext {
  namespace: string
  volumeName: string
  fsGroup: boolean
  sources: VolumeSources
  /** Text of a file that the volume holds now. */
  current(path: string): Promise<string | undefined>
}

function downwardFiles(
  items: readonly DownwardFile[],
  defaultMode: number | undefined,
  { volumeName, fsGroup, sources }: PayloadContext,
): Payload {
  const files = new Map<string, PayloadFile>()
  for (const { path, fieldRef, resourceFieldRef, mode = defaultMode ?? DEFAULT_MODE } of items) {
    const text =
      resourceFieldRef === undefined ? sources.field(fieldRef?.fieldPath ?? '') : sources.resource(resourceFieldRef)
    const checked = checkedPath(path, `volume ${volumeName}`)
    files.set(checked, { data: Buffer.from(text), mode: fsGroup ? mode | GROUP_READ : mode })
  }
  return files
}

/** Whether it holds what must never touch a disk. */
export function isSensitive({ secret, projected }: Volume): boolean {
  return secret !== undefined || (projected?.sources ?? []).some((each) => each.secret ?? each.serviceAccountToken)
}

/** Undefined: a volume that is not made of files like these. Of two files of one path the later counts. */
export async function volumeFiles(volume: Volume, context: PayloadContext): Promise<Payload | undefined> {
  const { configMap, secret, downwardAPI, projected } = volume
  if (downwardAPI !== undefined) return downwardFiles(downwardAPI.items ?? [], downwardAPI.defaultMode, context)
  if (configMap !== undefined || secret !== undefined) return keyFiles(volume, context)
  if (projected === undefined) return undefined
  const files = new Map<string, PayloadFile>()
  for (const source of projected.sources ?? []) {
    for (const [path, file] of await projectedFiles(source, projected.defaultMode, context)) files.set(path, file)
  }
  return files
}

type KeyVolume = { configMap?: KeySource & { name?: string }; secret?: KeySource & { secretName?: string } }

function keyFiles({ configMap, secret }: KeyVolume, context: PayloadContext): Payload {
  const { namespace, volumeName, fsGroup, sources } = context
  if (secret !== undefined) {
    const name = secret.secretName ?? ''
    const found = sources.secret(name)
    const data = found === undefined ? undefined : secretData(found)
    return payload(secret, data, `Secret ${namespace}/${name} of volume ${volumeName}`, { fsGroup })
  }
  const name = configMap?.name ?? ''
  const map = sources.configMap(name)
  const data = map === undefined ? undefined : configMapData(map)
  return payload(configMap ?? {}, data, `ConfigMap ${namespace}/${name} of volume ${volumeName}`, { fsGroup })
}

async function projectedFiles(
  { configMap, secret, downwardAPI, serviceAccountToken }: ProjectedSource,
  defaultMode: number | undefined,
  context: PayloadContext,
): Promise<Payload> {
  const mode = defaultMode === undefined ? {} : { defaultMode }
  if (configMap !== undefined) return keyFiles({ configMap: { ...configMap, ...mode } }, context)
  if (secret !== undefined) {
    const { name = '', ...rest } = secret
    return keyFiles({ secret: { ...rest, secretName: name, ...mode } }, context)
  }
  if (downwardAPI !== undefined) return downwardFiles(downwardAPI.items ?? [], defaultMode, context)
  if (serviceAccountToken === undefined) return new Map()
  const path = checkedPath(serviceAccountToken.path, `volume ${context.volumeName}`)
  const token = await context.sources.token(serviceAccountToken, await context.current(path))
  const bits = defaultMode ?? DEFAULT_MODE
  return new Map([[path, { data: Buffer.from(token), mode: context.fsGroup ? bits | GROUP_READ : bits }]])
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
