import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { createCompactor } from '../../src/store/compactor.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { codeOf, put } from '../support/store_contract.ts'

test('the compactor forgets what is older than an interval, and nothing younger', async () => {
  const store = createMemoryStore({ clock: systemClock })
  const old = await put(store, '/a', '1')
  await put(store, '/a', '2')
  const stop = new AbortController()
  const compactor = createCompactor({ store, clock: systemClock, log: silentLogger, intervalMs: 100 })
  const running = compactor.run(stop.signal)
  await Promise.resolve()
  // Whatever is written after the start outlives the first interval.
  await new Promise((resolve) => setImmediate(resolve))
  const young = await put(store, '/a', '3')
  await put(store, '/a', '4')
  await expect.poll(() => codeOf(store.list('/', { revision: old }))).toBe('gone')
  expect((await store.list('/', { revision: young })).items[0]?.value).toBe('3')
  stop.abort()
  await running
})
