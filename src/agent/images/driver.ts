/** The image driver: joins the stores of layers and images with archives and registries. Contract: images.ts. */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { arch } from 'node:process'
import type { Clock } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Registry } from '../../base/metrics.ts'
import type { Random } from '../../base/random.ts'
import { readArchive, standsFor } from './archive.ts'
import { endpointsOf } from './endpoint.ts'
import { HttpClient, type ProxyOptions } from './http.ts'
import { createImageMetrics, type ImageMetrics } from './image_metrics.ts'
import { type ImageRecord, ImageStore, type NewImage, sha256 } from './image_store.ts'
import type { Image, ImageDriver, PullOptions, PullProgress, ResolvedUser } from './images.ts'
import { inheritAttributes } from './inherit.ts'
import { type Layer, type LayerHold, LayerStore } from './layer_store.ts'
import { type ConfigDocument, parseConfig } from './manifest.ts'
import { isMounted } from './mounted.ts'
import { machinePlatform } from './platform.ts'
import { type PullContext, type PullRequest, pullImage } from './pull.ts'
import { pushImage } from './push.ts'
import { formatReference, parseReference } from './reference.ts'
import { RegistrySession } from './registry_session.ts'
import { saveImage } from './save.ts'
import { SharedWork, type Work } from './shared_work.ts'
import { UserFilesCache } from './user_files_cache.ts'
import { resolveUserIn } from './users.ts'

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
  readonly #userFiles = new UserFilesCache()
  readonly #pulls = new SharedWork<ImageRecord, PullProgress>()
  readonly #pullContext: PullContext
  readonly #metrics: ImageMetrics | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: ImageDriverOptions) {
    const { dataDir, clock, log, maxLayerBytes = DEFAULT_MAX_LAYER_BYTES, maxEntries = DEFAULT_MAX_ENTRIES } = options
    this.#options = options
    this.#layers = new LayerStore(dataDir, { maxLayerBytes, maxEntries }, log, { clock })
    this.#images = new ImageStore(dataDir, log)
    const { random, proxy, insecureRegistries, mirrors = {}, registry } = options
    this.#metrics = registry && createImageMetrics(registry)
    this.#pullContext = {
      http: new HttpClient({ clock, proxy }),
      clock,
      random,
      log,
      rules: { insecureRegistries, mirrors },
      layers: this.#layers,
      layerWork: new SharedWork(),
      machine: this.#machine,
      onBytes: (bytes) => this.#metrics?.pulledBytes.inc(bytes),
    }
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

  async pull(reference: string, options: PullOptions): Promise<Image> {
    const parsed = parseReference(reference)
    const credentials = options.credentials ?? (() => [])
    // Those who may see different things must not share an answer, a mirror's neither.
    const endpoints = endpointsOf(parsed.registry, this.#pullContext.rules)
    const accounts = endpoints.map(({ host }) => credentials(host, parsed.repository))
    const work: Work<ImageRecord, PullProgress> = (signal, onProgress) =>
      this.#timed(() => this.#pullOnce({ reference: parsed, credentials, signal, onProgress }))
    const key = `${formatReference(parsed)} ${sha256(Buffer.from(JSON.stringify(accounts)))}`
    return this.#image(await this.#pulls.join(key, options.signal, work, options.onProgress))
  }

  async load(archive: AsyncIterable<Uint8Array>, reference: string | undefined, signal: AbortSignal): Promise<Image[]> {
    const name = reference === undefined ? undefined : parseReference(reference)
    const records = await this.#adding(async (hold) => {
      const found = await readArchive(archive, { layers: this.#layers, hold, machine: this.#machine, signal })
      if (name === undefined) return found
      const [only, ...others] = found
      if (only === undefined || others.length > 0) {
        throw new DroverError('invalid', `the archive holds ${found.length} images; load it without a name of your own`)
      }
      if (!standsFor(only.manifests)(name)) {
        const why = 'the archive has no manifest with that digest'
        throw new DroverError('invalid', `"${reference}" cannot be its name: ${why}; name it with a tag`)
      }
      return [{ ...only, names: [formatReference(name)] }]
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
        // The same archive is the same image on every node, whenever it comes there.
        created: new Date(0).toISOString(),
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

  async tag(reference: string, name: string): Promise<Image> {
    const parsed = parseReference(name)
    if (parsed.digest !== '') throw new DroverError('invalid', `"${name}" has a digest; tag with a name and a tag`)
    return this.#image(await this.#images.tag(reference, formatReference(parsed)))
  }

  async push(reference: string, options: PullOptions): Promise<string> {
    const parsed = parseReference(reference)
    if (parsed.digest !== '') throw new DroverError('invalid', `"${reference}" has a digest; push under a tag`)
    const record = this.#found(formatReference(parsed))
    const { http, clock, random, rules } = this.#pullContext
    // Never to a mirror: those are copies of what is pushed elsewhere.
    const endpoint = endpointsOf(parsed.registry, { ...rules, mirrors: {} })[0]
    if (endpoint === undefined) throw new DroverError('internal', `no endpoint for ${reference}`)
    const { signal, credentials, onProgress = () => undefined } = options
    const { repository } = parsed
    const own = credentials?.(endpoint.host, repository)[0]
    const session = new RegistrySession({ http, clock, random, endpoint, repository, credentials: own, signal })
    const config = await this.#images.configBytes(record)
    const scratch = join(this.#options.dataDir, 'tmp', 'push', random.uuid())
    const layers = this.#allLayers(record)
    // One that cannot be made again is refused before any is sent.
    for (const layer of layers) await this.#layers.tar(layer)
    try {
      return await pushImage({
        session,
        tag: parsed.tag,
        config,
        layers,
        store: this.#layers,
        scratch,
        signal,
        onProgress,
      })
    } finally {
      await rm(scratch, { recursive: true, force: true })
    }
  }

  async save(reference: string): Promise<AsyncIterable<Uint8Array>> {
    const record = this.#found(reference)
    const config = await this.#images.configBytes(record)
    return saveImage({ names: record.names, config, layers: this.#allLayers(record) }, this.#layers)
  }

  #found(reference: string): ImageRecord {
    const record = this.#images.find(reference)
    if (record === undefined) throw new DroverError('notFound', `no image ${reference} on this node`)
    return record
  }

  /** As the configuration lists them, hidden ones and doubles too. */
  #allLayers(record: ImageRecord): Layer[] {
    return this.#images.config(record).diffIds.map((diffId) => {
      const layer = this.#layers.get(diffId)
      if (layer === undefined) throw new DroverError('internal', `layer ${diffId} of image ${record.id} is missing`)
      return layer
    })
  }

  async remove(reference: string): Promise<void> {
    await this.#images.remove(reference, (record) => this.#refuseIfMounted(record))
    await this.#prune()
  }

  async resolveUser(image: Image, user: string): Promise<ResolvedUser> {
    return resolveUserIn(await this.#userFiles.of(image), user)
  }

  async #pullOnce(request: Omit<PullRequest, 'hold'>): Promise<ImageRecord> {
    const [record] = await this.#adding(async (hold) => [await pullImage({ ...request, hold }, this.#pullContext)])
    if (record === undefined) throw new DroverError('internal', 'a pull made no image')
    return record
  }

  async #timed<T>(work: () => Promise<T>): Promise<T> {
    const { clock } = this.#options
    const startedMs = clock.monotonicMs()
    const observe = (result: string) =>
      this.#metrics?.pullSeconds.observe({ result }, (clock.monotonicMs() - startedMs) / 1000)
    try {
      const done = await work()
      observe('ok')
      return done
    } catch (error) {
      observe(DroverError.from(error).code)
      throw error
    }
  }

  /** Adds images. The layers that came are held meanwhile; after a failure that may pass they stay for the next try. */
  async #adding(make: (hold: LayerHold) => Promise<NewImage[]>): Promise<ImageRecord[]> {
    const hold = this.#layers.hold()
    let keep = false
    try {
      const images = await make(hold)
      return await this.#inTurn(async () => {
        await this.#inherit(images)
        return this.#images.add(images)
      })
    } catch (error) {
      keep = error instanceof DroverError && error.temporary
      throw error
    } finally {
      this.#layers.release(hold)
      if (!keep) await this.#prune()
    }
  }

  /** One after the other: a layer that is new to this machine must not come into use while it is still changed. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined)
    return done
  }

  async #inherit(images: readonly NewImage[]): Promise<void> {
    const used = this.#usedLayers(undefined)
    for (const { config } of images) {
      const layers = parseConfig(config, 'the configuration').diffIds.flatMap(
        (diffId) => this.#layers.get(diffId) ?? [],
      )
      const stack = layers.map((layer) => ({
        ...layer,
        path: this.#layers.path(layer),
        fresh: !used.has(layer.diffId),
      }))
      await inheritAttributes(stack, this.#options.clock)
      for (const { diffId } of layers) used.add(diffId)
    }
  }

  /** Diff IDs of all images but one. */
  #usedLayers(but: ImageRecord | undefined): Set<string> {
    const others = this.#images.list().filter(({ id }) => id !== but?.id)
    return new Set(others.flatMap((record) => this.#images.config(record).diffIds))
  }

  /** Refuses while an overlay on this machine shows a layer that would go. */
  async #refuseIfMounted(record: ImageRecord): Promise<void> {
    const others = this.#usedLayers(record)
    const going = this.#images.config(record).diffIds.filter((diffId) => !others.has(diffId))
    const paths = going.flatMap((diffId) => this.#layers.get(diffId) ?? []).map((layer) => this.#layers.path(layer))
    if (paths.length === 0 || !isMounted(await readFile('/proc/self/mountinfo', 'utf8'), paths)) return
    const name = record.names[0] ?? record.id
    throw new DroverError('conflict', `image ${name} is in use by a container on this node; delete its pods first`)
  }

  async #prune(): Promise<void> {
    this.#metrics?.images.set(this.#images.list().length)
    await this.#layers.prune(this.#usedLayers(undefined))
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
