/**
 * Servers that an agent may call: those it was started with, and those that a server has told of since. Calls go round
 * among the ones told last, which lived then; when none of them has answered, among all that were ever known, since a
 * server that was dead when the list was made may be the one that is back.
 */
import { type Random, randomInt } from '../base/random.ts'

/** Beyond this, those told of longest ago are forgotten; those given at the start never are. */
const MAX_LEARNED = 16

export class KnownServers {
  readonly #given: readonly string[]
  #live: readonly string[]
  #learned: readonly string[] = []
  #turn: number

  constructor(given: readonly string[], random: Random) {
    this.#given = [...new Set(given)]
    this.#live = this.#given
    this.#turn = randomInt(random, Math.max(1, this.#given.length))
  }

  /** Given ones first, then the learned, newest first. */
  all(): string[] {
    return [...new Set([...this.#given, ...this.#learned])]
  }

  /** All that live now, as a server says; false when that is what was known. */
  tell(live: readonly string[]): boolean {
    if (live.length === 0 || live.join() === this.#live.join()) return false
    this.#live = [...live]
    const fresh = live.filter((address) => !this.#given.includes(address))
    this.#learned = [...new Set([...fresh, ...this.#learned])].slice(0, Math.max(MAX_LEARNED, fresh.length))
    return true
  }

  /** The next in turn; `failures`: calls without a session since the last one. */
  next(failures: number): string {
    const pool = failures <= this.#live.length ? this.#live : this.all()
    const address = pool[this.#turn % pool.length] as string
    this.#turn++
    return address
  }
}
