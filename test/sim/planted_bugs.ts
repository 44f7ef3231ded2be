/**
 * Bugs planted on purpose, at the seams between parts: the simulation must find each, by the invariant that it breaks.
 * One that it does not find means that the simulation, not the product, needs work.
 */

import { isTerminating } from '../../src/api/conditions.ts'
import type { Job } from '../../src/api/job.ts'
import type { KindDefinition } from '../../src/api/kind.ts'
import type { KubeObject, Stored } from '../../src/api/meta.ts'
import { ANNOTATION, POD_CONDITION } from '../../src/api/names.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { createControllers } from '../../src/controllers/manager.ts'
import type { ResourceEvent, Resources } from '../../src/resources/resources.ts'
import type { NodeClient } from '../../src/rpc/client.ts'
import type { Store } from '../../src/store/store.ts'
import type { Seams } from './world.ts'

export interface PlantedBug {
  name: string
  /** Any of these may be the first to break. */
  breaks: readonly string[]
  /** Seams of one run: whatever they count starts anew. */
  plant(): Seams
  /** Where the search begins: known to find it when this was written. */
  firstSeed: number
}

const READY = { type: POD_CONDITION.ready, status: 'True' as const }
const isPods = (kind: KindDefinition<never> | KindDefinition): boolean => kind.plural === podKind.plural

/** The resources with some of their functions replaced. */
function altered(resources: Resources, change: Partial<Resources>): Resources {
  return Object.assign(Object.create(resources) as Resources, change)
}

function withoutMemory(pod: Stored<Pod>): Stored<Pod> {
  const containers = pod.spec.containers.map((container) => {
    const { memory: _memory, ...requests } = container.resources?.requests ?? {}
    return { ...container, resources: { requests } }
  })
  return { ...pod, spec: { ...pod.spec, containers } }
}

/** Every event of a pod as the part sees it; undefined is one that it never hears of. */
function hearing(
  resources: Resources,
  hear: (event: ResourceEvent<Pod>) => ResourceEvent<Pod> | undefined,
): Resources['subscribe'] {
  return <T extends KubeObject>(kind: KindDefinition<T>, listener: (event: ResourceEvent<T>) => void) =>
    resources.subscribe(kind, (event) => {
      const heard = isPods(kind as KindDefinition) ? hear(event as unknown as ResourceEvent<Pod>) : event
      if (heard !== undefined) listener(heard as ResourceEvent<T>)
    })
}

function drained(pod: Stored<Pod>): Stored<Pod> {
  if (!isTerminating(pod)) return pod
  const others = (pod.status?.conditions ?? []).filter(({ type }) => type !== POD_CONDITION.drained)
  const conditions = [...others, { type: POD_CONDITION.drained, status: 'True' as const }]
  return { ...pod, status: { ...pod.status, conditions } }
}

/** A store that forgets a share of the writes that it says it has done. */
function forgetful(store: Store, share: number): Store {
  let writes = 0
  return Object.assign(Object.create(store) as Store, {
    write: async (...[write, fence]: Parameters<Store['write']>) => {
      if (write.type === 'delete' || !write.key.startsWith('/drover/apps/deployments/'))
        return store.write(write, fence)
      writes++
      if (writes % share !== 0) return store.write(write, fence)
      const { revision } = await store.list('/none/', { limit: 1 })
      return { ok: true as const, revision }
    },
    ...bound(store),
  })
}

/** The rest of a store's functions, which need their own \`this\`. */
function bound(store: Store): Omit<Store, 'write'> {
  return {
    get: (key) => store.get(key),
    list: (prefix, options) => store.list(prefix, options),
    watch: (prefix, after, signal) => store.watch(prefix, after, signal),
    campaign: (key, id, signal) => store.campaign(key, id, signal),
    compact: (revision) => store.compact(revision),
    health: () => store.health(),
    close: () => store.close(),
  }
}

function notExclusive(pod: Stored<KubeObject>): Stored<KubeObject> {
  const annotations = { ...pod.metadata.annotations, [ANNOTATION.exclusive]: 'false' }
  return { ...pod, metadata: { ...pod.metadata, annotations } }
}

/** The pod as if it were ready. */
function serving(pod: Stored<Pod>): Stored<Pod> {
  const others = (pod.status?.conditions ?? []).filter(({ type }) => type !== POD_CONDITION.ready)
  const conditions = [...others.filter(({ type }) => type !== POD_CONDITION.routed), READY]
  return { ...pod, status: { ...pod.status, conditions } }
}

function withoutUncounted(job: Stored<Job>): Stored<Job> {
  const { uncountedTerminatedPods: _forgotten, ...status } = job.status ?? {}
  return { ...job, status }
}

/** A session whose beats get lost after so many. */
function losingBeats(client: NodeClient, beats: number): NodeClient {
  const connect = (): ReturnType<NodeClient['connect']> => {
    const stream = client.connect()
    let sent = 0
    const write = stream.write.bind(stream)
    stream.write = (message, onTaken) => {
      if (message.type !== 'heartbeat' || ++sent <= beats) write(message, onTaken)
    }
    return stream
  }
  return { connect, stream: (id) => client.stream(id), close: () => client.close() }
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'the scheduler ignores memory',
    firstSeed: 7,
    breaks: ['no node is over-committed'],
    plant: () => ({
      resources(resources, part) {
        if (part !== 'scheduler') return resources
        return altered(resources, {
          subscribe: hearing(resources, (event) => {
            const object = withoutMemory(event.object)
            return event.type === 'MODIFIED'
              ? { ...event, object, old: withoutMemory(event.old) }
              : { ...event, object }
          }),
          snapshot: (kind, filter) => {
            const found = resources.snapshot(kind, filter)
            if (!isPods(kind as unknown as KindDefinition)) return found
            return { ...found, items: found.items.map((pod) => withoutMemory(pod as never) as never) }
          },
        })
      },
    }),
  },
  {
    name: 'dispatch loses a change',
    firstSeed: 9,
    breaks: ['converges', 'nothing unwanted runs', 'is as was asked for', 'no two copies of a fenced pod'],
    plant() {
      let events = 0
      return {
        resources: (resources, part) =>
          part === 'dispatch'
            ? altered(resources, {
                subscribe: hearing(resources, (event) => (++events % 23 === 0 ? undefined : event)),
              })
            : resources,
      }
    },
  },
  {
    name: 'an agent that comes back starts containers that run',
    firstSeed: 1,
    breaks: ['one copy', 'defect'],
    plant: () => ({
      drivers(drivers, host) {
        const { runtime } = drivers
        let blind = host.running.length > 0
        const hidden = new Set<string>()
        return {
          ...drivers,
          runtime: {
            ...runtime,
            async listContainers(podUid) {
              const wasBlind = blind
              blind = false
              if (wasBlind) for (const { id } of await runtime.listContainers()) hidden.add(id)
              const seen = await runtime.listContainers(podUid)
              return seen.filter(({ id }) => !hidden.has(id))
            },
            startContainer: (request, signal) =>
              runtime.startContainer(hidden.has(request.id) ? { ...request, id: `${request.id}-b` } : request, signal),
          },
        }
      },
    }),
  },
  {
    name: 'a replica set counts only pods that run',
    firstSeed: 3,
    breaks: ['sets keep their size', 'jobs keep their size'],
    plant: () => ({
      resources: (resources, part) =>
        part === 'controllers'
          ? altered(resources, {
              ownedBy: (kind, uid) => {
                const owned = resources.ownedBy(kind, uid)
                if (!isPods(kind as unknown as KindDefinition)) return owned
                return owned.filter((pod) => (pod as unknown as Pod).status?.phase === 'Running')
              },
            })
          : resources,
    }),
  },
  {
    name: 'nobody evicts from lost nodes',
    firstSeed: 11,
    breaks: ['lost nodes are left', 'converges'],
    plant: () => ({
      controllers: (options) => createControllers(options).filter(({ id }) => id !== 'node-lifecycle-controller'),
    }),
  },
  {
    name: 'fences are ignored',
    firstSeed: 4,
    breaks: ['fences hold'],
    plant: () => ({
      store: (store) =>
        Object.assign(Object.create(store) as Store, bound(store), { write: (write: never) => store.write(write) }),
    }),
  },
  {
    name: 'agents are told at once that a pod has left traffic',
    firstSeed: 4,
    breaks: ['leaves traffic first'],
    plant: () => ({
      resources: (resources, part) =>
        part === 'dispatch'
          ? altered(resources, {
              subscribe: hearing(resources, (event) => ({ ...event, object: drained(event.object) })),
            })
          : resources,
    }),
  },
  {
    name: 'an agent takes its lease to last for a minute more',
    firstSeed: 174,
    breaks: ['no two copies of a fenced pod'],
    plant: () => ({
      fencer: (fencer) => ({ ...fencer, renew: (deadlineMs) => fencer.renew(deadlineMs + 60_000) }),
    }),
  },
  {
    name: 'the leader takes exclusive pods for any others',
    firstSeed: 31,
    breaks: ['no two copies of a fenced pod'],
    plant: () => ({
      resources: (resources, part) =>
        part === 'controllers'
          ? altered(resources, { podsOnNode: (name) => resources.podsOnNode(name).map((pod) => notExclusive(pod)) })
          : resources,
    }),
  },
  {
    name: 'beats of an agent get lost',
    firstSeed: 3,
    breaks: ['the living are not lost'],
    plant: () => ({ dial: (client) => losingBeats(client, 20) }),
  },
  {
    name: 'drained pods go before others serve',
    firstSeed: 3,
    breaks: ['drains surge first', 'never below availability', 'budgets hold'],
    plant: () => ({
      resources: (resources, part) =>
        part === 'controllers'
          ? altered(resources, {
              ownedBy: (kind, uid) => {
                const owned = resources.ownedBy(kind, uid)
                if (!isPods(kind as unknown as KindDefinition)) return owned
                return owned.map((pod) => serving(pod as unknown as Stored<Pod>) as unknown as typeof pod)
              },
            })
          : resources,
    }),
  },
  {
    name: 'drains and evictions ask no budget',
    firstSeed: 9,
    breaks: ['budgets hold'],
    plant: () => ({
      resources: (resources, part) =>
        part === 'controllers' || part === 'api'
          ? altered(resources, {
              list: (kind, filter) => (kind.plural === 'poddisruptionbudgets' ? [] : resources.list(kind, filter)),
            })
          : resources,
    }),
  },
  {
    name: 'a job forgets which ended pods it has not counted yet',
    firstSeed: 2,
    breaks: ['jobs keep their size', 'converges'],
    plant: () => ({
      resources: (resources, part) =>
        part === 'controllers'
          ? altered(resources, {
              get: (kind, namespace, name) => {
                const object = resources.get(kind, namespace, name)
                return kind.plural === 'jobs' && object !== undefined
                  ? (withoutUncounted(object as unknown as Stored<Job>) as unknown as typeof object)
                  : object
              },
            })
          : resources,
    }),
  },
  {
    name: 'the store forgets what it acknowledged',
    firstSeed: 7,
    breaks: ['is as was asked for', 'converges', 'comes to rest', 'never below availability', 'jobs keep their size'],
    plant: () => ({ store: (store) => forgetful(store, 7) }),
  },
]
