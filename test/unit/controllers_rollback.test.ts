/** Rollouts that go back by themselves, rolls for a changed configuration, drained nodes: through all controllers. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findCondition, isPodReady } from '../../src/api/conditions.ts'
import { configMapKind } from '../../src/api/configmap.ts'
import { type Deployment, deploymentKind } from '../../src/api/deployment.ts'
import { eventKind } from '../../src/api/event.ts'
import { ANNOTATION } from '../../src/api/names.ts'
import { namespaceKind } from '../../src/api/namespace.ts'
import { nodeKind } from '../../src/api/node.ts'
import type { Pod, PodTemplateSpec } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { replicaSetKind } from '../../src/api/replicaset.ts'
import { rolloutState } from '../../src/cli/rollout_status.ts'
import { type ControlPlane, newDeployment, startControlPlane, template } from '../support/control_plane.ts'
import { eventually } from '../support/eventually.ts'

let plane: ControlPlane

beforeEach(async () => {
  plane = await startControlPlane()
  for (const name of ['n1', 'n2', 'n3']) await plane.addNode(name)
})
afterEach(() => plane.stop())

const rolledOut = (name: string) =>
  eventually(() => rolloutState(plane.deployment(name)).done && condition(name, 'Progressing')?.status === 'True')

const condition = (name: string, type: string) => findCondition(plane.deployment(name).status?.conditions, type)

const setTemplate = (name: string, podTemplate: PodTemplateSpec) =>
  plane.resources.modify(deploymentKind, 'default', name, 'main', (current) => ({
    ...current,
    spec: { ...current.spec, template: podTemplate },
  }))
const setImage = (name: string, image: string) => setTemplate(name, template({ app: name }, image))

const active = (): Pod[] => plane.pods().filter((pod) => pod.metadata.deletionTimestamp === undefined)
const images = (): string[] => active().map((pod) => pod.spec.containers[0]?.image ?? '')
const onlyRuns = (image: string, count = 3) =>
  eventually(() => images().length === count && images().every((each) => each === image))

async function create(name: string, annotations: Record<string, string>, spec: Partial<Deployment['spec']> = {}) {
  const deployment = newDeployment(name, spec)
  await plane.resources.create(deploymentKind, { ...deployment, metadata: { ...deployment.metadata, annotations } })
}

const AUTO = { [ANNOTATION.autoRollback]: 'true' }

describe('automatic rollback', () => {
  it('goes back when a rollout does not progress, and stays there through a failover until the template changes', async () => {
    await create('web', AUTO, { progressDeadlineSeconds: 1 })
    await rolledOut('web')
    await setImage('web', 'broken:1')
    const rolledBack = await eventually(() => condition('web', 'RolledBack'))
    expect(rolledBack).toMatchObject({ status: 'True', reason: 'ProgressDeadlineExceeded' })
    expect(rolledBack.message).toMatch(
      /Revision 2 \(web-\S+\) failed: no progress within 1 s; web-\S+, last available as revision 1/,
    )
    await onlyRuns('web:1')
    // What the user wrote stands; that it did not come about is what `rollout status` tells.
    expect(plane.deployment('web').spec.template.spec.containers[0]?.image).toBe('broken:1')
    expect(rolloutState(plane.deployment('web'))).toMatchObject({
      failed: true,
      message: expect.stringContaining('Revision 2'),
    })
    const events = await eventually(() => {
      const found = plane.resources.list(eventKind).filter(({ reason }) => reason === 'RolledBack')
      return found.length > 0 && found
    })
    expect(events).toHaveLength(1)

    await plane.restart()
    await plane.resources.modify(deploymentKind, 'default', 'web', 'main', (current) => ({
      ...current,
      spec: { ...current.spec, replicas: 4 },
    }))
    await onlyRuns('web:1', 4)
    await setImage('web', 'broken:1')
    expect(condition('web', 'RolledBack')?.status).toBe('True')
    expect(images()).not.toContain('broken:1')

    await setImage('web', 'web:3')
    await rolledOut('web')
    await onlyRuns('web:3', 4)
    expect(condition('web', 'RolledBack')).toBeUndefined()
  })

  it('goes back when new pods crash again and again, as its namespace asks', async () => {
    await plane.resources.modify(namespaceKind, '', 'default', 'main', (current) => ({
      ...current,
      metadata: { ...current.metadata, annotations: AUTO },
    }))
    await create('web', {})
    await create('other', { [ANNOTATION.autoRollback]: 'false' })
    await rolledOut('web')
    await rolledOut('other')
    await setImage('web', 'broken:1')
    await setImage('other', 'broken:2')
    const crash = async (image: string): Promise<void> => {
      const pod = await eventually(() => active().find((each) => each.spec.containers[0]?.image === image))
      await eventually(async () => {
        const changed = await plane.resources.modify<Pod>(
          podKind,
          'default',
          pod.metadata.name ?? '',
          'status',
          (current) => {
            if (current.status?.phase !== 'Running') return undefined
            const lastState = { terminated: { exitCode: 3 } }
            const crashed = { name: 'main', image, imageID: '', ready: false, restartCount: 3, lastState }
            return { ...current, status: { ...current.status, containerStatuses: [crashed] } }
          },
        )
        return changed.status?.containerStatuses !== undefined
      })
    }
    await crash('broken:2')
    await crash('broken:1')
    expect((await eventually(() => condition('web', 'RolledBack'))).message).toMatch(
      /container main of pod web-\S+ was restarted 3 times, last with exit code 3/,
    )
    expect(condition('web', 'RolledBack')?.reason).toBe('CrashLoop')
    await eventually(() => !images().includes('broken:1'))
    expect(condition('other', 'RolledBack')).toBeUndefined()
    expect(images()).toContain('broken:2')
  })

  it('has nowhere to go from a first revision', async () => {
    await create('web', AUTO, { progressDeadlineSeconds: 1, template: template({ app: 'web' }, 'broken:1') })
    await eventually(() => condition('web', 'Progressing')?.reason === 'ProgressDeadlineExceeded')
    expect(condition('web', 'RolledBack')).toBeUndefined()
    expect(plane.resources.list(replicaSetKind)).toHaveLength(1)
  })

  it('does not lose its memory to the limit of kept revisions', async () => {
    await create('web', AUTO, { progressDeadlineSeconds: 1, revisionHistoryLimit: 0 })
    await rolledOut('web')
    await setImage('web', 'broken:1')
    await eventually(() => condition('web', 'RolledBack'))
    await onlyRuns('web:1')
    await eventually(() => plane.deployment('web').status?.availableReplicas === 3)
    expect(plane.resources.list(replicaSetKind)).toHaveLength(2)
    expect(condition('web', 'RolledBack')?.status).toBe('True')
  })
})

describe('rolls for a changed configuration', () => {
  const reads = (name: string): PodTemplateSpec => {
    const plain = template({ app: name })
    const containers = plain.spec.containers.map((container) => ({
      ...container,
      envFrom: [{ configMapRef: { name: 'settings' } }],
    }))
    return { ...plain, spec: { ...plain.spec, containers } }
  }
  const settings = (color: string) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'settings', namespace: 'default' },
    data: { color },
  })
  const uids = (name: string): string[] =>
    active().flatMap(({ metadata }) => (metadata.labels?.app === name ? [metadata.uid ?? ''] : []))

  it('reach just the workloads that read it and ask for it', async () => {
    const ROLLS = { [ANNOTATION.rollOnConfigChange]: 'true' }
    await plane.resources.create(configMapKind, settings('blue'))
    await create('rolls', ROLLS, { template: reads('rolls'), replicas: 2 })
    await create('stays', {}, { template: reads('stays'), replicas: 1 })
    await create('reads-nothing', ROLLS, { replicas: 1 })
    for (const name of ['rolls', 'stays', 'reads-nothing']) await rolledOut(name)
    const before = { rolls: uids('rolls'), stays: uids('stays'), 'reads-nothing': uids('reads-nothing') }

    await plane.resources.update(configMapKind, settings('red'), 'main')
    await eventually(() => uids('rolls').length === 2 && uids('rolls').every((uid) => !before.rolls.includes(uid)))
    expect(uids('stays')).toEqual(before.stays)
    expect(uids('reads-nothing')).toEqual(before['reads-nothing'])
    expect(plane.deployment('rolls').spec.template.metadata?.annotations).toBeUndefined()

    // Nothing is made anew for what could not start.
    await rolledOut('rolls')
    const sets = plane.resources.list(replicaSetKind).length
    await plane.resources.delete(configMapKind, 'default', 'settings')
    await setTemplate('stays', template({ app: 'stays' }, 'web:2'))
    await rolledOut('stays')
    expect(plane.resources.list(replicaSetKind)).toHaveLength(sets + 1)
  })
})

describe('a node that is drained', () => {
  it('loses its pods only as they are replaced, and gets none', async () => {
    await plane.resources.create(deploymentKind, newDeployment('web'))
    await rolledOut('web')
    let leastReady = 99
    const stop = plane.resources.subscribe(podKind, () => {
      leastReady = Math.min(leastReady, active().filter(isPodReady).length)
    })
    await plane.resources.modify(nodeKind, '', 'n1', 'main', (node) => ({
      ...node,
      metadata: { ...node.metadata, annotations: { ...node.metadata.annotations, [ANNOTATION.draining]: 'now' } },
      spec: { ...node.spec, unschedulable: true },
    }))
    await eventually(
      () => active().every((pod) => pod.spec.nodeName !== 'n1') && active().filter(isPodReady).length === 3,
    )
    stop()
    expect(leastReady).toBe(3)
    expect(plane.resources.list(replicaSetKind)).toHaveLength(1)
  })
})
