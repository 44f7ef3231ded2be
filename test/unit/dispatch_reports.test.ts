import { afterEach, describe, expect, test } from 'vitest'
import { findCondition, withCondition } from '../../src/api/conditions.ts'
import { nodeKind } from '../../src/api/node.ts'
import type { PodStatus } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { SESSION_ANNOTATION } from '../../src/dispatch/node_object.ts'
import { PodReports } from '../../src/dispatch/pod_reports.ts'
import { jsonBytes } from '../../src/rpc/messages.ts'
import { newNode } from '../support/control_plane.ts'
import { eventually } from '../support/eventually.ts'
import { runResources, type TestResources } from '../support/resources.ts'

const SERVER = 'server-1'
const RUNNING: PodStatus = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] }
const PENDING: PodStatus = { phase: 'Pending', conditions: [{ type: 'Ready', status: 'False' }] }

describe('reports of pods', () => {
  let world: TestResources
  const stop = new AbortController()
  afterEach(async () => {
    stop.abort()
    await world.stop()
  })

  test('the last word of a node stands, though a server of the past writes an older one over it', async () => {
    world = await runResources()
    const { resources } = world
    const node = newNode('n1')
    const metadata = { ...node.metadata, annotations: { [SESSION_ANNOTATION]: SERVER } }
    await resources.create(nodeKind, { ...node, metadata }, { internal: true })
    const pod = await resources.create(podKind, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web', namespace: 'default' },
      spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'web:1' }] },
    })
    const reports = new PodReports({
      resources,
      clock: systemClock,
      random: seededRandom(1),
      log: silentLogger,
      serverId: SERVER,
      needsRoute: () => false,
    })
    const unsubscribe = reports.subscribe()
    void reports.run(stop.signal)
    const phase = () => resources.get(podKind, 'default', 'web')?.status?.phase
    const { uid } = pod.metadata
    reports.take('n1', [{ namespace: 'default', name: 'web', uid, statusJson: jsonBytes(RUNNING), removed: false }])
    await eventually(() => expect(phase()).toBe('Running'))
    const overwritten = await resources.modify(podKind, 'default', 'web', 'status', (current) => ({
      ...current,
      status: PENDING,
    }))
    expect(overwritten.status?.phase).toBe('Pending')
    await eventually(() => expect(phase()).toBe('Running'))
    // Once the session is over, another server speaks for the node.
    reports.forget('n1')
    await resources.modify(podKind, 'default', 'web', 'status', (current) => ({ ...current, status: PENDING }))
    await resources.waitForRevision(await resources.currentRevision(), 1_000)
    expect(phase()).toBe('Pending')
    unsubscribe()
  })

  test('what others write meets the word of the node where a readiness gate asks for it, whenever it comes', async () => {
    world = await runResources()
    const { resources } = world
    const node = newNode('n1')
    const metadata = { ...node.metadata, annotations: { [SESSION_ANNOTATION]: SERVER } }
    await resources.create(nodeKind, { ...node, metadata }, { internal: true })
    const { uid } = (
      await resources.create(podKind, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'web', namespace: 'default' },
        spec: {
          nodeName: 'n1',
          containers: [{ name: 'main', image: 'web:1' }],
          readinessGates: [{ conditionType: 'example.com/registered' }],
        },
      })
    ).metadata
    const options = { resources, clock: systemClock, random: seededRandom(1), log: silentLogger }
    const reports = new PodReports({ ...options, serverId: SERVER, needsRoute: () => false })
    const unsubscribe = reports.subscribe()
    const own = new AbortController()
    const running = reports.run(own.signal)
    const ready = () => findCondition(resources.get(podKind, 'default', 'web')?.status?.conditions, 'Ready')
    const register = (status: 'True' | 'False') =>
      resources.modify(podKind, 'default', 'web', 'status', (current) => ({
        ...current,
        status: {
          ...current.status,
          conditions: [
            ...withCondition(current.status?.conditions, { type: 'example.com/registered', status }, systemClock.now()),
          ],
        },
      }))
    const word = (more: PodStatus = {}) =>
      reports.take('n1', [
        { namespace: 'default', name: 'web', uid, statusJson: jsonBytes({ ...RUNNING, ...more }), removed: false },
      ])
    word()
    await eventually(() => expect(ready()).toMatchObject({ status: 'False', reason: 'ReadinessGatesNotReady' }))
    await register('True')
    await eventually(() => expect(ready()?.status).toBe('True'))
    // While reports are being written, too.
    for (let round = 0; round < 20; round++) {
      const status = round % 2 === 0 ? 'False' : 'True'
      word({ message: `round ${round}` })
      await register(status)
      await eventually(() => expect(ready()?.status).toBe(status))
    }
    unsubscribe()
    own.abort()
    await running
  })

  test('a node speaks of its own pods alone', async () => {
    world = await runResources()
    const { resources } = world
    const made = await resources.create(podKind, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web', namespace: 'default' },
      spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'web:1' }] },
    })
    const { uid } = made.metadata
    await resources.delete(podKind, 'default', 'web')
    const own = new AbortController()
    const options = { resources, clock: systemClock, random: seededRandom(1), log: silentLogger }
    const reports = new PodReports({ ...options, serverId: SERVER, needsRoute: () => false })
    const running = reports.run(own.signal)
    const report = { namespace: 'default', name: 'web', uid, statusJson: jsonBytes(RUNNING), removed: true }
    reports.take('n2', [report])
    reports.take('n1', [{ ...report, uid: 'another' }])
    // Writes go in order: once the node's own word is taken, the others' would have been.
    reports.take('n1', [{ ...report, removed: false }])
    await eventually(() => expect(resources.get(podKind, 'default', 'web')?.status?.phase).toBe('Running'))
    reports.take('n2', [report])
    reports.take('n1', [report])
    await eventually(() => expect(resources.get(podKind, 'default', 'web')).toBeUndefined())
    own.abort()
    await running
  })
})
