/**
 * Where pods go: pure. Pods of one class are placed together: nodes are judged once for the class, then each pod takes the
 * best node and only that node is judged again. A thousand replicas cost about one pass and a thousand heap steps.
 *
 * The order of preference is lexical, so that it can be said in one sentence: avoid PreferNoSchedule taints, obey soft spread
 * constraints, keep pods of one group on different nodes, then in different zones, then take the emptiest node. A weighted
 * sum (as in Kubernetes) was rejected: nobody can tell why it chose what it chose.
 *
 * Zones: all nodes of a zone share the zone's count, so each zone has a heap of its own, and the tops are compared.
 */
import type { Stored } from '../api/meta.ts'
import type { Pod } from '../api/pod.ts'
import { Draft } from './draft.ts'
import { countReasons, explainFault, explainRefusal, type ReasonCounts } from './explain.ts'
import { judgeFor, type NodeJudge } from './filters.ts'
import { RowHeap } from './heap.ts'
import { classOf, type PodClass } from './pod_class.ts'
import type { NodeFacts, Snapshot } from './snapshot.ts'
import { SpreadState } from './spread.ts'
import { exclusiveFault, type PodVolumes } from './volume_facts.ts'

export interface Placement {
  pod: Stored<Pod>
  nodeName: string
  /** Names of free volumes that its claims are to be bound to. */
  promised?: readonly string[]
}

export interface Refusal {
  pod: Stored<Pod>
  /** How many nodes were refused for each reason; a node that lacks two things counts twice. */
  counts: ReasonCounts
  message: string
}

export interface PlaceResult {
  placements: Placement[]
  refusals: Refusal[]
}

/**
 * `seed` decides between nodes that are equally good; the same input and seed give the same answer. `volumes`, by uid, says of pods
 * with claims where those let them go.
 */
export function place(
  snapshot: Snapshot,
  pods: readonly Stored<Pod>[],
  seed: number,
  volumes: ReadonlyMap<string, PodVolumes> = new Map(),
): PlaceResult {
  const result: PlaceResult = { placements: [], refusals: [] }
  const draft = new Draft(snapshot)
  const users = new ExclusiveUsers(volumes)
  for (const { podClass, members } of classesOf(pods, volumes)) {
    const batch = new ClassBatch(podClass, draft, seed)
    for (const pod of members) {
      const fault = users.faultOf(pod)
      if (fault !== undefined) {
        result.refusals.push({ pod, counts: new Map(), message: explainFault(snapshot.nodeCount, fault) })
        continue
      }
      const taken = podClass.spread.length > 0 ? batch.takeSpread() : batch.takeBest()
      const node = taken === undefined ? undefined : snapshot.nodes[taken.row]
      if (taken === undefined || node === undefined) {
        const counts = batch.reasons()
        result.refusals.push({ pod, counts, message: explainRefusal(snapshot.nodeCount, counts) })
        continue
      }
      users.add(pod)
      const { promised } = taken
      result.placements.push({ pod, nodeName: node.name, ...(promised.length > 0 && { promised }) })
    }
  }
  return result
}

/** Who was given a claim of one pod alone among pods that are placed together. One that finds no node bars nobody. */
class ExclusiveUsers {
  readonly #volumes: ReadonlyMap<string, PodVolumes>
  readonly #users = new Map<string, Pod>()

  constructor(volumes: ReadonlyMap<string, PodVolumes>) {
    this.#volumes = volumes
  }

  faultOf(pod: Stored<Pod>): string | undefined {
    for (const name of this.#claimsOf(pod)) {
      const user = this.#users.get(keyOfClaim(pod, name))
      if (user !== undefined) return exclusiveFault(name, user)
    }
    return undefined
  }

  add(pod: Stored<Pod>): void {
    for (const name of this.#claimsOf(pod)) this.#users.set(keyOfClaim(pod, name), pod)
  }

  #claimsOf({ metadata }: Stored<Pod>): readonly string[] {
    return this.#volumes.get(metadata.uid)?.exclusive ?? []
  }
}

const keyOfClaim = ({ metadata }: Stored<Pod>, claimName: string): string => `${metadata.namespace ?? ''}/${claimName}`

/** Classes in the order of their first pods. */
function classesOf(
  pods: readonly Stored<Pod>[],
  volumes: ReadonlyMap<string, PodVolumes>,
): Iterable<{ podClass: PodClass; members: Stored<Pod>[] }> {
  const classes = new Map<string, { podClass: PodClass; members: Stored<Pod>[] }>()
  for (const pod of pods) {
    const podClass = classOf(pod, volumes.get(pod.metadata.uid))
    const known = classes.get(podClass.key)
    if (known === undefined) classes.set(podClass.key, { podClass, members: [pod] })
    else known.members.push(pod)
  }
  return classes.values()
}

interface Taken {
  row: number
  promised: readonly string[]
}

class ClassBatch {
  readonly #class: PodClass
  readonly #draft: Draft
  readonly #judge: NodeJudge
  readonly #refused: ReasonCounts = new Map()
  readonly #avoided: Float64Array
  readonly #cost: Float64Array
  readonly #tie: Float64Array
  readonly #group: Float64Array
  readonly #byZone: ReadonlyMap<string, number>
  #fitting: number[] = []
  #heaps: { zone: string; heap: RowHeap }[] | undefined
  #spread: SpreadState | undefined
  /** Why the last pod could not go where there was room. */
  #spreadRefusals: ReasonCounts = new Map()

  constructor(podClass: PodClass, draft: Draft, seed: number) {
    this.#class = podClass
    this.#draft = draft
    this.#judge = judgeFor(podClass, draft)
    const { nodes } = draft.snapshot
    const counts = podClass.group === undefined ? undefined : draft.counts(podClass.group)
    this.#group = counts?.byRow ?? new Float64Array(nodes.length)
    this.#byZone = counts?.byZone ?? new Map()
    this.#avoided = new Float64Array(nodes.length)
    this.#cost = new Float64Array(nodes.length)
    this.#tie = new Float64Array(nodes.length)
    for (const [row, node] of nodes.entries()) {
      if (node === undefined || !this.#fits(row)) continue
      this.#avoided[row] = this.#judge.avoided(row)
      this.#cost[row] = draft.cost(podClass, row)
      this.#tie[row] = mix(seed, row)
      this.#fitting.push(row)
    }
  }

  /** Takes the best node for one more pod; undefined when none is left. */
  takeBest(): Taken | undefined {
    this.#heaps ??= this.#makeHeaps()
    for (;;) {
      let best: { heap: RowHeap; row: number } | undefined
      for (const { heap } of this.#heaps) {
        const row = heap.top
        if (row !== undefined && (best === undefined || this.#compareAcross(row, best.row) < 0)) best = { heap, row }
      }
      if (best === undefined) return undefined
      const { heap, row } = best
      if (!this.#stillFits(row)) {
        heap.dropTop()
        continue
      }
      const promised = this.#take(row)
      if (this.#fits(row)) heap.sinkTop()
      else heap.dropTop()
      return { row, promised }
    }
  }

  /** With spread constraints every placement may change every node's standing: all are looked at again. */
  takeSpread(): Taken | undefined {
    this.#spread ??= new SpreadState(this.#class, this.#draft)
    this.#spreadRefusals = new Map()
    if (this.#class.needs.length > 0) this.#fitting = this.#fitting.filter((row) => this.#fits(row))
    let best: { row: number; node: NodeFacts; penalty: number } | undefined
    for (const row of this.#fitting) {
      const node = this.#draft.snapshot.nodes[row]
      if (node === undefined) continue
      const bar = this.#spread.barredBy(node)
      if (bar !== undefined) {
        countReasons(this.#spreadRefusals, [bar])
        continue
      }
      const penalty = this.#spread.penalty(node)
      if (best === undefined || this.#compareSoft({ row, penalty }, best) < 0) best = { row, node, penalty }
    }
    if (best === undefined) return undefined
    const { row, node } = best
    this.#spread.take(node)
    const promised = this.#take(row)
    if (!this.#fits(row)) this.#fitting.splice(this.#fitting.indexOf(row), 1)
    return { row, promised }
  }

  reasons(): ReasonCounts {
    const counts = new Map(this.#refused)
    for (const [reason, count] of this.#spreadRefusals) counts.set(reason, (counts.get(reason) ?? 0) + count)
    return counts
  }

  #fits(row: number): boolean {
    const bar = this.#judge.barredBy(row)
    const reasons = bar === undefined ? this.#judge.lacks(row) : [bar]
    countReasons(this.#refused, reasons)
    return reasons.length === 0
  }

  /** A volume that several nodes can use was free for all of them when they were judged. */
  #stillFits(row: number): boolean {
    return this.#class.needs.length === 0 || this.#fits(row)
  }

  /** Pencils the pod in. */
  #take(row: number): readonly string[] {
    const promised = this.#draft.take(this.#class, row)
    this.#cost[row] = this.#draft.cost(this.#class, row)
    return promised
  }

  #makeHeaps(): { zone: string; heap: RowHeap }[] {
    const rowsOf = new Map<string, number[]>()
    for (const row of this.#fitting) {
      const zone = this.#zoneOf(row)
      const rows = rowsOf.get(zone)
      if (rows === undefined) rowsOf.set(zone, [row])
      else rows.push(row)
    }
    return [...rowsOf].map(([zone, rows]) => ({ zone, heap: new RowHeap(rows, this.#compareWithin) }))
  }

  #zoneOf(row: number): string {
    return this.#draft.snapshot.nodes[row]?.zone ?? ''
  }

  readonly #compareWithin = (a: number, b: number): number =>
    difference(this.#avoided, a, b) ||
    difference(this.#group, a, b) ||
    difference(this.#cost, a, b) ||
    difference(this.#tie, a, b)

  #compareAcross(a: number, b: number): number {
    const zone = (row: number): number => this.#byZone.get(this.#zoneOf(row)) ?? 0
    return (
      difference(this.#avoided, a, b) ||
      difference(this.#group, a, b) ||
      zone(a) - zone(b) ||
      difference(this.#cost, a, b) ||
      difference(this.#tie, a, b)
    )
  }

  #compareSoft(a: { row: number; penalty: number }, b: { row: number; penalty: number }): number {
    return difference(this.#avoided, a.row, b.row) || a.penalty - b.penalty || this.#compareAcross(a.row, b.row)
  }
}

const difference = (values: Float64Array, a: number, b: number): number => (values[a] ?? 0) - (values[b] ?? 0)

/** A number for the row that looks random and is the same for the same seed (murmur3's finalizer). */
function mix(seed: number, row: number): number {
  let hash = (seed ^ Math.imul(row + 1, 0x9e3779b1)) >>> 0
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
