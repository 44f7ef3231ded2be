/**
 * Reads image archives: docker-archive (`docker save`) and OCI-archive, in one pass and without a copy on disk.
 * Entries come in any order, so every one that is a tar is unpacked as a layer at once, and every small JSON document is
 * kept; the documents then say which layers make up which image. Layers are known by their hashes, so a name in the
 * archive is only ever a way to find them. What no image needs is dropped by the caller's prune.
 * Source: OCI image-spec "image-layout.md"; moby image/spec v1.2 "Combined Image JSON + Filesystem Changeset Format".
 */
import { createHash } from 'node:crypto'
import { throwIfAborted } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import { chooseImage } from './choose_image.ts'
import { cleanParts } from './confined_root.ts'
import { decompress, detectCompression, peek } from './decompress.ts'
import { type NewImage, sha256 } from './image_store.ts'
import type { LayerHold, LayerStore } from './layer_store.ts'
import { type Descriptor, type Platform, parseConfig, parseJson, parseManifest } from './manifest.ts'
import { formatReference, isDigest, parseReference, type Reference } from './reference.ts'
import { looksLikeTar, type TarEntry, TarReader, toText } from './tar_reader.ts'

const MAX_DOCUMENT_BYTES = 8 << 20
const MAX_DOCUMENTS_BYTES = 64 << 20
const MAX_ENTRIES = 20_000
const HEAD_BYTES = 512

export interface ReadOptions {
  layers: LayerStore
  hold: LayerHold
  machine: Platform
  signal: AbortSignal
}

/** Everything of use in an archive. By path and by digest apart: an archive may call a file by the digest of another. */
interface Contents {
  documents: Map<string, Buffer>
  documentsByDigest: Map<string, Buffer>
  /** To diff IDs, here and below. */
  layers: Map<string, string>
  /** By the digest of the blob as it stands in the archive. */
  layersByDigest: Map<string, string>
  links: Map<string, string>
}

/** Unpacks the layers and says which images there are. Rejects with `invalid`. */
export async function readArchive(archive: AsyncIterable<Uint8Array>, options: ReadOptions): Promise<NewImage[]> {
  const reader = new TarReader(decompress(archive))
  const contents: Contents = {
    documents: new Map(),
    documentsByDigest: new Map(),
    layers: new Map(),
    layersByDigest: new Map(),
    links: new Map(),
  }
  const budget = { entries: MAX_ENTRIES, documentBytes: MAX_DOCUMENTS_BYTES }
  try {
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      throwIfAborted(options.signal)
      if (--budget.entries < 0) throw new DroverError('tooLarge', `the archive has more than ${MAX_ENTRIES} entries`)
      const path = cleanParts(entry.name).join('/')
      if (entry.type === 'file') await readFile(path, entry, { reader, contents, budget, options })
      else if (entry.type === 'symlink') contents.links.set(path, linkTarget(path, entry.linkName))
      else if (entry.type === 'link') contents.links.set(path, cleanParts(entry.linkName).join('/'))
    }
    await reader.drain()
  } finally {
    await reader.close()
  }
  // Newer Docker writes both forms; its own names tags more surely.
  const docker = find(contents.documents, contents, 'manifest.json')
  const index = find(contents.documents, contents, 'index.json')
  if (docker !== undefined) {
    // The manifests, by which a name with a digest is judged, stand in the other form alone.
    const both = index === undefined ? [] : await ociImages(index, contents, options.machine).catch(() => [])
    return dockerImages(docker, contents, new Map(both.map(({ config, manifests }) => [sha256(config), manifests])))
  }
  if (index !== undefined) return ociImages(index, contents, options.machine)
  throw new DroverError(
    'invalid',
    budget.entries === MAX_ENTRIES
      ? 'the archive is empty'
      : 'neither a docker-archive nor an OCI-archive: it has no manifest.json and no index.json; a root file system is imported, not loaded',
  )
}

interface FileContext {
  reader: TarReader
  contents: Contents
  budget: { documentBytes: number }
  options: ReadOptions
}

async function readFile(path: string, entry: TarEntry, context: FileContext): Promise<void> {
  const { reader, contents, budget, options } = context
  const named = `sha256:${path.slice(path.lastIndexOf('/') + 1).replace(/\.tar$/, '')}`
  // A known layer by this name need not be read: if the name lies, the image's configuration will not name it.
  if (isDigest(named) && options.layers.get(named) !== undefined) {
    options.hold.diffIds.add(named)
    contents.layers.set(path, named)
    contents.layersByDigest.set(named, named)
    return
  }
  const { head, stream } = await peek(reader.body(), HEAD_BYTES)
  const compression = detectCompression(head)
  if (compression !== 'none' || looksLikeTar(head)) {
    const hash = createHash('sha256')
    try {
      const added = await options.layers.add(compression === 'none' ? stream : hashed(stream, hash), options)
      contents.layers.set(path, added.diffId)
      const digest = compression === 'none' ? added.diffId : `sha256:${hash.digest('hex')}`
      contents.layersByDigest.set(digest, added.diffId)
    } catch (thrown) {
      const error = DroverError.from(thrown)
      throw new DroverError(error.code, `layer ${toText(path)}: ${error.message}`, { cause: error })
    }
    return
  }
  const json = /^\s*[{[]/.test(head.toString('latin1'))
  if (!json || entry.sizeBytes > MAX_DOCUMENT_BYTES) return
  budget.documentBytes -= entry.sizeBytes
  if (budget.documentBytes < 0) {
    throw new DroverError('tooLarge', `the archive has more than ${MAX_DOCUMENTS_BYTES} bytes of documents`)
  }
  const pieces: Buffer[] = []
  for await (const piece of stream) pieces.push(Buffer.from(piece))
  const bytes = Buffer.concat(pieces)
  contents.documents.set(path, bytes)
  contents.documentsByDigest.set(sha256(bytes), bytes)
}

async function* hashed(source: AsyncIterable<Uint8Array>, hash: { update(data: Uint8Array): unknown }) {
  for await (const chunk of source) {
    hash.update(chunk)
    yield chunk
  }
}

function linkTarget(path: string, target: string): string {
  const parent = path.slice(0, path.lastIndexOf('/') + 1)
  return cleanParts(target.startsWith('/') ? target : parent + target).join('/')
}

function find<T>(among: ReadonlyMap<string, T>, contents: Contents, name: string): T | undefined {
  let path = cleanParts(name).join('/')
  for (let hops = 0; hops < 10; hops++) {
    const found = among.get(path)
    if (found !== undefined) return found
    const next = contents.links.get(path)
    if (next === undefined) return undefined
    path = next
  }
  return undefined
}

/** `known`: manifests, by the hash of the configuration that they name. */
function dockerImages(
  bytes: Buffer,
  contents: Contents,
  known: ReadonlyMap<string, readonly Uint8Array[]>,
): NewImage[] {
  let list: unknown
  try {
    list = JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new DroverError('invalid', 'manifest.json of the archive is not JSON', { cause })
  }
  if (!Array.isArray(list) || list.length === 0) throw new DroverError('invalid', 'manifest.json lists no image')
  return list.map((item: unknown): NewImage => {
    if (!isObject(item) || typeof item.Config !== 'string' || !Array.isArray(item.Layers)) {
      throw new DroverError('invalid', 'an entry of manifest.json has no Config or no Layers')
    }
    const config = find(contents.documents, contents, item.Config)
    if (config === undefined) throw new DroverError('invalid', `the archive lacks ${JSON.stringify(item.Config)}`)
    const found = item.Layers.map((name: unknown) => {
      const diffId = find(contents.layers, contents, String(name))
      if (diffId === undefined) throw new DroverError('invalid', `the archive lacks the layer ${JSON.stringify(name)}`)
      return diffId
    })
    verifyLayers(config, found, item.Config)
    const tags: unknown[] = Array.isArray(item.RepoTags) ? item.RepoTags : []
    const manifests = known.get(sha256(config)) ?? []
    return { config, manifests, names: trueNames(tags.map(String), manifests), repositoryDigests: [] }
  })
}

async function ociImages(bytes: Buffer, contents: Contents, machine: Platform): Promise<NewImage[]> {
  const index = parseManifest(bytes, 'index.json')
  if (index.kind !== 'index') throw new DroverError('invalid', 'index.json is not an index')
  const real = index.manifests.filter((item) => item.annotations['vnd.docker.reference.type'] === undefined)
  if (real.length === 0) throw new DroverError('invalid', 'index.json lists no image')
  // One image under several names has a descriptor for each.
  const images = new Map<string, NewImage>()
  for (const descriptor of real) {
    const image = await ociImage(descriptor, contents, machine)
    const id = sha256(image.config)
    images.set(id, { ...image, names: [...new Set([...(images.get(id)?.names ?? []), ...image.names])] })
  }
  return [...images.values()]
}

async function ociImage(descriptor: Descriptor, contents: Contents, machine: Platform): Promise<NewImage> {
  const document = async (digest: string): Promise<Buffer> => {
    const bytes = contents.documentsByDigest.get(digest)
    if (bytes === undefined) throw new DroverError('invalid', `the archive lacks ${digest}`)
    return bytes
  }
  const { image, manifests } = await chooseImage(descriptor.digest, {
    manifest: document,
    config: ({ digest }) => document(digest),
    machine,
    where: 'the archive',
  })
  const config = await document(image.config.digest)
  const found = image.layers.map(({ digest }) => {
    const diffId = contents.layersByDigest.get(digest)
    if (diffId === undefined) throw new DroverError('invalid', `the archive lacks the layer ${digest}`)
    return diffId
  })
  verifyLayers(config, found, image.config.digest)
  return {
    config,
    manifests: [...manifests].reverse(),
    names: trueNames(ociNames(descriptor), manifests),
    repositoryDigests: [],
  }
}

/** A bare tag (`latest`) as reference name says nothing of the image's name. */
function ociNames({ annotations }: Descriptor): string[] {
  const full = annotations['io.containerd.image.name']
  const short = annotations['org.opencontainers.image.ref.name'] ?? ''
  const name = full ?? (/[:/]/.test(short) ? short : undefined)
  return name === undefined ? [] : [name]
}

/** In full. Pods pin content by a digest, so a name with another than the image's is dropped. */
function trueNames(names: readonly string[], manifests: readonly Uint8Array[]): string[] {
  return names.map(parseReference).filter(standsFor(manifests)).map(formatReference)
}

/** Whether a name may stand for the image of these manifests: one with a digest only for what has it. */
export function standsFor(manifests: readonly Uint8Array[]): (reference: Reference) => boolean {
  const digests = new Set(manifests.map(sha256))
  return ({ digest }) => digest === '' || digests.has(digest)
}

function verifyLayers(config: Uint8Array, found: readonly string[], where: string): void {
  parseJson(config, where)
  const { diffIds } = parseConfig(config, where)
  const same = diffIds.length === found.length && diffIds.every((diffId, i) => diffId === found[i])
  if (!same) {
    throw new DroverError(
      'invalid',
      `the archive's layers are not those that ${where} names: ${found.join(', ') || 'none'}`,
    )
  }
}
