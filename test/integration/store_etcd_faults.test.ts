/**
 * The store on etcd while connections break and etcd dies: no acknowledged write is missing or doubled, no rejected one
 * was applied, no event is missed, two leaders never overlap. Seeds are printed; faults fall at random moments.
 */
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { isCode } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { randomInt, seededRandom, systemRandom } from '../../src/base/random.ts'
import { createEtcdStore, type EtcdStoreOptions, type RenewableStore } from '../../src/store/etcd/store.ts'
import type { Election, Store, StoreEvent, WatchBatch, Write } from '../../src/store/store.ts'
import { startTestEtcd, type TestEtcd } from '../support/etcd.ts'
import { codeOf, collect, keyOf, put, revisionOf } from '../support/store_contract.ts'
import { breakConnection, TcpProxy } from '../support/tcp_proxy.ts'

const seed = randomInt(systemRandom, 2 ** 31)
const random = seededRandom(seed)
let etcd: TestEtcd
let direct: Store

async function openStore(
  endpoint: string,
  writerId: string,
  more: Partial<EtcdStoreOptions> = {},
): Promise<RenewableStore> {
  const base = { clock: systemClock, random: systemRandom, log: silentLogger }
  const store = await createEtcdStore({ ...base, endpoints: [endpoint], writerId, ...more })
  onTestFinished(() => store.close())
  return store
}

async function openProxy(): Promise<TcpProxy> {
  const proxy = await TcpProxy.start(etcd.port)
  onTestFinished(() => proxy.stop())
  return proxy
}

beforeAll(async () => {
  console.log(`seed ${seed}`)
  // Short elections, so that leases of one second are granted.
  etcd = await startTestEtcd({ args: ['--heartbeat-interval', '20', '--election-timeout', '200'] })
  const base = { clock: systemClock, random: systemRandom, log: silentLogger }
  direct = await createEtcdStore({ ...base, endpoints: [etcd.endpoint], writerId: 'direct' })
})

afterAll(async () => {
  await direct.close()
  await etcd.stop()
})

interface Ledger {
  /** Value of each write that was acknowledged, with its revision. */
  done: Map<string, { key: string; revision: number }>
  refused: Set<string>
  /** Writes that conflicted, which none of these can, or whose outcome was not found. */
  wrong: string[]
}

/** One writer with keys of its own: creates, changes by compare-and-swap, deletes, each value unique. */
async function writeMuch(store: Store, prefix: string, ledger: Ledger, stop: AbortSignal): Promise<void> {
  const key = `${prefix}/swapped`
  let modRevision = 0
  for (let i = 0; !stop.aborted; i++) {
    const value = `${prefix}#${i}`
    const create: Write = { type: 'put', key: `${prefix}/${i}`, value, expect: { modRevision: 0 } }
    const swap: Write = { type: 'put', key, value, expect: { modRevision } }
    const remove: Write = { type: 'delete', key, expect: { modRevision } }
    const write = i % 2 === 0 ? create : i % 8 === 7 && modRevision !== 0 ? remove : swap
    try {
      const outcome = await store.write(write)
      if (!outcome.ok) ledger.wrong.push(`${value} conflicted with ${outcome.current?.value}`)
      else if (write.type === 'put') ledger.done.set(value, { key: write.key, revision: outcome.revision })
      else if (outcome.previous?.modRevision !== modRevision) ledger.wrong.push(`${value}: previous`)
      if (write === remove) modRevision = 0
      if (write === swap) modRevision = outcome.revision
    } catch (error) {
      if (!isCode(error, 'unavailable')) ledger.wrong.push(`${value}: ${error}`)
      if (write.type === 'put') ledger.refused.add(value)
    }
  }
}

/** Runs many writers while `faults` works, then holds what they were told against the history. */
async function checkWrites(store: Store, prefix: string, faults: () => Promise<void>): Promise<Ledger> {
  const { revision: before } = await direct.health()
  const ledger: Ledger = { done: new Map(), refused: new Set(), wrong: [] }
  const stop = new AbortController()
  const writers = Array.from({ length: 12 }, (_, i) => writeMuch(store, `${prefix}w${i}`, ledger, stop.signal))
  await faults()
  stop.abort()
  await Promise.all(writers)
  const fence = await put(direct, `${prefix}end`, '')
  const batches = await collect(direct, { prefix, after: before }, (_, seen) => (seen.at(-1)?.revision ?? 0) >= fence)
  const puts = new Map<string, number[]>()
  for (const event of batches.flatMap((batch) => batch.events)) {
    if (event.type === 'put')
      puts.set(event.item.value, [...(puts.get(event.item.value) ?? []), event.item.modRevision])
  }
  puts.delete('')
  expect(ledger.wrong).toEqual([])
  for (const [value, { revision }] of ledger.done)
    expect({ value, at: puts.get(value) }).toEqual({ value, at: [revision] })
  for (const value of ledger.refused) expect({ value, at: puts.get(value) }).toEqual({ value, at: undefined })
  expect(puts.size).toBe(ledger.done.size)
  expect(ledger.done.size).toBeGreaterThan(20)
  return ledger
}

test('writes over connections that break are applied exactly once or not at all', async () => {
  const proxy = await openProxy()
  const registry = new Registry()
  const store = await openStore(proxy.endpoint, 'chaos', { registry })
  await checkWrites(store, '/chaos/', async () => {
    for (let i = 0; i < 25; i++) {
      await sleep(systemClock, randomInt(random, 200))
      await breakConnection(proxy, random)
    }
    await sleep(systemClock, 500)
  })
  // The faults did fall where it matters.
  const fates = await registry.getSingleMetric('drover_store_lost_answers_total')?.get()
  console.log(fates?.values.map(({ labels, value }) => `${labels.fate}: ${value}`).join(', '))
  expect(fates?.values.length).toBeGreaterThan(0)
})

test('writes survive kill -9 of etcd', async () => {
  const store = await openStore(etcd.endpoint, 'kill')
  await checkWrites(store, '/kill/', async () => {
    for (let i = 0; i < 3; i++) {
      await sleep(systemClock, 200 + randomInt(random, 200))
      await etcd.kill()
      await etcd.restart()
    }
    await sleep(systemClock, 500)
  })
})

test('while etcd is away writes are refused in time, and what was under way is not lost', async () => {
  const proxy = await openProxy()
  const store = await openStore(proxy.endpoint, 'away', { queueTimeoutMs: 500, fateTimeoutMs: 2_000 })
  proxy.refuse(true)
  proxy.dropAnswers(true)
  const sent = store.write({ type: 'put', key: '/away/sent', value: 'x' })
  while ((await direct.get('/away/sent')) === undefined) await sleep(systemClock, 5)
  proxy.cut()
  expect(await codeOf(store.write({ type: 'put', key: '/away/queued', value: 'x' }))).toBe('unavailable')
  proxy.refuse(false)
  proxy.dropAnswers(false)
  const outcome = await sent
  expect(await direct.get('/away/sent')).toMatchObject({ modRevision: outcome.revision })
  expect(await direct.get('/away/queued')).toBeUndefined()
  // Away for longer than anyone waits: the fate stays unknown, and says so.
  proxy.refuse(true)
  proxy.cut()
  expect(await codeOf(store.write({ type: 'put', key: '/away/lost', value: 'x' }))).toBe('timeout')
  proxy.refuse(false)
  expect((await store.write({ type: 'put', key: '/away/after', value: 'x' })).ok).toBe(true)
  expect(await direct.get('/away/lost')).toBeUndefined()
})

test('a watch over connections that break misses nothing, doubles nothing, keeps the order', async () => {
  const proxy = await openProxy()
  const store = await openStore(proxy.endpoint, 'watcher')
  const start = await put(direct, '/watch/start', '')
  const stop = new AbortController()
  const batches: WatchBatch[] = []
  const watching = (async () => {
    for await (const batch of store.watch('/watch/', start, stop.signal)) batches.push(batch)
  })()
  const full: StoreEvent[] = []
  const recording = (async () => {
    for await (const batch of direct.watch('/watch/', start, stop.signal)) full.push(...batch.events)
  })()
  for (let round = 0; round < 24; round++) {
    await burst(direct, round)
    proxy.cut()
    await burst(direct, round + 100)
    const caughtUp = batches.at(-1)?.revision ?? start
    // Compaction right up to what was delivered: a resume that starts one later than that misses deletions there.
    if (round % 3 === 0) await direct.compact(caughtUp)
    await sleep(systemClock, randomInt(random, 60))
    await breakConnection(proxy, random)
  }
  const last = await put(direct, '/watch/end', '')
  const reached = (events: StoreEvent[]) => events.some((event) => revisionOf(event) === last)
  while (!reached(full) || !reached(batches.at(-1)?.events ?? [])) await sleep(systemClock, 10)
  stop.abort()
  await Promise.all([watching, recording])
  const name = (event: StoreEvent) => `${event.type} ${keyOf(event)} @${revisionOf(event)}`
  const told = batches.flatMap((batch) => batch.events)
  expect(told.map(name)).toEqual(full.map(name))
  const withEvents = batches.filter((batch) => batch.events.length > 0)
  for (const [i, batch] of withEvents.entries()) {
    expect(batch.revision).toBeGreaterThan(withEvents[i - 1]?.revision ?? 0)
  }
})

/** Puts and deletes that share revisions. */
async function burst(store: Store, round: number): Promise<void> {
  const keys = Array.from({ length: 30 }, (_, i) => `/watch/${i}`)
  await Promise.all(keys.map((key) => store.write({ type: 'put', key, value: `${round}` })))
  await Promise.all(keys.slice(0, 10).map((key) => store.write({ type: 'delete', key })))
}

test('a watch whose place was compacted while it was away ends with gone', async () => {
  const proxy = await openProxy()
  const store = await openStore(proxy.endpoint, 'gone')
  const start = await put(direct, '/gone/a', '1')
  let seen = 0
  const watching = codeOf(
    (async () => {
      for await (const batch of store.watch('/gone/', start, new AbortController().signal)) seen += batch.events.length
    })(),
  )
  await put(direct, '/gone/a', '2')
  while (seen === 0) await sleep(systemClock, 5)
  proxy.refuse(true)
  proxy.cut()
  await put(direct, '/gone/a', '3')
  await direct.compact(await put(direct, '/gone/a', '4'))
  proxy.refuse(false)
  expect(await watching).toBe('gone')
  expect(seen).toBe(1)
})

test('a large history arrives whole, each revision in one batch', async () => {
  const start = await put(direct, '/large/start', '')
  const value = 'x'.repeat(9_000)
  const revisions = await Promise.all(Array.from({ length: 1_000 }, (_, i) => put(direct, `/large/${i}`, value)))
  const batches = await collect(direct, { prefix: '/large/', after: start }, (events) => events.length >= 1_000)
  const withEvents = batches.filter((batch) => batch.events.length > 0)
  expect(withEvents.map((batch) => batch.revision)).toEqual([...new Set(revisions)].sort((a, b) => a - b))
  const listed = await direct.list('/large/')
  expect(listed.items).toHaveLength(1_001)
})

test('two candidates never lead at once, and a stale leader writes nothing', async () => {
  const proxies = await Promise.all([openProxy(), openProxy()])
  const stores = await Promise.all(
    proxies.map((proxy, i) => openStore(proxy.endpoint, `candidate${i}`, { electionTtlSeconds: 1 })),
  )
  const stop = new AbortController()
  let leader: number | undefined
  const overlaps: string[] = []
  const terms: { candidate: number; election: Election }[] = []
  const candidates = stores.map(async (store, i) => {
    while (!stop.signal.aborted) {
      const election = await store.campaign('/election', `candidate ${i}`, stop.signal).catch(() => undefined)
      if (election === undefined) return
      if (leader !== undefined) overlaps.push(`${i} leads while ${leader} does`)
      leader = i
      terms.push({ candidate: i, election })
      await new Promise<void>((resolve) => {
        if (election.lost.aborted) resolve()
        else election.lost.addEventListener('abort', () => resolve())
      })
      if (leader !== i) overlaps.push(`${i} had lost to ${leader} without knowing`)
      leader = undefined
      await election.resign()
    }
  })
  for (let round = 0; round < 4; round++) {
    while (terms.length <= round || leader === undefined) await sleep(systemClock, 5)
    const { candidate, election } = terms.at(-1) as (typeof terms)[number]
    const fenced = stores[candidate]?.write({ type: 'put', key: '/fenced', value: `${round}` }, election.fence)
    expect((await fenced)?.ok).toBe(true)
    // A partition: the leader's lease runs out.
    proxies[candidate]?.hold(true)
    while (terms.length <= round + 1) await sleep(systemClock, 5)
    proxies[candidate]?.hold(false)
    expect(await codeOf(direct.write({ type: 'put', key: '/fenced', value: 'stale' }, election.fence))).toBe(
      'forbidden',
    )
    expect((await direct.get('/fenced'))?.value).toBe(`${round}`)
  }
  stop.abort()
  await terms.at(-1)?.election.resign()
  await Promise.all(candidates)
  expect(overlaps).toEqual([])
  expect(new Set(terms.map(({ candidate }) => candidate)).size).toBe(2)
})

test('an endpoint that is not there is skipped, and named when it is the only one', async () => {
  const store = await openStore(etcd.endpoint, 'several', { endpoints: ['http://127.0.0.1:9', etcd.endpoint] })
  expect(await put(store, '/several', 'x')).toBeGreaterThan(0)
  const alone = openStore('http://127.0.0.1:9', 'alone', { connectTimeoutMs: 500 })
  await expect(alone).rejects.toThrow('etcd at http://127.0.0.1:9 does not answer')
})

test('a store out of space says so and refuses writes, and takes them again when mended', async () => {
  const small = await startTestEtcd({ args: ['--quota-backend-bytes', String(2 << 20)] })
  onTestFinished(() => small.stop())
  const store = await openStore(small.endpoint, 'full')
  const applied: string[] = []
  const refused: string[] = []
  // etcd looks at the size that its last commit to disk had, ten times a second: it takes a while to notice.
  for (let i = 0; refused.length < 5; i++) {
    const value = `${i} ${'x'.repeat(50_000)}`
    const code = await codeOf(store.write({ type: 'put', key: '/full', value }))
    if (code === 'resolved') applied.push(value)
    else {
      expect(code).toBe('outOfSpace')
      refused.push(value)
    }
  }
  const history = await collect(store, { prefix: '/full', after: 1 }, (events) => events.length >= applied.length)
  const values = history.flatMap((batch) => batch.events).map((event) => (event.type === 'put' ? event.item.value : ''))
  expect(values).toEqual(applied)
  await expect(store.health()).rejects.toThrow('space quota')
  const database = store.database(2 << 20)
  expect((await database.status())[0]?.alarms).toEqual(['NOSPACE'])
  await database.compact()
  const { before, after } = await database.defrag()
  expect(after[0]?.sizeBytes).toBeLessThan(before[0]?.sizeBytes ?? 0)
  expect(after[0]?.alarms).toEqual([])
  expect((await store.write({ type: 'put', key: '/full', value: 'small' })).ok).toBe(true)
  expect((await store.health()).sizeBytes).toBeLessThan(2 << 20)
})
