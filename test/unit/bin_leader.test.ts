/** What a server does once it is elected, and not before it sees what the leader before it did. */
import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Gauge, Registry } from '../../src/base/metrics.ts'
import { seededRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import { CHALLENGES, createLeader } from '../../src/bin/leader.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { eventually } from '../support/eventually.ts'

test('a leader answers at once, but plans nothing before it sees all that was written before it', async () => {
  const store = createMemoryStore({ clock: systemClock })
  const stop = new AbortController()
  const options = { clock: systemClock, random: seededRandom(1), log: silentLogger }
  const isLeader = new Gauge({ name: 'leads', help: 'leads', registers: [new Registry()] })
  let begun = 0
  let asked = 0
  let show = (): void => undefined
  const shown = new Promise<void>((resolve) => {
    show = resolve
  })
  const leader = createLeader({
    ...options,
    store,
    serverId: 's1',
    isLeader,
    services: () => {
      begun++
      return []
    },
    caughtUp: () => {
      asked++
      return asked === 1 ? Promise.reject(new Error('the cache does not follow')) : shown
    },
  })
  const running = runServices([leader], options, stop.signal)
  // Tried again, and neither the failure nor the wait lets anything begin.
  await eventually(() => asked === 2)
  const [candidate] = (await store.list('/drover-meta/leader/')).items
  const key = `${CHALLENGES}/s2`
  await store.write({ type: 'put', key, value: candidate?.key ?? '' })
  await eventually(async () => (await store.list(key)).items.length === 0)
  expect(begun).toBe(0)
  show()
  await eventually(() => begun === 1)
  stop.abort()
  await running
  await store.close()
})

test('one that is stopped while it waits does not wait on', async () => {
  const store = createMemoryStore({ clock: systemClock })
  const stop = new AbortController()
  const options = { clock: systemClock, random: seededRandom(1), log: silentLogger }
  const isLeader = new Gauge({ name: 'leads', help: 'leads', registers: [new Registry()] })
  let asked = 0
  const leader = createLeader({
    ...options,
    store,
    serverId: 's1',
    isLeader,
    services: () => expect.unreachable('it never saw all'),
    caughtUp: () => {
      asked++
      return new Promise(() => undefined)
    },
  })
  const running = runServices([leader], options, stop.signal)
  await eventually(() => asked === 1)
  stop.abort()
  await running
  expect((await store.list('/drover-meta/leader/')).items).toEqual([])
  await store.close()
})
