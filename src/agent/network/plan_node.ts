/**
 * The node's own devices: the pods' bridge and the VXLAN device. Compared with what is there, created or corrected;
 * recreated only when they cannot be corrected (VXLAN attributes are fixed at birth).
 */
import { cidrAddress, formatAddress, parseAddress, parseCidr } from '../../base/cidr.ts'
import { DroverError } from '../../base/errors.ts'
import type { Link } from './links.ts'
import { BRIDGE, POD_LINK, VXLAN } from './names.ts'
import { tunnelAddress, tunnelMac } from './plan_peers.ts'

export interface NodeFacts {
  nodeAddress: string
  podCidr: string
  serviceCidr: string
  /** Undefined: what the underlay leaves after VXLAN's headers. */
  mtu: number | undefined
  /** False: all peers are reached through their own addresses, and there is no VXLAN device. */
  tunnel: boolean
  /** Whether pods' ports reach only the bridge itself. */
  isolate: boolean
  vni: number
  vxlanPort: number
}

/** Outer Ethernet, IPv4, UDP and VXLAN headers. RFC 7348 §5. */
const VXLAN_OVERHEAD = 50
/** RFC 791: what every internet module must be able to forward is 68; less than 576 is no use to anyone. */
const MIN_MTU = 576

export function gatewayAddress(podCidr: string): string {
  return formatAddress(cidrAddress(parseCidr(podCidr), 1))
}

/** MAC that follows from the address: a reused address never leaves neighbours with a dead entry. */
export function addressMac(address: string): string {
  const { value } = parseAddress(address)
  const octets = [24n, 16n, 8n, 0n].map((shift) => ((value >> shift) & 0xffn).toString(16).padStart(2, '0'))
  return ['0a', '58', ...octets].join(':')
}

export function chooseMtu(links: readonly Link[], facts: NodeFacts): number {
  if (facts.mtu !== undefined) return facts.mtu
  const underlay = links.find(({ addresses }) => addresses.some(({ address }) => address === facts.nodeAddress))
  if (underlay === undefined) {
    const present = links.flatMap((link) => link.addresses.map(({ address }) => `${address} (${link.name})`))
    throw new DroverError(
      'invalid',
      `node address ${facts.nodeAddress} is on no interface of this host; there are: ${present.join(', ') || 'none'}`,
    )
  }
  return Math.max(MIN_MTU, underlay.mtu - (facts.tunnel ? VXLAN_OVERHEAD : 0))
}

function planBridge(links: readonly Link[], facts: NodeFacts, mtu: number): string[] {
  const commands: string[] = []
  const gateway = gatewayAddress(facts.podCidr)
  const { prefixLength } = parseCidr(facts.podCidr)
  const mac = addressMac(gateway)
  let bridge = links.find(({ name }) => name === BRIDGE)
  if (bridge !== undefined && bridge.kind !== 'bridge') {
    commands.push(`link del ${BRIDGE}`)
    bridge = undefined
  }
  if (bridge === undefined) {
    commands.push(
      `link add ${BRIDGE} address ${mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      // Afterwards, which makes it ours: one that it is made with the kernel changes to 1500 when the last port goes (br_mtu_auto_adjust).
      `link set dev ${BRIDGE} mtu ${mtu}`,
      `link set dev ${BRIDGE} addrgenmode none`,
    )
  } else {
    if (bridge.mac !== mac) commands.push(`link set dev ${BRIDGE} address ${mac}`)
    if (bridge.mtu !== mtu) commands.push(`link set dev ${BRIDGE} mtu ${mtu}`)
  }
  const addresses = bridge?.addresses ?? []
  // Single addresses on the bridge are others' (a name server may have one); a range can only be a former pod range.
  for (const { address, prefixLength: length } of addresses) {
    if (length !== 32 && (address !== gateway || length !== prefixLength)) {
      commands.push(`addr del ${address}/${length} dev ${BRIDGE}`)
    }
  }
  if (!addresses.some((item) => item.address === gateway && item.prefixLength === prefixLength)) {
    commands.push(`addr add ${gateway}/${prefixLength} dev ${BRIDGE}`)
  }
  if (bridge?.up !== true) commands.push(`link set dev ${BRIDGE} up`)
  return commands
}

function planVxlan(links: readonly Link[], facts: NodeFacts, mtu: number): string[] {
  const commands: string[] = []
  const mac = tunnelMac(facts.podCidr)
  const address = tunnelAddress(facts.podCidr)
  let device = links.find(({ name }) => name === VXLAN)
  if (!facts.tunnel) return device === undefined ? [] : [`link del ${VXLAN}`]
  if (device !== undefined) {
    const { id, local, port, learning } = device.data
    const same = id === facts.vni && local === facts.nodeAddress && port === facts.vxlanPort && learning === false
    if (device.kind !== 'vxlan' || !same) {
      commands.push(`link del ${VXLAN}`)
      device = undefined
    }
  }
  if (device === undefined) {
    const attributes = `id ${facts.vni} local ${facts.nodeAddress} dstport ${facts.vxlanPort} nolearning`
    commands.push(
      `link add ${VXLAN} address ${mac} mtu ${mtu} type vxlan ${attributes}`,
      `link set dev ${VXLAN} addrgenmode none`,
    )
  } else {
    if (device.mac !== mac) commands.push(`link set dev ${VXLAN} address ${mac}`)
    if (device.mtu !== mtu) commands.push(`link set dev ${VXLAN} mtu ${mtu}`)
  }
  for (const other of device?.addresses ?? []) {
    if (other.address !== address) commands.push(`addr del ${other.address}/${other.prefixLength} dev ${VXLAN}`)
  }
  if (device?.addresses.some((item) => item.address === address) !== true) {
    commands.push(`addr add ${address}/32 dev ${VXLAN}`)
  }
  if (device?.up !== true) commands.push(`link set dev ${VXLAN} up`)
  return commands
}

/**
 * Pods' ends of the bridge. Those that lost it (it was deleted by hand and made anew) are put back on it. Pods meet only where
 * policies are asked, whatever frames they make up: their ports are isolated, so that all goes through the host; or, where
 * br_netfilter has bridged frames pass the same hooks, they are not, since it bridges translated packets port to port.
 */
function planPorts(links: readonly Link[], { isolate }: NodeFacts, mtu: number): string[] {
  const commands: string[] = []
  for (const link of links) {
    if (!POD_LINK.test(link.name) || link.alias === '') continue
    if (link.master !== BRIDGE) commands.push(`link set dev ${link.name} master ${BRIDGE}`)
    if (link.isolated !== isolate || !link.hairpin || link.master !== BRIDGE) {
      commands.push(portCommand(link.name, isolate))
    }
    if (link.mtu !== mtu) commands.push(`link set dev ${link.name} mtu ${mtu}`)
    if (!link.up) commands.push(`link set dev ${link.name} up`)
  }
  return commands
}

export function portCommand(link: string, isolate: boolean): string {
  return `link set dev ${link} type bridge_slave hairpin on isolated ${isolate ? 'on' : 'off'}`
}

/**
 * `serviceRoutes`: destinations routed to the bridge. With the service range routed there, the host's own connections to
 * services carry the bridge's address, need no masquerading, and work on a host without a default route.
 */
export function planNode(
  links: readonly Link[],
  serviceRoutes: readonly { destination: string; source: string }[],
  facts: NodeFacts,
): { commands: string[]; mtu: number } {
  const mtu = chooseMtu(links, facts)
  const commands = [...planBridge(links, facts, mtu), ...planVxlan(links, facts, mtu), ...planPorts(links, facts, mtu)]
  const source = gatewayAddress(facts.podCidr)
  const routed = serviceRoutes.some((route) => route.destination === facts.serviceCidr && route.source === source)
  if (!routed) commands.push(`route replace ${facts.serviceCidr} dev ${BRIDGE} src ${source}`)
  return { commands, mtu }
}
