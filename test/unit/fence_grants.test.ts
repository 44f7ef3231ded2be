/** When a server may renew a node's right to run exclusive pods: never while another could be taking the node for lost. */
import { afterEach, beforeEach, expect, test } from 'vitest'
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
let term: number | undefined
let nodes: Nodes

beforeEach(async () => {
  harness = new SessionHarness()
  await harness.open()
  clock = createManualClock()
  control = new AbortController()
  stalledMs = 0
  term = 1
  nodes = new Nodes({
    resources: harness.resources,
    clock: { ...clock, monotonicMs: () => clock.monotonicMs() + stalledMs },
    random: seededRandom(1),
    log: silentLogger,
    serverId: 's1',
    notReadyAfterMs: 4_000,
    isServerAlive: () => false,
    presenceTerm: () => term,
  })
  void nodes.run(control.signal)
})

afterEach(async () => {
  control.abort()
  await harness.close()
})

/** Moves time and lets writes finish: the store's own work runs on real promises. */
async function pass(ms: number): Promise<void> {
  await clock.advance(ms)
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}

const stored = (): Node | undefined => harness.resources.get(nodeKind, '', 'n1')
const ready = (): string | undefined => {
  const node = stored()
  return node === undefined ? undefined : nodeCondition(node, 'Ready')?.status
}

async function connected(): Promise<void> {
  nodes.connected('n1', { labels: {}, status: { capacity: { cpu: '1' } } })
  expect(nodes.mayGrant('n1')).toBe(false)
  await pass(0)
}

test('granted once the store names the holder of the session, not before, and not to a node that nobody knows', async () => {
  await connected()
  expect(stored()?.metadata.annotations?.[SESSION_ANNOTATION]).toBe('s1')
  expect([nodes.mayGrant('n1'), nodes.mayGrant('n2')]).toEqual([true, false])
  nodes.disconnected('n1')
  expect(nodes.mayGrant('n1')).toBe(false)
})

test('a lost node gets none until the store says that it is back', async () => {
  await connected()
  await pass(4_600)
  expect([ready(), nodes.mayGrant('n1')]).toEqual(['Unknown', false])
  nodes.heard('n1')
  expect(nodes.mayGrant('n1')).toBe(false)
  await pass(0)
  expect([ready(), nodes.mayGrant('n1')]).toEqual(['True', true])
})

test('a server that others may hold for dead grants nothing, and claims its nodes anew when it is known again', async () => {
  await connected()
  term = undefined
  expect(nodes.mayGrant('n1')).toBe(false)
  // Another server has called the node lost meanwhile.
  await harness.resources.modify(nodeKind, '', 'n1', 'all', (node) => ({
    ...node,
    metadata: { ...node.metadata, annotations: { [SESSION_ANNOTATION]: 's2' } },
  }))
  term = 2
  nodes.heard('n1')
  expect(nodes.mayGrant('n1')).toBe(false)
  await pass(600)
  expect(stored()?.metadata.annotations?.[SESSION_ANNOTATION]).toBe('s1')
  expect(nodes.mayGrant('n1')).toBe(true)
})

test('a server that stood still grants nothing before its timers have run', async () => {
  await connected()
  stalledMs += 3_600_000
  nodes.heard('n1')
  expect(nodes.mayGrant('n1')).toBe(false)
})

test('a node whose object others changed is claimed anew', async () => {
  await connected()
  await harness.resources.modify(nodeKind, '', 'n1', 'status', (node) => ({
    ...node,
    status: { ...node.status, conditions: [{ type: 'Ready', status: 'Unknown' as const }] },
  }))
  expect(nodes.mayGrant('n1')).toBe(false)
  await pass(0)
  expect([ready(), nodes.mayGrant('n1')]).toEqual(['True', true])
})
