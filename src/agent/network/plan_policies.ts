/**
 * Network policies of this node's pods as nft chains, sets and elements. Pure.
 *
 *   policy-egress   pod's address -> jump eg-…: a rule that lets the packet through returns; at the end it is refused
 *   policy-ingress  pod's address -> jump in-…: the same
 *
 * Both are asked in the forward hook, for new connections: after a service's address has been translated and before anything is
 * masqueraded, so both see pods' own addresses and a client's from outside. The host's own traffic to its pods passes the
 * output hook instead: probes are never refused. Pods with the same policies share a chain; peers are elements of sets.
 */
import { isIPv4 } from 'node:net'
import { cidrContains, formatCidr, parseCidr } from '../../base/cidr.ts'
import type {
  PolicyMemberRow,
  PolicyPeer,
  PolicyPodRow,
  PolicyPort,
  PolicyRow,
  PolicyRule,
  PolicyTableRow,
} from '../../rpc/tables.ts'
import { hash } from './names.ts'
import { DENY, POLICY_EGRESS, POLICY_INGRESS } from './skeleton.ts'
import { isMemberSet, type Rule, rule, type TableState } from './table.ts'

type Direction = 'ingress' | 'egress'

export interface PolicyPlan {
  chains: Map<string, Rule[]>
  /** Elements by set, of those that the rules name. */
  members: Map<string, ReadonlySet<string>>
  verdicts: Record<Direction, Map<string, string>>
  problems: string[]
}

const PREFIX: Record<Direction, string> = { ingress: 'in', egress: 'eg' }
const POLICY_CHAIN = /^(in|eg)-/
/** Kernel bound on chain names is 127 characters. */
const MAX_READABLE = 90
const ELEMENT = /^(\d+\.\d+\.\d+\.\d+)( \. (tcp|udp|sctp) \. \d{1,5})?$/

/** CIDRs nest or are disjoint: without those inside others, nft finds no two that overlap. */
export function outermost(cidrs: readonly string[]): string[] {
  const ranges = cidrs.map(parseCidr).sort((a, b) => a.prefixLength - b.prefixLength)
  const kept: typeof ranges = []
  for (const range of ranges) {
    const first = { family: range.family, value: range.base }
    if (!kept.some((other) => cidrContains(other, first))) kept.push(range)
  }
  return kept.map(formatCidr)
}

/** Ranges that touch or overlap as one. */
export function mergePorts(ranges: readonly { from: number; to: number }[]): { from: number; to: number }[] {
  const merged: { from: number; to: number }[] = []
  for (const { from, to } of [...ranges].sort((a, b) => a.from - b.from)) {
    const last = merged.at(-1)
    if (last !== undefined && from <= last.to + 1) last.to = Math.max(last.to, to)
    else merged.push({ from, to })
  }
  return merged
}

const braces = (items: readonly string[]): string => (items.length === 1 ? `${items[0]}` : `{ ${items.join(', ')} }`)

/** Undefined for a peer that no IPv4 packet can come from. */
function peerMatch(peer: PolicyPeer, field: string): string | undefined {
  if ('set' in peer) return isMemberSet(peer.set) ? `${field} @${peer.set} ` : undefined
  const range = parseCidr(peer.cidr)
  if (range.family !== 4) return undefined
  const except = outermost(peer.except.filter((cidr) => parseCidr(cidr).family === 4))
  const within = range.prefixLength === 0 ? '' : `${field} ${formatCidr(range)} `
  return except.length === 0 ? within : `${within}${field} != ${braces(except)} `
}

function portMatches(ports: readonly PolicyPort[]): string[] {
  const matches: string[] = []
  for (const protocol of ['TCP', 'UDP', 'SCTP'] as const) {
    const own = ports.filter((port) => port.protocol === protocol)
    const word = protocol.toLowerCase()
    const ranges: { from: number; to: number }[] = []
    let all = false
    for (const port of own) {
      if ('named' in port) {
        if (isMemberSet(port.named)) matches.push(`ip daddr . meta l4proto . th dport @${port.named} `)
      } else if (port.from === undefined) all = true
      else ranges.push({ from: port.from, to: port.to ?? port.from })
    }
    if (all) matches.push(`meta l4proto ${word} `)
    else if (ranges.length > 0) {
      const texts = mergePorts(ranges).map(({ from, to }) => (from === to ? String(from) : `${from}-${to}`))
      matches.push(`${word} dport ${braces(texts)} `)
    }
  }
  return matches
}

/** What the rule lets through: each text one nft rule that returns to the caller. */
export function ruleTexts({ peers, ports }: PolicyRule, direction: Direction): string[] {
  const field = direction === 'ingress' ? 'ip saddr' : 'ip daddr'
  const from = peers === undefined ? [''] : peers.flatMap((peer) => peerMatch(peer, field) ?? [])
  const to = ports === undefined ? [''] : portMatches(ports)
  return from.flatMap((peer) => to.map((port) => `${peer}${port}return`))
}

function setsOf(rules: readonly PolicyRule[]): string[] {
  return rules.flatMap(({ peers = [], ports = [] }) => [
    ...peers.flatMap((peer) => ('set' in peer ? [peer.set] : [])),
    ...ports.flatMap((port) => ('named' in port ? [port.named] : [])),
  ])
}

interface Rows {
  pods: PolicyPodRow[]
  policies: Map<string, PolicyRow>
  members: PolicyMemberRow[]
}

function sortRows(rows: readonly PolicyTableRow[]): Rows {
  const sorted: Rows = { pods: [], policies: new Map(), members: [] }
  for (const row of rows) {
    if (row.type === 'pod') sorted.pods.push(row)
    else if (row.type === 'policy') sorted.policies.set(row.key, row)
    else sorted.members.push(row)
  }
  return sorted
}

/** `addressOf`: the address of a pod of this node, if it has one yet. */
export function planPolicies(
  rows: readonly PolicyTableRow[],
  addressOf: (podUid: string) => string | undefined,
): PolicyPlan {
  const { pods, policies, members } = sortRows(rows)
  const plan: PolicyPlan = {
    chains: new Map(),
    members: new Map(),
    verdicts: { ingress: new Map(), egress: new Map() },
    problems: [],
  }
  const elements = new Map<string, Set<string>>()
  for (const { set, element } of members) {
    if (!isElement(set, element)) plan.problems.push(`policy set ${set}: "${element}" is left out, it is not IPv4`)
    else elements.set(set, (elements.get(set) ?? new Set()).add(element))
  }
  for (const pod of pods) {
    const address = addressOf(pod.podUid)
    if (address === undefined) continue
    for (const direction of ['ingress', 'egress'] as const) {
      const keys = pod[direction]
      if (keys === undefined) continue
      const name = chainName(direction, keys)
      plan.verdicts[direction].set(address, `jump ${name}`)
      if (plan.chains.has(name)) continue
      const rules = keys.flatMap((key) => policies.get(key)?.[direction] ?? [])
      const texts = [...new Set(rules.flatMap((item) => ruleTexts(item, direction)))]
      plan.chains.set(name, [...texts, `goto ${DENY}`].map(rule))
      for (const set of setsOf(rules)) if (isMemberSet(set)) plan.members.set(set, elements.get(set) ?? new Set())
    }
  }
  return plan
}

function isElement(set: string, element: string): boolean {
  const [, address = '', port] = ELEMENT.exec(element) ?? []
  return isMemberSet(set) && isIPv4(address) && (port !== undefined) === set.startsWith('ports-')
}

/** The readable tail is for people who read `nft list table ip drover`; the hash makes the name unique. */
function chainName(direction: Direction, keys: readonly string[]): string {
  const readable = `${keys[0]}${keys.length > 1 ? `/and-${keys.length - 1}-more` : ''}`
  const safe = readable.replace(/[^A-Za-z0-9/.-]/g, '-').slice(0, MAX_READABLE)
  return `${PREFIX[direction]}-${hash(keys.join('\n'), 12)}/${safe}`
}

/** `table` with these policies and no others. */
export function withPolicies(table: TableState, plan: PolicyPlan): TableState {
  const bare = withoutPolicies(table)
  for (const [name, rules] of plan.chains) bare.chains.set(name, rules)
  for (const [set, elements] of plan.members) {
    bare.members.add(set)
    bare.elements.set(set, new Map([...elements].map((element) => [element, ''])))
  }
  bare.elements.set(POLICY_INGRESS, plan.verdicts.ingress)
  bare.elements.set(POLICY_EGRESS, plan.verdicts.egress)
  return bare
}

/** `table` with the policies that `other` holds: what an agent finds in the kernel stays in force until it is told anew. */
export function carryPolicies(table: TableState, other: TableState): TableState {
  const result = withoutPolicies(table)
  for (const [name, rules] of other.chains) if (POLICY_CHAIN.test(name)) result.chains.set(name, rules)
  for (const set of other.members) result.members.add(set)
  for (const set of [...other.members, POLICY_INGRESS, POLICY_EGRESS]) {
    result.elements.set(set, other.elements.get(set) ?? new Map())
  }
  return result
}

function withoutPolicies(table: TableState): TableState {
  return {
    ...table,
    chains: new Map([...table.chains].filter(([name]) => !POLICY_CHAIN.test(name))),
    members: new Set(),
    elements: new Map([...table.elements].filter(([name]) => !table.members.has(name))),
  }
}

/** Whether the table says anything of this address. */
export function mentionsPod(table: TableState | undefined, address: string): boolean {
  return [POLICY_INGRESS, POLICY_EGRESS].some((map) => table?.elements.get(map)?.has(address) === true)
}
