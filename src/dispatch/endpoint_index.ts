/**
 * Which services a pod stands in, and what their EndpointSlices say of it: kept from events, so that the barrier asks
 * about one pod without walking slices.
 */
import { type Endpoint, type EndpointSlice, endpointSliceKind } from '../api/endpointslice.ts'
import { keyOf } from '../api/kind.ts'
import { LABEL } from '../api/names.ts'
import type { Pod } from '../api/pod.ts'
import { type Service, serviceKind } from '../api/service.ts'
import type { Resources } from '../resources/resources.ts'
import { SelectorIndex } from '../resources/selector_index.ts'

type Conditions = NonNullable<Endpoint['conditions']>

export class EndpointIndex {
  readonly #resources: Resources
  readonly #selectors = new SelectorIndex()
  /** By service, then by slice; the inner map is made when first asked for. */
  readonly #slices = new Map<string, Map<string, EndpointSlice>>()
  readonly #byPod = new Map<string, Map<string, Conditions>>()

  constructor(resources: Resources) {
    this.#resources = resources
  }

  /** Fills the index and follows events, calling `onChange` after each; returns how to stop. */
  subscribe(onChange: () => void): () => void {
    const stops = [
      this.#resources.subscribe(serviceKind, ({ type, object }) => {
        if (type === 'DELETED') this.#selectors.remove(keyOf(object))
        else this.#file(object)
        onChange()
      }),
      this.#resources.subscribe(endpointSliceKind, ({ type, object }) => {
        this.#take(object, type === 'DELETED')
        onChange()
      }),
    ]
    for (const service of this.#resources.list(serviceKind)) this.#file(service)
    for (const slice of this.#resources.list(endpointSliceKind)) this.#take(slice, false)
    return () => {
      for (const stop of stops) stop()
    }
  }

  /** Keys of the services whose endpoint this pod is or will be. */
  servicesOf(pod: Pod): string[] {
    return this.#selectors.matching(pod.metadata.namespace ?? '', pod.metadata.labels)
  }

  /** What the service's slices say of the pod; undefined when they do not name it. */
  endpoint(service: string, podUid: string): Conditions | undefined {
    let byPod = this.#byPod.get(service)
    if (byPod === undefined) {
      byPod = new Map()
      for (const slice of this.#slices.get(service)?.values() ?? []) {
        for (const { targetRef, conditions } of slice.endpoints ?? []) {
          const uid = targetRef?.uid
          if (uid === undefined) continue
          // A pod can stand in two slices while it moves between them: the word that keeps it in traffic holds.
          const known = byPod.get(uid)
          if (known === undefined || known.terminating === true) byPod.set(uid, conditions ?? {})
        }
      }
      this.#byPod.set(service, byPod)
    }
    return byPod.get(podUid)
  }

  #file(service: Service): void {
    const { selector, type, publishNotReadyAddresses, clusterIP } = service.spec
    // Who publishes what is not ready asks for endpoints that stay: nothing to wait for.
    const routed = type !== 'ExternalName' && publishNotReadyAddresses !== true && (clusterIP ?? '') !== ''
    const key = keyOf(service)
    this.#selectors.put(service.metadata.namespace ?? '', key, routed ? selector : undefined)
  }

  #take(slice: EndpointSlice, deleted: boolean): void {
    const key = `${slice.metadata.namespace ?? ''}/${slice.metadata.labels?.[LABEL.serviceName] ?? ''}`
    const slices = this.#slices.get(key) ?? new Map<string, EndpointSlice>()
    if (deleted) slices.delete(slice.metadata.name ?? '')
    else slices.set(slice.metadata.name ?? '', slice)
    if (slices.size === 0) this.#slices.delete(key)
    else this.#slices.set(key, slices)
    this.#byPod.delete(key)
  }
}
