/** What the control plane owes an exclusive pod on a lost node: patience, then a mark before force. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findCondition, withCondition } from '../../src/api/conditions.ts'
import { fenceAfterMs } from '../../src/api/exclusive.ts'
import { TRACKING_FINALIZER } from '../../src/api/job.ts'
import type { Stored } from '../../src/api/meta.ts'
import { ANNOTATION } from '../../src/api/names.ts'
import { nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import type { ReplicaSet } from '../../src/api/replicaset.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { createNodeLifecycleController } from '../../src/controllers/node/lifecycle.ts'
import { planReplicaSet } from '../../src/controllers/replicaset/plan.ts'
import { createEventRecorder } from '../../src/resources/events.ts'
import type { Fence } from '../../src/store/store.ts'
import { newNode } from '../support/control_plane.ts'
import { createManualClock, type ManualClock } from '../support/manual_clock.ts'
import { runResources, type TestResources } from '../support/resources.ts'

let test: TestResources
let clock: ManualClock
let leader: AbortController
let fence: Fence
let leading: Promise<void>

beforeEach(async () => {
  test = await runResources()
  clock = createManualClock()
  fence = (await test.store.campaign('/test/leader', 'test', test.signal)).fence
  for (const name of ['n1', 'n2', 'n3']) await test.resources.create(nodeKind, newNode(name), { internal: true })
  lead()
})
afterEach(async () => {
  await depose()
  await test.stop()
})

/** A leader begins. */
function lead(): void {
  leader = new AbortController()
  const context = { resources: test.resources, clock, random: seededRandom(1), log: silentLogger }
  const events = createEventRecorder({ ...context, component: 'test' })
  const controller = createNodeLifecycleController({ ...context, events, fence })
  leading = controller.run(leader.signal)
}

async function depose(): Promise<void> {
  leader.abort()
  await pass(0)
  await leading
}

async function pass(ms: number): Promise<void> {
  await clock.advance(ms)
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
}

async function bound(name: string, exclusive: boolean): Promise<void> {
  const annotations = { [ANNOTATION.exclusive]: String(exclusive) }
  await test.resources.create(podKind, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', annotations },
    spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'x:1' }] },
  })
}

async function nodeReady(status: 'True' | 'Unknown'): Promise<void> {
  await test.resources.modify(nodeKind, '', 'n1', 'status', (node) => ({
    ...node,
    status: {
      ...node.status,
      conditions: [...withCondition(node.status?.conditions, { type: 'Ready', status, reason: 'Test' }, clock.now())],
    },
  }))
  await pass(0)
}

const find = (name: string): Pod | undefined => test.resources.get(podKind, 'default', name)

describe('a lost node', () => {
  it('gives up ordinary pods at once, exclusive ones after the fence time', async () => {
    await bound('plain', false)
    await bound('db', true)
    await nodeReady('Unknown')
    expect([find('plain') === undefined, find('db')?.metadata.deletionTimestamp]).toEqual([true, undefined])
    await pass(fenceAfterMs() - 100)
    expect(find('db')?.metadata.deletionTimestamp).toBeUndefined()
    await pass(200)
    expect(find('db')).toBeUndefined()
  })

  it('that comes back before keeps its exclusive pods, and the next loss counts anew', async () => {
    await bound('db', true)
    await nodeReady('Unknown')
    await pass(fenceAfterMs() - 1_000)
    await nodeReady('True')
    await pass(fenceAfterMs())
    expect(find('db')?.metadata.deletionTimestamp).toBeUndefined()
    await nodeReady('Unknown')
    await pass(fenceAfterMs() - 100)
    expect(find('db')?.metadata.deletionTimestamp).toBeUndefined()
    await pass(200)
    expect(find('db')).toBeUndefined()
  })

  it('that comes back while its pod is being marked ends the pod itself', async () => {
    await bound('db', true)
    await nodeReady('Unknown')
    // The controller has found it lost; it is back before the mark is written.
    const mark = test.resources.delete
    let back: Promise<unknown> | undefined
    test.resources.delete = async (...asked) => {
      back ??= nodeReadyNow()
      await back
      return mark(...asked)
    }
    await pass(fenceAfterMs() + 100)
    await pass(60_000)
    expect(back).toBeDefined()
    expect(find('db')?.metadata.deletionTimestamp).toBeDefined()
  })

  it('is waited for in full by a new leader, and so is a node whose object was deleted', async () => {
    await bound('db', true)
    await nodeReady('Unknown')
    await pass(fenceAfterMs() - 100)
    await depose()
    lead()
    await pass(fenceAfterMs() - 100)
    expect(find('db')?.metadata.deletionTimestamp).toBeUndefined()
    await test.resources.delete(nodeKind, '', 'n1')
    await depose()
    lead()
    await pass(fenceAfterMs() - 100)
    expect(find('db')?.metadata.deletionTimestamp).toBeUndefined()
    await pass(200)
    expect(find('db')).toBeUndefined()
  })

  it('does not lose a pod that was told to end before, at the end of its grace alone', async () => {
    await bound('db', true)
    await test.resources.delete(podKind, 'default', 'db', { gracePeriodSeconds: 1 })
    await nodeReady('Unknown')
    await pass(fenceAfterMs() - 100)
    expect(find('db')).toBeDefined()
    await pass(200)
    expect(find('db')).toBeUndefined()
  })
})

describe('a pod that goes with its node or for its taints', () => {
  const target = (name: string) => {
    const { status, reason } = findCondition(find(name)?.status?.conditions, 'DisruptionTarget') ?? {}
    return { ending: find(name)?.metadata.deletionTimestamp !== undefined, status, reason }
  }
  // It stays to be seen.
  const job = async (name: string): Promise<void> => {
    await bound(name, false)
    await test.resources.modify(podKind, 'default', name, 'main', (pod) => ({
      ...pod,
      metadata: { ...pod.metadata, finalizers: [TRACKING_FINALIZER] },
    }))
  }
  const byTaint = { ending: true, status: 'True', reason: 'DeletionByTaintManager' }

  it('says before that it is no fault of its own', async () => {
    await job('lost')
    await nodeReady('Unknown')
    expect(target('lost')).toEqual(byTaint)
    await nodeReady('True')
    await job('tainted')
    expect(target('tainted')).toEqual({ ending: false })
    await test.resources.modify(nodeKind, '', 'n1', 'main', (node) => ({
      ...node,
      spec: { ...node.spec, taints: [{ key: 'mine', effect: 'NoExecute' as const }] },
    }))
    await pass(0)
    expect(target('tainted')).toEqual(byTaint)
  })

  it('says so too when the node is no more, but not when it was told to end before', async () => {
    await job('alone')
    await job('deleted')
    await test.resources.delete(podKind, 'default', 'deleted')
    await test.resources.delete(nodeKind, '', 'n1')
    await pass(0)
    expect(target('alone')).toEqual({ ending: true, status: 'True', reason: 'DeletionByPodGC' })
    expect(target('deleted')).toEqual({ ending: true })
  })
})

function nodeReadyNow(): Promise<unknown> {
  return test.resources.modify(nodeKind, '', 'n1', 'status', (node) => ({
    ...node,
    status: { ...node.status, conditions: [{ type: 'Ready', status: 'True' as const }] },
  }))
}

describe('a ReplicaSet of exclusive pods', () => {
  const meta = (name: string) => ({
    name,
    namespace: 'default',
    uid: name,
    resourceVersion: '1',
    creationTimestamp: '2026-01-01T00:00:00Z',
  })
  const set = (exclusive: boolean): Stored<ReplicaSet> => ({
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: meta('set'),
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: 'x' } },
      template: {
        metadata: { labels: { app: 'x' }, annotations: { [ANNOTATION.exclusive]: String(exclusive) } },
        spec: { containers: [{ name: 'main', image: 'x:1' }] },
      },
    },
  })
  const pod = (ending: boolean): Stored<Pod> => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...meta('pod'), ...(ending && { deletionTimestamp: '2026-01-01T00:00:00Z' }) },
    spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'x:1' }] },
    status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
  })
  const plan = (exclusive: boolean, ending: boolean, drained: boolean) => {
    const drainingNodes = new Set(drained ? ['n1'] : [])
    const snapshot = {
      replicaSet: set(exclusive),
      pods: [pod(ending)],
      podsPerNode: new Map(),
      drainingNodes,
      nowMs: 0,
    }
    const planned = planReplicaSet(snapshot)
    return { create: planned.create, delete: planned.delete.length + planned.drain.length }
  }
  it.each([
    ['ordinary, ending: replaced at once', false, true, false, { create: 1, delete: 0 }],
    ['exclusive, ending: waited for', true, true, false, { create: 0, delete: 0 }],
    ['ordinary, drained: replaced first', false, false, true, { create: 1, delete: 0 }],
    ['exclusive, drained: ended first', true, false, true, { create: 0, delete: 1 }],
    ['exclusive, running: left alone', true, false, false, { create: 0, delete: 0 }],
  ])('%s', (_name, exclusive, ending, drained, expected) => {
    expect(plan(exclusive, ending, drained)).toEqual(expected)
  })
})
