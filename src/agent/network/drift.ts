/**
 * When there is reason to look whether others have changed what is ours. The kernel tells of every change of devices, addresses, routes
 * and neighbours (base/network_news.ts), and counts transactions on nft rules, as we count ours. So a look at a host that nobody
 * touches reads three settings and asks one question. Where there is nobody to ask, everything is looked at each time, and once in a
 * while it is anyway: this must not be blind because somebody else is.
 *
 * Reading thousands of services' rules takes a second: where others write all the time, and looks find nothing, it takes at most a
 * tenth of the time.
 */
import type { Clock } from '../../base/clock.ts'
import type { AskNews } from '../../base/network_news.ts'

const DEVICES_ANYWAY_MS = 30_000
const RULES_ANYWAY_MS = 600_000
const FRUITLESS_LOOKS = 3
const REST_FACTOR = 9
const MODULUS = 2 ** 32

export class Drift {
  readonly #clock: Clock
  readonly #ask: AskNews
  /** Of the rules, if all transactions since the last look were ours. */
  #expected: number | undefined
  #generation: number | undefined
  #devices = { changed: true, neighboursOf: new Set<number>(), lastMs: Number.NEGATIVE_INFINITY }
  #rules = { lastMs: 0, restUntilMs: 0, fruitless: 0 }

  constructor(clock: Clock, ask: AskNews) {
    this.#clock = clock
    this.#ask = ask
  }

  /** One transaction of ours was taken. */
  count(): void {
    if (this.#expected !== undefined) this.#expected = (this.#expected + 1) % MODULUS
  }

  /** Call before the rules are read. */
  async noteRules(): Promise<void> {
    await this.listen()
    this.#expected = this.#generation
  }

  /** Hears what has happened since. */
  async listen(): Promise<void> {
    const news = await this.#ask().catch(() => undefined)
    this.#generation = news?.generation
    if (news === undefined || news.changed) this.#devices.changed = true
    for (const device of news?.neighboursOf ?? []) this.#devices.neighboursOf.add(device)
  }

  /** Whether devices, addresses, routes or the tunnel's neighbours may have changed, as of the last `listen`. */
  devicesMayDiffer(tunnel: number | undefined): boolean {
    const { changed, neighboursOf, lastMs } = this.#devices
    const heard = changed || (tunnel !== undefined && neighboursOf.has(tunnel))
    return heard || this.#clock.monotonicMs() - lastMs >= DEVICES_ANYWAY_MS
  }

  /** They have been looked at since the last `listen`. */
  sawDevices(): void {
    this.#devices = { changed: false, neighboursOf: new Set(), lastMs: this.#clock.monotonicMs() }
  }

  /** Whether others may have changed the rules, as of the last `listen`, and it is worth reading them. */
  rulesMayDiffer(): boolean {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs < this.#rules.restUntilMs) return false
    return (
      nowMs - this.#rules.lastMs >= RULES_ANYWAY_MS ||
      this.#expected === undefined ||
      this.#expected !== this.#generation
    )
  }

  /** They were read from then on, and did or did not differ. */
  sawRules(startedMs: number, differed: boolean): void {
    const nowMs = this.#clock.monotonicMs()
    const fruitless = differed ? 0 : this.#rules.fruitless + 1
    const restMs = fruitless > FRUITLESS_LOOKS ? (nowMs - startedMs) * REST_FACTOR : 0
    this.#rules = { lastMs: nowMs, restUntilMs: nowMs + restMs, fruitless }
  }
}
