/** A pod that finds no free address: what is said of it, and when it asks again. */
import { expect, test } from 'vitest'
import { findCondition } from '../../src/api/conditions.ts'
import { POD_CONDITION } from '../../src/api/names.ts'
import { mergePodStatus } from '../../src/dispatch/pod_status.ts'
import { podOf, World } from '../support/pod_world.ts'

test('it says why it waits, and asks again when an address is free, not when its back-off is over', async () => {
  const world = new World(podOf())
  world.host.full = true
  const asked = () => world.host.log.filter((call) => call === 'ensureSandbox u1').length
  await world.run(40)
  const status = world.last?.status
  const waiting = findCondition(status?.conditions, POD_CONDITION.readyToStart)
  expect(waiting).toMatchObject({ status: 'False', reason: 'NoPodAddress', message: 'no pod address is free' })
  expect(status?.phase).toBe('Pending')
  // At 0, 1, 3, 7, 15 and 31 s.
  expect(asked()).toBe(6)

  const reconcile = () => world.worker.reconcile(new AbortController().signal)
  await reconcile()
  expect(asked()).toBe(6)
  world.worker.addressFreed()
  await reconcile()
  expect(asked()).toBe(7)
  world.host.full = false
  world.worker.addressFreed()
  await reconcile()
  await world.run(3)
  expect(world.host.running('app')).toHaveLength(1)
  const after = world.last?.status ?? {}
  expect(findCondition(after.conditions, POD_CONDITION.readyToStart)).toBeUndefined()
  // What the server stores forgets it, too.
  const merged = mergePodStatus(status, after, { now: '2026-01-01T00:00:00Z' })
  expect(findCondition(merged?.conditions, POD_CONDITION.readyToStart)).toBeUndefined()
})

test('a pod that waits for something else is left alone', async () => {
  const world = new World(podOf())
  world.host.before = (call) => {
    if (call.startsWith('ensureSandbox')) throw new Error('no namespaces')
  }
  await world.run(5)
  const tried = world.events.length
  world.worker.addressFreed()
  let calls = 0
  world.host.before = (call) => {
    if (call.startsWith('ensureSandbox')) calls++
  }
  await world.worker.reconcile(new AbortController().signal)
  expect(calls).toBe(0)
  expect(tried).toBeGreaterThan(0)
})
