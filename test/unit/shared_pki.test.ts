/** Which servers may run beside each other, by their CA and their token keys. */
import { expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { createCa } from '../../src/base/pki.ts'
import { checkSharedPki, judgeSharedPki, SHARED_PKI_KEY } from '../../src/bin/shared_pki.ts'
import { createMemoryStore } from '../../src/store/memory.ts'

it.each([
  ['the first of all', { tokenKeys: ['a'], others: {}, recorded: undefined }, undefined],
  ['a server like the others', { tokenKeys: ['a'], others: { s2: ['a'] }, recorded: 'a' }, undefined],
  ['one beside a version that does not say', { tokenKeys: ['a'], others: { s2: [] }, recorded: 'a' }, undefined],
  ['a key of its own', { tokenKeys: ['b'], others: { s2: ['a'] }, recorded: 'a' }, /lacks the key a that server s2/],
  ['a key of its own, alone', { tokenKeys: ['b'], others: {}, recorded: 'a' }, /lacks the key a .*--forget-token-key/],
  ['a change, step 1', { tokenKeys: ['a', 'b'], others: { s2: ['a'] }, recorded: 'a' }, undefined],
  [
    'a change, step 2 too early',
    { tokenKeys: ['b', 'a'], others: { s2: ['a'] }, recorded: 'a' },
    /key b, which server s2/,
  ],
  ['a change, step 2', { tokenKeys: ['b', 'a'], others: { s2: ['a', 'b'] }, recorded: 'a' }, undefined],
  ['a change, step 3 too early', { tokenKeys: ['b'], others: { s2: ['a', 'b'] }, recorded: 'b' }, /lacks the key a/],
  ['a change, step 3', { tokenKeys: ['b'], others: { s2: ['b', 'a'] }, recorded: 'b' }, undefined],
])('%s', (_name, { tokenKeys, others, recorded }, expected) => {
  const fault = judgeSharedPki({
    ca: 'x',
    tokenKeys,
    others: new Map(Object.entries(others)),
    recorded: recorded === undefined ? undefined : { ca: 'x', signs: recorded },
  })
  if (expected === undefined) expect(fault).toBeUndefined()
  else expect(fault).toMatch(expected)
})

it('another CA is another cluster, whatever the keys', () => {
  const facts = { ca: 'x', tokenKeys: ['a'], others: new Map(), recorded: { ca: 'y', signs: 'a' } }
  expect(judgeSharedPki(facts)).toMatch(/not the CA of the cluster/)
})

it('of two that start at once with keys of their own, one does', async () => {
  const store = createMemoryStore({ clock: systemClock })
  const { certPem: caPem } = await createCa('drvt', { clock: systemClock })
  const start = (key: string) =>
    checkSharedPki({ store, caPem, tokenKeys: [key], others: new Map(), forgetTokenKey: false })
  const outcomes = await Promise.allSettled([start('a'), start('b')])
  expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  const winner = outcomes[0]?.status === 'fulfilled' ? 'a' : 'b'
  expect(JSON.parse((await store.get(SHARED_PKI_KEY))?.value ?? '{}')).toMatchObject({ signs: winner })
  await start(winner)
  await store.close()
})
