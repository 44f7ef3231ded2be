/**
 * The part of the nft table that does not depend on services. In words, for new connections:
 *
 *   prerouting, output (nat)   ip . proto . port is a service's, or the port a node port of ours -> its chain -> dnat
 *   postrouting (nat)          a pod that met itself; what enters the overlay from outside it; pods that leave the cluster
 *   input, forward, output     a service without endpoints, or a service address nobody has: refused at once
 *   forward                    what network policies do not let through, by the pods' own addresses: refused at once
 *
 * Whether a packet is masqueraded follows from where it goes, not from a mark set on its way in: a client from outside
 * whose endpoint is on this node keeps its address, and externalTrafficPolicy Local needs no rule here at all.
 */

import { BRIDGE, hash, VXLAN } from './names.ts'
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
  [POLICY_INGRESS, 'map NAME { type ipv4_addr : verdict; }'],
  [POLICY_EGRESS, 'map NAME { type ipv4_addr : verdict; }'],
])

// Priorities as numbers: nft 1.0.6 refuses some of their names in some hooks. Ours come just before the usual ones, so
// that a service is recognised before another program's rules take the packet.
const BASES: ReadonlyMap<string, BaseChain> = new Map([
  ['prerouting', { type: 'nat', hook: 'prerouting', priority: -101 }],
  ['output', { type: 'nat', hook: 'output', priority: -101 }],
  ['postrouting', { type: 'nat', hook: 'postrouting', priority: 99 }],
  ['filter-input', { type: 'filter', hook: 'input', priority: -1 }],
  ['filter-forward', { type: 'filter', hook: 'forward', priority: -1 }],
  ['filter-output', { type: 'filter', hook: 'output', priority: -1 }],
])

const SERVICE_KEY = 'ip daddr . meta l4proto . th dport'
const NODE_PORT_KEY = 'meta l4proto . th dport'

function skeletonChains(config: NodeNetworkConfig): [string, string[]][] {
  const { clusterCidr, serviceCidr } = config.cluster
  const refused = `ct state new ${SERVICE_KEY} @${REFUSED} goto refuse`
  const unknown = `ct state new ip daddr ${serviceCidr} goto refuse`
  return [
    [
      'dispatch',
      [
        `${SERVICE_KEY} vmap @${SERVICES}`,
        // Packets from 127.0.0.1 cannot leave the host, so there a node port is an ordinary port.
        `fib daddr type local ip daddr != 127.0.0.0/8 ${NODE_PORT_KEY} vmap @${NODE_PORTS}`,
      ],
    ],
    ['prerouting', ['jump dispatch']],
    ['output', ['jump dispatch']],
    [
      'postrouting',
      [
        `ct status dnat ip saddr . ip daddr @${HAIRPIN} masquerade fully-random`,
        `oifname != { "lo", "${BRIDGE}" } ip daddr ${clusterCidr} ip saddr != ${clusterCidr} masquerade fully-random`,
        `oifname != { "lo", "${BRIDGE}", "${VXLAN}" } ip saddr ${config.podCidr} ip daddr != ${clusterCidr} masquerade fully-random`,
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
        `ip saddr vmap @${POLICY_EGRESS}`,
        `ip daddr vmap @${POLICY_INGRESS}`,
      ],
    ],
    ['filter-input', [refused, `ct state new ${NODE_PORT_KEY} @${REFUSED_NODE_PORTS} goto refuse`]],
    [
      'filter-forward',
      [
        // A late packet of a translated connection that is already forgotten would show a pod's own address to the client.
        `iifname "${BRIDGE}" ct state invalid drop`,
        'ct state established,related accept',
        refused,
        unknown,
        'jump policies',
      ],
    ],
    [
      'filter-output',
      [
        // Pods of one node reach each other through this host by design; it must not tell them of a shorter way.
        `oifname "${BRIDGE}" icmp type redirect drop`,
        `oifname != "lo" ${refused}`,
        `oifname != "lo" ${unknown}`,
      ],
    ],
  ]
}

export function renderSkeleton(config: NodeNetworkConfig): {
  skeleton: Skeleton
  chains: Map<string, readonly Rule[]>
} {
  const chains = new Map(skeletonChains(config).map(([name, texts]) => [name, texts.map(rule)]))
  const facts = JSON.stringify([[...SETS], [...BASES]])
  return { skeleton: { sets: SETS, bases: BASES, seal: `seal-${hash(facts, 12)}` }, chains }
}
