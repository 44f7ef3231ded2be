/**
 * Keeps images from filling the disk. When more than `highPercent` of their file system is in use, images that nothing uses
 * are removed, the longest unused first, until it is `lowPercent` or only what a rollback would want is left. A young image
 * stays: somebody may have pulled it for what comes next. Where pods would have to go otherwise, nothing is kept but what is used.
 *
 * When an image was last used is looked at once a minute and kept on disk: the agent's restart must not make all look old.
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { repeat } from '../base/service.ts'
import { type ImageUse, imagesInUse, type PruneRequest, removable, removeImages } from './image_prune.ts'
import type { Image } from './images/images.ts'

export interface ImageDisk {
  highPercent: number
  lowPercent: number
  /** How much of the images' file system is in use now, in percent. */
  usedPercent(): Promise<number>
  /** Default 2 minutes, as the kubelet's. */
  minAgeMs?: number
}

export interface ImageCollectorOptions extends PruneRequest {
  disk: ImageDisk
  /** Where it is kept when images were used. */
  path: string
  clock: Clock
  onRemoved(): void
}

export interface CollectOptions {
  /**
   * The node is short of disk, and pods go next: neither a rollback nor youth keeps an image that nothing uses. They go until this
   * says that the shortage is over.
   */
  untilOver?: () => Promise<boolean>
}

const LOOK_MS = 60_000
/** What is lost by a kill is no more than this. */
const WRITE_MS = 600_000
const MIN_AGE_MS = 120_000

export class ImageCollector {
  readonly #options: ImageCollectorOptions
  #lastUsedMs = new Map<string, number>()
  #firstSeenMs = new Map<string, number>()
  #writtenMs = Number.NEGATIVE_INFINITY
  #full = false
  /** The pass that was asked for last. */
  #pass: Promise<void> = Promise.resolve()

  constructor(options: ImageCollectorOptions) {
    const { highPercent, lowPercent } = options.disk
    if (!(lowPercent > 0 && lowPercent <= highPercent && highPercent <= 100)) {
      const said = `${highPercent} and ${lowPercent}`
      throw new DroverError('invalid', `image thresholds are percents, the high one not below the low: not ${said}`)
    }
    this.#options = options
  }

  async run(signal: AbortSignal): Promise<void> {
    this.#lastUsedMs = await read(this.#options.path)
    const { clock, log } = this.#options
    await repeat(() => this.collect(), { clock, log, everyMs: LOOK_MS, failure: 'images not looked through' }, signal)
  }

  /** One look: notes what is in use, and removes what must go. Each waits for the one before. */
  collect(options: CollectOptions = {}): Promise<void> {
    const pass = this.#pass.then(() => this.#collect(options))
    this.#pass = pass.catch(() => undefined)
    return pass
  }

  async #collect({ untilOver }: CollectOptions): Promise<void> {
    const { drivers, clock } = this.#options
    const [images, used] = await Promise.all([drivers.images.list(), imagesInUse(this.#options)])
    const nowMs = clock.now()
    this.#note(images, new Set(removable({ images, used, lastUsedMs: new Map() }, { keepForRollback: false })), nowMs)
    const use = { images, used, lastUsedMs: this.#lastUsedMs }
    if (untilOver === undefined) await this.#keepBelowMark(use, nowMs)
    else await this.#remove(removable(use, { keepForRollback: false }), untilOver)
    // Last: on a disk without any room it fails, and what makes room must not wait for it.
    await this.#write(nowMs)
  }

  async #keepBelowMark(use: ImageUse, nowMs: number): Promise<void> {
    const { disk, log } = this.#options
    if ((await disk.usedPercent()) <= disk.highPercent) {
      this.#full = false
      return
    }
    const minAgeMs = disk.minAgeMs ?? MIN_AGE_MS
    const victims = removable(use, { keepForRollback: true })
    const old = victims.filter(({ id }) => nowMs - (this.#firstSeenMs.get(id) ?? nowMs) >= minAgeMs)
    const removed = await this.#remove(old, async () => (await disk.usedPercent()) <= disk.lowPercent)
    if (removed === 0 && !this.#full) log.warn('the disk is nearly full, and no image can be spared')
    this.#full = true
  }

  /** One after the other, until there is room enough. Returns how many are gone. */
  async #remove(victims: readonly Image[], isEnough: () => Promise<boolean>): Promise<number> {
    const { log, onRemoved } = this.#options
    const removed: string[] = []
    for (const victim of victims) {
      removed.push(...(await removeImages(this.#options, [victim])).map(({ name }) => name))
      if (await isEnough()) break
    }
    if (removed.length === 0) return 0
    log.info({ images: removed }, 'the disk is nearly full: images that nothing uses were removed')
    onRemoved()
    return removed.length
  }

  #note(images: readonly Image[], unused: ReadonlySet<Image>, nowMs: number): void {
    const ids = new Set(images.map(({ id }) => id))
    for (const map of [this.#lastUsedMs, this.#firstSeenMs])
      for (const id of map.keys()) if (!ids.has(id)) map.delete(id)
    for (const image of images) {
      if (!this.#firstSeenMs.has(image.id)) this.#firstSeenMs.set(image.id, this.#lastUsedMs.get(image.id) ?? nowMs)
      if (!unused.has(image)) this.#lastUsedMs.set(image.id, nowMs)
      else if (!this.#lastUsedMs.has(image.id)) this.#lastUsedMs.set(image.id, nowMs)
    }
  }

  async #write(nowMs: number): Promise<void> {
    if (nowMs - this.#writtenMs < WRITE_MS) return
    const { path } = this.#options
    await writeFile(`${path}.new`, JSON.stringify(Object.fromEntries(this.#lastUsedMs)))
    await rename(`${path}.new`, path)
    this.#writtenMs = nowMs
  }
}

/** Damaged or missing: all images count as used now, which keeps too much rather than too little. */
async function read(path: string): Promise<Map<string, number>> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    const entries = isObject(value) ? Object.entries(value) : []
    return new Map(entries.filter((entry): entry is [string, number] => typeof entry[1] === 'number'))
  } catch {
    return new Map()
  }
}
