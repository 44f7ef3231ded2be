/** The scheduler on a real resources layer: it says why it cannot, tries again when that may help, and binds once. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findCondition } from '../../src/api/conditions.ts'
import type { Stored } from '../../src/api/meta.ts'
import { nodeKind } from '../../src/api/node.ts'
import { nodeNameSelector } from '../../src/api/node_selector.ts'
import { persistentVolumeKind } from '../../src/api/persistentvolume.ts'
import {
  type PersistentVolumeClaim,
  persistentVolumeClaimKind,
  SELECTED_NODE_ANNOTATION,
} from '../../src/api/persistentvolumeclaim.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { storageClassKind } from '../../src/api/storageclass.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import type { EventRecorder } from '../../src/resources/resources.ts'
import { createScheduler } from '../../src/scheduler/loop.ts'
import { newNode } from '../support/control_plane.ts'
import { eventually } from '../support/eventually.ts'
import { runResources, type TestResources } from '../support/resources.ts'

let test: TestResources
let stop: AbortController
let running: Promise<void>
let recorded: string[]
let writes: number

beforeEach(async () => {
  test = await runResources()
  recorded = []
  writes = 0
  stop = new AbortController()
  const election = await test.store.campaign('/test/leader', 'test', test.signal)
  const events: EventRecorder = {
    record: (about, _type, reason, message) => recorded.push(`${about.metadata.name} ${reason}: ${message}`),
  }
  const context = {
    resources: test.resources,
    clock: systemClock,
    random: seededRandom(3),
    log: silentLogger,
    fence: election.fence,
  }
  test.resources.subscribe(podKind, () => writes++)
  running = runServices([createScheduler({ ...context, events })], context, stop.signal)
})
afterEach(async () => {
  stop.abort()
  await running
  await test.stop()
})

const addNode = (name: string, cpu: string): Promise<unknown> => {
  const node = newNode(name, { cpu })
  return test.resources.create(nodeKind, { ...node, spec: { podCIDR: '10.244.0.0/24' } }, { internal: true })
}
const addPod = (name: string, cpu: string, spec: Partial<Pod['spec']> = {}): Promise<Stored<Pod>> =>
  test.resources.create(podKind, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: { containers: [{ name: 'main', image: 'web:1', resources: { requests: { cpu } } }], ...spec },
  })
const get = (name: string): Stored<Pod> | undefined => test.resources.get(podKind, 'default', name)
const isBound = (name: string): boolean => Boolean(get(name)?.spec.nodeName)
const scheduled = (name: string) => findCondition(get(name)?.status?.conditions, 'PodScheduled')

describe('the scheduler', () => {
  it('binds with one write that says both where and that', async () => {
    await addNode('n1', '4')
    const revisions: string[] = []
    test.resources.subscribe(podKind, ({ object }) => {
      const condition = findCondition(object.status?.conditions, 'PodScheduled')?.status
      revisions.push(`${object.spec.nodeName ?? '-'} ${condition ?? '-'}`)
    })
    await addPod('p', '1')
    await eventually(() => isBound('p'))
    await eventually(() => revisions.length === 2)
    expect(revisions).toEqual(['- -', 'n1 True'])
    expect(recorded).toEqual(['p Scheduled: Successfully assigned default/p to n1'])
  })

  it('says once why not, and binds when a node comes', async () => {
    await addPod('p', '2')
    await eventually(() => scheduled('p')?.reason === 'Unschedulable')
    expect(scheduled('p')).toMatchObject({
      status: 'False',
      message: '0/0 nodes are available: no node has joined the cluster yet.',
    })
    const before = writes
    await addNode('n1', '4')
    await eventually(() => isBound('p'))
    await eventually(() => writes === before + 1)
    expect(recorded).toEqual([
      'p FailedScheduling: 0/0 nodes are available: no node has joined the cluster yet.',
      'p Scheduled: Successfully assigned default/p to n1',
    ])
  })

  it('gives room to pods of more priority first, those that came first among equals', async () => {
    const order: string[] = []
    test.resources.subscribe(podKind, (event) => {
      if (event.type === 'MODIFIED' && !event.old.spec.nodeName && event.object.spec.nodeName)
        order.push(event.object.metadata.name)
    })
    await addPod('first', '1')
    await addPod('low', '1', { priority: -1 })
    await addPod('high', '1', { priority: 100 })
    await addPod('second', '1')
    await eventually(() => ['first', 'low', 'high', 'second'].every((name) => scheduled(name)?.status === 'False'))
    await addNode('n1', '3')
    await eventually(() => order.length === 3)
    expect(new Set(order)).toEqual(new Set(['high', 'first', 'second']))
    expect(isBound('low')).toBe(false)
  })

  it('tries again when a pod leaves or a node is uncordoned', async () => {
    await addNode('n1', '2')
    await addPod('first', '2')
    await eventually(() => isBound('first'))
    await addPod('second', '2')
    await eventually(() => scheduled('second')?.message === '0/1 nodes are available: 1 Insufficient cpu.')
    await test.resources.delete(podKind, 'default', 'first', { gracePeriodSeconds: 0 })
    await eventually(() => isBound('second'))
    const cordon = (unschedulable: boolean) =>
      test.resources.modify(nodeKind, '', 'n1', 'main', (node) => ({ ...node, spec: { ...node.spec, unschedulable } }))
    await cordon(true)
    await addPod('third', '0')
    await eventually(() => scheduled('third')?.message === '0/1 nodes are available: 1 node(s) were unschedulable.')
    await cordon(false)
    await eventually(() => isBound('third'))
  })

  it('never overcommits, however pods come', async () => {
    await Promise.all([addNode('n1', '10'), addNode('n2', '10')])
    await Promise.all(Array.from({ length: 30 }, (_, index) => addPod(`p${index}`, '1')))
    await eventually(() => test.resources.list(podKind).filter((pod) => pod.spec.nodeName).length === 20)
    await eventually(
      () =>
        test.resources.list(podKind).filter((pod) => scheduled(pod.metadata.name)?.status === 'False').length === 10,
    )
    for (const name of ['n1', 'n2']) expect(test.resources.podsOnNode(name)).toHaveLength(10)
  })

  it("leaves another scheduler's pods and those that are bound already", async () => {
    await addNode('n1', '4')
    await addPod('theirs', '1', { schedulerName: 'other' })
    await addPod('ours', '1')
    await eventually(() => isBound('ours'))
    expect(isBound('theirs')).toBe(false)
  })
})

describe('claims', () => {
  const addClass = () =>
    test.resources.create(storageClassKind, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: 'declared' },
      provisioner: 'kubernetes.io/no-provisioner',
      volumeBindingMode: 'WaitForFirstConsumer',
    })
  const addVolume = (name: string, nodeName?: string) =>
    test.resources.create(persistentVolumeKind, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name },
      spec: {
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOncePod'],
        storageClassName: 'declared',
        hostPath: { path: '/x' },
        ...(nodeName !== undefined && { nodeAffinity: { required: nodeNameSelector(nodeName) } }),
      },
    })
  const addClaim = (name: string) =>
    test.resources.create(persistentVolumeClaimKind, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name, namespace: 'default' },
      spec: {
        accessModes: ['ReadWriteOncePod'],
        resources: { requests: { storage: '1Gi' } },
        storageClassName: 'declared',
      },
    })
  /** As the volume controller does, which does not run here. */
  const bindClaim = async (name: string, volumeName: string): Promise<void> => {
    const change = (claim: PersistentVolumeClaim) => ({ ...claim, spec: { ...claim.spec, volumeName } })
    await test.resources.modify(persistentVolumeClaimKind, 'default', name, 'main', change)
    const status = { phase: 'Bound' as const }
    await test.resources.modify(persistentVolumeClaimKind, 'default', name, 'status', (claim) => ({ ...claim, status }))
  }
  const use = (name: string, claimName: string, cpu = '1') =>
    addPod(name, cpu, { volumes: [{ name: 'data', persistentVolumeClaim: { claimName } }] })
  const selected = (name: string) =>
    test.resources.get(persistentVolumeClaimKind, 'default', name)?.metadata.annotations?.[SELECTED_NODE_ANNOTATION]
  const said = (name: string): string => scheduled(name)?.message ?? ''
  const busy = (user: string) =>
    `0/1 nodes are available: persistentvolumeclaim "one" is ReadWriteOncePod, and pod ${user} uses it.`

  beforeEach(async () => {
    await addClass()
    await addVolume('v1')
    await addClaim('one')
  })

  it('of one pod alone are given to one of those that wait together, and to the next when it has gone', async () => {
    await bindClaim('one', 'v1')
    for (const [name, cpu] of [
      ['large', '64'],
      ['a', '1'],
      ['b', '1'],
    ] as const)
      await use(name, 'one', cpu)
    await eventually(() => ['large', 'a', 'b'].every((name) => said(name).startsWith('0/0 nodes')))
    await addNode('n1', '4')
    await eventually(() => isBound('a') && said('b') === busy('a'))
    await test.resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 0 })
    await eventually(() => isBound('b'))
    expect(isBound('large')).toBe(false)
  })

  it('of one pod alone are kept for a pod that is being bound', async () => {
    await addNode('n1', '4')
    await use('a', 'one')
    await eventually(() => selected('one') === 'n1')
    await use('b', 'one')
    await eventually(() => said('b') === busy('a'))
    await bindClaim('one', 'v1')
    await eventually(() => isBound('a'))
    expect(isBound('b')).toBe(false)
  })

  it('take their pod along when they were bound to a volume of another node', async () => {
    await addNode('n1', '4')
    await addNode('n2', '4')
    await use('a', 'one')
    const chosen = await eventually(() => selected('one'))
    const other = chosen === 'n1' ? 'n2' : 'n1'
    await addVolume('away', other)
    await bindClaim('one', 'away')
    await eventually(() => isBound('a'))
    expect(get('a')?.spec.nodeName).toBe(other)
  })

  it('are not promised a volume that was promised to a pod that is being bound', async () => {
    await addNode('n1', '4')
    await addClaim('two')
    await use('a', 'one')
    await eventually(() => selected('one') === 'n1')
    await use('b', 'two')
    const refusal = "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind."
    await eventually(() => said('b') === refusal)
    expect(selected('two')).toBeUndefined()
    await addVolume('v2')
    await eventually(() => selected('two') === 'n1')
  })
})
