/** Puts the parts of `Resources` together. Its `run` keeps the watch cache going. */
import type { KindDefinition } from '../api/kind.ts'
import { KINDS } from '../api/kinds.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { namespaceKind } from '../api/namespace.ts'
import { podKind } from '../api/pod_kind.ts'
import { priorityClassKind } from '../api/priorityclass.ts'
import { runtimeClassKind } from '../api/runtimeclass.ts'
import { parseCidr } from '../base/cidr.ts'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import type { Registry } from '../base/metrics.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import type { Store } from '../store/store.ts'
import { createAdmission } from './admission.ts'
import { Allocator } from './allocator.ts'
import { WatchCache } from './cache.ts'
import { withChecks } from './checks.ts'
import { conflict, MODIFIED } from './errors.ts'
import { matcherOf } from './filter.ts'
import { DEFAULT_RING_EVENTS, type Listener } from './hub.ts'
import { META_PREFIX } from './keys.ts'
import { registerCacheMetrics } from './metrics.ts'
import { applyPatch, patchRevision } from './patch.ts'
import { podSecurityCheck } from './pod_security.ts'
import { priorityCheck } from './priority_class.ts'
import type { ApplyOptions, CreateOptions, ListFilter, Part, ResourceEvent, Resources } from './resources.ts'
import { rewind } from './rewind.ts'
import { runtimeClassCheck } from './runtime_class.ts'
import { ResourceWriter } from './writer.ts'

export interface ResourcesOptions {
  store: Store
  clock: Clock
  random: Random
  log: Logger
  registry?: Registry
  /** Default: all of them. */
  kinds?: readonly KindDefinition[]
  /** Addresses of services, e.g. `10.96.0.0/16`. */
  serviceCidr: string
  /** Both ends included. */
  nodePortRange: { from: number; to: number }
  /** How many events of each kind a watcher can go back. */
  ringEvents?: number
}

export function createResources(options: ResourcesOptions): Resources & Service {
  const { store, clock, random, log, kinds = KINDS, ringEvents = DEFAULT_RING_EVENTS } = options
  const cache = new WatchCache({ store, clock, log, kinds, ringEvents })
  const services = createAdmission({
    allocator: new Allocator({ store, clock, log }),
    random,
    serviceCidr: parseCidr(options.serviceCidr),
    nodePortRange: options.nodePortRange,
  })
  /** Undefined for kinds that are not here. */
  const tableOf = <T extends KubeObject>(kind: KindDefinition<T>) =>
    kinds.includes(kind as KindDefinition) ? cache.table(kind as KindDefinition) : undefined
  const find = <T extends KubeObject>(kind: KindDefinition<T>, name: string) =>
    tableOf(kind)?.get('', name)?.object as Stored<T> | undefined
  const all = <T extends KubeObject>(kind: KindDefinition<T>) =>
    [...(tableOf(kind)?.entries() ?? [])].flatMap(({ object }) => object ?? []) as Stored<T>[]
  const admission = withChecks(services, [
    runtimeClassCheck((name) => find(runtimeClassKind, name)),
    podSecurityCheck((name) => find(namespaceKind, name)),
    priorityCheck(() => all(priorityClassKind)),
  ])
  const writer = new ResourceWriter({ store, cache, clock, random, admission })
  if (options.registry !== undefined) registerCacheMetrics(options.registry, cache)
  const encodings = new WeakMap<object, Buffer>()

  function select(kind: KindDefinition, filter: ListFilter, view: 'object' | 'ordered'): Stored<KubeObject>[] {
    const { namespace, ...rest } = filter
    const matches = matcherOf(kind, rest)
    const objects: Stored<KubeObject>[] = []
    for (const entry of cache.table(kind).entries(kind.namespaced && namespace ? namespace : undefined)) {
      const object = entry[view]
      if (object !== undefined && (matches === undefined || matches(object))) objects.push(object)
    }
    return objects
  }

  const resources: Resources & Service = {
    id: cache.id,
    run: (signal) => cache.run(signal),
    ready: () => cache.ready(),
    revision: () => cache.revision,
    waitForRevision: (revision, timeoutMs) => cache.waitForRevision(revision, timeoutMs),
    async currentRevision() {
      // An empty range read: the answer's header carries the revision, and reading is linearizable.
      const { revision } = await store.list(`${META_PREFIX}none`, { limit: 1 })
      return revision
    },
    get: <T extends KubeObject>(kind: KindDefinition<T>, namespace: string, name: string) =>
      cache.table(kind as KindDefinition).get(kind.namespaced ? namespace : '', name)?.object as Stored<T> | undefined,
    list: <T extends KubeObject>(kind: KindDefinition<T>, filter: ListFilter = {}) =>
      select(kind as KindDefinition, filter, 'object') as Stored<T>[],
    snapshot: <T extends KubeObject>(kind: KindDefinition<T>, filter: ListFilter = {}, atRevision?: number) => {
      const items = select(kind as KindDefinition, filter, 'ordered')
      if (atRevision === undefined || atRevision >= cache.revision) {
        return { items: items as Stored<T>[], revision: cache.revision }
      }
      const past = rewind(
        items,
        cache.hub(kind as KindDefinition).since(atRevision),
        matcherOf(kind as KindDefinition, filter),
      )
      return { items: past as Stored<T>[], revision: atRevision }
    },
    ownedBy: <T extends KubeObject>(kind: KindDefinition<T>, ownerUid: string) =>
      cache.table(kind as KindDefinition).ownedBy(ownerUid) as Stored<T>[],
    podsOnNode: (nodeName) => cache.table(podKind as KindDefinition).onNode(nodeName),
    encoded(object) {
      let bytes = encodings.get(object)
      if (bytes === undefined) {
        bytes = Buffer.from(JSON.stringify(object))
        encodings.set(object, bytes)
      }
      return bytes
    },
    create: async <T extends KubeObject>(kind: KindDefinition<T>, object: T, write: CreateOptions = {}) =>
      (await writer.create(kind as KindDefinition, object, write)) as Stored<T>,
    update: async <T extends KubeObject>(kind: KindDefinition<T>, object: T, part: Part, write = {}) =>
      (await writer.update(kind as KindDefinition, object, part, write)) as Stored<T>,
    modify: async (kind, namespace, name, part, change, write = {}) => {
      const at = { namespace, name, part }
      const erased = change as (object: KubeObject) => KubeObject | undefined
      return (await writer.modify(kind as KindDefinition, at, erased, write)) as Stored<never>
    },
    patch: async (kind, namespace, name, part, patchType, patch, write = {}) => {
      const at = { namespace, name, part, revision: patchRevision(patchType, patch) }
      const erased = kind as KindDefinition
      const change = (object: KubeObject): KubeObject => {
        const patched = applyPatch(erased, object, patchType, patch)
        // A JSON patch names the revision that it insists on by writing it.
        const { resourceVersion } = patched.metadata
        if (resourceVersion && resourceVersion !== object.metadata.resourceVersion) {
          throw conflict(erased, name, MODIFIED)
        }
        return patched
      }
      return (await writer.modify(erased, at, change, write)) as Stored<never>
    },
    apply: async <T extends KubeObject>(kind: KindDefinition<T>, config: T, part: Part, write: ApplyOptions) => {
      const { object, created } = await writer.apply(kind as KindDefinition, config, part, write)
      return { object: object as Stored<T>, created }
    },
    delete: async (kind, namespace, name, write = {}) =>
      (await writer.delete(kind as KindDefinition, namespace, name, write)) as Stored<never>,
    subscribe: <T extends KubeObject>(kind: KindDefinition<T>, listener: (event: ResourceEvent<T>) => void) =>
      cache.hub(kind as KindDefinition).subscribe(listener as Listener),
    watch: <T extends KubeObject>(
      kind: KindDefinition<T>,
      filter: ListFilter,
      afterRevision: number,
      signal: AbortSignal,
    ) =>
      cache
        .hub(kind as KindDefinition)
        .watch(matcherOf(kind as KindDefinition, filter), afterRevision, signal) as AsyncIterable<
        readonly ResourceEvent<T>[]
      >,
  }
  return resources
}
