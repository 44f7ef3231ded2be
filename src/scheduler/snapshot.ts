/**
 * The cluster as the scheduler sees it: nodes as rows of typed arrays, their labels and taints interned, and what the bound
 * pods take. Kept from cycle to cycle by the changes that the cache reports; placing reads it and never writes it.
 *
 * Amounts are whole numbers, so adding and taking away the same pod leaves exactly what was there before.
 */
import type { Stored } from '../api/meta.ts'
import { LABEL } from '../api/names.ts'
import { type Node, nodeCondition, type Taint } from '../api/node.ts'
import type { Pod } from '../api/pod.ts'
import { type Amounts, amountOf } from '../api/pod_amounts.ts'
import { groupOf } from './pod_class.ts'
import {
  ASSUMED_CPU_MILLIS,
  ASSUMED_MEMORY_BYTES,
  DEFAULT_PODS,
  type HostPort,
  hostPorts,
  podRequests,
} from './requests.ts'
import { STORAGE } from './volume_facts.ts'

const INITIAL_ROWS = 16

/** One resource over all rows. */
export interface Column {
  allocatable: Float64Array
  requested: Float64Array
}

export interface PodEntry {
  uid: string
  nodeName: string
  namespace: string
  labels: Readonly<Record<string, string>>
  group: string | undefined
  requests: Amounts
  ports: readonly HostPort[]
  /** It is on its way out: it takes room, but does not count for spreading. */
  ending: boolean
}

export interface NodeFacts {
  name: string
  labels: Readonly<Record<string, string>>
  /** `key=value` of each label, as numbers. */
  pairs: ReadonlySet<number>
  /** Nodes with equal taints share a number. */
  taintSet: number
  zone: string
  ready: 'True' | 'False' | 'Unknown'
  cordoned: boolean
  hasNetwork: boolean
  /** By handler: why the node cannot run pods by it, in its agent's words. */
  handlerProblems: Readonly<Record<string, string>>
}

export class Snapshot {
  readonly #rowOf = new Map<string, number>()
  readonly #free: number[] = []
  readonly #pairs = new Map<string, number>()
  readonly #taintSets = new Map<string, number>()
  readonly #columns = new Map<string, Column>()
  readonly #pods = new Map<string, PodEntry>()
  readonly #podsOnNode = new Map<string, Set<PodEntry>>()
  readonly #groups = new Map<string, Map<string, number>>()
  readonly #volumes = new Map<string, { nodeName: string; bytes: number }>()
  #capacity = INITIAL_ROWS
  /** Row by row; undefined where no node stands. */
  readonly nodes: (NodeFacts | undefined)[] = []
  readonly taints: (readonly Taint[])[] = []
  /** What pods weigh when nodes are compared: requests, or what is assumed of pods that state none. */
  weighedCpu = new Float64Array(INITIAL_ROWS)
  weighedMemory = new Float64Array(INITIAL_ROWS)

  get nodeCount(): number {
    return this.#rowOf.size
  }

  get podCount(): number {
    return this.#pods.size
  }

  column(resource: string): Column | undefined {
    return this.#columns.get(resource)
  }

  rowOf(nodeName: string): number | undefined {
    return this.#rowOf.get(nodeName)
  }

  pairOf(key: string, value: string): number | undefined {
    return this.#pairs.get(`${key}=${value}`)
  }

  podsOn(nodeName: string): Iterable<PodEntry> {
    return this.#podsOnNode.get(nodeName) ?? []
  }

  pods(): Iterable<PodEntry> {
    return this.#pods.values()
  }

  /** Pods of a group, by node name. */
  groupCounts(group: string): ReadonlyMap<string, number> {
    return this.#groups.get(group) ?? new Map()
  }

  putNode(node: Stored<Node>): void {
    const { name, labels = {} } = node.metadata
    const known = this.#rowOf.get(name)
    const row = known ?? this.#newRow(name)
    this.nodes[row] = {
      name,
      labels,
      pairs: new Set(Object.entries(labels).map(([key, value]) => this.#internPair(`${key}=${value}`))),
      taintSet: this.#internTaints(node.spec?.taints ?? []),
      zone: labels[LABEL.zone] ?? '',
      ready: nodeCondition(node, 'Ready')?.status ?? 'False',
      cordoned: node.spec?.unschedulable === true,
      hasNetwork: Boolean(node.spec?.podCIDR) && nodeCondition(node, 'NetworkUnavailable')?.status !== 'True',
      handlerProblems: node.status?.handlerProblems ?? {},
    }
    const offered: Record<string, string | number> = node.status?.allocatable ?? node.status?.capacity ?? {}
    for (const column of this.#columns.values()) column.allocatable[row] = 0
    const amounts = Object.entries(offered).map(([resource, quantity]) => [resource, amountOf(resource, quantity)])
    const disk = amounts.find(([resource]) => resource === 'ephemeral-storage')?.[1] ?? 0
    for (const [resource, amount] of [['pods', DEFAULT_PODS], [STORAGE, disk], ...amounts] as [string, number][]) {
      this.#internColumn(resource).allocatable[row] = amount
    }
    if (known !== undefined) return
    for (const pod of this.podsOn(name)) this.#weigh(row, pod, 1)
    for (const volume of this.#volumes.values()) if (volume.nodeName === name) this.#fill(volume, 1)
  }

  removeNode(name: string): void {
    const row = this.#rowOf.get(name)
    if (row === undefined) return
    for (const pod of this.podsOn(name)) this.#weigh(row, pod, -1)
    for (const volume of this.#volumes.values()) if (volume.nodeName === name) this.#fill(volume, -1)
    for (const column of this.#columns.values()) column.allocatable[row] = 0
    this.#rowOf.delete(name)
    this.nodes[row] = undefined
    this.#free.push(row)
  }

  /** A bound pod, or one that is assumed to be. */
  putPod(pod: Stored<Pod>, nodeName: string): void {
    this.removePod(pod.metadata.uid)
    const entry: PodEntry = {
      uid: pod.metadata.uid,
      nodeName,
      namespace: pod.metadata.namespace ?? '',
      labels: pod.metadata.labels ?? {},
      group: groupOf(pod),
      requests: podRequests(pod),
      ports: hostPorts(pod),
      ending: pod.metadata.deletionTimestamp !== undefined,
    }
    this.#pods.set(entry.uid, entry)
    const onNode = this.#podsOnNode.get(nodeName) ?? new Set()
    this.#podsOnNode.set(nodeName, onNode.add(entry))
    this.#count(entry, 1)
    const row = this.#rowOf.get(nodeName)
    if (row !== undefined) this.#weigh(row, entry, 1)
  }

  removePod(uid: string): void {
    const entry = this.#pods.get(uid)
    if (entry === undefined) return
    this.#pods.delete(uid)
    const onNode = this.#podsOnNode.get(entry.nodeName)
    onNode?.delete(entry)
    if (onNode?.size === 0) this.#podsOnNode.delete(entry.nodeName)
    this.#count(entry, -1)
    const row = this.#rowOf.get(entry.nodeName)
    if (row !== undefined) this.#weigh(row, entry, -1)
  }

  /** A volume that lies on a node's disk. */
  putVolume(name: string, volume: { nodeName: string; bytes: number }): void {
    this.removeVolume(name)
    this.#volumes.set(name, volume)
    this.#fill(volume, 1)
  }

  removeVolume(name: string): void {
    const volume = this.#volumes.get(name)
    if (volume === undefined) return
    this.#volumes.delete(name)
    this.#fill(volume, -1)
  }

  #fill({ nodeName, bytes }: { nodeName: string; bytes: number }, sign: 1 | -1): void {
    const row = this.#rowOf.get(nodeName)
    if (row !== undefined) add(this.#internColumn(STORAGE).requested, row, sign * bytes)
  }

  hasPod(uid: string): boolean {
    return this.#pods.has(uid)
  }

  #count({ group, nodeName, ending }: PodEntry, sign: 1 | -1): void {
    if (group === undefined || ending) return
    const counts = this.#groups.get(group) ?? new Map<string, number>()
    const next = (counts.get(nodeName) ?? 0) + sign
    if (next > 0) counts.set(nodeName, next)
    else counts.delete(nodeName)
    if (counts.size > 0) this.#groups.set(group, counts)
    else this.#groups.delete(group)
  }

  #weigh(row: number, { requests }: PodEntry, sign: 1 | -1): void {
    for (const [resource, amount] of Object.entries(requests))
      add(this.#internColumn(resource).requested, row, sign * amount)
    add(this.weighedCpu, row, sign * (requests.cpu || ASSUMED_CPU_MILLIS))
    add(this.weighedMemory, row, sign * (requests.memory || ASSUMED_MEMORY_BYTES))
  }

  #newRow(name: string): number {
    const row = this.#free.pop() ?? this.nodes.length
    if (row >= this.#capacity) this.#grow()
    this.#rowOf.set(name, row)
    return row
  }

  #grow(): void {
    this.#capacity *= 2
    const larger = (old: Float64Array): Float64Array<ArrayBuffer> => {
      const next = new Float64Array(this.#capacity)
      next.set(old)
      return next
    }
    for (const column of this.#columns.values()) {
      column.allocatable = larger(column.allocatable)
      column.requested = larger(column.requested)
    }
    this.weighedCpu = larger(this.weighedCpu)
    this.weighedMemory = larger(this.weighedMemory)
  }

  #internColumn(resource: string): Column {
    let column = this.#columns.get(resource)
    if (column === undefined) {
      column = { allocatable: new Float64Array(this.#capacity), requested: new Float64Array(this.#capacity) }
      this.#columns.set(resource, column)
    }
    return column
  }

  #internPair(pair: string): number {
    let id = this.#pairs.get(pair)
    if (id === undefined) {
      id = this.#pairs.size
      this.#pairs.set(pair, id)
    }
    return id
  }

  #internTaints(taints: readonly Taint[]): number {
    const key = JSON.stringify(taints.map(({ key: name, value, effect }) => [name, value ?? '', effect]).sort())
    let id = this.#taintSets.get(key)
    if (id === undefined) {
      id = this.#taintSets.size
      this.#taintSets.set(key, id)
      this.taints[id] = taints
    }
    return id
  }
}

function add(array: Float64Array, row: number, amount: number): void {
  array[row] = (array[row] ?? 0) + amount
}
