/** What must be so once everything works again and nobody asks for more: desired is observed, everywhere, and no more. */
import { isPodFinished, isPodReady, isTerminating } from '../../src/api/conditions.ts'
import type { ConfigMap } from '../../src/api/configmap.ts'
import type { DaemonSet } from '../../src/api/daemonset.ts'
import type { Deployment } from '../../src/api/deployment.ts'
import { type Job, jobOutcome } from '../../src/api/job.ts'
import { KINDS } from '../../src/api/kinds.ts'
import type { Stored } from '../../src/api/meta.ts'
import { isNodeReady, type Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { ReplicaSet } from '../../src/api/replicaset.ts'
import { matchesSelector } from '../../src/api/selector.ts'
import type { Service } from '../../src/api/service.ts'
import type { StatefulSet } from '../../src/api/statefulset.ts'
import { jsonEqual } from '../../src/base/json.ts'
import { storeKey } from '../../src/resources/keys.ts'
import { WRITE } from './desk.ts'
import type { SimHost } from './sim_host.ts'
import type { Users } from './users.ts'
import type { World } from './world.ts'

/** What is not as it should be yet, in words. */
export function whatIsOpen(world: World, lost: ReadonlySet<string>): string[] {
  return [
    ...openNodes(world, lost),
    ...openDeployments(world),
    ...openStatefulSets(world),
    ...openDaemonSets(world, lost),
    ...openJobs(world),
    ...openPods(world, lost),
    ...world.agents.filter(({ name }) => !lost.has(name)).flatMap(({ host }) => openOnHost(world, host)),
  ]
}

function openNodes(world: World, lost: ReadonlySet<string>): string[] {
  const nodes = world.watcher.list<Node>('nodes')
  return world.agents.flatMap(({ name }) => {
    const node = nodes.find(({ metadata }) => metadata.name === name)
    if (lost.has(name)) return node !== undefined && isNodeReady(node) ? [`lost node ${name} counts as ready`] : []
    if (node === undefined) return [`node ${name} has no object`]
    if (!isNodeReady(node)) return [`node ${name} is not ready`]
    const taints = node.spec?.taints ?? []
    return taints.length > 0 ? [`node ${name} keeps the taint ${taints[0]?.key}`] : []
  })
}

function openDeployments(world: World): string[] {
  const sets = world.watcher.list<ReplicaSet>('replicasets')
  return world.watcher.list<Deployment>('deployments').flatMap(({ metadata, spec, status }) => {
    const wants = spec.replicas ?? 1
    const { replicas = 0, updatedReplicas = 0, availableReplicas = 0 } = status ?? {}
    const own = sets.filter((set) => set.metadata.ownerReferences?.some(({ uid }) => uid === metadata.uid))
    const total = own.reduce((sum, set) => sum + (set.spec.replicas ?? 1), 0)
    if (isTerminating({ metadata })) return [`deployment ${metadata.name} is still going`]
    if ((status?.observedGeneration ?? 0) < (metadata.generation ?? 0)) return [`deployment ${metadata.name} is unseen`]
    if (replicas === wants && updatedReplicas === wants && availableReplicas === wants && total === wants) return []
    return [
      `deployment ${metadata.name} wants ${wants}, has ${replicas}, updated ${updatedReplicas}, available ${availableReplicas}`,
    ]
  })
}

function openStatefulSets(world: World): string[] {
  return world.watcher.list<StatefulSet>('statefulsets').flatMap(({ metadata, spec, status }) => {
    const wants = spec.replicas ?? 1
    const { replicas = 0, updatedReplicas = 0, availableReplicas = 0 } = status ?? {}
    if (isTerminating({ metadata })) return [`stateful set ${metadata.name} is still going`]
    if ((status?.observedGeneration ?? 0) < (metadata.generation ?? 0))
      return [`stateful set ${metadata.name} is unseen`]
    const same = status?.currentRevision === status?.updateRevision
    if (same && replicas === wants && updatedReplicas === wants && availableReplicas === wants) return []
    return [
      `stateful set ${metadata.name} wants ${wants}, has ${replicas}, updated ${updatedReplicas}, available ${availableReplicas}`,
    ]
  })
}

/** A machine that is lost keeps its pod: a daemon belongs to its node. */
function openDaemonSets(world: World, lost: ReadonlySet<string>): string[] {
  return world.watcher.list<DaemonSet>('daemonsets').flatMap(({ metadata, spec, status }) => {
    if (isTerminating({ metadata })) return [`daemon set ${metadata.name} is still going`]
    if ((status?.observedGeneration ?? 0) < (metadata.generation ?? 0)) return [`daemon set ${metadata.name} is unseen`]
    const image = spec.template.spec.containers[0]?.image
    const pods = world.watcher.pods.filter(({ metadata: { ownerReferences } }) =>
      ownerReferences?.some(({ uid }) => uid === metadata.uid),
    )
    return world.agents
      .filter(({ name }) => !lost.has(name))
      .flatMap(({ name }) => {
        const here = pods.filter((pod) => pod.spec.nodeName === name)
        const good = here.filter((pod) => isPodReady(pod) && pod.spec.containers[0]?.image === image)
        if (here.length === 1 && good.length === 1) return []
        return [`daemon set ${metadata.name} has ${here.length} pods on ${name}, ${good.length} of them good`]
      })
  })
}

function openJobs(world: World): string[] {
  return world.watcher.list<Job>('jobs').flatMap((job) => {
    const { metadata, status = {} } = job
    if (isTerminating(job)) return [`job ${metadata.name} is still going`]
    const { active = 0, succeeded = 0, uncountedTerminatedPods: uncounted = {} } = status
    if (jobOutcome(job) === undefined)
      return [`job ${metadata.name} has not ended: ${succeeded} succeeded, ${active} run`]
    const left = [...(uncounted.succeeded ?? []), ...(uncounted.failed ?? [])]
    return active === 0 && left.length === 0 ? [] : [`job ${metadata.name} has ended with ${active} running`]
  })
}

export function isDaemon({ metadata }: Pod): boolean {
  return metadata.ownerReferences?.some(({ kind }) => kind === 'DaemonSet') === true
}

function openPods(world: World, lost: ReadonlySet<string>): string[] {
  return world.watcher.pods.flatMap((pod) => {
    const { metadata, spec } = pod
    if (isDaemon(pod) && lost.has(spec.nodeName ?? '')) return []
    if (isTerminating(pod)) return [`pod ${metadata.name} is still ending`]
    if (isPodFinished(pod)) return []
    if (spec.nodeName === undefined) return [`pod ${metadata.name} waits for a node`]
    if (lost.has(spec.nodeName)) return [`pod ${metadata.name} is bound to ${spec.nodeName}, which is lost`]
    return isPodReady(pod) ? [] : [`pod ${metadata.name} is not ready`]
  })
}

function openOnHost(world: World, host: SimHost): string[] {
  const pods = world.watcher.pods.filter(({ spec }) => spec.nodeName === host.name)
  const uids = new Set(pods.map(({ metadata }) => metadata.uid))
  const left = (what: string, found: Iterable<string>): string[] =>
    [...found]
      .filter((uid) => !uids.has(uid))
      .map((uid) => `${what} of pod ${uid}, which is gone, is left on ${host.name}`)
  return [
    ...left(
      'a container',
      [...host.containers.values()].map(({ state }) => state.podUid),
    ),
    ...left('the sandbox', host.sandboxes.keys()),
    ...left('the interface', host.interfaces.keys()),
    ...left('a volume', host.volumes.keys()),
    ...pods.filter((pod) => !isPodFinished(pod)).flatMap((pod) => openContainers(host, pod)),
    ...pods.flatMap((pod) => openVolumes(world, host, pod)),
    ...openServices(world, host),
  ]
}

function openContainers(host: SimHost, { metadata, spec, status }: Stored<Pod>): string[] {
  const address = host.interfaces.get(metadata.uid)
  const wrong = address === status?.podIP ? [] : [`pod ${metadata.name} has ${address}, says ${status?.podIP}`]
  const missing = spec.containers.flatMap(({ name }) => {
    const running = host.running.filter(({ state }) => state.podUid === metadata.uid && state.name === name)
    return running.length === 1
      ? []
      : [`${running.length} containers ${name} of pod ${metadata.name} run on ${host.name}`]
  })
  return [...wrong, ...missing]
}

function openVolumes(world: World, host: SimHost, { metadata, spec }: Stored<Pod>): string[] {
  return (spec.volumes ?? []).flatMap(({ configMap }) => {
    if (configMap === undefined) return []
    const stored = world.watcher.list<ConfigMap>('configmaps').find((each) => each.metadata.name === configMap.name)
    const wanted = stored?.data?.value
    const found = host.volumes.get(metadata.uid)?.[`${configMap.name}/value`]
    return found === wanted ? [] : [`pod ${metadata.name} sees the setting ${found}, stored is ${wanted}`]
  })
}

function openServices(world: World, host: SimHost): string[] {
  const services = world.watcher.list<Service>('services')
  const rows = new Map(host.services.map((row) => [row.name, row]))
  const stale = [...rows.keys()].filter((name) => !services.some(({ metadata }) => metadata.name === name))
  const wrong = services.flatMap(({ metadata, spec }) => {
    const wanted = world.watcher.pods
      .filter((pod) => isPodReady(pod) && !isTerminating(pod) && !isPodFinished(pod))
      .filter((pod) => matchesSelector({ matchLabels: spec.selector ?? {} }, pod.metadata.labels))
      .map(({ status }) => status?.podIP ?? '')
    const ports = rows.get(metadata.name)?.ports ?? []
    const found = ports.flatMap(({ endpoints }) => endpoints.filter(({ ready }) => ready).map(({ address }) => address))
    const same = wanted.sort().join() === found.sort().join()
    return same ? [] : [`service ${metadata.name} leads to ${found.join()} on ${host.name}, ready are ${wanted.join()}`]
  })
  return [...stale.map((name) => `service ${name} is gone and still programmed on ${host.name}`), ...wrong]
}

/** What the caches show that the store does not, or the other way round. */
export function cacheDifferences(world: World): string[] {
  return world.servers.flatMap((server) => {
    const cache = server.api === undefined ? undefined : server.cache()
    if (cache === undefined) return []
    return KINDS.flatMap((kind) => {
      if (kind.plural === 'events') return []
      const shown = new Map(
        cache.list(kind).map((each) => [storeKey(kind, each.metadata.namespace ?? '', each.metadata.name), each]),
      )
      const prefix = storeKey(kind, 'default', 'x').split('/').slice(0, 4).join('/')
      const stored = [...world.watcher.objects].filter(([key]) => key.startsWith(`${prefix}/`))
      const differing = stored.filter(([key, object]) => !jsonEqual(shown.get(key), object)).map(([key]) => key)
      const extra = [...shown.keys()].filter((key) => !world.watcher.objects.has(key))
      return [...differing, ...extra].map((key) => `the cache of ${server.name} is wrong about ${key}`)
    })
  })
}

/** What was acknowledged to users and is not so. */
export function lostIntents(world: World, users: Users): string[] {
  return [...users.intents.values()].flatMap(({ plural, name, acknowledged, deleted }) => {
    // A pod of its own dies with its node, and nobody makes it anew.
    if (acknowledged === 0 || (plural === 'pods' && deleted === 'no')) return []
    const object = world.watcher.list(plural).find(({ metadata }) => metadata.name === name)
    if (deleted === 'yes') return object === undefined ? [] : [`${plural}/${name} was deleted and is there`]
    if (object === undefined) return deleted === 'maybe' ? [] : [`${plural}/${name} was created and is gone`]
    const written = Number(object.metadata.annotations?.[WRITE] ?? 0)
    return written >= acknowledged ? [] : [`write ${acknowledged} of ${plural}/${name} is lost: ${written} stands`]
  })
}
