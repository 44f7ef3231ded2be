/**
 * What a pod's port lets into the bridge: IPv4 packets and ARP under the pod's own addresses, and nothing else. A pod that may
 * make up frames (NET_RAW) could otherwise send as another, be taken for it by policies and services, or have the bridge or the
 * host's neighbour table bring it what is the other's. IPv6 is not carried. Pure.
 *
 * Rejected: a chain a port in family netdev, three objects a pod instead of two elements; `locked` ports with fixed forwarding
 * entries, which bind the MAC alone and cost one more process a pod; the reverse path filter, which knows the bridge but
 * not its ports.
 */
import { GUARD_TABLE, hash, podLink } from './names.ts'
import { addressMac } from './plan_node.ts'
import { emptyTable, rule, type Skeleton, type TableState } from './table.ts'

/** Pods' ports: frames of other bridges of this host pass. */
export const PORTS = 'ports'
export const PODS = 'pods'
const SETS: ReadonlyMap<string, string> = new Map([
  [PORTS, 'set NAME { type ifname; }'],
  [PODS, 'set NAME { type ifname . ether_addr . ipv4_addr; }'],
])
/** Before the frame is learned from (bridge input) and before br_netfilter shows it to the IP hooks. */
const BASES = new Map([['from-pods', { type: 'filter', hook: 'prerouting', priority: -300 }]])
/** What there is most of comes first. */
const RULES = [
  `ether type ip iifname . ether saddr . ip saddr @${PODS} accept`,
  `iifname != @${PORTS} accept`,
  `ether type arp iifname . ether saddr . arp saddr ip @${PODS} iifname . arp saddr ether . arp saddr ip @${PODS} accept`,
  'drop',
]

export const GUARD_SKELETON: Skeleton = {
  table: GUARD_TABLE,
  sets: SETS,
  bases: BASES,
  seal: `seal-${hash(JSON.stringify([[...SETS], [...BASES]]), 12)}`,
}

/** `held`: addresses by pod. */
export function planGuard(held: Readonly<Record<string, string>>): TableState {
  const table = emptyTable(GUARD_SKELETON)
  table.chains.set('from-pods', RULES.map(rule))
  for (const [podUid, address] of Object.entries(held)) {
    const link = podLink(podUid)
    table.elements.get(PORTS)?.set(link, '')
    table.elements.get(PODS)?.set(`${link} . ${addressMac(address)} . ${address}`, '')
  }
  return table
}
