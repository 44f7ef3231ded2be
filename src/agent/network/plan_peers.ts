/**
 * Overlay peers. Through the tunnel: one route, one permanent neighbour and one forwarding entry each, so that nothing is
 * ever flooded or asked. Tunnel addresses and MACs follow from the pod range alone; peers need to tell each other nothing
 * else. Where peers share a subnet and the overlay says so, one route through the peer's own address.
 */
import { type Cidr, cidrContains, formatAddress, parseAddress, parseCidr } from '../../base/cidr.ts'
import type { Overlay, PeerRow } from '../../rpc/tables.ts'
import type { Link } from './links.ts'
import { VXLAN } from './names.ts'

export interface ObservedPeers {
  /** Those to the tunnel and those marked as ours. */
  routes: readonly { destination: string; gateway: string; source: string; device: string }[]
  neighbours: readonly { address: string; mac: string; permanent: boolean }[]
  forwards: readonly { mac: string; destination: string }[]
}

export interface PeerPlan {
  ip: string[]
  bridge: string[]
  /** Rows that cannot be used, in words. */
  problems: string[]
}

/** The node's own place on the underlay: its device there and the subnet that needs no router. */
export interface Underlay {
  device: string
  subnet: Cidr
}

/** Tells our routes from others' on a device that is not ours. Free in iproute2's rt_protos. */
export const ROUTE_PROTOCOL = 208

export function findUnderlay(links: readonly Link[], nodeAddress: string): Underlay | undefined {
  for (const { name, addresses } of links) {
    const own = addresses.find(({ address }) => address === nodeAddress)
    if (own !== undefined) return { device: name, subnet: parseCidr(`${own.address}/${own.prefixLength}`) }
  }
  return undefined
}

interface Peer {
  podCidr: string
  /** Next hop: the tunnel's end there, or the peer itself. */
  gateway: string
  device: string
  mac: string
  address: string
}

function octets(podCidr: string): number[] {
  const { base } = parseCidr(podCidr)
  return [24n, 16n, 8n, 0n].map((shift) => Number((base >> shift) & 0xffn))
}

/** The address of a node's tunnel end: the base of its pod range. */
export function tunnelAddress(podCidr: string): string {
  const { family, base } = parseCidr(podCidr)
  return formatAddress({ family, value: base })
}

/** A locally administered MAC that follows from the pod range. */
export function tunnelMac(podCidr: string): string {
  return ['02', 'd0', ...octets(podCidr).map((octet) => octet.toString(16).padStart(2, '0'))].join(':')
}

export interface PeerContext {
  nodeName: string
  /** Address that the node's own connections to pods carry. */
  source: string
  overlay: Overlay
  /** Needed unless all peers are reached through the tunnel. */
  underlay?: Underlay | undefined
}

function readPeers(rows: readonly PeerRow[], context: PeerContext, problems: string[]): Peer[] {
  const { nodeName, overlay, underlay } = context
  const peers = new Map<string, Peer>()
  for (const row of [...rows].sort((a, b) => (a.nodeName < b.nodeName ? -1 : 1))) {
    // A node that has not been given its range or address yet has no pods to reach.
    if (row.nodeName === nodeName || row.podCidr === '' || row.address === '') continue
    try {
      if (parseCidr(row.podCidr).family !== 4 || parseAddress(row.address).family !== 4) {
        problems.push(`peer ${row.nodeName}: the overlay is IPv4 only, not ${row.podCidr} at ${row.address}`)
        continue
      }
    } catch (error) {
      problems.push(`peer ${row.nodeName}: ${error instanceof Error ? error.message : String(error)}`)
      continue
    }
    const tunnel = tunnelAddress(row.podCidr)
    if (peers.has(tunnel)) {
      problems.push(`peer ${row.nodeName}: ${row.podCidr} is another node's range already`)
      continue
    }
    const near = underlay !== undefined && cidrContains(underlay.subnet, parseAddress(row.address))
    if (overlay === 'host-gw' && !near) {
      problems.push(
        `peer ${row.nodeName}: ${row.address} is not on this node's subnet, so overlay host-gw cannot reach its pods; start the servers with --overlay auto`,
      )
      continue
    }
    const { podCidr, address } = row
    const direct = near && overlay !== 'vxlan'
    const hop = direct ? { gateway: address, device: underlay.device } : { gateway: tunnel, device: VXLAN }
    peers.set(tunnel, { podCidr, ...hop, mac: tunnelMac(podCidr), address })
  }
  return [...peers.values()]
}

/** `bridge` goes before `ip`: a route to a new peer appears when all that it needs is there. */
export function planPeers(observed: ObservedPeers, rows: readonly PeerRow[], context: PeerContext): PeerPlan {
  const plan: PeerPlan = { ip: [], bridge: [], problems: [] }
  const peers = readPeers(rows, context, plan.problems)
  const tunnels = peers.filter(({ device }) => device === VXLAN)
  const byCidr = new Map(peers.map((peer) => [peer.podCidr, peer]))
  const byGateway = new Map(tunnels.map((peer) => [peer.gateway, peer]))
  const byMac = new Map(tunnels.map((peer) => [peer.mac, peer]))

  const routed = new Set<string>()
  for (const { destination, gateway, source, device } of observed.routes) {
    const peer = byCidr.get(destination)
    if (peer === undefined) plan.ip.push(`route del ${destination} dev ${device}`)
    else if (gateway === peer.gateway && source === context.source && device === peer.device) routed.add(peer.podCidr)
  }
  const known = new Set<string>()
  for (const neighbour of observed.neighbours) {
    const peer = byGateway.get(neighbour.address)
    if (peer === undefined) plan.ip.push(`neigh del ${neighbour.address} dev ${VXLAN}`)
    else if (neighbour.mac === peer.mac && neighbour.permanent) known.add(peer.gateway)
  }
  const forwarded = new Set<string>()
  for (const forward of observed.forwards) {
    const peer = byMac.get(forward.mac)
    if (peer?.address === forward.destination) forwarded.add(peer.mac)
    else plan.bridge.push(`fdb del ${forward.mac} dev ${VXLAN} dst ${forward.destination}`)
  }
  for (const peer of tunnels) {
    if (!forwarded.has(peer.mac)) plan.bridge.push(`fdb replace ${peer.mac} dev ${VXLAN} dst ${peer.address}`)
    if (!known.has(peer.gateway)) {
      plan.ip.push(`neigh replace ${peer.gateway} lladdr ${peer.mac} dev ${VXLAN} nud permanent`)
    }
  }
  // Routes that change their device are replaced in one step: no packet finds none.
  for (const { podCidr, gateway, device } of peers) {
    if (routed.has(podCidr)) continue
    const onlink = device === VXLAN ? ' onlink' : ''
    plan.ip.push(
      `route replace ${podCidr} via ${gateway} dev ${device}${onlink} src ${context.source} proto ${ROUTE_PROTOCOL}`,
    )
  }
  return plan
}
