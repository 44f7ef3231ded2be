/**
 * Writes that are put off for a moment, because another is likely to come that says the same and more. What was put off is
 * planned again from the world as it then is: nothing is kept here but since when.
 */

/** About as long as a container takes to start. */
export const PUT_OFF_MS = 100
/** Beyond this many all begin to wait anew. */
const MAX_WAITING = 10_000

export class PutOff {
  readonly #sinceMs = new Map<string, number>()

  /** How much longer the write of this key may wait; 0 when it is due. `monotonicMs` is now. */
  waitMs(key: string, monotonicMs: number): number {
    const sinceMs = this.#sinceMs.get(key)
    if (sinceMs === undefined) {
      if (this.#sinceMs.size >= MAX_WAITING) this.#sinceMs.clear()
      this.#sinceMs.set(key, monotonicMs)
      return PUT_OFF_MS
    }
    return Math.max(0, sinceMs + PUT_OFF_MS - monotonicMs)
  }

  /** The write is done, or not wanted any more. */
  end(key: string): void {
    this.#sinceMs.delete(key)
  }
}
