/**
 * Documents of images, read with suspicion: they come from registries and archives. Pure.
 * Source: OCI image-spec (index, manifest, config), Docker image manifest V2 schema 2.
 */
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import type { ImageConfig } from './images.ts'
import { isDigest } from './reference.ts'

export interface Descriptor {
  mediaType: string
  digest: string
  sizeBytes: number
  platform?: Platform
  annotations: Readonly<Record<string, string>>
}

export interface Platform {
  os: string
  architecture: string
  variant: string
}

export type Manifest =
  | { kind: 'index'; manifests: Descriptor[] }
  | { kind: 'image'; config: Descriptor; layers: Descriptor[] }

export interface ConfigDocument {
  platform: Platform
  createdAt: string
  diffIds: string[]
  config: ImageConfig
}

export const MANIFEST_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]

/** overlayfs takes at most 500 layers; Docker makes at most 127. */
const MAX_LAYERS = 500
const MAX_MANIFESTS = 1000

function invalid(where: string, why: string): DroverError {
  return new DroverError('invalid', `${where}: ${why}`)
}

export function parseJson(bytes: Uint8Array, where: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new DroverError('invalid', `${where} is not JSON`, { cause })
  }
  if (!isObject(value)) throw invalid(where, 'not a JSON object')
  return value
}

/** Reads a manifest or an index. Throws `invalid`, or `unsupported` for the kinds of old. */
export function parseManifest(bytes: Uint8Array, where: string): Manifest {
  const document = parseJson(bytes, where)
  if (document.schemaVersion === 1) {
    throw new DroverError('unsupported', `${where} is a schema 1 manifest; push the image again with a current tool`)
  }
  if (Array.isArray(document.manifests)) {
    if (document.manifests.length > MAX_MANIFESTS) throw invalid(where, `more than ${MAX_MANIFESTS} manifests`)
    return { kind: 'index', manifests: document.manifests.map((item) => parseDescriptor(item, where)) }
  }
  if (!Array.isArray(document.layers) || !isObject(document.config)) {
    throw invalid(where, 'neither an image manifest nor an index')
  }
  if (document.layers.length > MAX_LAYERS) throw invalid(where, `more than ${MAX_LAYERS} layers`)
  return {
    kind: 'image',
    config: parseDescriptor(document.config, where),
    layers: document.layers.map((item) => parseDescriptor(item, where)),
  }
}

function parseDescriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw invalid(where, 'a descriptor is not an object')
  const { digest, size, platform } = value
  if (!isDigest(digest)) throw invalid(where, `${JSON.stringify(digest)} is not a digest (only sha256 is known)`)
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw invalid(where, `${digest} has no size`)
  return {
    mediaType: text(value.mediaType),
    digest,
    sizeBytes: size,
    annotations: textMap(value.annotations),
    ...(isObject(platform) ? { platform: parsePlatform(platform) } : {}),
  }
}

function parsePlatform(value: Record<string, unknown>): Platform {
  return { os: text(value.os), architecture: text(value.architecture), variant: text(value.variant) }
}

/** Reads an image's configuration. Throws `invalid`. */
export function parseConfig(bytes: Uint8Array, where: string): ConfigDocument {
  const document = parseJson(bytes, where)
  const rootfs = document.rootfs
  const diffIds = isObject(rootfs) ? rootfs.diff_ids : undefined
  if (!Array.isArray(diffIds) || !diffIds.every(isDigest) || diffIds.length > MAX_LAYERS) {
    throw invalid(where, 'not the configuration of an image: rootfs.diff_ids is missing or malformed')
  }
  const config = isObject(document.config) ? document.config : {}
  return {
    platform: parsePlatform(document),
    createdAt: text(document.created),
    diffIds,
    config: {
      env: texts(config.Env),
      entrypoint: texts(config.Entrypoint),
      cmd: texts(config.Cmd),
      workingDirectory: text(config.WorkingDir),
      user: text(config.User),
      stopSignal: text(config.StopSignal),
      exposedPorts: isObject(config.ExposedPorts) ? Object.keys(config.ExposedPorts) : [],
      labels: textMap(config.Labels),
    },
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : []
}

function textMap(value: unknown): Record<string, string> {
  if (!isObject(value)) return {}
  return Object.fromEntries(
    Object.entries(value).filter((pair): pair is [string, string] => typeof pair[1] === 'string'),
  )
}
