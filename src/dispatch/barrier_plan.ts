/**
 * The traffic barrier's decisions: pure. A wait is for one change of the service table; it is settled when every live
 * node has programmed the table that holds the change, or when its time is up. A node that let a wait run out is
 * excused from later ones until it has programmed what it owed: one node that is stuck slows a rollout once, not at each step.
 */

export interface BarrierWait {
  key: string
  /** The service table that holds the change; undefined: none does yet. */
  sequence: number | undefined
  sinceMs: number
  limitMs: number
}

export interface BarrierNode {
  name: string
  /** The service table that its kernel holds; below all others for one that has no session. */
  programmed: number
}

export interface Settled {
  key: string
  /** Nodes that were given up on; empty when all have confirmed. */
  missing: string[]
  /** Time ran out before the service table held the change at all. */
  unwritten: boolean
}

export interface BarrierPlan {
  settled: Settled[]
  /** Nodes that are excused from now on, with the sequence that ends it. */
  excused: Map<string, number>
  /** When the next wait runs out. */
  againAtMs: number | undefined
}

export interface BarrierSnapshot {
  waits: readonly BarrierWait[]
  /** Nodes that are Ready and may send traffic to pods. */
  nodes: readonly BarrierNode[]
  excused: ReadonlyMap<string, number>
  nowMs: number
}

export function planBarrier({ waits, nodes, excused, nowMs }: BarrierSnapshot): BarrierPlan {
  const kept = new Map<string, number>()
  for (const { name, programmed } of nodes) {
    const owed = excused.get(name)
    if (owed !== undefined && programmed < owed) kept.set(name, owed)
  }
  const plan: BarrierPlan = { settled: [], excused: kept, againAtMs: undefined }
  const asked = nodes.filter(({ name }) => !kept.has(name))
  const lowest = asked.reduce((least, { programmed }) => Math.min(least, programmed), Number.POSITIVE_INFINITY)
  for (const { key, sequence, sinceMs, limitMs } of waits) {
    if (sequence !== undefined && sequence <= lowest) {
      plan.settled.push({ key, missing: [], unwritten: false })
      continue
    }
    const dueMs = sinceMs + limitMs
    if (dueMs > nowMs) {
      plan.againAtMs = Math.min(plan.againAtMs ?? dueMs, dueMs)
      continue
    }
    const missing = sequence === undefined ? [] : asked.filter(({ programmed }) => programmed < sequence)
    plan.settled.push({ key, missing: missing.map(({ name }) => name), unwritten: sequence === undefined })
    if (sequence !== undefined) for (const { name } of missing) kept.set(name, sequence)
  }
  return plan
}
