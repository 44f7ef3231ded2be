/**
 * A snapshot with placements pencilled in: columns are copied when they are first changed, so that a cycle can add pod after
 * pod and leave the snapshot alone.
 */
import { matchesNodeSelector } from '../api/node_selector.ts'
import type { PodClass } from './pod_class.ts'
import { ASSUMED_CPU_MILLIS, ASSUMED_MEMORY_BYTES, type HostPort, portsCollide } from './requests.ts'
import type { Snapshot } from './snapshot.ts'
import { STORAGE } from './volume_facts.ts'

export interface GroupCounts {
  byRow: Float64Array
  byZone: Map<string, number>
}

/** What a pod's unbound claims would get on a node. */
export interface VolumeShare {
  /** Names of free volumes. */
  names: string[]
  /** Of the node's disk, for volumes that are made there. */
  newBytes: number
}

const NO_SHARE: VolumeShare = { names: [], newBytes: 0 }

export class Draft {
  readonly snapshot: Snapshot
  readonly #requested = new Map<string, Float64Array>()
  readonly #weighedCpu: Float64Array
  readonly #weighedMemory: Float64Array
  readonly #ports = new Map<number, HostPort[]>()
  readonly #groups = new Map<string, GroupCounts>()
  readonly #volumes = new Set<string>()
  readonly #taken: { row: number; podClass: PodClass }[] = []

  constructor(snapshot: Snapshot) {
    this.snapshot = snapshot
    this.#weighedCpu = snapshot.weighedCpu.slice()
    this.#weighedMemory = snapshot.weighedMemory.slice()
  }

  /** Placements of this draft. */
  get taken(): readonly { row: number; podClass: PodClass }[] {
    return this.#taken
  }

  free(resource: string, row: number): number {
    const column = this.snapshot.column(resource)
    if (column === undefined) return 0
    const requested = this.#requested.get(resource) ?? column.requested
    return (column.allocatable[row] ?? 0) - (requested[row] ?? 0)
  }

  /** How full the node would be with one more of the class: the fuller of CPU and memory, and its number of pods. */
  cost({ requests }: PodClass, row: number): number {
    const cpu = this.#share('cpu', row, (this.#weighedCpu[row] ?? 0) + (requests.cpu || ASSUMED_CPU_MILLIS))
    const memory = this.#share(
      'memory',
      row,
      (this.#weighedMemory[row] ?? 0) + (requests.memory || ASSUMED_MEMORY_BYTES),
    )
    const pods = this.#share('pods', row, (this.#column('pods')[row] ?? 0) + 1)
    return Math.max(cpu, memory) + pods
  }

  counts(group: string): GroupCounts {
    let counts = this.#groups.get(group)
    if (counts === undefined) {
      counts = { byRow: new Float64Array(this.snapshot.nodes.length), byZone: new Map() }
      for (const [name, count] of this.snapshot.groupCounts(group)) {
        const row = this.snapshot.rowOf(name)
        if (row !== undefined) countIn(counts, this.snapshot, { row, count })
      }
      this.#groups.set(group, counts)
    }
    return counts
  }

  portsAreFree(ports: readonly HostPort[], row: number): boolean {
    if (ports.length === 0) return true
    let used = this.#ports.get(row)
    if (used === undefined) {
      const name = this.snapshot.nodes[row]?.name ?? ''
      used = [...this.snapshot.podsOn(name)].flatMap((pod) => pod.ports)
      this.#ports.set(row, used)
    }
    return !ports.some((port) => used.some((other) => portsCollide(port, other)))
  }

  /** The smallest free volume for each claim, else one that is made; undefined when a claim would get none. */
  volumesFor({ needs }: PodClass, row: number): VolumeShare | undefined {
    const node = this.snapshot.nodes[row]
    if (needs.length === 0 || node === undefined) return NO_SHARE
    const share: VolumeShare = { names: [], newBytes: 0 }
    for (const { bytes, volumes, otherwise } of needs) {
      const volume = volumes.find(
        ({ name, nodes }) =>
          !this.#volumes.has(name) &&
          !share.names.includes(name) &&
          (nodes === undefined || matchesNodeSelector(nodes, node)),
      )
      if (volume !== undefined) share.names.push(volume.name)
      else if (otherwise === 'local') share.newBytes += bytes
      else if (otherwise === undefined) return undefined
    }
    return share
  }

  /** Pencils the pod in. Answers which free volumes it was promised. */
  take(podClass: PodClass, row: number): readonly string[] {
    const { names, newBytes } = this.volumesFor(podClass, row) ?? NO_SHARE
    for (const name of names) this.#volumes.add(name)
    if (newBytes > 0) add(this.#column(STORAGE), row, newBytes)
    const { requests, group, ports } = podClass
    for (const [resource, amount] of Object.entries(requests)) add(this.#column(resource), row, amount)
    add(this.#weighedCpu, row, requests.cpu || ASSUMED_CPU_MILLIS)
    add(this.#weighedMemory, row, requests.memory || ASSUMED_MEMORY_BYTES)
    if (group !== undefined) countIn(this.counts(group), this.snapshot, { row, count: 1 })
    if (ports.length > 0) {
      this.portsAreFree(ports, row)
      this.#ports.get(row)?.push(...ports)
    }
    this.#taken.push({ row, podClass })
    return names
  }

  #share(resource: string, row: number, amount: number): number {
    const allocatable = this.snapshot.column(resource)?.allocatable[row] ?? 0
    return allocatable > 0 ? amount / allocatable : 1
  }

  #column(resource: string): Float64Array {
    let copy = this.#requested.get(resource)
    if (copy === undefined) {
      copy = this.snapshot.column(resource)?.requested.slice() ?? new Float64Array(this.snapshot.nodes.length)
      this.#requested.set(resource, copy)
    }
    return copy
  }
}

function countIn(counts: GroupCounts, snapshot: Snapshot, { row, count }: { row: number; count: number }): void {
  const zone = snapshot.nodes[row]?.zone ?? ''
  add(counts.byRow, row, count)
  counts.byZone.set(zone, (counts.byZone.get(zone) ?? 0) + count)
}

function add(array: Float64Array, row: number, amount: number): void {
  array[row] = (array[row] ?? 0) + amount
}
