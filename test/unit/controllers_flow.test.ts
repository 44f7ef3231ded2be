/** Flows through all controllers and the scheduler: what users do to a deployment, and what then stands in the store. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findCondition, isPodReady } from '../../src/api/conditions.ts'
import { type Deployment, deploymentKind } from '../../src/api/deployment.ts'
import { endpointSliceKind } from '../../src/api/endpointslice.ts'
import { eventKind } from '../../src/api/event.ts'
import { ANNOTATION } from '../../src/api/names.ts'
import { namespaceKind } from '../../src/api/namespace.ts'
import { nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { replicaSetKind } from '../../src/api/replicaset.ts'
import { serviceKind } from '../../src/api/service.ts'
import { type ControlPlane, newDeployment, startControlPlane, template } from '../support/control_plane.ts'
import { eventually } from '../support/eventually.ts'

let plane: ControlPlane

beforeEach(async () => {
  plane = await startControlPlane()
  for (const name of ['n1', 'n2', 'n3']) await plane.addNode(name)
})
afterEach(() => plane.stop())

/** As `kubectl rollout status` reads it. */
function isRolledOut({ metadata, spec, status = {} }: Deployment): boolean {
  const replicas = spec.replicas ?? 1
  return (
    (status.observedGeneration ?? 0) >= (metadata.generation ?? 0) &&
    (status.updatedReplicas ?? 0) >= replicas &&
    (status.replicas ?? 0) <= (status.updatedReplicas ?? 0) &&
    (status.availableReplicas ?? 0) >= (status.updatedReplicas ?? 0)
  )
}

const rolledOut = (name: string) =>
  eventually(() => {
    const deployment = plane.deployment(name)
    return isRolledOut(deployment) && deployment
  })

const setImage = (name: string, image: string) =>
  plane.resources.modify(deploymentKind, 'default', name, 'main', (current) => ({
    ...current,
    spec: { ...current.spec, template: template({ app: name }, image) },
  }))

const images = (): string[] => plane.pods().map((pod) => pod.spec.containers[0]?.image ?? '')
const active = (pods: readonly Pod[]): Pod[] =>
  pods.filter((pod) => pod.metadata.deletionTimestamp === undefined && pod.status?.phase !== 'Failed')

describe('a deployment', () => {
  it('becomes pods on different nodes', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    const deployment = await rolledOut('web')
    expect(new Set(plane.pods().map((pod) => pod.spec.nodeName))).toEqual(new Set(['n1', 'n2', 'n3']))
    expect(deployment.metadata.annotations?.[ANNOTATION.revision]).toBe('1')
    const progressing = await eventually(() => {
      const found = findCondition(plane.deployment('web').status?.conditions, 'Progressing')
      return found?.reason === 'NewReplicaSetAvailable' && found
    })
    expect(progressing.status).toBe('True')
    const scheduled = plane.pods().map((pod) => findCondition(pod.status?.conditions, 'PodScheduled')?.status)
    expect(scheduled).toEqual(['True', 'True', 'True'])
  })

  it('rolls over without ever going below or above its bounds, through a failover', async () => {
    const strategy = { type: 'RollingUpdate' as const, rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } }
    await plane.resources.create(deploymentKind, newDeployment('web', { replicas: 6, strategy }))
    await rolledOut('web')
    const seen = { leastReady: 99, mostActive: 0 }
    const stop = plane.resources.subscribe(podKind, () => {
      const pods = active(plane.pods())
      seen.leastReady = Math.min(seen.leastReady, pods.filter(isPodReady).length)
      seen.mostActive = Math.max(seen.mostActive, pods.length)
    })
    await setImage('web', 'web:2')
    await eventually(() => images().includes('web:2'))
    await plane.restart()
    await rolledOut('web')
    await eventually(() => images().every((image) => image === 'web:2') && plane.pods().length === 6)
    stop()
    expect(seen.leastReady).toBe(6)
    expect(seen.mostActive).toBe(7)
    expect(plane.deployment('web').metadata.annotations?.[ANNOTATION.revision]).toBe('2')
  })

  it('goes back to an old template with a new revision, as undo does', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await rolledOut('web')
    await setImage('web', 'web:2')
    await rolledOut('web')
    await setImage('web', 'web:1')
    await rolledOut('web')
    await eventually(() => images().every((image) => image === 'web:1'))
    const sets = plane.resources.list(replicaSetKind)
    expect(sets).toHaveLength(2)
    const current = sets.find((set) => set.spec.replicas === 3)
    expect(current?.metadata.annotations?.[ANNOTATION.revision]).toBe('3')
    expect(current?.metadata.annotations?.['deployment.kubernetes.io/revision-history']).toBe('1')
  })

  it('keeps old pods when the new ones never become ready, and says that it does not progress', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web', { progressDeadlineSeconds: 1 }))
    await rolledOut('web')
    await setImage('web', 'broken:1')
    await eventually(() => {
      const progressing = findCondition(plane.deployment('web').status?.conditions, 'Progressing')
      return progressing?.reason === 'ProgressDeadlineExceeded'
    })
    expect(active(plane.pods()).filter(isPodReady)).toHaveLength(3)
    await setImage('web', 'web:3')
    await rolledOut('web')
  })

  it('scales up and down, keeping nodes even', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web', { replicas: 1 }))
    const scale = (replicas: number) =>
      plane.resources.modify(deploymentKind, 'default', 'web', 'main', (current) => ({
        ...current,
        spec: { ...current.spec, replicas },
      }))
    await scale(9)
    await rolledOut('web')
    await scale(3)
    await eventually(() => plane.pods().length === 3)
    expect(new Set(plane.pods().map((pod) => pod.spec.nodeName)).size).toBe(3)
    await scale(0)
    await eventually(() => plane.pods().length === 0)
    const deployment = await eventually(() => {
      const found = plane.deployment('web')
      return found.status?.replicas === 0 && found
    })
    expect(deployment.status?.availableReplicas).toBe(0)
  })

  it('with Recreate never runs two templates at once', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web', { strategy: { type: 'Recreate' } }))
    await rolledOut('web')
    const mixtures: string[][] = []
    const stop = plane.resources.subscribe(podKind, () => {
      const kinds = [...new Set(images())]
      if (kinds.length > 1) mixtures.push(kinds)
    })
    await setImage('web', 'web:2')
    await rolledOut('web')
    stop()
    expect(mixtures).toEqual([])
  })

  it('stops while paused and goes on when resumed', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await rolledOut('web')
    const pause = (paused: boolean) =>
      plane.resources.modify(deploymentKind, 'default', 'web', 'main', (current) => ({
        ...current,
        spec: { ...current.spec, paused },
      }))
    await pause(true)
    await setImage('web', 'web:2')
    await eventually(() => {
      const { status, metadata } = plane.deployment('web')
      return status?.observedGeneration === metadata.generation
    })
    expect(plane.resources.list(replicaSetKind)).toHaveLength(1)
    await pause(false)
    await eventually(() => images().length === 3 && images().every((image) => image === 'web:2'))
  })

  it('takes its replica sets and pods along when it is deleted', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await rolledOut('web')
    await plane.resources.delete(deploymentKind, 'default', 'web', { propagation: 'Background' })
    await eventually(() => plane.pods().length === 0 && plane.resources.list(replicaSetKind).length === 0)
  })

  it('goes last under foreground deletion', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await rolledOut('web')
    const order: string[] = []
    const stops = [deploymentKind, replicaSetKind, podKind].map((kind) =>
      plane.resources.subscribe(kind as typeof podKind, ({ type, object }) => {
        if (type === 'DELETED') order.push(object.kind)
      }),
    )
    await plane.resources.delete(deploymentKind, 'default', 'web', { propagation: 'Foreground' })
    await eventually(() => order.includes('Deployment'))
    for (const stop of stops) stop()
    expect(order.at(-1)).toBe('Deployment')
    expect(order).toEqual(['Pod', 'Pod', 'Pod', 'ReplicaSet', 'Deployment'])
  })

  it('leaves its replica sets behind under orphan deletion', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await rolledOut('web')
    await plane.resources.delete(deploymentKind, 'default', 'web', { propagation: 'Orphan' })
    await eventually(() => plane.resources.list(deploymentKind).length === 0)
    const [set] = plane.resources.list(replicaSetKind)
    expect(set?.metadata.ownerReferences).toBeUndefined()
    expect(plane.pods()).toHaveLength(3)
    // A deployment of the same selector and template takes them up again.
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await eventually(() => {
      const [adopted] = plane.resources.list(replicaSetKind)
      return adopted?.metadata.ownerReferences?.[0]?.kind === 'Deployment'
    })
    await rolledOut('web')
    expect(plane.resources.list(replicaSetKind)).toHaveLength(1)
  })

  it('replaces a pod that is deleted, and lets go of one whose labels change', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await rolledOut('web')
    const [first, second] = plane.pods()
    await plane.resources.delete(podKind, 'default', first?.metadata.name ?? '')
    await plane.resources.modify(podKind, 'default', second?.metadata.name ?? '', 'main', (pod) => ({
      ...pod,
      metadata: { ...pod.metadata, labels: { app: 'other' } },
    }))
    const name = second?.metadata.name ?? ''
    await eventually(() => {
      const released = plane.resources.get(podKind, 'default', name)
      return released !== undefined && released.metadata.ownerReferences === undefined
    })
    await eventually(() => active(plane.pods()).filter((pod) => pod.metadata.labels?.app === 'web').length === 3)
    await rolledOut('web')
  })
})

describe('endpoint slices', () => {
  const ready = (): string[] =>
    plane.resources
      .list(endpointSliceKind)
      .flatMap((slice) => slice.endpoints ?? [])
      .filter((endpoint) => endpoint.conditions?.ready === true)
      .flatMap((endpoint) => endpoint.addresses)

  it('follow the pods of their service and end with it', async () => {
    await plane.resources.create(serviceKind, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'default' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
    })
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await eventually(() => ready().length === 3)
    const [slice] = plane.resources.list(endpointSliceKind)
    expect(slice?.ports).toEqual([{ name: '', port: 8080, protocol: 'TCP' }])
    expect(slice?.metadata.labels?.['kubernetes.io/service-name']).toBe('web')
    const gone = plane.pods()[0]?.status?.podIP ?? ''
    await plane.resources.delete(podKind, 'default', plane.pods()[0]?.metadata.name ?? '')
    await eventually(() => ready().length === 3 && !ready().includes(gone))
    await plane.resources.delete(serviceKind, 'default', 'web')
    await eventually(() => plane.resources.list(endpointSliceKind).length === 0)
  })
})

describe('nodes', () => {
  it('each get a range of their own', async () => {
    await eventually(() => {
      const ranges = plane.resources.list(nodeKind).map((node) => node.spec?.podCIDR)
      return new Set(ranges).size === 3 && !ranges.includes(undefined)
    })
  })

  it('lose their pods at once when they are lost, and the pods come back elsewhere', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await rolledOut('web')
    plane.agents.dead.add('n1')
    await plane.setNodeReady('n1', 'Unknown')
    await eventually(() => plane.pods().length === 3 && plane.pods().every((pod) => pod.spec.nodeName !== 'n1'))
    await rolledOut('web')
    const taints = plane.resources.get(nodeKind, '', 'n1')?.spec?.taints?.map(({ key, effect }) => `${key}:${effect}`)
    expect(taints).toEqual(['node.kubernetes.io/unreachable:NoSchedule', 'node.kubernetes.io/unreachable:NoExecute'])
    plane.agents.dead.clear()
    await plane.setNodeReady('n1', 'True')
    await eventually(() => plane.resources.get(nodeKind, '', 'n1')?.spec?.taints === undefined)
  })

  it('give tolerant pods back to traffic when they return', async () => {
    const base = newDeployment('web').spec.template
    const tolerant = { ...base, spec: { ...base.spec, tolerations: [{ operator: 'Exists' as const }] } }
    await plane.resources.create(deploymentKind, newDeployment('web', { template: tolerant }))
    await rolledOut('web')
    const lost = plane.pods().find((pod) => pod.spec.nodeName === 'n1')
    const current = (): Pod | undefined => plane.pods().find((pod) => pod.metadata.uid === lost?.metadata.uid)
    await plane.setNodeReady('n1', 'Unknown')
    await eventually(() => findCondition(current()?.status?.conditions, 'Ready')?.reason === 'NodeNotReady')
    await plane.setNodeReady('n1', 'True')
    await eventually(() => {
      const pod = current()
      return pod !== undefined && isPodReady(pod)
    })
  })

  it('give a pod whose readiness gates do not hold no traffic when they return', async () => {
    const base = newDeployment('web').spec.template
    const readinessGates = [{ conditionType: 'example.com/registered' }]
    const tolerant = { ...base, spec: { ...base.spec, readinessGates, tolerations: [{ operator: 'Exists' as const }] } }
    await plane.resources.create(deploymentKind, newDeployment('web', { replicas: 1, template: tolerant }))
    const ready = () => findCondition(plane.pods()[0]?.status?.conditions, 'Ready')
    await eventually(() => ready()?.status === 'True')
    const [pod] = plane.pods()
    const name = pod?.spec.nodeName ?? ''
    const containersReady = { type: 'ContainersReady', status: 'True' as const }
    await plane.resources.modify<Pod>(podKind, 'default', pod?.metadata.name ?? '', 'status', (current) => ({
      ...current,
      status: { ...current.status, conditions: [...(current.status?.conditions ?? []), containersReady] },
    }))
    await plane.setNodeReady(name, 'Unknown')
    await eventually(() => ready()?.reason === 'NodeNotReady')
    await plane.setNodeReady(name, 'True')
    await eventually(() => ready()?.reason === 'ReadinessGatesNotReady')
    expect(ready()?.message).toContain('"example.com/registered" does not exist.')
  })

  it('keep their pods when all of them vanish together', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await rolledOut('web')
    const before = plane.pods().map((pod) => pod.metadata.uid)
    for (const name of ['n1', 'n2', 'n3']) plane.agents.dead.add(name)
    await Promise.all(['n1', 'n2', 'n3'].map((name) => plane.setNodeReady(name, 'Unknown')))
    await eventually(() => plane.resources.list(nodeKind).every((node) => node.spec?.taints?.length === 2))
    await eventually(() => plane.resources.list(eventKind).some((event) => event.reason === 'EvictionsStopped'))
    expect(plane.pods().map((pod) => pod.metadata.uid)).toEqual(before)
  })

  it('that are deleted take their pods along', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await rolledOut('web')
    await plane.resources.delete(nodeKind, '', 'n2')
    await eventually(() => plane.pods().length === 3 && plane.pods().every((pod) => pod.spec.nodeName !== 'n2'))
  })
})

describe('a namespace', () => {
  it('ends with everything in it', async () => {
    const namespace = 'drvt-team'
    await plane.resources.create(namespaceKind, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: namespace },
    })
    const deployment = newDeployment('web')
    await plane.resources.create(deploymentKind, { ...deployment, metadata: { name: 'web', namespace } })
    await eventually(() => plane.pods(namespace).filter(isPodReady).length === 3)
    await plane.resources.delete(namespaceKind, '', namespace)
    await eventually(() => plane.resources.get(namespaceKind, '', namespace) === undefined)
    expect(plane.pods(namespace)).toEqual([])
    expect(plane.resources.list(replicaSetKind, { namespace })).toEqual([])
  })
})
