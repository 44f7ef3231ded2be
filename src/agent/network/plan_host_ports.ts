/**
 * Host ports of this node's pods as nft chains and elements. Pure.
 *
 *   host-ports      protocol . port            -> goto hp-PROTOCOL-ADDRESS/PORT: translated to the pod's port
 *   host-addresses  address . protocol . port  -> the same, for ports of one address of the host
 *
 * A chain's name says where it leads, so what was found in the kernel after a start can be read back. One port that two pods
 * claim is the first one's: the scheduler keeps them apart, and only a pod that was bound by hand comes to this.
 */
import { isIPv4 } from 'node:net'
import type { HostPortRow } from './network.ts'
import { HOST_ADDRESSES, HOST_HAIRPIN, HOST_PORTS } from './skeleton.ts'
import { type Rule, rule, type TableState } from './table.ts'

export interface HostPortPlan {
  chains: Map<string, Rule[]>
  elements: Record<typeof HOST_PORTS | typeof HOST_ADDRESSES | typeof HOST_HAIRPIN, Map<string, string>>
  problems: string[]
}

/** Where a host port leads. */
export interface HostPortTarget {
  /** Undefined: every address of the host. */
  address: string | undefined
  port: number
  protocol: string
  endpoint: string
  endpointPort: number
}

const SETS = [HOST_PORTS, HOST_ADDRESSES, HOST_HAIRPIN] as const
const HOST_PORT_CHAIN = /^hp-([a-z]+)-([\d.]+)\/(\d+)$/
const PROTOCOLS = new Set(['tcp', 'udp', 'sctp'])
const EVERY_ADDRESS = new Set(['', '0.0.0.0', '::'])

const isPort = (port: number): boolean => Number.isInteger(port) && port > 0 && port < 65536

function problemOf({ hostPort, hostIP, protocol, containerPort }: HostPortRow): string | undefined {
  if (!isPort(hostPort) || !isPort(containerPort)) return `${isPort(hostPort) ? containerPort : hostPort} is no port`
  if (!PROTOCOLS.has(protocol.toLowerCase())) return `"${protocol}" is no protocol`
  return EVERY_ADDRESS.has(hostIP) || isIPv4(hostIP) ? undefined : `"${hostIP}" is no IPv4 address`
}

/** `addressOf`: the address of a pod of this node, if it has one. `rows`: whoever comes first has a port that others claim, too. */
export function planHostPorts(
  rows: readonly HostPortRow[],
  addressOf: (podUid: string) => string | undefined,
): HostPortPlan {
  const plan: HostPortPlan = {
    chains: new Map(),
    elements: { [HOST_PORTS]: new Map(), [HOST_ADDRESSES]: new Map(), [HOST_HAIRPIN]: new Map() },
    problems: [],
  }
  for (const row of rows) {
    const endpoint = addressOf(row.podUid)
    if (endpoint === undefined) continue
    const told = `host port ${row.hostPort}/${row.protocol} of pod ${row.podUid}`
    const problem = problemOf(row)
    if (problem !== undefined) {
      plan.problems.push(`${told} is left out: ${problem}`)
      continue
    }
    const protocol = row.protocol.toLowerCase()
    const key = `${protocol} . ${row.hostPort}`
    const all = EVERY_ADDRESS.has(row.hostIP)
    const elements = plan.elements[all ? HOST_PORTS : HOST_ADDRESSES]
    const element = all ? key : `${row.hostIP} . ${key}`
    const chain = `hp-${protocol}-${endpoint}/${row.containerPort}`
    const claimed = elements.get(element)
    if (claimed !== undefined && claimed !== `goto ${chain}`) {
      plan.problems.push(`${told} belongs to another pod already`)
      continue
    }
    elements.set(element, `goto ${chain}`)
    plan.elements[HOST_HAIRPIN].set(`${endpoint} . ${endpoint}`, '')
    plan.chains.set(chain, [rule(`meta l4proto ${protocol} dnat to ${endpoint}:${row.containerPort}`)])
  }
  return plan
}

/** `table` with these host ports and no others. */
export function withHostPorts(table: TableState, { chains, elements }: HostPortPlan): TableState {
  const bare = withoutHostPorts(table)
  for (const [name, rules] of chains) bare.chains.set(name, rules)
  for (const set of SETS) bare.elements.set(set, elements[set])
  return bare
}

/** `table` with the host ports that `other` holds: what an agent finds in the kernel stays in force until it is told anew. */
export function carryHostPorts(table: TableState, other: TableState): TableState {
  const result = withoutHostPorts(table)
  for (const [name, rules] of other.chains) if (HOST_PORT_CHAIN.test(name)) result.chains.set(name, rules)
  for (const set of SETS) result.elements.set(set, other.elements.get(set) ?? new Map())
  return result
}

function withoutHostPorts(table: TableState): TableState {
  return {
    ...table,
    chains: new Map([...table.chains].filter(([name]) => !HOST_PORT_CHAIN.test(name))),
    elements: new Map(table.elements),
  }
}

/** Whether a host port of the table leads to this address. */
export function leadsTo(table: TableState | undefined, address: string): boolean {
  return table?.elements.get(HOST_HAIRPIN)?.has(`${address} . ${address}`) === true
}

export function hostPortTargets(table: TableState | undefined): HostPortTarget[] {
  return [HOST_PORTS, HOST_ADDRESSES].flatMap((set) =>
    [...(table?.elements.get(set) ?? [])].flatMap(([key, verdict]) => {
      const [, protocol = '', endpoint = '', endpointPort] = HOST_PORT_CHAIN.exec(verdict.replace('goto ', '')) ?? []
      const parts = key.split(' . ')
      const address = set === HOST_ADDRESSES ? parts[0] : undefined
      if (endpointPort === undefined) return []
      return [{ address, port: Number(parts.at(-1)), protocol, endpoint, endpointPort: Number(endpointPort) }]
    }),
  )
}
