/**
 * What images there are: one small file, `images.json`, replaced whole at each change, and the configurations and
 * manifests as blobs by their hash. Changes run one after another; memory follows the file, never the reverse.
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { writeFileAtomic } from './files.ts'
import { type ConfigDocument, parseConfig } from './manifest.ts'
import { formatReference, idPrefix, parseReference } from './reference.ts'

export interface ImageRecord {
  id: string
  /** Of the manifest, then of the index that led to it; empty when the image came without. */
  digests: readonly string[]
  /** Full references, each held by one image only. */
  names: readonly string[]
  /** `registry/repository@sha256:…` under which a registry gave it. */
  repositoryDigests: readonly string[]
}

export interface NewImage {
  config: Uint8Array
  manifests: readonly Uint8Array[]
  names: readonly string[]
  repositoryDigests: readonly string[]
}

interface ImagesFile {
  version: 1
  images: ImageRecord[]
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

export class ImageStore {
  readonly #directory: string
  readonly #log: Logger
  #records: ReadonlyMap<string, ImageRecord> = new Map()
  readonly #configs = new Map<string, ConfigDocument>()
  #changing: Promise<unknown> = Promise.resolve()

  constructor(directory: string, log: Logger) {
    this.#directory = directory
    this.#log = log
  }

  /** Reads what is there; images whose layers `complete` misses are dropped. */
  async initialize(complete: (config: ConfigDocument) => boolean): Promise<void> {
    await mkdir(join(this.#directory, 'blobs', 'sha256'), { recursive: true, mode: 0o700 })
    const found = new Map<string, ImageRecord>()
    for (const record of await this.#readFile()) {
      try {
        const bytes = await readFile(this.#blobPath(record.id))
        if (sha256(bytes) !== record.id) throw new DroverError('invalid', 'its configuration is damaged')
        const config = parseConfig(bytes, record.id)
        if (!complete(config)) throw new DroverError('invalid', 'a layer of it is missing')
        this.#configs.set(record.id, config)
        found.set(record.id, record)
      } catch (err) {
        this.#log.warn({ image: record.id, names: record.names, err }, 'image dropped; pull or load it again')
      }
    }
    await this.#write(found)
    await this.#sweepBlobs()
  }

  list(): ImageRecord[] {
    return [...this.#records.values()]
  }

  get(id: string): ImageRecord | undefined {
    return this.#records.get(id)
  }

  config(record: ImageRecord): ConfigDocument {
    const config = this.#configs.get(record.id)
    if (config === undefined) throw new DroverError('internal', `image ${record.id} has no configuration`)
    return config
  }

  /** By name first, then by digest, ID or the start of one. Throws `invalid` for what is none, or is several. */
  find(text: string): ImageRecord | undefined {
    const prefix = idPrefix(text)
    const name = prefix !== undefined && text.startsWith('sha256:') ? undefined : fullName(text, prefix)
    for (const record of this.#records.values()) {
      if (name !== undefined && (record.names.includes(name) || record.repositoryDigests.includes(name))) return record
    }
    if (prefix === undefined) return undefined
    const start = `sha256:${prefix}`
    const matches = this.list().filter(({ id, digests }) => [id, ...digests].some((digest) => digest.startsWith(start)))
    if (matches.length > 1) {
      throw new DroverError('invalid', `"${text}" is the start of ${matches.length} images' IDs; write more of it`)
    }
    return matches[0]
  }

  /** Records images in one step; their names leave other images. */
  add(images: readonly NewImage[]): Promise<ImageRecord[]> {
    return this.#change(async () => {
      const records = new Map(this.#records)
      for (const image of images) {
        const id = sha256(image.config)
        const config = parseConfig(image.config, id)
        for (const bytes of [image.config, ...image.manifests]) {
          await writeFileAtomic(this.#blobPath(sha256(bytes)), bytes)
        }
        this.#configs.set(id, config)
        for (const [other, record] of records) {
          const names = record.names.filter((name) => !image.names.includes(name))
          if (names.length < record.names.length) records.set(other, { ...record, names })
        }
        const old = records.get(id)
        records.set(id, {
          id,
          digests: union(image.manifests.map(sha256), old?.digests),
          names: union(image.names, old?.names),
          repositoryDigests: union(image.repositoryDigests, old?.repositoryDigests),
        })
      }
      await this.#write(records)
      return images.flatMap(({ config }) => records.get(sha256(config)) ?? [])
    })
  }

  /** Gives an image one more name, taking it from another that has it. */
  tag(text: string, name: string): Promise<ImageRecord> {
    return this.#change(async () => {
      const record = this.find(text)
      if (record === undefined) throw new DroverError('notFound', `no image ${text} on this node`)
      const records = new Map(this.#records)
      for (const [id, other] of records) {
        if (other.names.includes(name)) records.set(id, { ...other, names: other.names.filter((own) => own !== name) })
      }
      const tagged = { ...record, names: union([name], record.names) }
      records.set(record.id, tagged)
      await this.#write(records)
      return tagged
    })
  }

  /** The configuration as it came: its hash is the image. */
  configBytes(record: ImageRecord): Promise<Buffer> {
    return readFile(this.#blobPath(record.id))
  }

  /** Takes a name from its image, or with an ID all of them; the image goes with its last name. */
  remove(text: string, mayGo: (record: ImageRecord) => Promise<void>): Promise<void> {
    return this.#change(async () => {
      const record = this.find(text)
      if (record === undefined) throw new DroverError('notFound', `no image ${text} on this node`)
      const name = fullName(text, idPrefix(text))
      const names = record.names.filter((other) => other !== name)
      const records = new Map(this.#records)
      if (names.length > 0 && names.length < record.names.length) {
        records.set(record.id, { ...record, names })
        await this.#write(records)
        return
      }
      await mayGo(record)
      records.delete(record.id)
      await this.#write(records)
      this.#configs.delete(record.id)
      await this.#sweepBlobs()
    })
  }

  #change<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#changing.then(work)
    this.#changing = done.catch(() => undefined)
    return done
  }

  #blobPath(digest: string): string {
    return join(this.#directory, 'blobs', 'sha256', digest.slice('sha256:'.length))
  }

  async #readFile(): Promise<readonly ImageRecord[]> {
    const path = join(this.#directory, 'images.json')
    let text: string
    try {
      text = await readFile(path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
    try {
      return (JSON.parse(text) as ImagesFile).images
    } catch (cause) {
      throw new DroverError('internal', `${path} is damaged; remove it and pull the images again`, { cause })
    }
  }

  async #write(records: ReadonlyMap<string, ImageRecord>): Promise<void> {
    const file: ImagesFile = { version: 1, images: [...records.values()] }
    await writeFileAtomic(join(this.#directory, 'images.json'), `${JSON.stringify(file, null, 1)}\n`)
    this.#records = records
  }

  async #sweepBlobs(): Promise<void> {
    const known = new Set(this.list().flatMap(({ id, digests }) => [id, ...digests]))
    for (const name of await readdir(join(this.#directory, 'blobs', 'sha256'))) {
      if (!known.has(`sha256:${name}`)) await rm(this.#blobPath(`sha256:${name}`), { force: true })
    }
  }
}

function union(first: readonly string[], second: readonly string[] = []): string[] {
  return [...new Set([...first, ...second])]
}

/** The full reference, or undefined for a text that can only be an ID. */
function fullName(text: string, prefix: string | undefined): string | undefined {
  try {
    return formatReference(parseReference(text))
  } catch (error) {
    if (prefix === undefined) throw error
    return undefined
  }
}
