/** The image driver: joins the stores of layers and images with archives and registries. Contract: images.ts. */
import { mkdir } from 'node:fs/promises'
import { arch } from 'node:process'
import { type Clock, throwIfAborted } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Registry } from '../../base/metrics.ts'
import type { Random } from '../../base/random.ts'
import { readArchive } from './archive.ts'
import type { ProxyOptions } from './http.ts'
import { type ImageRecord, ImageStore, type NewImage } from './image_store.ts'
import type { Image, ImageDriver, PullOptions, ResolvedUser } from './images.ts'
import { type LayerHold, LayerStore } from './layer_store.ts'
import type { ConfigDocument } from './manifest.ts'
import { machinePlatform } from './platform.ts'
import { formatReference, parseReference } from './reference.ts'
import { readUserFiles, resolveUserIn } from './users.ts'

export interface ImageDriverOptions {
  dataDir: string
  clock: Clock
  random: Random
  log: Logger
  /** Where metrics go. */
  registry?: Registry
  /** Through which every registry is reached, loopback ones too. */
  proxy?: ProxyOptions
  /** `host[:port]` that may speak plain HTTP or show a certificate that does not verify; loopback always may. */
  insecureRegistries: readonly string[]
  /** By registry host (`docker.io`): base URLs that are asked first, in order. */
  mirrors?: Readonly<Record<string, readonly string[]>>
  /** Of one layer's plain tar. Default 20 GiB. */
  maxLayerBytes?: number
  /** Of one layer. Default one million. */
  maxEntries?: number
}

const DEFAULT_MAX_LAYER_BYTES = 20 * 2 ** 30
const DEFAULT_MAX_ENTRIES = 1_000_000
const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export function createImageDriver(options: ImageDriverOptions): ImageDriver {
  return new Driver(options)
}

class Driver implements ImageDriver {
  readonly #options: ImageDriverOptions
  readonly #layers: LayerStore
  readonly #images: ImageStore
  readonly #machine = machinePlatform(arch)

  constructor(options: ImageDriverOptions) {
    const { dataDir, log, maxLayerBytes = DEFAULT_MAX_LAYER_BYTES, maxEntries = DEFAULT_MAX_ENTRIES } = options
    this.#options = options
    this.#layers = new LayerStore(dataDir, { maxLayerBytes, maxEntries }, log)
    this.#images = new ImageStore(dataDir, log)
  }

  async initialize(): Promise<void> {
    await mkdir(this.#options.dataDir, { recursive: true, mode: 0o700 })
    await this.#layers.initialize()
    await this.#images.initialize(({ diffIds }) => diffIds.every((diffId) => this.#layers.get(diffId) !== undefined))
    await this.#prune()
  }

  async find(reference: string): Promise<Image | undefined> {
    const record = this.#images.find(reference)
    return record === undefined ? undefined : this.#image(record)
  }

  async list(): Promise<Image[]> {
    return this.#images.list().map((record) => this.#image(record))
  }

  pull(reference: string, options: PullOptions): Promise<Image> {
    throwIfAborted(options.signal)
    return Promise.reject(new DroverError('unsupported', `pull of ${reference}`))
  }

  async load(archive: AsyncIterable<Uint8Array>, reference: string | undefined, signal: AbortSignal): Promise<Image[]> {
    const name = reference === undefined ? undefined : formatReference(parseReference(reference))
    const records = await this.#adding(async (hold) => {
      const found = await readArchive(archive, { layers: this.#layers, hold, machine: this.#machine, signal })
      if (name === undefined) return found
      const [only, ...others] = found
      if (only === undefined || others.length > 0) {
        throw new DroverError('invalid', `the archive holds ${found.length} images; load it without a name of your own`)
      }
      return [{ ...only, names: [name] }]
    })
    return records.map((record) => this.#image(record))
  }

  async importRootfs(archive: AsyncIterable<Uint8Array>, reference: string, signal: AbortSignal): Promise<Image> {
    const parsed = parseReference(reference)
    if (parsed.digest !== '') throw new DroverError('invalid', `"${reference}" has a digest; import under a tag`)
    const [record] = await this.#adding(async (hold) => {
      const layer = await this.#layers.add(archive, { signal, hold })
      if (layer.entries === 0) throw new DroverError('invalid', 'the archive is empty')
      const config = {
        created: new Date(this.#options.clock.now()).toISOString(),
        architecture: this.#machine.architecture,
        os: this.#machine.os,
        config: { Env: [DEFAULT_PATH], Cmd: ['/bin/sh'] },
        rootfs: { type: 'layers', diff_ids: [layer.diffId] },
      }
      const image: NewImage = {
        config: Buffer.from(JSON.stringify(config)),
        manifests: [],
        names: [formatReference(parsed)],
        repositoryDigests: [],
      }
      return [image]
    })
    if (record === undefined) throw new DroverError('internal', 'an import made no image')
    return this.#image(record)
  }

  async remove(reference: string): Promise<void> {
    await this.#images.remove(reference, () => Promise.resolve())
    await this.#prune()
  }

  async resolveUser(image: Image, user: string): Promise<ResolvedUser> {
    return resolveUserIn(await readUserFiles(image.layerDirectories), user)
  }

  /** Adds images; the layers that came with them are held meanwhile, and dropped again if it fails. */
  async #adding(make: (hold: LayerHold) => Promise<NewImage[]>): Promise<ImageRecord[]> {
    const hold = this.#layers.hold()
    try {
      return await this.#images.add(await make(hold))
    } finally {
      this.#layers.release(hold)
      await this.#prune()
    }
  }

  async #prune(): Promise<void> {
    const used = this.#images.list().flatMap((record) => this.#images.config(record).diffIds)
    await this.#layers.prune(new Set(used))
  }

  #image(record: ImageRecord): Image {
    const document = this.#images.config(record)
    const layers = this.#stack(document)
    return {
      id: record.id,
      digest: record.digests[0] ?? '',
      names: record.names,
      sizeBytes: layers.reduce((sum, layer) => sum + layer.sizeBytes, 0),
      createdAt: document.createdAt,
      config: document.config,
      layerDirectories:
        layers.length === 0 ? [this.#layers.emptyPath] : layers.map((layer) => this.#layers.path(layer)),
    }
  }

  /** The image's layers, lowest first, each once (overlayfs refuses a directory twice), from the last that hides all. */
  #stack({ diffIds }: ConfigDocument) {
    const all = diffIds.flatMap((diffId, i) =>
      diffIds.lastIndexOf(diffId) === i ? (this.#layers.get(diffId) ?? []) : [],
    )
    return all.slice(
      Math.max(
        0,
        all.findLastIndex((layer) => layer.opaqueRoot),
      ),
    )
  }
}
