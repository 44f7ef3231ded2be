/**
 * Reads that must see everything acknowledged anywhere: asks the store for its revision and waits until the cache shows
 * it. Requests that come while a question is under way share the next one; they may not share the present one, which
 * could have been answered before the write that they must see.
 */
import { DroverError, isCode } from '../base/errors.ts'
import type { Resources } from '../resources/resources.ts'

const WAIT_MS = 3_000

export class Freshness {
  readonly #resources: Resources
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(resources: Resources) {
    this.#resources = resources
  }

  /** Resolves when the cache shows what the store held at this moment, or later. */
  latest(): Promise<void> {
    if (this.#running === undefined) return this.#start()
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined
        return this.#start()
      })
    return this.#next
  }

  #start(): Promise<void> {
    const running = this.#ask().finally(() => {
      if (this.#running === running) this.#running = undefined
    })
    this.#running = running
    return running
  }

  async #ask(): Promise<void> {
    await this.#resources.waitForRevision(await this.#resources.currentRevision(), WAIT_MS)
  }

  /** Resolves when the cache shows at least this revision. */
  async atLeast(revision: number): Promise<void> {
    if (this.#resources.revision() >= revision) return
    try {
      await this.#resources.waitForRevision(revision, WAIT_MS)
    } catch (cause) {
      if (!isCode(cause, 'timeout')) throw cause
      const message = `Too large resource version: ${revision}, current: ${this.#resources.revision()}`
      throw new DroverError('timeout', message, {
        cause,
        retryAfterSeconds: 1,
        fields: [{ path: 'resourceVersion', reason: 'Invalid', message: 'Too large resource version' }],
      })
    }
  }
}
