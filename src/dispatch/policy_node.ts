/**
 * One node's table of policies: its own pods that policies select, those policies, and the members of the sets that
 * they name. Counts who needs what, so that a row is there exactly while something on the node refers to it.
 */
import { jsonBytes } from '../rpc/messages.ts'
import type { PolicyPodRow, PolicyTableRow } from '../rpc/tables.ts'
import type { CompiledPolicy } from './policy_rules.ts'
import type { RowTable } from './row_table.ts'

/** What all nodes share, kept by `PolicyTables`. */
export interface PolicyState {
  policy(key: string): CompiledPolicy | undefined
  members(set: string): Iterable<string>
}

export class NodePolicies {
  readonly table: RowTable
  readonly onChange: () => void
  readonly #state: PolicyState
  readonly #pods = new Map<string, readonly string[]>()
  /** How many of the node's pods each policy selects. */
  readonly #policies = new Map<string, number>()
  /** The sets of each policy as they were counted. */
  readonly #counted = new Map<string, readonly string[]>()
  /** How many of those policies name each set. */
  readonly #sets = new Map<string, number>()
  readonly #changes = new Map<string, Uint8Array | undefined>()

  constructor(table: RowTable, state: PolicyState, onChange: () => void) {
    this.table = table
    this.onChange = onChange
    this.#state = state
  }

  putPod(uid: string, row: PolicyPodRow | undefined): void {
    const before = this.#pods.get(uid) ?? []
    const after = row === undefined ? [] : [...new Set([...(row.ingress ?? []), ...(row.egress ?? [])])]
    if (row === undefined) this.#pods.delete(uid)
    else this.#pods.set(uid, after)
    this.#put(`pod/${uid}`, row)
    for (const key of after) if (!before.includes(key)) this.#usePolicy(key)
    for (const key of before) if (!after.includes(key)) this.#dropPolicy(key)
  }

  /** The policy's rules are others now, or it is gone; its pods are told of by `putPod`. */
  policyChanged(key: string): void {
    if (!this.#policies.has(key)) return
    const before = this.#counted.get(key) ?? []
    this.#addPolicy(key)
    for (const set of before) this.#dropSet(set)
  }

  memberChanged(set: string, element: string, isMember: boolean): void {
    if (this.#sets.has(set)) this.#member(set, element, isMember)
  }

  /** Takes what has changed into the table. */
  flush(revision: number): void {
    if (this.#changes.size === 0) return
    const rows = [...this.#changes]
    this.#changes.clear()
    if (this.table.apply(rows, revision)) this.onChange()
  }

  #usePolicy(key: string): void {
    const uses = this.#policies.get(key) ?? 0
    this.#policies.set(key, uses + 1)
    if (uses === 0) this.#addPolicy(key)
  }

  #addPolicy(key: string): void {
    const policy = this.#state.policy(key)
    const sets = [...(policy?.sets.keys() ?? [])]
    this.#counted.set(key, sets)
    this.#put(`policy/${key}`, policy?.row)
    for (const set of sets) {
      const uses = this.#sets.get(set) ?? 0
      this.#sets.set(set, uses + 1)
      if (uses === 0) for (const element of this.#state.members(set)) this.#member(set, element, true)
    }
  }

  #dropPolicy(key: string): void {
    const uses = (this.#policies.get(key) ?? 1) - 1
    if (uses > 0) {
      this.#policies.set(key, uses)
      return
    }
    this.#policies.delete(key)
    this.#put(`policy/${key}`, undefined)
    for (const set of this.#counted.get(key) ?? []) this.#dropSet(set)
    this.#counted.delete(key)
  }

  #dropSet(set: string): void {
    const uses = (this.#sets.get(set) ?? 1) - 1
    if (uses > 0) {
      this.#sets.set(set, uses)
      return
    }
    this.#sets.delete(set)
    for (const element of this.#state.members(set)) this.#member(set, element, false)
  }

  #member(set: string, element: string, isMember: boolean): void {
    this.#put(`member/${set}/${element}`, isMember ? { type: 'member', set, element } : undefined)
  }

  #put(key: string, row: PolicyTableRow | undefined): void {
    this.#changes.set(key, row === undefined ? undefined : jsonBytes(row))
  }
}
