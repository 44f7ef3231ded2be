/**
 * Unpacked layers on disk, each once, known by the hash of its plain tar (diff ID).
 *
 *   layers/<id>/layer.json   what it is
 *   layers/<id>/recipe.gz    how to make the tar again, for those who ask for it
 *   layers/<id>/fs           its root; ids are short, since overlayfs takes all of them in one page of options
 *   tmp/<n>                  work in progress, swept at start
 *
 * A layer appears by one rename, after its hash is known to be right. It is not forced to disk before it may be used: the
 * page cache survives our own death. Only the machine's could leave it torn, so a layer carries the boot in which it was
 * made until a sync in the background has passed; one of an earlier boot without that mark is thrown away at start, and one
 * of this boot is synced then. A sync that fails is tried again, as long as there is something to be synced.
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, systemClock, type Timer } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { runOk } from '../../base/process.ts'
import { decompress } from './decompress.ts'
import { writeFileAtomic } from './files.ts'
import { layerTar, RecipeWriter, tarSize } from './recipe.ts'
import { isDigest } from './reference.ts'
import { type UnpackResult, unpackLayer } from './unpack.ts'

export interface LayerLimits {
  /** Of the plain tar. */
  maxLayerBytes: number
  maxEntries: number
}

export interface Layer extends UnpackResult {
  diffId: string
  id: string
}

interface LayerFile extends Layer {
  /** Empty once the layer is known to be on disk. */
  unsyncedSinceBoot: string
}

export interface LayerSync {
  clock?: Clock
  /** Forces the file system of a directory to disk. */
  sync?: (directory: string) => Promise<void>
}

export interface AddOptions {
  /** What the plain tar must hash to, where that is known beforehand. */
  diffId?: string
  signal: AbortSignal
  hold: LayerHold
}

const RECIPE = 'recipe.gz'
const SYNC_TIMEOUT_MS = 600_000
const SYNC_AGAIN_MS = 60_000

/** Keeps layers from being dropped before an image that needs them is recorded. */
export class LayerHold {
  readonly diffIds = new Set<string>()
}

export class LayerStore {
  readonly #directory: string
  readonly #limits: LayerLimits
  readonly #log: Logger
  readonly #clock: Clock
  readonly #sync: (directory: string) => Promise<void>
  readonly #layers = new Map<string, Layer>()
  /** On their way to their place, by diff ID. */
  readonly #committing = new Map<string, Promise<Layer>>()
  readonly #holds = new Set<LayerHold>()
  readonly #unsynced = new Set<Layer>()
  #syncing: Promise<void> | undefined
  #syncAgain: Timer | undefined
  #bootId = ''
  #nextId = 1
  #nextWork = 1

  constructor(directory: string, limits: LayerLimits, log: Logger, { clock, sync }: LayerSync = {}) {
    this.#directory = directory
    this.#limits = limits
    this.#log = log
    this.#clock = clock ?? systemClock
    this.#sync = sync ?? syncFileSystem
  }

  /** Also a second time, when the agent starts anew within its process: what it knows and finds again is kept. */
  async initialize(): Promise<void> {
    this.#bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
    await rm(join(this.#directory, 'tmp'), { recursive: true, force: true })
    for (const name of ['tmp', 'layers', 'empty']) {
      await mkdir(join(this.#directory, name), { recursive: true, mode: 0o700 })
    }
    const found = new Set(await readdir(join(this.#directory, 'layers')))
    for (const [diffId, { id }] of this.#layers) if (!found.delete(id)) this.#layers.delete(diffId)
    for (const id of found) await this.#adopt(id)
    this.#startSync()
  }

  get(diffId: string): Layer | undefined {
    return this.#layers.get(diffId)
  }

  /** The layer's root as overlayfs takes it. */
  path(layer: Layer): string {
    return join(this.#directory, 'layers', layer.id, 'fs')
  }

  /** The layer's tar as it came, and its size. */
  async tar(layer: Layer): Promise<{ sizeBytes: number; bytes: AsyncIterable<Uint8Array> }> {
    const recipe = join(this.#directory, 'layers', layer.id, RECIPE)
    return { sizeBytes: await tarSize(recipe, layer.diffId), bytes: layerTar(recipe, this.path(layer), layer.diffId) }
  }

  /** A directory with nothing in it, for images without layers. */
  get emptyPath(): string {
    return join(this.#directory, 'empty')
  }

  hold(): LayerHold {
    const hold = new LayerHold()
    this.#holds.add(hold)
    return hold
  }

  release(hold: LayerHold): void {
    this.#holds.delete(hold)
  }

  /** Unpacks a layer, compressed or not. Rejects with `invalid` when it is damaged or not what it should be. */
  async add(source: AsyncIterable<Uint8Array>, options: AddOptions): Promise<Layer> {
    const work = join(this.#directory, 'tmp', String(this.#nextWork++))
    const hash = createHash('sha256')
    try {
      await mkdir(join(work, 'fs'), { recursive: true, mode: 0o700 })
      const recipe = new RecipeWriter(join(work, RECIPE))
      const unpacking = unpackLayer(this.#measured(decompress(source), hash), {
        directory: join(work, 'fs'),
        scratch: join(work, 'scratch'),
        maxEntries: this.#limits.maxEntries,
        clock: this.#clock,
        signal: options.signal,
        log: this.#log,
        recipe,
      })
      const unpacked = await unpacking.finally(() => recipe.close())
      const diffId = `sha256:${hash.digest('hex')}`
      if (options.diffId !== undefined && options.diffId !== diffId) {
        throw new DroverError('invalid', `the layer's content is ${diffId}; the image names ${options.diffId}`)
      }
      options.hold.diffIds.add(diffId)
      return this.#layers.get(diffId) ?? (await this.#commit(work, { ...unpacked, diffId }))
    } finally {
      await rm(work, { recursive: true, force: true })
    }
  }

  /** Removes every layer that `keep` does not name and nobody holds. Decided at once, before anything is awaited. */
  async prune(keep: ReadonlySet<string>): Promise<void> {
    const held = new Set([...this.#holds].flatMap((hold) => [...hold.diffIds]))
    const victims = [...this.#layers.values()].filter(({ diffId }) => !keep.has(diffId) && !held.has(diffId))
    for (const layer of victims) {
      this.#layers.delete(layer.diffId)
      this.#unsynced.delete(layer)
    }
    for (const layer of victims) await this.#discard(layer.id)
  }

  /** Resolves when no sync is under way; for a clean end and for tests. */
  async settled(): Promise<void> {
    await this.#syncing
  }

  async *#measured(plain: AsyncIterable<Uint8Array>, hash: { update(data: Uint8Array): unknown }) {
    const { maxLayerBytes } = this.#limits
    let bytes = 0
    for await (const chunk of plain) {
      bytes += chunk.length
      if (bytes > maxLayerBytes) {
        throw new DroverError('tooLarge', `the layer is larger than ${maxLayerBytes} bytes when unpacked`)
      }
      hash.update(chunk)
      yield chunk
    }
  }

  async #commit(work: string, facts: UnpackResult & { diffId: string }): Promise<Layer> {
    const layer: Layer = { ...facts, id: (this.#nextId++).toString(36) }
    const file: LayerFile = { ...layer, unsyncedSinceBoot: this.#bootId }
    await writeFileAtomic(join(work, 'layer.json'), JSON.stringify(file))
    // The same may be made twice at once. It is here when it is at its place, not before.
    const raced = this.#layers.get(facts.diffId) ?? this.#committing.get(facts.diffId)
    if (raced !== undefined) return raced
    const placed = this.#place(work, layer).finally(() => this.#committing.delete(layer.diffId))
    this.#committing.set(layer.diffId, placed)
    return placed
  }

  async #place(work: string, layer: Layer): Promise<Layer> {
    await rename(work, join(this.#directory, 'layers', layer.id))
    this.#layers.set(layer.diffId, layer)
    this.#unsynced.add(layer)
    this.#startSync()
    return layer
  }

  #startSync(): void {
    if (this.#syncing !== undefined || this.#unsynced.size === 0) return
    this.#syncAgain?.cancel()
    this.#syncing = this.#syncAll()
  }

  async #syncAll(): Promise<void> {
    try {
      while (this.#unsynced.size > 0) {
        const batch = [...this.#unsynced]
        await this.#sync(join(this.#directory, 'layers'))
        for (const layer of batch) {
          if (this.#unsynced.has(layer)) await this.#mark(layer)
          this.#unsynced.delete(layer)
        }
      }
    } catch (err) {
      // Until it has passed, a boot would cost the layers: they would be thrown away, and what was loaded comes from nowhere.
      this.#log.warn({ err }, 'layers not synced to disk; tried again in a minute')
      this.#syncAgain = this.#clock.schedule(SYNC_AGAIN_MS, () => this.#startSync(), true)
    } finally {
      this.#syncing = undefined
    }
  }

  async #mark(layer: Layer): Promise<void> {
    const file: LayerFile = { ...layer, unsyncedSinceBoot: '' }
    try {
      await writeFileAtomic(join(this.#directory, 'layers', layer.id, 'layer.json'), JSON.stringify(file))
    } catch (error) {
      // It may have been dropped meanwhile.
      if (this.#layers.get(layer.diffId) === layer) throw error
    }
  }

  async #adopt(id: string): Promise<void> {
    const number = Number.parseInt(id, 36)
    if (Number.isSafeInteger(number)) this.#nextId = Math.max(this.#nextId, number + 1)
    try {
      const text = await readFile(join(this.#directory, 'layers', id, 'layer.json'), 'utf8')
      const { unsyncedSinceBoot, ...layer } = JSON.parse(text) as LayerFile
      const torn = unsyncedSinceBoot !== '' && unsyncedSinceBoot !== this.#bootId
      if (torn || !isDigest(layer.diffId) || layer.id !== id || this.#layers.has(layer.diffId)) {
        throw new DroverError('invalid', torn ? 'not synced before the machine went down' : 'not a layer of this store')
      }
      this.#layers.set(layer.diffId, layer)
      if (unsyncedSinceBoot !== '') this.#unsynced.add(layer)
    } catch (err) {
      this.#log.warn({ layer: id, err }, 'layer thrown away')
      await this.#discard(id)
    }
  }

  /** By a rename first: half a layer must never be found at its place. */
  async #discard(id: string): Promise<void> {
    const grave = join(this.#directory, 'tmp', `gone-${this.#nextWork++}`)
    await rename(join(this.#directory, 'layers', id), grave)
    // A mark may be on its way into it.
    await rm(grave, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function syncFileSystem(directory: string): Promise<void> {
  await runOk('sync', ['--file-system', directory], { timeoutMs: SYNC_TIMEOUT_MS })
}
