/**
 * Keeps images from filling the disk. When more than `highPercent` of their file system is in use, images that nothing uses
 * are removed, the longest unused first, until it is `lowPercent` or only what a rollback would want is left. A young image
 * stays: somebody may have pulled it for what comes next.
 *
 * When an image was last used is looked at once a minute and kept on disk: the agent's restart must not make all look old.
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { repeat } from '../base/service.ts'
import { imagesInUse, type PruneRequest, removable, removeImages } from './image_prune.ts'
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

  /** One look: notes what is in use, and removes what must go. */
  async collect(): Promise<void> {
    const { drivers, clock, disk, log, onRemoved } = this.#options
    const [images, used] = await Promise.all([drivers.images.list(), imagesInUse(this.#options)])
    const nowMs = clock.now()
    this.#note(images, new Set(removable({ images, used, lastUsedMs: new Map() }, { keepForRollback: false })), nowMs)
    await this.#write(nowMs)
    if ((await disk.usedPercent()) <= disk.highPercent) {
      this.#full = false
      return
    }
    const minAgeMs = disk.minAgeMs ?? MIN_AGE_MS
    const victims = removable({ images, used, lastUsedMs: this.#lastUsedMs }, { keepForRollback: true })
    const old = victims.filter(({ id }) => nowMs - (this.#firstSeenMs.get(id) ?? nowMs) >= minAgeMs)
    const removed: string[] = []
    for (const victim of old) {
      removed.push(...(await removeImages(this.#options, [victim])).map(({ name }) => name))
      if ((await disk.usedPercent()) <= disk.lowPercent) break
    }
    if (removed.length > 0) {
      log.info({ images: removed }, 'the disk is nearly full: images that nothing uses were removed')
      onRemoved()
    } else if (!this.#full) log.warn('the disk is nearly full, and no image can be spared')
    this.#full = true
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
