import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { codeOf, collect, describeStoreContract, put } from '../support/store_contract.ts'

describeStoreContract('the store in memory', async () => {
  const store = createMemoryStore({ clock: systemClock })
  return { store, close: () => store.close() }
})

test('history is bounded: the oldest changes are compacted by themselves', async () => {
  const store = createMemoryStore({ clock: systemClock, historyLimit: 100 })
  const first = await put(store, '/a', '0')
  let last = first
  for (let i = 0; i < 200; i++) last = await put(store, '/a', String(i))
  expect(await codeOf(collect(store, { prefix: '/', after: first }, () => true))).toBe('gone')
  const recent = await collect(store, { prefix: '/', after: last - 10 }, (events) => events.length === 10)
  expect(recent.at(-1)?.revision).toBe(last)
})

test('a closed store refuses and ends its watches', async () => {
  const store = createMemoryStore({ clock: systemClock })
  const watching = codeOf(collect(store, { prefix: '/', after: 1 }, () => false))
  await store.close()
  expect(await codeOf(store.get('/a'))).toBe('unavailable')
  expect(await codeOf(store.write({ type: 'put', key: '/a', value: '' }))).toBe('unavailable')
  expect(await watching).toBe('unavailable')
})
