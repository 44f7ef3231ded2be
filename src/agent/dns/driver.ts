/**
 * The DNS driver: joins the zone, the forwarder and two listeners. The second listener answers alike but completes no
 * search paths: for pods whose own search list or `ndots` would be overruled by completion.
 */
import { readFileSync } from 'node:fs'
import type { Clock } from '../../base/clock.ts'
import { jsonEqual } from '../../base/json.ts'
import type { Logger } from '../../base/log.ts'
import type { Registry } from '../../base/metrics.ts'
import type { Random } from '../../base/random.ts'
import type { ClusterConfig, ServiceRow } from '../../rpc/tables.ts'
import { Clients } from './clients.ts'
import type { DnsDriver } from './dns.ts'
import { Forwarder } from './forwarder.ts'
import { type Listener, listen } from './listener.ts'
import { ensureAddresses, removeAddresses } from './loopback.ts'
import { createDnsMetrics, type QuestionCounts } from './metrics.ts'
import { type HostResolver, parseResolvConf, type UpstreamAddress } from './resolv_conf.ts'
import { Resolver } from './resolver.ts'
import { Responder } from './responder.ts'
import { checkUpstream } from './upstreams.ts'
import { Zone } from './zone.ts'

export interface DnsDriverOptions {
  clock: Clock
  random: Random
  log: Logger
  registry: Registry
  /** Servers for names outside the cluster. Default: those of the host's /etc/resolv.conf, read again as it changes. */
  upstreams?: readonly UpstreamAddress[]
  /** Answers that are remembered. Default 8192. */
  cacheEntries?: number
  /** Default 169.254.20.53; an address of 127.0.0.0/8 is used as it is. */
  listenAddress?: string
  /** Default 169.254.20.54. */
  plainListenAddress?: string
  /** Default 53. */
  port?: number
  /** Default /etc/resolv.conf. */
  resolvConfPath?: string
}

const DEFAULT_ADDRESS = '169.254.20.53'
const DEFAULT_PLAIN_ADDRESS = '169.254.20.54'
const DEFAULT_CACHE_ENTRIES = 8_192
const DNS_PORT = 53

class Driver implements DnsDriver {
  readonly address: string
  readonly plainAddress: string
  readonly #options: DnsDriverOptions
  readonly #port: number
  readonly #clients = new Clients()
  readonly #completing: Responder
  readonly #plain: Responder
  #zone: Zone | undefined
  #config: ClusterConfig | undefined
  #listeners: Listener[] = []

  constructor(options: DnsDriverOptions) {
    const { clock, random, log, registry, cacheEntries: maxEntries = DEFAULT_CACHE_ENTRIES } = options
    this.#options = options
    this.address = options.listenAddress ?? DEFAULT_ADDRESS
    this.plainAddress = options.plainListenAddress ?? DEFAULT_PLAIN_ADDRESS
    this.#port = options.port ?? DNS_PORT
    for (const upstream of options.upstreams ?? []) checkUpstream(upstream, this.#addresses, this.#port)
    const nowMs = (): number => clock.monotonicMs()
    const counts: QuestionCounts = { known: 0, resolved: 0, refused: 0 }
    const metrics = createDnsMetrics(registry, counts, () => this.#completing.remembered + this.#plain.remembered)
    const outside = new Forwarder({ clock, random, log, metrics, maxEntries, host: () => this.#host() })
    const resolver = new Resolver({ zone: () => this.#zone, outside, nowMs })
    const shared = { resolver, counts, maxReplies: maxEntries, nowMs }
    this.#completing = new Responder({ ...shared, complete: true })
    this.#plain = new Responder({ ...shared, complete: false })
  }

  get #addresses(): string[] {
    return [this.address, this.plainAddress]
  }

  async initialize(): Promise<void> {
    if (this.#listeners.length > 0) return
    await ensureAddresses(this.#addresses)
    const { log } = this.#options
    const shared = { port: this.#port, log, serves: (client: string) => this.#clients.serves(client) }
    const first = await listen({ ...shared, address: this.address, responder: this.#completing })
    try {
      this.#listeners = [first, await listen({ ...shared, address: this.plainAddress, responder: this.#plain })]
    } catch (error) {
      await first.close()
      throw error
    }
  }

  applyServices(services: readonly ServiceRow[], config: ClusterConfig): void {
    const isNew = this.#zone === undefined || !jsonEqual(config, this.#config)
    const zone = isNew || this.#zone === undefined ? new Zone({ config, serverAddress: this.address }) : this.#zone
    const changed = zone.apply(services)
    if (isNew) this.#clients.setPodRange(config.clusterCidr)
    this.#zone = zone
    this.#config = config
    if (!changed && !isNew) return
    this.#completing.forget()
    this.#plain.forget()
  }

  mendDrift(): Promise<boolean> {
    this.#clients.forget()
    return ensureAddresses(this.#addresses)
  }

  async close(): Promise<void> {
    const listeners = this.#listeners
    this.#listeners = []
    await Promise.all(listeners.map((listener) => listener.close()))
  }

  async teardown(): Promise<void> {
    await this.close()
    await removeAddresses(this.#addresses)
  }

  #host(): HostResolver {
    const { upstreams, resolvConfPath = '/etc/resolv.conf', log } = this.#options
    let text = ''
    try {
      text = readFileSync(resolvConfPath, 'utf8')
    } catch (error) {
      log.warn({ err: error }, `cannot read ${resolvConfPath}; names outside the cluster are not to be had`)
    }
    const host = parseResolvConf(text, this.#addresses)
    return upstreams === undefined ? host : { ...host, upstreams: [...upstreams] }
  }
}

export function createDnsDriver(options: DnsDriverOptions): DnsDriver {
  return new Driver(options)
}
