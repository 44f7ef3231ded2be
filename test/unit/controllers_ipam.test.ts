/** Nodes' ranges as the controller gives them: a node that finds none says so by a condition with its reason, until it has one. */
import { afterEach, beforeEach, expect, it } from 'vitest'
import { findCondition } from '../../src/api/conditions.ts'
import { type Node, nodeKind } from '../../src/api/node.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import { createIpamController } from '../../src/controllers/node/ipam_controller.ts'
import { eventually } from '../support/eventually.ts'
import { runResources, type TestResources } from '../support/resources.ts'

let test: TestResources
let stop: () => Promise<void>
const told: string[] = []

beforeEach(async () => {
  test = await runResources()
  told.length = 0
  const { resources, store } = test
  const { fence } = await store.campaign('/test/leader', 'test', test.signal)
  const context = { resources, clock: systemClock, random: seededRandom(7), log: silentLogger, fence }
  const controller = createIpamController({
    ...context,
    events: { record: (about, _type, reason, message) => told.push(`${about.metadata.name} ${reason}: ${message}`) },
    // Room for two.
    clusterCidr: '10.244.0.0/25',
    nodeCidrPrefixLength: 26,
  })
  const control = new AbortController()
  const done = runServices([controller], context, control.signal)
  stop = async () => {
    control.abort()
    await done
    await test.stop()
  }
})
afterEach(() => stop())

const join = (name: string): Promise<unknown> =>
  test.resources.create<Node>(nodeKind, { apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: {} })
const node = (name: string): Node | undefined => test.resources.get(nodeKind, '', name)
const condition = (name: string) => findCondition(node(name)?.status?.conditions, 'NetworkUnavailable')

it('are of the size that was asked for; the last to come waits, says why, and has the first that is given back', async () => {
  for (const [name, range] of [
    ['a', '10.244.0.0/26'],
    ['b', '10.244.0.64/26'],
  ] as const) {
    await join(name)
    await eventually(() => node(name)?.spec?.podCIDR === range)
    expect(node(name)?.spec?.podCIDRs).toEqual([range])
    expect(condition(name)).toBeUndefined()
  }
  await join('c')
  await eventually(() => condition('c'))
  const message =
    'No /26 is left in 10.244.0.0/25 for node c: remove nodes, or start the cluster with a larger range of pod addresses'
  expect(condition('c')).toMatchObject({ status: 'True', reason: 'PodCidrExhausted', message })
  expect(node('c')?.spec?.podCIDR).toBeUndefined()
  expect(told).toEqual([`c CIDRNotAvailable: ${message}`])

  await test.resources.delete(nodeKind, '', 'a')
  await eventually(() => condition('c')?.status === 'False')
  expect(node('c')?.spec?.podCIDR).toBe('10.244.0.0/26')
  expect(condition('c')).toMatchObject({ reason: 'PodCidrAssigned', message: 'The node has 10.244.0.0/26' })
  expect(node('b')?.spec?.podCIDR).toBe('10.244.0.64/26')
  expect(told).toHaveLength(1)
})
