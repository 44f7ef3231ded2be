/**
 * Hosts of a local cluster: network namespaces on one bridge.
 *
 *   root namespace            drover-C-switch              drover-C-HOST
 *   drv-ID  10.89.x.1/24 ---- uplink ─ bridge ─ dvh-ID-N ---- eth0 10.89.x.(N+1)/24, default via .1
 *
 * The bridge has a namespace of its own. On a bridge in the root namespace frames between hosts pass the machine's
 * FORWARD rules wherever br_netfilter is loaded, and a Docker engine or a firewall drops them there without a word; in
 * its own namespace no rule of the machine sees them. Nothing in the root namespace is changed but one veth end.
 *
 * What exists is read from the kernel: aliases say to which cluster and host a link belongs. A link with its alias is
 * made before the namespace it leads to, so whatever a crash leaves behind can be found. `ensure` completes it, `remove`
 * removes it; both may be repeated. What `ensure` sees without the lock only says whether there is anything to do: it changes
 * what it has seen under the lock.
 */
import { type Cidr, cidrAddress, cidrsOverlap, formatAddress, formatCidr, parseCidr } from '../base/cidr.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { holderWords, lockFile } from '../base/file_lock.ts'
import type { Logger } from '../base/log.ts'
import {
  abandonedNamespaces,
  ensureNamespace,
  ipBatch,
  ipJson,
  type NetLink,
  namespacePath,
  observeLinks,
  pinnedNamespaces,
  removeNamespace,
} from './net_namespaces.ts'
import { chooseSubnet, DEFAULT_AVOID, usedRanges } from './net_subnet.ts'

export interface HostsNetworkOptions {
  clusterName: string
  /** Short and hexadecimal, at most 5 characters: part of interface names. */
  id: string
  /** A /24, remembered from an earlier `ensure`. Default: the one in use, else a free one. */
  subnet?: string
  /** Ranges that the cluster will use itself. */
  avoid?: readonly string[]
  clock: Clock
  log?: Logger
  /** Ends the wait for others that change their networks. */
  signal?: AbortSignal
}

export interface HostInterface {
  name: string
  namespacePath: string
  address: string
  /** Its outer end, a port of the bridge in the switch's namespace. */
  link: string
}

export interface HostsState {
  /** The device in the root namespace that holds the gateway address. */
  bridge: string
  subnet: string
  gatewayAddress: string
  /** Holds the bridge and the hosts' outer ends `dvh-ID-N`. */
  switchNamespacePath: string
  hosts: HostInterface[]
}

export interface HostsNetwork {
  /** Creates or completes the network and these hosts; others that exist are left alone. */
  ensure(hosts: readonly string[]): Promise<HostsState>
  /** What exists; without hosts and addresses when nothing does. */
  observe(): Promise<HostsState>
  /** Removes hosts, bridge and namespaces. Idempotent. */
  remove(): Promise<void>
}

const SWITCH = 'switch'
const BRIDGE = 'bridge'
const MAX_HOSTS = 250
/**
 * Held while anything is made: two clusters that come up at once would choose the same range until its address is set, and two
 * that complete the same cluster would undo each other's work.
 */
const RANGES_LOCK = '/run/drover-ranges.lock'
const RANGES_PATIENCE_MS = 60_000
/** Before a range that was ours is given up: what is going takes a moment. */
const MAX_LOOKS = 15
const LOOK_EVERY_MS = 200
const NAME = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/

interface SwitchState {
  /** The range to have: the one that is recorded, else the one that is there. */
  wanted: string | undefined
  /** The one that is there, where it is the one to have and the bridge is connected. */
  subnet: string | undefined
  /** In the switch's namespace. */
  links: NetLink[]
}

class Hosts implements HostsNetwork {
  readonly #options: HostsNetworkOptions
  readonly #gatewayLink: string
  readonly #switchName: string

  constructor(options: HostsNetworkOptions) {
    if (!/^[0-9a-f]{1,5}$/.test(options.id))
      throw new DroverError('invalid', `cluster id "${options.id}" is not 1 to 5 hexadecimal digits`)
    checkName('cluster', options.clusterName)
    if (options.subnet !== undefined && parseCidr(options.subnet).prefixLength !== 24) {
      throw new DroverError('invalid', `subnet ${options.subnet} must be a /24`)
    }
    this.#options = options
    this.#gatewayLink = `drv-${options.id}`
    this.#switchName = this.#namespace(SWITCH)
  }

  async ensure(hosts: readonly string[]): Promise<HostsState> {
    for (const host of hosts) {
      checkName('host', host)
      if (host === SWITCH)
        throw new DroverError('invalid', `"${SWITCH}" is taken by the hosts' bridge; name the host otherwise`)
    }
    if (!(await this.#isWhole(hosts))) await this.#locked(() => this.#complete(hosts))
    return this.observe()
  }

  async observe(): Promise<HostsState> {
    const root = await observeLinks(undefined)
    const subnet = this.#subnetOf(root)
    const switchNamespacePath = namespacePath(this.#switchName)
    if (subnet === undefined || !(await pinnedNamespaces()).has(this.#switchName)) {
      return { bridge: this.#gatewayLink, subnet: '', gatewayAddress: '', switchNamespacePath, hosts: [] }
    }
    const numbers = this.#hostNumbers(await observeLinks(switchNamespacePath))
    const hosts = [...numbers].map(([name, number]) => ({
      name,
      namespacePath: namespacePath(this.#namespace(name)),
      address: addressOf(subnet, number),
      link: this.#outerLink(number),
    }))
    hosts.sort((a, b) => (a.name < b.name ? -1 : 1))
    return { bridge: this.#gatewayLink, subnet, gatewayAddress: addressOf(subnet, 0), switchNamespacePath, hosts }
  }

  async remove(): Promise<void> {
    const pinned = await pinnedNamespaces()
    const ours = new Set<string>()
    if (await this.#isOurs(this.#switchName, pinned)) {
      const links = await observeLinks(namespacePath(this.#switchName))
      for (const host of this.#hostNumbers(links).keys()) {
        // A namespace that has no mark yet was being made for this link.
        const name = this.#namespace(host)
        const mark = pinned.has(name) ? await markOf(name) : ''
        if (mark === '' || mark === this.#mark(host)) ours.add(name)
      }
    }
    for (const name of pinned) {
      if (name.startsWith(this.#namespace('')) && (await this.#isOurs(name, pinned))) ours.add(name)
    }
    for (const name of await abandonedNamespaces()) if (name.startsWith(this.#namespace(''))) ours.add(name)
    ours.delete(this.#switchName)
    for (const name of ours) await removeNamespace(name)
    const root = await observeLinks(undefined)
    const gateway = root.find(({ name }) => name === this.#gatewayLink)
    const mark = pinned.has(this.#switchName) ? await markOf(this.#switchName) : ''
    if (mark === this.#mark(SWITCH) || (mark === '' && gateway !== undefined)) await this.#removeSwitch(pinned)
    // Last: as long as it is there, an interrupted removal can be taken up again.
    if (gateway !== undefined) await removeLink(undefined, this.#gatewayLink)
  }

  /** Hosts' processes may keep a namespace alive for a while; its links go now. */
  async #removeSwitch(pinned: ReadonlySet<string>): Promise<void> {
    if (pinned.has(this.#switchName)) {
      const links = await observeLinks(namespacePath(this.#switchName))
      const outer = links.filter(({ name }) => name.startsWith(`dvh-${this.#options.id}-`))
      // One by one: those whose hosts are gone vanish by themselves meanwhile.
      for (const { name } of outer) await removeLink(namespacePath(this.#switchName), name)
    }
    await removeNamespace(this.#switchName)
  }

  #outerLink(number: number): string {
    return `dvh-${this.#options.id}-${number}`
  }

  #namespace(host: string): string {
    return `drover-${this.#options.clusterName}-${host}`
  }

  /** Alias of a namespace's `lo`: `drover-a-b-c` alone could be host c of cluster a-b or host b-c of cluster a. */
  #mark(host: string): string {
    return `drover ${this.#options.id} ${host}`
  }

  async #isOurs(name: string, pinned: ReadonlySet<string>): Promise<boolean> {
    return pinned.has(name) && (await markOf(name)) === this.#mark(name.slice(this.#namespace('').length))
  }

  #subnetOf(root: readonly NetLink[]): string | undefined {
    const [address] = root.find(({ name }) => name === this.#gatewayLink)?.addresses ?? []
    return address === undefined ? undefined : formatCidr(parseCidr(address))
  }

  #hostNumbers(links: readonly NetLink[]): Map<string, number> {
    const numbers = new Map<string, number>()
    for (const { name, alias } of links) {
      const match = /^dvh-[0-9a-f]+-(\d+)$/.exec(name)
      const [word, host] = alias.split(' ')
      if (match !== null && word === 'host' && host !== undefined) numbers.set(host, Number(match[1]))
    }
    return numbers
  }

  async #ensureNamespace(host: string): Promise<string> {
    const name = this.#namespace(host)
    await ensureNamespace(name)
    const mark = await markOf(name)
    if (mark !== '' && mark !== this.#mark(host)) {
      throw new DroverError(
        'alreadyExists',
        `network namespace ${name} belongs to another cluster (${mark}); choose another name`,
      )
    }
    const path = namespacePath(name)
    if (mark === '') await ipBatch(path, [`link set dev lo alias "${this.#mark(host)}" up`])
    return path
  }

  async #locked(work: () => Promise<void>): Promise<void> {
    const { clock, signal } = this.#options
    const outcome = await lockFile(RANGES_LOCK, {
      role: 'network',
      clock,
      patienceMs: RANGES_PATIENCE_MS,
      ...(signal === undefined ? {} : { signal }),
    })
    if (outcome.lock === undefined) {
      throw new DroverError(
        'unavailable',
        `another network of hosts${holderWords(outcome.heldBy)} has been in the making for a minute; try again`,
      )
    }
    try {
      await work()
    } finally {
      outcome.lock.release()
    }
  }

  async #observeSwitch(): Promise<SwitchState> {
    const present = this.#subnetOf(await observeLinks(undefined))
    const wanted = this.#options.subnet ?? present
    const pinned = (await pinnedNamespaces()).has(this.#switchName)
    const links = pinned ? await observeLinks(namespacePath(this.#switchName)) : []
    const connected = links.some(({ name, master }) => name === 'uplink' && master === BRIDGE)
    return { wanted, subnet: connected && present === wanted ? present : undefined, links }
  }

  /** Whether nothing is left to do for these hosts. */
  async #isWhole(hosts: readonly string[]): Promise<boolean> {
    const { subnet, links } = await this.#observeSwitch()
    if (subnet === undefined || links.some(isLoose)) return false
    const numbers = this.#hostNumbers(links)
    for (const host of hosts) {
      const number = numbers.get(host)
      if (number === undefined || !(await this.#isComplete(host, `${addressOf(subnet, number)}/24`))) return false
    }
    return true
  }

  /** Under the lock. Others' changes until then have been made, so everything is looked at anew. */
  async #complete(hosts: readonly string[]): Promise<void> {
    const subnet = await this.#ensureSwitch()
    const path = namespacePath(this.#switchName)
    const links = await observeLinks(path)
    const numbers = this.#hostNumbers(links)
    for (const { name } of links.filter(isLoose)) {
      await ipBatch(path, [`link set dev ${name} master ${BRIDGE} up`]).catch(ignoreMissing)
    }
    for (const host of hosts) {
      const number = numbers.get(host) ?? freeNumber(numbers)
      numbers.set(host, number)
      await this.#ensureHost(host, number, subnet)
    }
  }

  async #ensureSwitch(): Promise<string> {
    const seen = await this.#observeSwitch()
    if (seen.subnet !== undefined) return seen.subnet
    // Before anything goes: a refusal must leave what is there, by which `remove` finds the rest.
    const subnet = await this.#freeSubnet(seen.wanted)
    await removeLink(undefined, this.#gatewayLink)
    await this.#makeSwitch(seen.links, subnet)
    return subnet
  }

  /**
   * The range that this cluster had, unless somebody else took it meanwhile: hosts are known by its addresses. A wider
   * route (of a VPN, say) takes nothing away: the narrower one wins.
   */
  async #freeSubnet(wanted: string | undefined): Promise<string> {
    const { clusterName, id, avoid = [] } = this.#options
    if (wanted === undefined) {
      return chooseSubnet(await rangesInUse(this.#gatewayLink), id, [...DEFAULT_AVOID, ...avoid])
    }
    const own = parseCidr(wanted)
    for (let looks = 1; ; looks++) {
      const used = await rangesInUse(this.#gatewayLink)
      const taken = used.find((range) => range.prefixLength >= own.prefixLength && cidrsOverlap(range, own))
      if (taken === undefined) return wanted
      if (looks === MAX_LOOKS) {
        throw new DroverError(
          'alreadyExists',
          `${wanted}, the range of cluster ${clusterName}'s hosts, overlaps ${formatCidr(taken)}, which this machine uses ` +
            `by now ("ip route show table all" says for what): end that use, or remove this cluster and make it anew`,
        )
      }
      // It may be our own: routes of a link that is just going have lost its name already.
      await sleep(this.#options.clock, LOOK_EVERY_MS, this.#options.signal)
    }
  }

  async #makeSwitch(inside: readonly NetLink[], subnet: string): Promise<void> {
    const { clusterName, id, log } = this.#options
    const spare = `dvu-${id}`
    await ipBatch(undefined, [
      `link add ${this.#gatewayLink} address ${macOf(subnet, 0)} type veth peer name ${spare}`,
      `link set dev ${this.#gatewayLink} alias "cluster ${clusterName}" addrgenmode none`,
    ])
    const path = await this.#ensureNamespace(SWITCH)
    await ipBatch(undefined, [`link set dev ${spare} netns ${path} name uplink`])
    const hasBridge = inside.some(({ name }) => name === BRIDGE)
    const add = `link add ${BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`
    await ipBatch(path, [
      ...(hasBridge ? [] : [add]),
      `link set dev ${BRIDGE} addrgenmode none up`,
      `link set dev uplink addrgenmode none master ${BRIDGE} up`,
    ])
    await ipBatch(undefined, [
      `addr add ${addressOf(subnet, 0)}/24 dev ${this.#gatewayLink}`,
      `link set dev ${this.#gatewayLink} up`,
    ])
    log?.info({ cluster: clusterName, subnet }, "hosts' network made")
  }

  async #ensureHost(host: string, number: number, subnet: string): Promise<void> {
    const switchPath = namespacePath(this.#switchName)
    const path = namespacePath(this.#namespace(host))
    const address = addressOf(subnet, number)
    if (await this.#isComplete(host, `${address}/24`)) return
    const link = this.#outerLink(number)
    await removeLink(switchPath, link)
    await ipBatch(switchPath, [
      `link add ${link} type veth peer name inner address ${macOf(subnet, number)}`,
      `link set dev ${link} alias "host ${host}" addrgenmode none master ${BRIDGE} up`,
    ])
    await this.#ensureNamespace(host)
    await ipBatch(switchPath, [`link set dev inner netns ${path} name eth0`])
    await ipBatch(path, [
      'link set dev lo up',
      `addr add ${address}/24 dev eth0`,
      'link set dev eth0 up',
      `route add default via ${addressOf(subnet, 0)} dev eth0`,
    ])
  }

  async #isComplete(host: string, address: string): Promise<boolean> {
    const path = namespacePath(this.#namespace(host))
    if (!(await pinnedNamespaces()).has(this.#namespace(host))) return false
    const links = await observeLinks(path)
    const eth0 = links.find(({ name }) => name === 'eth0')
    if (eth0?.up !== true || !eth0.addresses.includes(address)) return false
    const routes = await ipJson(path, ['route', 'show', 'default'])
    return Array.isArray(routes) && routes.length > 0
  }
}

function checkName(what: string, name: string): void {
  if (!NAME.test(name)) {
    throw new DroverError(
      'invalid',
      `${what} name "${name}" must be 1 to 32 lower-case letters, digits and inner dashes`,
    )
  }
}

async function markOf(namespace: string): Promise<string> {
  const links = await observeLinks(namespacePath(namespace))
  return links.find(({ name }) => name === 'lo')?.alias ?? ''
}

/** A host's outer end that leads nowhere. */
function isLoose({ name, master, up }: NetLink): boolean {
  return name.startsWith('dvh-') && (master !== BRIDGE || !up)
}

/** Number 0 is the gateway. */
function addressOf(subnet: string, number: number): string {
  return formatAddress(cidrAddress(parseCidr(subnet), number + 1))
}

/** Follows from the address: a host made anew is found by neighbours that remember it. */
function macOf(subnet: string, number: number): string {
  const { value } = cidrAddress(parseCidr(subnet), number + 1)
  const octets = [24n, 16n, 8n, 0n].map((shift) => ((value >> shift) & 0xffn).toString(16).padStart(2, '0'))
  return ['02', 'd1', ...octets].join(':')
}

function freeNumber(numbers: ReadonlyMap<string, number>): number {
  const taken = new Set(numbers.values())
  for (let number = 1; number <= MAX_HOSTS; number++) if (!taken.has(number)) return number
  throw new DroverError('tooLarge', `a local cluster has at most ${MAX_HOSTS} hosts`)
}

/** Whatever was seen of it: a namespace's end takes its links, and their peers, some time after the namespace is gone. */
async function removeLink(path: string | undefined, link: string): Promise<void> {
  await ipBatch(path, [`link del ${link}`]).catch(ignoreMissing)
}

function ignoreMissing(error: unknown): void {
  if (!/cannot find device|no such device|does not exist/i.test(DroverError.from(error).message)) throw error
}

/** In use by others than this link. */
async function rangesInUse(ownLink: string): Promise<Cidr[]> {
  const [routes, addresses] = await Promise.all([
    ipJson(undefined, ['-4', 'route', 'show', 'table', 'all']),
    ipJson(undefined, ['-4', 'addr', 'show']),
  ])
  return usedRanges(routes, addresses, ownLink)
}

export function createHostsNetwork(options: HostsNetworkOptions): HostsNetwork {
  return new Hosts(options)
}
