/**
 * The part of the nft table that does not depend on services. In words, for new connections:
 *
 *   prerouting, output (nat)   ip . proto . port is a service's, or the port a node port of ours, or a pod's host port
 *                              -> its chain -> dnat;
 *                              a service without endpoints, or a service address nobody has: refused at once
 *   postrouting (nat)          a pod that met itself; what enters the overlay from outside it; pods that leave the cluster
 *   forward                    what network policies do not let through, by the pods' own addresses: refused at once
 *
 * Chains of type nat see the first packet of a connection alone, so what is asked there costs the others nothing: the host's own
 * traffic passes no filter of ours, a pod's one, whose first rule lets through what stands. The tunnel's own packets are not
 * tracked: each has a port that follows from what is in it, so that the kernel would keep an entry for every flow, find
 * an answer to none, and look up each packet twice.
 *
 * Whether a packet is masqueraded follows from where it goes, not from a mark set on its way in: a client from outside
 * whose endpoint is on this node keeps its address, and externalTrafficPolicy Local needs no rule here at all.
 */
import { BRIDGE, hash, TABLE, VXLAN } from './names.ts'
import type { NodeNetworkConfig } from './network.ts'
import { type BaseChain, type Rule, rule, type Skeleton } from './table.ts'

export const SERVICES = 'services'
export const NODE_PORTS = 'node-ports'
export const REFUSED = 'refused'
export const REFUSED_NODE_PORTS = 'refused-node-ports'
/** Pairs of one local endpoint's address with itself: nft cannot compare two fields of a packet. */
export const HAIRPIN = 'hairpin'
/** Endpoints of services that are no pods of the overlay: other nodes' own addresses. */
export const OUTSIDE = 'outside'
/** Host ports of this node's pods, on all its addresses and on one; and each such pod's address with itself. */
export const HOST_PORTS = 'host-ports'
export const HOST_ADDRESSES = 'host-addresses'
export const HOST_HAIRPIN = 'host-hairpin'
/** Pods of this node that policies isolate: address -> the chain of what is let through. */
export const POLICY_INGRESS = 'policy-ingress'
export const POLICY_EGRESS = 'policy-egress'
export const DENY = 'deny'

const ADDRESS_PORT = 'ipv4_addr . inet_proto . inet_service'
const SETS: ReadonlyMap<string, string> = new Map([
  [SERVICES, `map NAME { type ${ADDRESS_PORT} : verdict; }`],
  [NODE_PORTS, 'map NAME { type inet_proto . inet_service : verdict; }'],
  [REFUSED, `set NAME { type ${ADDRESS_PORT}; }`],
  [REFUSED_NODE_PORTS, 'set NAME { type inet_proto . inet_service; }'],
  [HAIRPIN, 'set NAME { type ipv4_addr . ipv4_addr; }'],
  [OUTSIDE, `set NAME { type ${ADDRESS_PORT}; }`],
  [HOST_PORTS, 'map NAME { type inet_proto . inet_service : verdict; }'],
  [HOST_ADDRESSES, `map NAME { type ${ADDRESS_PORT} : verdict; }`],
  [HOST_HAIRPIN, 'set NAME { type ipv4_addr . ipv4_addr; }'],
  [POLICY_INGRESS, 'map NAME { type ipv4_addr : verdict; }'],
  [POLICY_EGRESS, 'map NAME { type ipv4_addr : verdict; }'],
])

// Priorities as numbers: nft 1.0.6 refuses some of their names in some hooks. Ours come just before the usual ones, so
// that a service is recognised before another program's rules take the packet.
const BASES: readonly (readonly [string, BaseChain])[] = [
  ['prerouting', { type: 'nat', hook: 'prerouting', priority: -101 }],
  ['output', { type: 'nat', hook: 'output', priority: -101 }],
  ['postrouting', { type: 'nat', hook: 'postrouting', priority: 99 }],
  ['filter-forward', { type: 'filter', hook: 'forward', priority: -1 }],
]
/** Before connections are tracked. */
const TUNNEL_BASES: readonly (readonly [string, BaseChain])[] = [
  ['tunnel-in', { type: 'filter', hook: 'prerouting', priority: -300 }],
  ['tunnel-out', { type: 'filter', hook: 'output', priority: -300 }],
]
const REDIRECT_BASES: readonly (readonly [string, BaseChain])[] = [
  ['filter-output', { type: 'filter', hook: 'output', priority: -1 }],
]

export interface TableFacts extends NodeNetworkConfig {
  /** Where tunnels end on this node; undefined where there is none. */
  vxlanPort?: number | undefined
  /** The kernel would tell a pod of a shorter way to another, and its settings are not ours to change. */
  sendsRedirects?: boolean | undefined
}

const SERVICE_KEY = 'ip daddr . meta l4proto . th dport'
const NODE_PORT_KEY = 'meta l4proto . th dport'

function tunnelChains({ vxlanPort, nodeAddress, cluster }: TableFacts): [string, string[]][] {
  if (vxlanPort === undefined) return []
  const { clusterCidr, serviceCidr } = cluster
  const packet = `udp dport ${vxlanPort}`
  return [
    // Every packet passes the first chain, so it asks one thing.
    ['tunnel-in', [`${packet} jump tunnel`]],
    [
      'tunnel',
      [
        // Whoever could send to a tunnel's end could put any packet, of any pod, into the overlay: no pod may, to a host's
        // address in the overlay or to one outside.
        `ip saddr ${clusterCidr} fib daddr type local drop`,
        `iifname "${BRIDGE}" ip daddr != ${clusterCidr} ip daddr != ${serviceCidr} drop`,
        `ip daddr ${nodeAddress} notrack`,
      ],
    ],
    ['tunnel-out', [`${packet} ip saddr ${nodeAddress} ip daddr != ${serviceCidr} notrack`]],
  ]
}

function skeletonChains(facts: TableFacts): [string, string[]][] {
  const { clusterCidr, serviceCidr } = facts.cluster
  // Packets from 127.0.0.1 cannot leave the host, so there a node port is an ordinary port.
  const nodePort = `fib daddr type local ip daddr != 127.0.0.0/8 ${NODE_PORT_KEY}`
  // Pods of one node reach each other through this host by design; it must not tell them of a shorter way.
  const redirects = `oifname "${BRIDGE}" icmp type redirect drop`
  return [
    ...tunnelChains(facts),
    ...(facts.sendsRedirects === true ? [['filter-output', [redirects]] as [string, string[]]] : []),
    [
      'dispatch',
      [
        `${SERVICE_KEY} vmap @${SERVICES}`,
        `${nodePort} vmap @${NODE_PORTS}`,
        'fib daddr type local jump host-dispatch',
      ],
    ],
    [
      'host-dispatch',
      [
        `${SERVICE_KEY} vmap @${HOST_ADDRESSES}`,
        // Of loopback the one address that people mean; others are resolvers', as are link-local and service addresses.
        `ip daddr != { 127.0.0.0/8, 169.254.0.0/16, ${serviceCidr} } ${NODE_PORT_KEY} vmap @${HOST_PORTS}`,
        `ip daddr 127.0.0.1 ${NODE_PORT_KEY} vmap @${HOST_PORTS}`,
      ],
    ],
    [
      'refusals',
      [
        `${SERVICE_KEY} @${REFUSED} goto refuse`,
        `${nodePort} @${REFUSED_NODE_PORTS} goto refuse`,
        // The name server's address may lie in the service range and on this host.
        `ip daddr ${serviceCidr} fib daddr type != local goto refuse`,
      ],
    ],
    // In this order: a Local policy lets clients inside the cluster pass, and refuses those that come back.
    // The bridge takes loopback's packets, for host ports on 127.0.0.1; none that a pod sends.
    ['prerouting', [`iifname "${BRIDGE}" ip daddr 127.0.0.0/8 drop`, 'jump dispatch', 'jump refusals']],
    ['output', ['jump dispatch', 'jump refusals']],
    [
      'postrouting',
      [
        `ct status dnat ip saddr . ip daddr @${HAIRPIN} masquerade fully-random`,
        `ct status dnat ip saddr . ip daddr @${HOST_HAIRPIN} masquerade fully-random`,
        `oifname "${BRIDGE}" ip saddr 127.0.0.0/8 masquerade fully-random`,
        `oifname != { "lo", "${BRIDGE}" } ip daddr ${clusterCidr} ip saddr != ${clusterCidr} masquerade fully-random`,
        `oifname != { "lo", "${BRIDGE}", "${VXLAN}" } ip saddr ${facts.podCidr} ip daddr != ${clusterCidr} masquerade fully-random`,
        `oifname != { "lo", "${BRIDGE}", "${VXLAN}" } ct status dnat ${SERVICE_KEY} @${OUTSIDE} masquerade fully-random`,
      ],
    ],
    ['refuse', ['meta l4proto tcp reject with tcp reset', 'reject with icmp type port-unreachable']],
    // Told apart from a closed port: a client reads "no route to host" (RFC 1812 §5.2.7.1, communication prohibited).
    [DENY, ['reject with icmp type admin-prohibited']],
    [
      'policies',
      [
        // A pod that meets itself through a service is no traffic between pods.
        `ip saddr . ip daddr @${HAIRPIN} return`,
        `ip saddr . ip daddr @${HOST_HAIRPIN} return`,
        `ip saddr vmap @${POLICY_EGRESS}`,
        `ip daddr vmap @${POLICY_INGRESS}`,
      ],
    ],
    [
      'filter-forward',
      [
        'ct state established,related accept',
        // A late packet of a translated connection that is already forgotten would show a pod's own address to the client.
        `iifname "${BRIDGE}" ct state invalid drop`,
        'jump policies',
      ],
    ],
  ]
}

export function renderSkeleton(table: TableFacts): {
  skeleton: Skeleton
  chains: Map<string, readonly Rule[]>
} {
  const chains = new Map(skeletonChains(table).map(([name, texts]) => [name, texts.map(rule)]))
  const bases = new Map([...BASES, ...TUNNEL_BASES, ...REDIRECT_BASES].filter(([name]) => chains.has(name)))
  const facts = JSON.stringify([[...SETS], [...bases]])
  return { skeleton: { table: TABLE, sets: SETS, bases, seal: `seal-${hash(facts, 12)}` }, chains }
}
