/**
 * Overlay peers: one route, one permanent neighbour and one forwarding entry each, so that nothing is ever flooded or
 * asked. Tunnel addresses and MACs follow from the pod range alone; peers need to tell each other nothing else.
 */
import { formatAddress, parseAddress, parseCidr } from '../../base/cidr.ts'
import type { PeerRow } from '../../rpc/tables.ts'
import { VXLAN } from './names.ts'

export interface ObservedPeers {
  routes: readonly { destination: string; gateway: string; source: string }[]
  neighbours: readonly { address: string; mac: string; permanent: boolean }[]
  forwards: readonly { mac: string; destination: string }[]
}

export interface PeerPlan {
  ip: string[]
  bridge: string[]
  /** Rows that cannot be used, in words. */
  problems: string[]
}

interface Peer {
  podCidr: string
  gateway: string
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

function readPeers(rows: readonly PeerRow[], nodeName: string, problems: string[]): Peer[] {
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
    const gateway = tunnelAddress(row.podCidr)
    if (peers.has(gateway)) problems.push(`peer ${row.nodeName}: ${row.podCidr} is another node's range already`)
    else peers.set(gateway, { podCidr: row.podCidr, gateway, mac: tunnelMac(row.podCidr), address: row.address })
  }
  return [...peers.values()]
}

/** `bridge` goes before `ip`: a route to a new peer appears when all that it needs is there. */
export function planPeers(
  observed: ObservedPeers,
  rows: readonly PeerRow[],
  self: { nodeName: string; source: string },
): PeerPlan {
  const plan: PeerPlan = { ip: [], bridge: [], problems: [] }
  const peers = readPeers(rows, self.nodeName, plan.problems)
  const byCidr = new Map(peers.map((peer) => [peer.podCidr, peer]))
  const byGateway = new Map(peers.map((peer) => [peer.gateway, peer]))
  const byMac = new Map(peers.map((peer) => [peer.mac, peer]))

  const routed = new Set<string>()
  for (const route of observed.routes) {
    const peer = byCidr.get(route.destination)
    if (peer === undefined) plan.ip.push(`route del ${route.destination} dev ${VXLAN}`)
    else if (route.gateway === peer.gateway && route.source === self.source) routed.add(peer.podCidr)
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
  for (const peer of peers) {
    if (!forwarded.has(peer.mac)) plan.bridge.push(`fdb replace ${peer.mac} dev ${VXLAN} dst ${peer.address}`)
    if (!known.has(peer.gateway)) {
      plan.ip.push(`neigh replace ${peer.gateway} lladdr ${peer.mac} dev ${VXLAN} nud permanent`)
    }
    if (!routed.has(peer.podCidr)) {
      plan.ip.push(`route replace ${peer.podCidr} via ${peer.gateway} dev ${VXLAN} onlink src ${self.source}`)
    }
  }
  return plan
}
