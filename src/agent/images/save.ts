/**
 * Writes images as one archive that is an OCI-archive and a docker-archive at once, as newer Docker does, with layers as
 * plain tars: whoever loads it gets the same image by its hash.
 * Source: OCI image-spec "image-layout.md"; moby image/spec v1.2.
 */
import { pipeline } from 'node:stream/promises'
import { pack } from 'tar-stream'
import { sha256 } from './image_store.ts'
import type { Layer, LayerStore } from './layer_store.ts'
import { parseReference } from './reference.ts'

export interface SavedImage {
  names: readonly string[]
  config: Uint8Array
  layers: readonly Layer[]
}

const BLOBS = 'blobs/sha256/'
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
const LAYER = 'application/vnd.oci.image.layer.v1.tar'

export async function* saveImage({ names, config, layers }: SavedImage, store: LayerStore): AsyncGenerator<Uint8Array> {
  // A digest is that of the manifest it came with; the one that is written here is another.
  const tags = names.filter((name) => parseReference(name).digest === '')
  // Before the first byte goes out: a layer that cannot be made again is refused, not found half-way. The same layer twice
  // in an image is one blob.
  const tars = new Map<string, Awaited<ReturnType<LayerStore['tar']>>>()
  for (const layer of layers) if (!tars.has(layer.diffId)) tars.set(layer.diffId, await store.tar(layer))
  const archive = pack()
  const writing = write()
  writing.catch((error: Error) => archive.destroy(error))
  for await (const chunk of archive) yield chunk as Uint8Array
  await writing

  async function write(): Promise<void> {
    for (const [diffId, { sizeBytes, bytes }] of tars) {
      await pipeline(bytes, archive.entry({ ...entry(blobName(diffId)), size: sizeBytes }))
    }
    const descriptors = layers.map(({ diffId }) => ({
      mediaType: LAYER,
      digest: diffId,
      size: tars.get(diffId)?.sizeBytes,
    }))
    const configDigest = sha256(config)
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: configDigest, size: config.length },
        layers: descriptors,
      }),
    )
    const descriptor = { mediaType: MANIFEST, digest: sha256(manifest), size: manifest.length }
    const manifests =
      tags.length === 0
        ? [descriptor]
        : tags.map((name) => ({ ...descriptor, annotations: { 'io.containerd.image.name': name } }))
    const docker = [
      {
        Config: blobName(configDigest),
        ...(tags.length === 0 ? {} : { RepoTags: tags }),
        Layers: layers.map(({ diffId }) => blobName(diffId)),
      },
    ]
    const documents: [string, Uint8Array | string][] = [
      [blobName(configDigest), config],
      [blobName(descriptor.digest), manifest],
      ['oci-layout', JSON.stringify({ imageLayoutVersion: '1.0.0' })],
      ['index.json', JSON.stringify({ schemaVersion: 2, manifests })],
      ['manifest.json', JSON.stringify(docker)],
    ]
    for (const [name, content] of documents) archive.entry(entry(name), Buffer.from(content))
    archive.finalize()
  }
}

const blobName = (digest: string): string => BLOBS + digest.slice('sha256:'.length)

/** Without a time of its own: the same image gives the same archive. */
const entry = (name: string) => ({ name, mode: 0o644, mtime: new Date(0) })
