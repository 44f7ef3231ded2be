/**
 * The nft table as a value. Desired and observed have one form, so that programming a change, adopting after a restart
 * and mending drift are one planner: `planTable(observed, desired)` gives a transaction.
 *
 * Each rule carries the hash of its text as its comment: what the kernel holds is compared by these, never by parsing
 * nft's rendering of expressions, which differs between versions. What is static (sets, hooks, ranges) is hashed into the
 * name of an empty chain, the seal; a table without the right seal is replaced whole, still in one transaction.
 */
import { isObject } from '../../base/json.ts'
import { hash } from './names.ts'

export interface Rule {
  text: string
  /** Stands in the kernel as the rule's comment. */
  id: string
}

export interface BaseChain {
  hook: string
  type: string
  priority: number
}

/** What every host holds, services or none. */
export interface Skeleton {
  /** Family and name, as nft takes them. */
  table: string
  /** Name and declaration of the sets and maps whose elements are ours. */
  sets: ReadonlyMap<string, string>
  bases: ReadonlyMap<string, BaseChain>
  seal: string
}

export interface TableState {
  seal: string
  /** Rules by chain; of observed ones only ids count. */
  chains: Map<string, readonly Rule[]>
  /** Dynamic sets of affinity, by name, with their timeout; their elements are the kernel's own. */
  affinities: Map<string, number>
  /** Sets that network policies name; unlike the skeleton's they come and go. */
  members: Set<string>
  /** Elements of the skeleton's sets and of `members`: set, key, verdict (empty for plain sets). */
  elements: Map<string, Map<string, string>>
}

export function rule(text: string): Rule {
  return { text, id: hash(text, 12) }
}

export function emptyTable(skeleton: Skeleton): TableState {
  return {
    seal: skeleton.seal,
    chains: new Map([[skeleton.seal, []]]),
    affinities: new Map(),
    members: new Set(),
    elements: new Map([...skeleton.sets.keys()].map((name) => [name, new Map()])),
  }
}

function sameRules(a: readonly Rule[] | undefined, b: readonly Rule[]): boolean {
  return a !== undefined && a.length === b.length && a.every((item, i) => item.id === b[i]?.id)
}

function declareSkeleton({ table, sets, bases }: Skeleton): string[] {
  const lines = [`add table ${table}`, `delete table ${table}`, `add table ${table}`]
  for (const [name, declaration] of sets) lines.push(`add ${declaration.replace('NAME', `${table} ${name}`)}`)
  for (const [name, { type, hook, priority }] of bases) {
    lines.push(`add chain ${table} ${name} { type ${type} hook ${hook} priority ${priority}; policy accept; }`)
  }
  return lines
}

/** Sets of policies by their names' beginnings. */
const MEMBER_TYPES: readonly (readonly [RegExp, string])[] = [
  [/^peers-/, 'ipv4_addr'],
  [/^ports-/, 'ipv4_addr . inet_proto . inet_service'],
]

function memberType(name: string): string | undefined {
  return MEMBER_TYPES.find(([pattern]) => pattern.test(name))?.[1]
}

/** Whether nft can hold a set of policies under this name. */
export function isMemberSet(name: string): boolean {
  return memberType(name) !== undefined && /^[a-z]+-[0-9a-f]{1,64}$/.test(name)
}

function planElements(observed: TableState, desired: TableState, table: string): { remove: string[]; add: string[] } {
  const remove: string[] = []
  const add: string[] = []
  for (const [set, elements] of desired.elements) {
    const present = observed.elements.get(set) ?? new Map<string, string>()
    const stale = [...present].filter(([key, value]) => elements.get(key) !== value).map(([key]) => key)
    const fresh = [...elements].filter(([key, value]) => present.get(key) !== value)
    if (stale.length > 0) remove.push(`delete element ${table} ${set} { ${stale.join(', ')} }`)
    if (fresh.length > 0) {
      const texts = fresh.map(([key, value]) => (value === '' ? key : `${key} : ${value}`))
      add.push(`add element ${table} ${set} { ${texts.join(', ')} }`)
    }
  }
  return { remove, add }
}

/**
 * The transaction that turns `observed` into `desired`; empty when they are the same. Order matters to nft: what is
 * referred to must exist, and what is deleted must no longer be referred to.
 */
export function planTable(observed: TableState | undefined, desired: TableState, skeleton: Skeleton): string {
  const rebuild = observed === undefined || observed.seal !== desired.seal
  const { table } = skeleton
  const from = rebuild ? emptyTable(skeleton) : observed
  if (rebuild) from.chains.clear()
  const lines = rebuild ? declareSkeleton(skeleton) : []

  for (const [name, seconds] of desired.affinities) {
    if (from.affinities.get(name) === seconds) continue
    lines.push(`add set ${table} ${name} { type ipv4_addr; flags dynamic,timeout; timeout ${seconds}s; }`)
  }
  for (const name of desired.members) {
    if (!from.members.has(name)) lines.push(`add set ${table} ${name} { type ${memberType(name)}; }`)
  }
  for (const name of desired.chains.keys()) {
    if (!from.chains.has(name) && !(rebuild && skeleton.bases.has(name))) lines.push(`add chain ${table} ${name}`)
  }
  for (const [name, rules] of desired.chains) {
    const present = from.chains.get(name)
    if (sameRules(present, rules)) continue
    if (present !== undefined && present.length > 0) lines.push(`flush chain ${table} ${name}`)
    for (const { text, id } of rules) lines.push(`add rule ${table} ${name} ${text} comment "${id}"`)
  }
  const { remove, add } = planElements(from, desired, table)
  lines.push(...remove, ...add)
  const stale = [...from.chains.keys()].filter((name) => !desired.chains.has(name))
  for (const name of stale) lines.push(`flush chain ${table} ${name}`)
  for (const name of stale) lines.push(`delete chain ${table} ${name}`)
  for (const name of from.affinities.keys()) {
    if (!desired.affinities.has(name)) lines.push(`delete set ${table} ${name}`)
  }
  for (const name of from.members) if (!desired.members.has(name)) lines.push(`delete set ${table} ${name}`)
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

function keyText(key: unknown): string {
  // An element with a timeout or counter is wrapped: { elem: { val, … } }.
  if (isObject(key) && isObject(key.elem)) return keyText(key.elem.val)
  if (isObject(key) && Array.isArray(key.concat)) return key.concat.map(String).join(' . ')
  return String(key)
}

function verdictText(verdict: unknown): string {
  if (!isObject(verdict)) return String(verdict)
  for (const word of ['goto', 'jump']) {
    const jump = verdict[word]
    if (isObject(jump)) return `${word} ${String(jump.target)}`
  }
  return JSON.stringify(verdict)
}

function readElements(set: Record<string, unknown>): Map<string, string> {
  const elements = new Map<string, string>()
  for (const item of Array.isArray(set.elem) ? set.elem : []) {
    if (set.map !== undefined && Array.isArray(item)) elements.set(keyText(item[0]), verdictText(item[1]))
    else elements.set(keyText(item), '')
  }
  return elements
}

/** Reads `nft -j list table`. Undefined when the table is not one that this skeleton describes. */
export function parseTable(listing: unknown, skeleton: Skeleton): TableState | undefined {
  const items = isObject(listing) && Array.isArray(listing.nftables) ? listing.nftables : []
  const state: TableState = {
    seal: '',
    chains: new Map(),
    affinities: new Map(),
    members: new Set(),
    elements: new Map(),
  }
  const rules = new Map<string, Rule[]>()
  for (const item of items) {
    if (!isObject(item)) continue
    const set = item.map ?? item.set
    if (isObject(set)) {
      const name = String(set.name)
      if (memberType(name) !== undefined) state.members.add(name)
      if (skeleton.sets.has(name) || state.members.has(name)) state.elements.set(name, readElements(set))
      else state.affinities.set(name, Number(set.timeout ?? 0))
    } else if (isObject(item.chain)) {
      const name = String(item.chain.name)
      if (name === skeleton.seal) state.seal = name
      const base = skeleton.bases.get(name)
      if (base?.hook !== item.chain.hook || base?.priority !== item.chain.prio) return undefined
      rules.set(name, [])
      state.chains.set(name, rules.get(name) ?? [])
    } else if (isObject(item.rule)) {
      const id = typeof item.rule.comment === 'string' ? item.rule.comment : ''
      rules.get(String(item.rule.chain))?.push({ text: '', id })
    }
  }
  const complete = state.seal !== '' && [...skeleton.sets.keys()].every((name) => state.elements.has(name))
  const hooked = [...skeleton.bases.keys()].every((name) => state.chains.has(name))
  return complete && hooked ? state : undefined
}
