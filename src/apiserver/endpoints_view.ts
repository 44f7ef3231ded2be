/**
 * EndpointSlices as Endpoints, one a service, for clients that know the older form: Prometheus' role of that name, kubectl's
 * `describe service`. Rejected: storing them beside the slices, as Kubernetes does. That is a second write for every pod
 * that comes or goes, and the object of a large service is written whole each time.
 *
 * A watch follows the slices. What it shows of a service is what its slices say when the change is passed on: it may be
 * ahead of the change, never behind, and every change is passed on. Revisions are those of the slices.
 */

import { type EndpointAddress, type EndpointSubset, type Endpoints, endpointsKind } from '../api/endpoints.ts'
import type { EndpointPort, EndpointSlice } from '../api/endpointslice.ts'
import { endpointSliceKind } from '../api/endpointslice.ts'
import type { KindDefinition } from '../api/kind.ts'
import { keyOf } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { LABEL } from '../api/names.ts'
import { type Service, serviceKind } from '../api/service.ts'
import { canonicalJson, jsonEqual } from '../base/json.ts'
import { matcherOf, seenThrough } from '../resources/filter.ts'
import type { ListFilter, ResourceEvent, Resources } from '../resources/resources.ts'

type Slice = Stored<EndpointSlice>
type Shown = Stored<Endpoints>

const serviceOf = ({ metadata }: Slice): string => metadata.labels?.[LABEL.serviceName] ?? ''

/** Undefined: a slice that belongs to no service, and is not shown. */
function serviceKeyOf(slice: Slice): string | undefined {
  const name = serviceOf(slice)
  return name === '' ? undefined : keyOf({ metadata: { name, namespace: slice.metadata.namespace ?? '' } })
}

/** Ready addresses and those that may become so; what is on its way out is in neither. */
function addSlice(subset: Required<EndpointSubset>, { endpoints = [] }: Slice): void {
  for (const { addresses: [ip = ''] = [], conditions = {}, hostname, nodeName, targetRef } of endpoints) {
    const isReady = conditions.ready !== false
    if (!isReady && conditions.terminating === true) continue
    const address: EndpointAddress = {
      ip,
      ...(hostname === undefined ? {} : { hostname }),
      ...(nodeName === undefined ? {} : { nodeName }),
      ...(targetRef === undefined ? {} : { targetRef }),
    }
    ;(isReady ? subset.addresses : subset.notReadyAddresses).push(address)
  }
}

function portOf({ name, port, protocol, appProtocol }: EndpointPort): EndpointPort {
  return {
    ...(name ? { name } : {}),
    ...(port === undefined ? {} : { port }),
    protocol: protocol ?? 'TCP',
    ...(appProtocol === undefined ? {} : { appProtocol }),
  }
}

const byAddress = (a: EndpointAddress, b: EndpointAddress): number => (a.ip < b.ip ? -1 : a.ip > b.ip ? 1 : 0)

/** Slices of one service, at least one. Pure. */
export function endpointsOf(slices: readonly Slice[], service: Stored<Service> | undefined): Shown {
  const subsets = new Map<string, Required<EndpointSubset>>()
  // One family, as this form has always had it: the first that the service has.
  const family = service?.spec.ipFamilies?.[0] ?? slices[0]?.addressType
  for (const slice of slices) {
    if (slice.addressType !== family) continue
    const ports = (slice.ports ?? []).map(portOf)
    const key = canonicalJson(ports)
    const subset = subsets.get(key) ?? { addresses: [], notReadyAddresses: [], ports }
    subsets.set(key, subset)
    addSlice(subset, slice)
  }
  const [first] = slices
  const namespace = first?.metadata.namespace ?? ''
  const { uid, creationTimestamp } = service?.metadata ?? first?.metadata ?? { uid: '', creationTimestamp: '' }
  const labels = service?.metadata.labels
  return {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: {
      name: first === undefined ? '' : serviceOf(first),
      namespace,
      uid,
      creationTimestamp,
      resourceVersion: String(Math.max(0, ...slices.map(({ metadata }) => Number(metadata.resourceVersion)))),
      ...(labels === undefined ? {} : { labels }),
    },
    subsets: [...subsets.values()].flatMap(({ addresses, notReadyAddresses, ports }) => {
      if (addresses.length + notReadyAddresses.length === 0) return []
      return [
        {
          ...(addresses.length === 0 ? {} : { addresses: addresses.sort(byAddress) }),
          ...(notReadyAddresses.length === 0 ? {} : { notReadyAddresses: notReadyAddresses.sort(byAddress) }),
          ...(ports.length === 0 ? {} : { ports }),
        },
      ]
    }),
  }
}

/** Resources of one kind more, to be read alone. */
export function withEndpoints(resources: Resources): Resources {
  const encodings = new WeakMap<object, Buffer>()

  function grouped(slices: readonly Slice[]): Map<string, Shown> {
    const services = new Map<string, Slice[]>()
    for (const slice of slices) {
      const key = serviceKeyOf(slice)
      if (key === undefined) continue
      const own = services.get(key)
      if (own === undefined) services.set(key, [slice])
      else own.push(slice)
    }
    return new Map([...services].map(([key, own]) => [key, shown(own)]))
  }

  function shown(slices: readonly Slice[]): Shown {
    const [first] = slices
    const { namespace = '' } = first?.metadata ?? {}
    return endpointsOf(slices, resources.get(serviceKind, namespace, first === undefined ? '' : serviceOf(first)))
  }

  const inNamespace = ({ namespace }: ListFilter): ListFilter => (namespace === undefined ? {} : { namespace })

  function snapshot(filter: ListFilter = {}, atRevision?: number): { items: Shown[]; revision: number } {
    const { items, revision } = resources.snapshot(endpointSliceKind, inNamespace(filter), atRevision)
    const matches = matcherOf(endpointsKind as KindDefinition, filter)
    return { items: [...grouped(items).values()].filter((one) => matches?.(one) ?? true), revision }
  }

  async function* watch(filter: ListFilter, after: number, signal: AbortSignal): AsyncGenerator<ResourceEvent[]> {
    const matches = matcherOf(endpointsKind as KindDefinition, filter)
    // Taken before anything is awaited: the watch must hold its place from here on.
    const batches = resources.watch(endpointSliceKind, inNamespace(filter), after, signal)
    const known = new Map(snapshot(inNamespace(filter), after).items.map((one) => [keyOf(one), one]))
    for await (const batch of batches) {
      const changed = new Map<string, number>()
      for (const event of batch) {
        // A slice may have passed from one service to another.
        for (const slice of event.type === 'MODIFIED' ? [event.old, event.object] : [event.object]) {
          const key = serviceKeyOf(slice)
          if (key !== undefined) changed.set(key, event.revision)
        }
      }
      const events: ResourceEvent[] = []
      for (const [key, revision] of changed) {
        const event = changeOf(known, key, revision)
        const seen = event === undefined ? undefined : seenThrough(matches, event)
        if (seen !== undefined) events.push(seen)
      }
      if (events.length > 0) yield events
    }
  }

  /** The service as it stands now beside what was shown of it last. */
  function changeOf(known: Map<string, Shown>, key: string, revision: number): ResourceEvent | undefined {
    const slash = key.indexOf('/')
    const [namespace, name] = [key.slice(0, slash), key.slice(slash + 1)]
    const { items } = resources.snapshot(endpointSliceKind, { namespace })
    const own = items.filter((slice) => serviceOf(slice) === name)
    const old = known.get(key)
    const at = (object: Shown): Shown => ({
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(revision) },
    })
    if (own.length === 0) {
      known.delete(key)
      return old === undefined ? undefined : { type: 'DELETED', object: at(old), revision }
    }
    const object = at(shown(own))
    known.set(key, object)
    if (old === undefined) return { type: 'ADDED', object, revision }
    const isSame = jsonEqual(old.subsets, object.subsets) && jsonEqual(old.metadata.labels, object.metadata.labels)
    return isSame ? undefined : { type: 'MODIFIED', object, old, revision }
  }

  const view = {
    ...resources,
    get(_kind: KindDefinition, namespace: string, name: string): Shown | undefined {
      const own = resources.list(endpointSliceKind, { namespace }).filter((slice) => serviceOf(slice) === name)
      return own.length === 0 ? undefined : shown(own)
    },
    snapshot: (_kind: KindDefinition, filter?: ListFilter, atRevision?: number) => snapshot(filter, atRevision),
    watch: (_kind: KindDefinition, filter: ListFilter, after: number, signal: AbortSignal) =>
      watch(filter, after, signal),
    encoded(object: Stored<KubeObject>): Buffer {
      let bytes = encodings.get(object)
      if (bytes === undefined) {
        bytes = Buffer.from(JSON.stringify(object))
        encodings.set(object, bytes)
      }
      return bytes
    },
  }
  // Reading a kind that is not in the table is all that the handlers do with it.
  return view as unknown as Resources
}
