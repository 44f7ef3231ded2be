/**
 * Pushes one image: each layer is made again as a tar, compressed, and sent unless the registry has it; then the
 * configuration as it is, so that the image keeps its identity, and a manifest over both.
 * Source: OCI distribution-spec v1.1 "Push"; OCI image-spec "Image Manifest".
 */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { sha256 } from './image_store.ts'
import type { PullProgress } from './images.ts'
import type { Layer, LayerStore } from './layer_store.ts'
import type { RegistrySession } from './registry_session.ts'

export interface PushRequest {
  session: RegistrySession
  tag: string
  config: Uint8Array
  layers: readonly Layer[]
  store: LayerStore
  /** A directory for what is on its way. */
  scratch: string
  signal: AbortSignal
  onProgress: (progress: PullProgress) => void
}

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
const CONFIG = 'application/vnd.oci.image.config.v1+json'
const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip'
/** What registries take in one piece, and what a broken connection costs at most of one that says where it stands. */
const PIECE_BYTES = 8 << 20

interface Blob {
  mediaType: string
  digest: string
  size: number
}

/** Resolves with the digest of the manifest. */
export async function pushImage(request: PushRequest): Promise<string> {
  const { session, tag, config, layers, onProgress } = request
  const blobs: Blob[] = []
  let doneBytes = 0
  for (const [i, layer] of layers.entries()) {
    const tell = (what: string) =>
      onProgress({ message: `layer ${i + 1} of ${layers.length}: ${what}`, doneBytes, totalBytes: 0 })
    const blob = await pushLayer(layer, request, tell)
    doneBytes += blob.size
    blobs.push(blob)
  }
  const configBlob = { mediaType: CONFIG, digest: sha256(config), size: config.length }
  if (!(await session.hasBlob(configBlob.digest))) {
    const open = (offset: number) => Readable.from([config.subarray(offset)])
    await session.upload({ digest: configBlob.digest, sizeBytes: config.length, open })
  }
  const manifest = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: configBlob, layers: blobs }),
  )
  await session.putManifest(tag, MANIFEST, manifest)
  return sha256(manifest)
}

/** Its digest must be known before the registry can be asked whether it has it: so it is compressed first, to a file. */
async function pushLayer(
  layer: Layer,
  { session, store, scratch, signal }: PushRequest,
  tell: (what: string) => void,
): Promise<Blob> {
  await mkdir(scratch, { recursive: true, mode: 0o700 })
  const path = join(scratch, layer.id)
  const hash = createHash('sha256')
  try {
    tell('compressing')
    const { bytes } = await store.tar(layer)
    const hashed = async function* (source: AsyncIterable<Uint8Array>) {
      for await (const chunk of source) {
        hash.update(chunk)
        yield chunk
      }
    }
    await pipeline(bytes, createGzip(), hashed, createWriteStream(path), { signal })
    const digest = `sha256:${hash.digest('hex')}`
    const { size } = await stat(path)
    if (await session.hasBlob(digest)) tell('is there already')
    else {
      tell(`sending ${size} bytes`)
      const open = (start: number) => createReadStream(path, { start, highWaterMark: PIECE_BYTES })
      await session.upload({ digest, sizeBytes: size, open })
    }
    return { mediaType: LAYER, digest, size }
  } finally {
    await rm(path, { force: true })
  }
}
