/**
 * Names outside the cluster: asked of the host's own servers, kept as long as they allow. One question is asked once,
 * however many wait for it; so a ring of servers that forward to each other ends here with a timeout, not a storm.
 * Bounds: questions under way, remembered answers, seconds a question takes.
 */
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import { failure, lifetimeSeconds } from './answer.ts'
import { exchange } from './exchange.ts'
import type { DnsMetrics } from './metrics.ts'
import type { Resolution } from './reply_table.ts'
import type { HostResolver } from './resolv_conf.ts'
import type { Outside } from './resolver.ts'
import { type Upstream, Upstreams } from './upstreams.ts'
import { RCODE } from './wire.ts'

export interface ForwarderOptions {
  clock: Clock
  random: Random
  log: Logger
  metrics: DnsMetrics
  maxEntries: number
  /** Read again every few seconds. */
  host(): HostResolver
}

const TRY_TIMEOUT_MS = 2_000
const MAX_TRIES = 2
const MAX_UNDER_WAY = 512
const HOST_PERIOD_MS = 5_000
/** Bounds on what others say; a failure is kept just long enough to calm a client that asks again at once. */
const MAX_POSITIVE_SECONDS = 3_600
const MAX_NEGATIVE_SECONDS = 300
const FAILURE_MS = 1_000

export class Forwarder implements Outside {
  readonly #options: ForwarderOptions
  readonly #upstreams = new Upstreams()
  readonly #cache = new Map<string, Resolution>()
  readonly #underWay = new Map<string, Promise<Resolution>>()
  #searchDomains: readonly string[] = []
  #hostReadMs = Number.NEGATIVE_INFINITY
  #saidDead = false

  constructor(options: ForwarderOptions) {
    this.#options = options
  }

  searchDomains(): readonly string[] {
    this.#readHost()
    return this.#searchDomains
  }

  resolve(name: string, type: number): Resolution | Promise<Resolution> {
    const key = `${type} ${name}`
    const nowMs = this.#options.clock.monotonicMs()
    const known = this.#cache.get(key)
    if (known !== undefined && known.expiresMs > nowMs) return known
    const waiting = this.#underWay.get(key)
    if (waiting !== undefined) return waiting
    if (this.#underWay.size >= MAX_UNDER_WAY) return this.#failure()
    this.#readHost()
    const asking = this.#ask(name, type)
      .then((resolution) => this.#keep(key, resolution))
      .finally(() => this.#underWay.delete(key))
    this.#underWay.set(key, asking)
    return asking
  }

  async #ask(name: string, type: number): Promise<Resolution> {
    const { clock, random, metrics } = this.#options
    const asked: Upstream[] = []
    while (asked.length < MAX_TRIES) {
      const startedMs = clock.monotonicMs()
      const upstream = this.#upstreams.pick(startedMs, asked)
      if (upstream === undefined) break
      asked.push(upstream)
      try {
        const { answer } = await exchange(upstream, { name, type }, { clock, random, timeoutMs: TRY_TIMEOUT_MS })
        metrics.upstreamSeconds.observe((clock.monotonicMs() - startedMs) / 1000)
        this.#upstreams.succeeded(upstream)
        this.#saidDead = false
        if (answer.rcode === RCODE.noError || answer.rcode === RCODE.nxDomain) {
          const nowMs = clock.monotonicMs()
          return { answer, storedMs: nowMs, expiresMs: nowMs + this.#lifetimeMs(answer) }
        }
      } catch (error) {
        metrics.upstreamFailures.inc()
        this.#upstreams.failed(upstream, clock.monotonicMs())
        this.#sayDead(error)
      }
    }
    return this.#failure()
  }

  #lifetimeMs(answer: Resolution['answer']): number {
    const most = answer.answers.length > 0 ? MAX_POSITIVE_SECONDS : MAX_NEGATIVE_SECONDS
    return Math.min(most, lifetimeSeconds(answer)) * 1000
  }

  #keep(key: string, resolution: Resolution): Resolution {
    this.#cache.delete(key)
    if (resolution.expiresMs > this.#options.clock.monotonicMs()) {
      const oldest = this.#cache.size >= this.#options.maxEntries ? this.#cache.keys().next() : undefined
      if (oldest?.done === false) this.#cache.delete(oldest.value)
      this.#cache.set(key, resolution)
    }
    return resolution
  }

  #failure(): Resolution {
    const nowMs = this.#options.clock.monotonicMs()
    return { answer: failure(RCODE.servFail), storedMs: nowMs, expiresMs: nowMs + FAILURE_MS }
  }

  #readHost(): void {
    const nowMs = this.#options.clock.monotonicMs()
    if (nowMs - this.#hostReadMs < HOST_PERIOD_MS) return
    this.#hostReadMs = nowMs
    const { upstreams, searchDomains } = this.#options.host()
    this.#upstreams.set(upstreams)
    this.#searchDomains = searchDomains
  }

  /** Once for each time that the last of them died. */
  #sayDead(error: unknown): void {
    if (this.#saidDead || this.#upstreams.dead < this.#upstreams.size) return
    this.#saidDead = true
    const servers = this.#upstreams.describe()
    this.#options.log.warn({ err: error, servers }, 'no DNS server outside answers; names outside fail at once')
  }
}
