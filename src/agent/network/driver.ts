/**
 * The network driver: observes a host's network namespace, plans with the pure functions beside this file, executes in
 * batches. It keeps what was applied last only to know what to look for; the kernel is compared with it at the first
 * call after a start and whenever `mendDrift` is called. Changes of rules, peers and devices run one at a time; pods
 * run side by side.
 */
import { parseCidr } from '../../base/cidr.ts'
import type { Clock } from '../../base/clock.ts'
import type { Damage } from '../../base/damage.ts'
import { DroverError } from '../../base/errors.ts'
import { enterNetworkCall } from '../../base/kernel_calls.ts'
import type { Logger } from '../../base/log.ts'
import type { AskNews } from '../../base/network_news.ts'
import type { PeerRow, PolicyTableRow, ServiceRow } from '../../rpc/tables.ts'
import { readConnections } from './connections.ts'
import { Drift } from './drift.ts'
import { createFlows } from './flows.ts'
import { createGuard } from './guard.ts'
import { createKernelTable } from './kernel_table.ts'
import { parseAlias } from './links.ts'
import { BRIDGE, GUARD_TABLE, POD_LINK, podLink, TABLE, VXLAN } from './names.ts'
import type { HostPortRow, NetworkDriver, NodeNetworkConfig, PodSocket, Traffic } from './network.ts'
import { observeNode, observePeers, observeRoutes, type Route } from './observe.ts'
import {
  carryHostPorts,
  type HostPortPlan,
  type HostPortTarget,
  hostPortTargets,
  leadsTo,
  planHostPorts,
  withHostPorts,
} from './plan_host_ports.ts'
import { gatewayAddress, type NodeFacts, planNode } from './plan_node.ts'
import { findUnderlay, planPeers, type Underlay } from './plan_peers.ts'
import { carryPolicies, mentionsPod, type PolicyPlan, planPolicies, withPolicies } from './plan_policies.ts'
import { planServices, type ServicePlan } from './plan_services.ts'
import { findPodDamage } from './pod_damage.ts'
import { raise } from './pod_link_messages.ts'
import { openPodSocket } from './pod_socket.ts'
import { createPodPorts } from './pods.ts'
import { checkPrograms } from './preflight.ts'
import { createPrograms, createSerial, entering, type Programs } from './programs.ts'
import { renderSkeleton, type TableFacts } from './skeleton.ts'
import { datagramPortsBeyond, losesDatagrams } from './stale_flows.ts'
import { createSysctls } from './sysctls.ts'
import type { TableState } from './table.ts'
import { parsePeerTraffic } from './traffic.ts'

export interface NetworkDriverOptions {
  /** Holds the addresses given out and what to put back at teardown. */
  dataDir: string
  log: Logger
  clock: Clock
  /** Default: what the underlay's MTU leaves after 50 bytes of VXLAN. */
  mtu?: number
  /** Default 4789, IANA's. */
  vxlanPort?: number
  /** VXLAN network identifier. Default 4097. */
  vni?: number
  /** The host's network namespace, `/run/netns/x`. Default: the process' own. */
  namespacePath?: string
  /** Put before every program. Default: what enters that namespace. */
  enter?: readonly string[]
  /** May set what it needs of this namespace's sysctls (teardown puts them back). Default false: only looks. */
  manageSysctls?: boolean
  /** Hears what others change in this namespace. Default: nobody does, and each look is a look at everything. */
  news?: AskNews
}

const DEFAULT_VXLAN_PORT = 4789
const DEFAULT_VNI = 4097
/** Lines of a transaction that are worth a person's time. */
const MAX_RULES_TOLD = 20

function firstLines(script: string): string[] {
  const lines = script.split('\n').filter((line) => line !== '')
  return lines.slice(0, MAX_RULES_TOLD)
}

class Driver implements NetworkDriver {
  readonly #options: NetworkDriverOptions
  readonly #programs: Programs
  readonly #drift
  readonly #pods
  readonly #guard
  readonly #kernel
  readonly #flows
  readonly #sysctls
  readonly #serial = createSerial()
  #config: NodeNetworkConfig | undefined
  #peers: readonly PeerRow[] | undefined
  #peerProblems: readonly string[] = []
  /** Undefined until first given: after a restart the rules that are there serve on until then. */
  #services: readonly ServiceRow[] | undefined
  #plan: ServicePlan | undefined
  /** Undefined until first given, as services. */
  #policies: readonly PolicyTableRow[] | undefined
  /** Undefined when policies or the node's pods have changed since. */
  #policyPlan: PolicyPlan | undefined
  /** Both as policies. */
  #hostPorts: readonly HostPortRow[] | undefined
  #hostPortPlan: HostPortPlan | undefined
  #bridgeIsSet = false
  #hasConntrack = false
  /** Looked at once: a table of another form is replaced whole. */
  #sendsRedirects: boolean | undefined
  /** False where the kernel has no rules for bridges. */
  #guards = true
  #underlay: Underlay | undefined
  /** Index of the tunnel's device, if there is one. */
  #tunnel: number | undefined
  /** Whether pods' ports are isolated. */
  #isolates: boolean | undefined

  constructor(options: NetworkDriverOptions) {
    this.#options = options
    const programs = createPrograms(options.namespacePath, options.enter)
    const drift = new Drift(options.clock, options.news ?? (async () => undefined))
    const counted =
      <T>(transaction: (what: T) => Promise<void>) =>
      async (what: T): Promise<void> => {
        await transaction(what)
        drift.count()
      }
    this.#drift = drift
    this.#programs = { ...programs, nft: counted(programs.nft), transact: counted(programs.transact) }
    const { dataDir, log, manageSysctls = false } = options
    this.#pods = createPodPorts({ programs, dataDir, log })
    this.#guard = createGuard({ programs: this.#programs, log, held: () => this.#pods.held() })
    this.#kernel = createKernelTable({ programs: this.#programs, log })
    this.#flows = createFlows({ programs: this.#programs, log })
    this.#sysctls = createSysctls({ programs: this.#programs, dataDir, manage: manageSysctls })
  }

  async initialize(): Promise<void> {
    const { hasConntrack, hasBridgeRules } = await checkPrograms(this.#programs)
    this.#hasConntrack = hasConntrack
    this.#guards = hasBridgeRules
    if (!hasBridgeRules) {
      this.#options.log.warn('this kernel has no nftables for bridges: pods with NET_RAW can forge source addresses')
    }
    if (!hasConntrack) {
      this.#options.log.warn(
        'program conntrack not found (package conntrack): UDP clients of a removed pod stay with it',
      )
    }
  }

  ensureNode(config: NodeNetworkConfig): Promise<void> {
    return this.#serial(async () => {
      for (const range of [config.podCidr, config.cluster.clusterCidr, config.cluster.serviceCidr]) {
        if (parseCidr(range).family !== 4) throw new DroverError('invalid', `${range}: the overlay is IPv4 only`)
      }
      this.#config = config
      await this.#sysctls.ensure()
      this.#sendsRedirects ??= await this.#sysctls.sendsRedirects()
      await this.#mendNode(config)
      await this.#mendRules(config, true)
    })
  }

  applyPeers(peers: readonly PeerRow[]): Promise<void> {
    return this.#serial(async () => {
      this.#peers = peers
      await this.#mendPeers(this.#ready())
    })
  }

  peerProblems(): readonly string[] {
    return this.#peerProblems
  }

  applyServices(services: readonly ServiceRow[]): Promise<void> {
    return this.#serial(async () => {
      const config = this.#ready()
      // After a start nobody knows what has left meanwhile: look.
      const look = this.#services === undefined || losesDatagrams(this.#services, services)
      this.#services = services
      await this.#mendTable(config, false)
      if (look) await this.#forgetStale(config)
    })
  }

  notePolicies(rows: readonly PolicyTableRow[]): void {
    this.#policies = rows
    this.#policyPlan = undefined
  }

  applyPolicies(): Promise<void> {
    return this.#bringTable()
  }

  noteHostPorts(rows: readonly HostPortRow[]): void {
    this.#hostPorts = rows
    this.#hostPortPlan = undefined
  }

  applyHostPorts(): Promise<void> {
    return this.#bringTable()
  }

  async ensurePod(podUid: string, netNamespacePath: string | Promise<string>, onAddress?: (address: string) => void) {
    this.#ready()
    let guarded: Promise<void> | undefined
    const pod = await this.#pods.ensure(podUid, netNamespacePath, (address) => {
      onAddress?.(address)
      // Beside the interface, whose name is known. A failure is met below.
      guarded = this.#guards ? this.#guard.ensure() : undefined
      guarded?.catch(() => undefined)
    })
    await guarded
    const bound =
      this.#policies?.some((row) => row.type === 'pod' && row.podUid === podUid) === true ||
      this.#hostPorts?.some((row) => row.podUid === podUid) === true
    if (bound || this.#mentions(pod.address)) await this.#bindPods()
    return pod
  }

  ensureLoopback(netNamespacePath: string): Promise<void> {
    return this.#programs.calls([enterNetworkCall(netNamespacePath), raise('lo')])
  }

  listPods() {
    return this.#pods.list()
  }

  async traffic(): Promise<ReadonlyMap<string, Traffic>> {
    const { exitCode, stdout } = await this.#programs.run('cat', ['/proc/net/dev'])
    const byLink = parsePeerTraffic(exitCode === 0 ? stdout : '')
    const pods = this.#pods.uids().flatMap((uid): [string, Traffic][] => {
      const traffic = byLink.get(podLink(uid))
      return traffic === undefined ? [] : [[uid, traffic]]
    })
    return new Map(pods)
  }

  openSocket(netNamespacePath: string | undefined, port: number): PodSocket {
    return openPodSocket(entering(netNamespacePath ?? this.#options.namespacePath), port)
  }

  connections(pid: number) {
    return readConnections(pid)
  }

  isFull() {
    return this.#pods.isFull()
  }

  async removePod(podUid: string): Promise<void> {
    const address = this.#pods.addressOf(podUid)
    await this.#pods.remove(podUid)
    if (address === undefined) return
    // The address' next holder is bound by its own policies and host ports alone.
    const bound = this.#mentions(address)
    await Promise.all([this.#guards ? this.#guard.ensure() : undefined, bound ? this.#bindPods() : undefined])
  }

  mendDrift(): Promise<boolean> {
    return this.#serial(async () => {
      const config = this.#config
      if (config === undefined) return false
      const sysctls = await this.#sysctls.ensure()
      await this.#drift.listen()
      const devices = await this.#lookAtDevices(config)
      const table = await this.#lookAtRules(config)
      return sysctls || devices || table
    })
  }

  /** True when devices, addresses or ways were not as we left them. */
  async #lookAtDevices(config: NodeNetworkConfig): Promise<boolean> {
    const isolates = !(await this.#sysctls.bridgedIsFiltered())
    if (isolates === this.#isolates && !this.#drift.devicesMayDiffer(this.#tunnel)) return false
    const { changed, routes } = await this.#mendNode(config)
    const peers = await this.#mendPeers(config, changed ? undefined : routes)
    this.#drift.sawDevices()
    return changed || peers
  }

  async findDamage(pods: readonly { podUid: string; netNamespacePath: string }[], known: ReadonlySet<string>) {
    const drift = await this.#serial(() => this.#findDrift())
    const mend = async (): Promise<void> => {
      await this.mendDrift()
    }
    return [...drift.map((one) => ({ ...one, mend })), ...(await findPodDamage(this, this.#pods, pods, known))]
  }

  /** What `mendDrift` would change, in the words of the programs that it would tell. */
  async #findDrift(): Promise<Omit<Damage, 'mend'>[]> {
    const config = this.#config
    if (config === undefined) return []
    const { plan, routes } = await this.#planNode(config)
    // Without the devices the ways cannot be looked at; they are mended together.
    const standing = plan.commands.length === 0
    const peers = this.#peers !== undefined && standing ? await this.#planPeers(config, this.#peers, routes) : undefined
    const { skeleton } = renderSkeleton(this.#facts(config))
    const rules = await this.#kernel.missing(skeleton, (observed) => this.#desiredTable(config, observed))
    const guard = this.#guards ? await this.#guard.missing() : ''
    const lacks = (subject: string, lines: readonly string[]) =>
      lines.map((line) => ({ part: 'network' as const, subject, problem: `differs; mended by: ${line}` }))
    return [
      ...lacks('node devices', plan.commands),
      ...lacks('ways to other nodes', [...(peers?.bridge ?? []), ...(peers?.ip ?? [])]),
      ...lacks('nft table', firstLines(rules)),
      ...lacks("nft table of pods' ports", firstLines(guard)),
    ]
  }

  teardown(): Promise<void> {
    return this.#serial(async () => {
      const links = (await observeNode(this.#programs)).links.map(({ name }) => name)
      await this.#pods.clear(links.filter((name) => POD_LINK.test(name)))
      await this.#programs.ip([VXLAN, BRIDGE].filter((name) => links.includes(name)).map((name) => `link del ${name}`))
      const tables = this.#guards ? [TABLE, GUARD_TABLE] : [TABLE]
      await this.#programs.nft(tables.map((table) => `add table ${table}\ndelete table ${table}\n`).join(''))
      await this.#sysctls.restore()
      this.#config = undefined
      this.#peers = undefined
      this.#peerProblems = []
      this.#services = undefined
      this.#plan = undefined
      this.#policies = undefined
      this.#policyPlan = undefined
      this.#hostPorts = undefined
      this.#hostPortPlan = undefined
      this.#bridgeIsSet = false
      this.#kernel.forget()
      this.#guard.forget()
    })
  }

  #mentions(address: string): boolean {
    const { state } = this.#kernel
    return mentionsPod(state, address) || leadsTo(state, address)
  }

  /** Brings what was noted last to the kernel. */
  #bringTable(): Promise<void> {
    return this.#serial(async () => {
      await this.#mendTable(this.#ready(), false)
    })
  }

  /** Brings policies and host ports to the pods that there are; many pods at once share the work. */
  async #bindPods(): Promise<void> {
    this.#policyPlan = undefined
    this.#hostPortPlan = undefined
    await this.#serial(async () => {
      const isDone =
        (this.#policies === undefined || this.#policyPlan !== undefined) &&
        (this.#hostPorts === undefined || this.#hostPortPlan !== undefined)
      if (!isDone && this.#config !== undefined) await this.#mendTable(this.#config, false)
    })
  }

  #ready(): NodeNetworkConfig {
    if (this.#config === undefined) throw new DroverError('internal', 'ensureNode must resolve before any other call')
    return this.#config
  }

  async #planNode(config: NodeNetworkConfig) {
    const { mtu, vni = DEFAULT_VNI, vxlanPort = DEFAULT_VXLAN_PORT } = this.#options
    const { nodeAddress, podCidr, cluster } = config
    const tunnel = cluster.overlay !== 'host-gw'
    const [isFiltered, { links, routes }] = await Promise.all([
      this.#sysctls.bridgedIsFiltered(),
      observeNode(this.#programs),
    ])
    const isolate = !isFiltered
    const { serviceCidr } = cluster
    const facts: NodeFacts = { nodeAddress, podCidr, serviceCidr, mtu, tunnel, isolate, vni, vxlanPort }
    this.#underlay = findUnderlay(links, nodeAddress)
    this.#tunnel = links.find(({ name }) => name === VXLAN)?.index
    const serviceRoutes = routes.filter(({ device }) => device === BRIDGE)
    return { plan: planNode(links, serviceRoutes, facts), links, routes, isolate }
  }

  async #mendNode(config: NodeNetworkConfig): Promise<{ changed: boolean; routes: readonly Route[] }> {
    const { plan, links, routes, isolate } = await this.#planNode(config)
    await this.#programs.ip(plan.commands)
    if (plan.commands.length > 0 || !this.#bridgeIsSet) await this.#sysctls.ensureBridge()
    this.#bridgeIsSet = true
    const pods = links.flatMap(({ name, alias }) => (POD_LINK.test(name) ? (parseAlias(alias) ?? []) : []))
    await this.#pods.start(config.podCidr, { mtu: plan.mtu, isolate }, pods)
    this.#isolates = isolate
    const changed = plan.commands.length > 0
    if (changed) this.#options.log.info({ commands: plan.commands }, 'node devices changed')
    return { changed, routes }
  }

  async #planPeers(config: NodeNetworkConfig, peers: readonly PeerRow[], routes: readonly Route[]) {
    const { overlay = 'vxlan' } = config.cluster
    const source = gatewayAddress(config.podCidr)
    const context = { nodeName: config.nodeName, source, overlay, underlay: this.#underlay }
    return planPeers(await observePeers(this.#programs, routes, overlay !== 'host-gw'), peers, context)
  }

  async #mendPeers(config: NodeNetworkConfig, routes?: readonly Route[]): Promise<boolean> {
    if (this.#peers === undefined) return false
    const plan = await this.#planPeers(config, this.#peers, routes ?? (await observeRoutes(this.#programs)))
    this.#warn(plan.problems.filter((problem) => !this.#peerProblems.includes(problem)))
    this.#peerProblems = plan.problems
    await this.#programs.bridge(plan.bridge)
    await this.#programs.ip(plan.ip)
    return plan.ip.length + plan.bridge.length > 0
  }

  /** True when the rules were not as we left them. */
  async #lookAtRules(config: NodeNetworkConfig): Promise<boolean> {
    if (!this.#drift.rulesMayDiffer()) return false
    const startedMs = this.#options.clock.monotonicMs()
    const changed = await this.#mendRules(config, true)
    this.#drift.sawRules(startedMs, changed)
    return changed
  }

  /** All tables of ours. */
  async #mendRules(config: NodeNetworkConfig, look: boolean): Promise<boolean> {
    if (look) await this.#drift.noteRules()
    const table = await this.#mendTable(config, look)
    const guard = this.#guards && (await this.#guard.mend(look))
    return table || guard
  }

  /** Brings the kernel's table to what was given last. `look`: read it first, else trust what we wrote last. */
  async #mendTable(config: NodeNetworkConfig, look: boolean): Promise<boolean> {
    const { skeleton } = renderSkeleton(this.#facts(config))
    let before: readonly HostPortTarget[] = []
    const plan = (observed: TableState | undefined): TableState => {
      before = hostPortTargets(observed)
      return this.#desiredTable(config, observed)
    }
    const changed = await this.#kernel.bring(skeleton, { look, plan })
    const after = hostPortTargets(this.#kernel.state)
    const fresh = this.#hasConntrack ? datagramPortsBeyond(after, before) : []
    await this.#flows.forgetUntranslated([...new Set(fresh.map(({ port }) => port))])
    if (datagramPortsBeyond(before, after).length > 0) await this.#forgetStale(config)
    return changed
  }

  async #forgetStale(config: NodeNetworkConfig): Promise<void> {
    // Before services are known none can be told from a stale one; they are looked at when they come.
    if (!this.#hasConntrack || this.#services === undefined) return
    await this.#flows.forgetStale(config, this.#services, hostPortTargets(this.#kernel.state))
  }

  /** All as given; each that was not given yet as it was found, so that a restart changes nothing. */
  #desiredTable(config: NodeNetworkConfig, observed: TableState | undefined): TableState {
    const table = this.#hostPortTable(this.#serviceTable(config, observed), observed)
    if (this.#policies === undefined) return observed === undefined ? table : carryPolicies(table, observed)
    if (this.#policyPlan === undefined) {
      this.#policyPlan = planPolicies(this.#policies, (uid) => this.#pods.addressOf(uid))
      this.#warn(this.#policyPlan.problems)
    }
    return withPolicies(table, this.#policyPlan)
  }

  #hostPortTable(table: TableState, observed: TableState | undefined): TableState {
    if (this.#hostPorts === undefined) return observed === undefined ? table : carryHostPorts(table, observed)
    if (this.#hostPortPlan === undefined) {
      this.#hostPortPlan = planHostPorts(this.#hostPorts, (uid) => this.#pods.addressOf(uid))
      this.#warn(this.#hostPortPlan.problems)
    }
    return withHostPorts(table, this.#hostPortPlan)
  }

  #serviceTable(config: NodeNetworkConfig, observed: TableState | undefined): TableState {
    if (this.#services === undefined && observed !== undefined) return observed
    const plan = planServices(this.#facts(config), this.#services ?? [], this.#plan?.rendered)
    if (plan.problems.join() !== this.#plan?.problems.join()) this.#warn(plan.problems)
    this.#plan = plan
    return plan.table
  }

  #facts(config: NodeNetworkConfig): TableFacts {
    const { vxlanPort = DEFAULT_VXLAN_PORT } = this.#options
    const tunnel = config.cluster.overlay !== 'host-gw'
    return { ...config, vxlanPort: tunnel ? vxlanPort : undefined, sendsRedirects: this.#sendsRedirects }
  }

  #warn(problems: readonly string[]): void {
    for (const problem of problems) this.#options.log.warn(problem)
  }
}

export function createNetworkDriver(options: NetworkDriverOptions): NetworkDriver & { mendDrift(): Promise<boolean> } {
  return new Driver(options)
}
