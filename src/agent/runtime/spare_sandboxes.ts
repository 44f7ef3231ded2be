/**
 * Sandboxes made ahead. What a pod's first container waits for longest, before anything is created for it, is the kernel making
 * namespaces: 2 to 4 ms. A spare is a whole sandbox under a dotted name, `s/.spare-N`, which a rename makes a pod's.
 *
 * They are made when nothing has begun for a while: of a hundred pods that start at once the first two gain, and no pod waits for
 * what is made for later ones. An agent that comes back takes over those that are whole. Only the ordinary shape is kept: network,
 * IPC and UTS of its own, the host's users, processes by container.
 *
 * Rejected: interfaces made ahead with them. They are made beside the container's creation and are ready before it is.
 */
import { readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, sleep } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'

/** No sandbox has been taken for so long. */
const QUIET_MS = 250
const RETRY_MS = 10_000
const NAME = /^\.spare-(\d{1,9})$/

export interface SpareOptions {
  /** Where sandboxes are. */
  directory: string
  /** Makes an ordinary sandbox in a directory that is not there yet. */
  make(directory: string): Promise<void>
  isWhole(directory: string): boolean
  /** Removes one, whole or not. */
  remove(directory: string): Promise<void>
  clock: Clock
  log: Logger
}

export class SpareSandboxes {
  readonly #options: SpareOptions
  #ready: string[] = []
  #next = 0
  #takenMs = Number.NEGATIVE_INFINITY
  #wake: () => void = () => undefined

  constructor(options: SpareOptions) {
    this.#options = options
  }

  /** Makes a spare the sandbox in `directory`, where nothing must be yet; false when there is none. */
  async take(directory: string): Promise<boolean> {
    const { isWhole, remove, clock, log } = this.#options
    this.#takenMs = clock.monotonicMs()
    const spare = this.#ready.shift()
    if (spare === undefined) return false
    this.#wake()
    if (isWhole(spare)) {
      renameSync(spare, directory)
      return true
    }
    log.warn({ spare }, 'a sandbox that was made ahead was damaged')
    await remove(spare)
    return false
  }

  /** Sees to it that there are so many; they stay when it ends. */
  async keep(count: number, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options
    await this.#adopt(count)
    while (!signal.aborted) {
      const quietMs = clock.monotonicMs() - this.#takenMs
      if (this.#ready.length >= count) await this.#woken(signal)
      else if (quietMs < QUIET_MS) await sleep(clock, QUIET_MS - quietMs, signal).catch(() => undefined)
      else {
        try {
          await this.#make()
        } catch (error) {
          log.warn({ err: error }, 'cannot make a sandbox ahead; will try again')
          await sleep(clock, RETRY_MS, signal).catch(() => undefined)
        }
      }
    }
  }

  async removeAll(): Promise<void> {
    this.#ready = []
    for (const spare of this.#found()) await this.#options.remove(spare)
  }

  #found(): string[] {
    const { directory } = this.#options
    return readdirSync(directory)
      .filter((name) => NAME.test(name))
      .map((name) => join(directory, name))
  }

  async #adopt(count: number): Promise<void> {
    const { isWhole, remove } = this.#options
    for (const spare of this.#found()) {
      this.#next = Math.max(this.#next, Number(NAME.exec(spare.slice(spare.lastIndexOf('/') + 1))?.[1]) + 1)
      if (this.#ready.includes(spare)) continue
      if (this.#ready.length < count && isWhole(spare)) this.#ready.push(spare)
      else await remove(spare)
    }
  }

  async #make(): Promise<void> {
    const spare = join(this.#options.directory, `.spare-${this.#next++}`)
    await this.#options.make(spare)
    this.#ready.push(spare)
  }

  /** Until one is taken. */
  #woken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake)
        resolve()
      }
      this.#wake = wake
      signal.addEventListener('abort', wake, { once: true })
    })
  }
}
