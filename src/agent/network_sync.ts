/**
 * Brings the node's network to the tables: the overlay once this node's own range is known, then peers and services
 * whenever they change. One run at a time; changes that come meanwhile make one more run with the newest tables.
 */
import { sleep } from '../base/clock.ts'
import { jsonEqual } from '../base/json.ts'
import { type ReconcileResult, WorkQueue, type WorkQueueOptions } from '../base/queue.ts'
import type { ClusterConfig } from '../rpc/tables.ts'
import type { Desired } from './desired.ts'
import type { DnsDriver } from './dns/dns.ts'
import { hostPortRows } from './host_ports.ts'
import type { HostPortRow, NetworkDriver, NodeNetworkConfig } from './network/network.ts'

export interface NetworkSyncOptions extends Omit<WorkQueueOptions, 'name' | 'concurrency' | 'backoff'> {
  nodeName: string
  nodeAddress: string
  desired: Desired
  network: NetworkDriver
  dns: DnsDriver
  /** The overlay stands: pods can have interfaces. Called again when its configuration has changed. */
  onReady(): void
  /** More is programmed than before. */
  onProgrammed(): void
  /** Peers were looked at: those that cannot be reached, in words. */
  onPeers?(problems: readonly string[]): void
}

const KEY = 'network'
/** What was broken by hand is back within 5 s; a look that hears of nothing costs less than a millisecond. */
const DRIFT_PERIOD_MS = 2_000

export class NetworkSync {
  readonly #options: NetworkSyncOptions
  readonly #queue: WorkQueue
  #cluster: ClusterConfig | undefined
  #config: NodeNetworkConfig | undefined
  /** Versions of the tables that the kernel holds. */
  readonly #applied = { peers: 0, policies: 0, services: 0 }
  #hostPorts: readonly HostPortRow[] | undefined
  #hostPortsApplied = true
  /** What the name server answers from. */
  #named: { services: number; cluster: ClusterConfig } | undefined
  #programmed = { programmedRevision: 0, peersRevision: 0 }

  constructor(options: NetworkSyncOptions) {
    this.#options = options
    this.#queue = new WorkQueue(
      { ...options, name: KEY, backoff: { initialMs: 50, maxMs: 5_000, factor: 2, jitter: 0.2 } },
      () => this.#reconcile(),
    )
  }

  get ready(): boolean {
    return this.#config !== undefined
  }

  get programmed(): { programmedRevision: number; peersRevision: number } {
    return this.#programmed
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#queue.run(signal), this.#mendDrift(signal)])
  }

  /** Looks now and then whether someone has changed by hand what we made. */
  async #mendDrift(signal: AbortSignal): Promise<void> {
    const { clock, network, dns, log } = this.#options
    while (!signal.aborted) {
      await sleep(clock, DRIFT_PERIOD_MS, signal).catch(() => undefined)
      if (signal.aborted || this.#config === undefined) continue
      try {
        if (await dns.mendDrift()) log.warn('the name server had lost its address and has it again')
        if (await network.mendDrift?.()) log.warn('the network had been changed by others and was mended')
        this.#options.onPeers?.(network.peerProblems?.() ?? [])
      } catch (error) {
        log.warn({ err: error }, 'cannot check the network; will try again')
      }
    }
  }

  /** A new session: what the kernel holds is not yet known to be what this server's tables say. */
  beginSession(cluster: ClusterConfig): void {
    this.#cluster = cluster
    this.#programmed = { programmedRevision: 0, peersRevision: 0 }
  }

  /** The cluster as it was when this node last heard of it; tables from disk are programmed by it. */
  restore(cluster: ClusterConfig): void {
    this.#cluster ??= cluster
    this.policiesChanged()
  }

  wake(): void {
    this.#nameServices()
    this.#queue.add(KEY)
  }

  /** Policies bind pods that are made from now on, whenever the rest of them is programmed. */
  policiesChanged(): void {
    this.#options.network.notePolicies(this.#options.desired.policies())
    this.wake()
  }

  /** Host ports lead to pods that are made from now on as soon as these have an address. */
  podsChanged(): void {
    const rows = hostPortRows(this.#options.desired.pods())
    if (jsonEqual(rows, this.#hostPorts)) return
    this.#hostPorts = rows
    this.#hostPortsApplied = false
    this.#options.network.noteHostPorts(rows)
    this.#queue.add(KEY)
  }

  async #reconcile(): Promise<ReconcileResult> {
    const { desired, network, nodeName, nodeAddress } = this.#options
    const cluster = this.#cluster
    const own = desired.peers().find((peer) => peer.nodeName === nodeName)
    if (cluster === undefined || own === undefined) return undefined
    const config: NodeNetworkConfig = { cluster, nodeName, nodeAddress, podCidr: own.podCidr }
    if (!jsonEqual(config, this.#config)) {
      await network.ensureNode(config)
      this.#config = config
      this.#options.onReady()
    }
    const peers = desired.version('peers')
    if (peers !== this.#applied.peers) {
      const peersRevision = desired.sequence('peers')
      await network.applyPeers(desired.peers())
      this.#options.onPeers?.(network.peerProblems?.() ?? [])
      this.#applied.peers = peers
      this.#programmed = { ...this.#programmed, peersRevision }
      this.#options.onProgrammed()
    }
    const policies = desired.version('policies')
    if (policies !== this.#applied.policies) {
      await network.applyPolicies()
      this.#applied.policies = policies
    }
    if (!this.#hostPortsApplied) {
      const rows = this.#hostPorts
      await network.applyHostPorts()
      this.#hostPortsApplied = rows === this.#hostPorts
    }
    const services = desired.version('services')
    if (services !== this.#applied.services) {
      const programmedRevision = desired.sequence('services')
      await network.applyServices(desired.services())
      this.#applied.services = services
      this.#programmed = { ...this.#programmed, programmedRevision }
      this.#options.onProgrammed()
    }
    return undefined
  }

  /** Names need no overlay and wait for nothing that the kernel takes its time for. */
  #nameServices(): void {
    const { desired, dns } = this.#options
    const cluster = this.#cluster
    const services = desired.version('services')
    if (cluster === undefined || !desired.known('services')) return
    if (this.#named?.services === services && this.#named.cluster === cluster) return
    dns.applyServices(desired.services(), cluster)
    this.#named = { services, cluster }
  }
}
