/** Who is alive, judged on a clock that the test moves. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Node, nodeCondition, nodeKind } from '../../src/api/node.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { SESSION_ANNOTATION } from '../../src/dispatch/node_object.ts'
import { Nodes } from '../../src/dispatch/nodes.ts'
import { createManualClock, type ManualClock } from '../support/manual_clock.ts'
import { SessionHarness } from '../support/node_session.ts'

let harness: SessionHarness
let clock: ManualClock
let control: AbortController
/** Time in which no timer fired: the process stood still. */
let stalledMs: number

beforeEach(async () => {
  harness = new SessionHarness()
  await harness.open()
  clock = createManualClock()
  control = new AbortController()
  stalledMs = 0
})

afterEach(async () => {
  control.abort()
  await harness.close()
})

const reported = { labels: {}, status: { capacity: { cpu: '1' } } }
const ready = (name: string) => nodeCondition(harness.resources.get(nodeKind, '', name) as Node, 'Ready')?.status

function startNodes(
  serverId = 's1',
  isServerAlive = (_id: string) => false,
  onMoved: (nodeName: string) => void = () => undefined,
): Nodes {
  const nodes = new Nodes({
    resources: harness.resources,
    clock: { ...clock, monotonicMs: () => clock.monotonicMs() + stalledMs },
    random: seededRandom(1),
    log: silentLogger,
    serverId,
    notReadyAfterMs: 4_000,
    isServerAlive,
    onMoved,
  })
  void nodes.run(control.signal)
  return nodes
}

/** Server s1, all of whose neighbours live, and the nodes that it gives up to one of them. */
function startBesideOthers() {
  const moved: string[] = []
  const nodes = startNodes(
    's1',
    () => true,
    (name) => moved.push(name),
  )
  return { nodes, moved }
}

/** Moves time and lets writes finish: the store's own work runs on real promises. */
async function pass(ms: number): Promise<void> {
  await clock.advance(ms)
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}

async function storedNode(name: string, server: string): Promise<void> {
  await harness.resources.create(nodeKind, {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, annotations: { [SESSION_ANNOTATION]: server } },
  })
  await harness.resources.modify<Node>(nodeKind, '', name, 'status', (node) => ({
    ...node,
    status: { ...node.status, conditions: [{ type: 'Ready', status: 'True' }] },
  }))
}

const late = (name: string) =>
  nodeCondition(harness.resources.get(nodeKind, '', name) as Node, 'drover.dev/Late')?.status

/** As a session at another server does. */
async function claimFor(name: string, server: string): Promise<void> {
  await harness.resources.modify<Node>(nodeKind, '', name, 'all', (node) => ({
    ...node,
    metadata: { ...node.metadata, annotations: { [SESSION_ANNOTATION]: server } },
    status: { ...node.status, conditions: [{ type: 'Ready', status: 'True' }] },
  }))
}

const holder = (name: string) => harness.resources.get(nodeKind, '', name)?.metadata.annotations?.[SESSION_ANNOTATION]

describe('nodes', () => {
  test('are called late before they are lost, and what late nodes were they stay', async () => {
    const nodes = startNodes()
    nodes.connected('n1', reported)
    await pass(0)
    await pass(1_200)
    expect([ready('n1'), late('n1')]).toEqual(['True', undefined])
    await pass(1_000)
    expect([ready('n1'), late('n1')]).toEqual(['True', 'True'])
    nodes.heard('n1')
    await pass(0)
    expect([ready('n1'), late('n1')]).toEqual(['True', undefined])
    await pass(4_500)
    expect([ready('n1'), late('n1')]).toEqual(['Unknown', 'True'])
  })

  test('of a server that dies while we run are judged by us', async () => {
    let alive = true
    await storedNode('n1', 's2')
    startNodes('s1', () => alive)
    await pass(6_000)
    expect(ready('n1')).toBe('True')
    alive = false
    await pass(3_500)
    expect(ready('n1')).toBe('True')
    await pass(1_500)
    expect(ready('n1')).toBe('Unknown')
  })

  test('Ready while it beats, Unknown four seconds after, Ready when it beats again', async () => {
    const nodes = startNodes()
    nodes.connected('n1', reported)
    await pass(0)
    expect(ready('n1')).toBe('True')
    for (let second = 0; second < 6; second++) {
      await pass(1_000)
      nodes.heard('n1')
    }
    expect(ready('n1')).toBe('True')
    await pass(3_500)
    expect(ready('n1')).toBe('True')
    await pass(1_000)
    expect(ready('n1')).toBe('Unknown')
    nodes.heard('n1')
    await pass(0)
    expect(ready('n1')).toBe('True')
  })

  test.each([60, 130, 200])(
    'is called lost when the limit is over, whenever it spoke last: %d ms after a tick',
    async (ms) => {
      const nodes = startNodes()
      await pass(ms)
      nodes.connected('n1', reported)
      await pass(3_990)
      expect(ready('n1')).toBe('True')
      await pass(25)
      expect(ready('n1')).toBe('Unknown')
    },
  )

  test('a session that breaks and comes back in time changes nothing', async () => {
    const nodes = startNodes()
    nodes.connected('n1', reported)
    await pass(0)
    const before = harness.resources.get(nodeKind, '', 'n1')?.metadata.resourceVersion
    nodes.disconnected('n1')
    await pass(1_200)
    nodes.connected('n1', reported)
    await pass(1_200)
    expect(harness.resources.get(nodeKind, '', 'n1')?.metadata.resourceVersion).toBe(before)
  })

  test('a lost node that was deleted stays deleted; a live one registers anew', async () => {
    const nodes = startNodes()
    nodes.connected('n1', reported)
    nodes.connected('n2', reported)
    await pass(0)
    nodes.disconnected('n2')
    await harness.resources.delete(nodeKind, '', 'n1')
    await harness.resources.delete(nodeKind, '', 'n2')
    for (let second = 0; second < 6; second++) {
      await pass(1_000)
      nodes.heard('n1')
    }
    expect(ready('n1')).toBe('True')
    expect(harness.resources.get(nodeKind, '', 'n2')).toBeUndefined()
  })

  test("a server judges its own nodes and those of dead servers, not another's", async () => {
    await storedNode('mine', 's1')
    await storedNode('dead', 's2')
    await storedNode('theirs', 's3')
    startNodes('s1', (id) => id === 's3')
    await pass(5_000)
    expect(['mine', 'dead', 'theirs'].map(ready)).toEqual(['Unknown', 'Unknown', 'True'])
  })

  test('a node whose agent has yet to call for the first time is not lost', async () => {
    const metadata = { name: 'new' }
    await harness.resources.create(nodeKind, { apiVersion: 'v1', kind: 'Node', metadata })
    startNodes()
    await pass(9_000)
    expect(ready('new')).toBeUndefined()
  })

  test('a server that stood still itself gives nodes the time back', async () => {
    const nodes = startNodes()
    nodes.connected('n1', reported)
    await pass(500)
    stalledMs += 10_000
    await pass(500)
    expect(ready('n1')).toBe('True')
    await pass(4_500)
    expect(ready('n1')).toBe('Unknown')
  })

  test('beats of an old session that come late do not take a node back from the server that it went to', async () => {
    const { nodes, moved } = startBesideOthers()
    nodes.connected('n1', reported)
    await pass(0)
    expect(holder('n1')).toBe('s1')
    // The way from the agent is cut: nobody says here that the session is over.
    await pass(3_000)
    await claimFor('n1', 's2')
    await pass(2_000)
    expect(moved).toEqual(['n1'])
    nodes.heard('n1')
    await pass(0)
    expect([holder('n1'), ready('n1'), nodes.mayGrant('n1')]).toEqual(['s2', 'True', false])
  })

  test('a node that comes from another server is taken, though that one lives', async () => {
    await storedNode('n1', 's2')
    const { nodes, moved } = startBesideOthers()
    nodes.connected('n1', reported)
    await pass(0)
    expect([holder('n1'), nodes.mayGrant('n1'), moved]).toEqual(['s1', true, []])
  })

  test('a session that ended while its word was being written has not spoken', async () => {
    await storedNode('n1', 's2')
    const nodes = startNodes('s1', () => true)
    nodes.connected('n1', reported)
    const written = pass(0)
    nodes.disconnected('n1')
    await written
    expect([holder('n1'), nodes.mayGrant('n1')]).toEqual(['s2', false])
  })

  test('a live node that another server called late is late no more', async () => {
    const nodes = startNodes('s1', () => true)
    nodes.connected('n1', reported)
    await pass(0)
    await harness.resources.modify<Node>(nodeKind, '', 'n1', 'status', (node) => ({
      ...node,
      status: {
        ...node.status,
        conditions: [...(node.status?.conditions ?? []), { type: 'drover.dev/Late', status: 'True' }],
      },
    }))
    await pass(0)
    expect([ready('n1'), late('n1')]).toEqual(['True', undefined])
  })
})
