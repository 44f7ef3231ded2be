/** The tables that every node gets, services and peers, kept current from events: a change is computed once a server. */
import { type EndpointSlice, endpointSliceKind } from '../api/endpointslice.ts'
import { keyOf, splitKey } from '../api/kind.ts'
import { LABEL } from '../api/names.ts'
import { nodeKind } from '../api/node.ts'
import { serviceKind } from '../api/service.ts'
import type { Clock, Timer } from '../base/clock.ts'
import type { Resources } from '../resources/resources.ts'
import { jsonBytes } from '../rpc/messages.ts'
import type { ServiceRow } from '../rpc/tables.ts'
import { peerRow } from './peer_rows.ts'
import { RowTable } from './row_table.ts'
import { serviceRow } from './service_rows.ts'

export class SharedTables {
  readonly services: RowTable
  readonly peers: RowTable
  readonly #resources: Resources
  readonly #clock: Clock
  readonly #onChange: () => void
  readonly #slices = new Map<string, Map<string, EndpointSlice>>()
  /** By service: where its row sends to. */
  readonly #targets = new Map<string, ReadonlySet<string>>()
  readonly #dirtyServices = new Set<string>()
  readonly #dirtyPeers = new Set<string>()
  #timer: Timer | undefined

  constructor(resources: Resources, clock: Clock, onChange: () => void) {
    this.#resources = resources
    this.#clock = clock
    this.#onChange = onChange
    const sequence = Math.max(1, resources.revision())
    this.services = new RowTable(sequence)
    this.peers = new RowTable(sequence)
  }

  /** Fills the tables and follows events; returns how to stop. */
  subscribe(): () => void {
    const stops = [
      this.#resources.subscribe(serviceKind, ({ object }) => this.#touch(this.#dirtyServices, keyOf(object))),
      this.#resources.subscribe(endpointSliceKind, ({ type, object }) => {
        this.#touch(this.#dirtyServices, this.#takeSlice(object, type === 'DELETED'))
      }),
      this.#resources.subscribe(nodeKind, ({ object }) => this.#touch(this.#dirtyPeers, keyOf(object))),
    ]
    for (const slice of this.#resources.list(endpointSliceKind)) this.#takeSlice(slice, false)
    for (const service of this.#resources.list(serviceKind)) this.#dirtyServices.add(keyOf(service))
    for (const node of this.#resources.list(nodeKind)) this.#dirtyPeers.add(keyOf(node))
    this.flush()
    return () => {
      for (const stop of stops) stop()
      this.#timer?.cancel()
    }
  }

  /** Whether the service's row, as of the last flush, sends to this address. */
  routes(service: string, address: string): boolean {
    return this.#targets.get(service)?.has(address) === true
  }

  /** Brings the tables up to the cache. One rollout step touches a service many times within a tick: it costs one row. */
  flush(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const revision = this.#resources.revision()
    const services = [...this.#dirtyServices].map((key) => [`service/${key}`, this.#serviceBytes(key)] as const)
    this.#dirtyServices.clear()
    const peers = [...this.#dirtyPeers].map((key) => [`peer/${key}`, this.#peerBytes(key)] as const)
    this.#dirtyPeers.clear()
    const changed = [this.services.apply(services, revision), this.peers.apply(peers, revision)]
    if (changed.includes(true)) this.#onChange()
  }

  #touch(dirty: Set<string>, key: string): void {
    dirty.add(key)
    this.#timer ??= this.#clock.schedule(0, () => this.flush())
  }

  #takeSlice(slice: EndpointSlice, deleted: boolean): string {
    const key = `${slice.metadata.namespace}/${slice.metadata.labels?.[LABEL.serviceName] ?? ''}`
    const slices = this.#slices.get(key) ?? new Map<string, EndpointSlice>()
    if (deleted) slices.delete(slice.metadata.name ?? '')
    else slices.set(slice.metadata.name ?? '', slice)
    if (slices.size === 0) this.#slices.delete(key)
    else this.#slices.set(key, slices)
    return key
  }

  #serviceBytes(key: string): Uint8Array | undefined {
    const { namespace, name } = splitKey(key)
    const service = this.#resources.get(serviceKind, namespace, name)
    const row = service && serviceRow(service, [...(this.#slices.get(key)?.values() ?? [])])
    if (row === undefined) this.#targets.delete(key)
    else this.#targets.set(key, targetsOf(row))
    return row === undefined ? undefined : jsonBytes(row)
  }

  #peerBytes(key: string): Uint8Array | undefined {
    const node = this.#resources.get(nodeKind, '', key)
    const row = node && peerRow(node)
    return row === undefined ? undefined : jsonBytes(row)
  }
}

function targetsOf({ ports, hosts = [] }: ServiceRow): ReadonlySet<string> {
  const endpoints = ports.flatMap((port) => port.endpoints)
  return new Set([...endpoints, ...hosts].map(({ address }) => address))
}
