/**
 * What every store must do, whatever it stands on: the promises of src/store/store.ts, one test each. Run by
 * test/unit/store_memory.test.ts and test/integration/store_etcd.test.ts.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { isCode } from '../../src/base/errors.ts'
import type { Store, StoreEvent, WatchBatch } from '../../src/store/store.ts'

export interface ContractSubject {
  store: Store
  /** Ends the store and all that it stands on. */
  close(): Promise<void>
}

/** Collects a watch until `done` says that it has seen enough. */
export async function collect(
  store: Store,
  watch: { prefix: string; after: number },
  done: (events: StoreEvent[], batches: WatchBatch[]) => boolean,
): Promise<WatchBatch[]> {
  const stop = new AbortController()
  const timer = setTimeout(() => stop.abort(), 20_000)
  const batches: WatchBatch[] = []
  const events: StoreEvent[] = []
  try {
    for await (const batch of store.watch(watch.prefix, watch.after, stop.signal)) {
      batches.push(batch)
      events.push(...batch.events)
      if (done(events, batches)) return batches
    }
  } finally {
    clearTimeout(timer)
    stop.abort()
  }
  throw new Error(`the watch of ${watch.prefix} did not see what it should; it saw ${JSON.stringify(events)}`)
}

export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'resolved'
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}

export function keyOf(event: StoreEvent): string {
  return event.type === 'put' ? event.item.key : event.key
}

export function revisionOf(event: StoreEvent): number {
  return event.type === 'put' ? event.item.modRevision : event.modRevision
}

/** Puts without expectation; answers with the revision. */
export async function put(store: Store, key: string, value: string): Promise<number> {
  const outcome = await store.write({ type: 'put', key, value })
  expect(outcome.ok).toBe(true)
  return outcome.revision
}

export function describeStoreContract(name: string, create: () => Promise<ContractSubject>): void {
  describe(`${name} keeps the store's contract`, () => {
    let subject: ContractSubject
    let store: Store
    let prefix = ''
    let tests = 0
    beforeAll(async () => {
      subject = await create()
      store = subject.store
    })
    afterAll(() => subject.close())
    beforeEach(() => {
      tests += 1
      prefix = `/drvt/${tests}/`
    })

    test('what was put is there, with the revisions of its creation and last write', async () => {
      const created = await put(store, `${prefix}a`, 'one ü 🐑')
      const changed = await put(store, `${prefix}a`, 'two')
      expect(changed).toBeGreaterThan(created)
      expect(await store.get(`${prefix}a`)).toEqual({
        key: `${prefix}a`,
        value: 'two',
        modRevision: changed,
        createRevision: created,
      })
      expect(await store.get(`${prefix}b`)).toBeUndefined()
    })

    test('a put that expects absence creates once', async () => {
      const write = { type: 'put', key: `${prefix}a`, value: 'x', expect: { modRevision: 0 } } as const
      const first = await store.write(write)
      const second = await store.write({ ...write, value: 'y' })
      expect(first.ok).toBe(true)
      expect(second).toMatchObject({ ok: false, current: { value: 'x', modRevision: first.revision } })
    })

    test('a patient write is applied alone as well as with others, and in its turn', async () => {
      const patient = { type: 'put', key: `${prefix}a`, value: '1', patient: true } as const
      expect(await store.write(patient)).toMatchObject({ ok: true })
      const written = [
        store.write({ ...patient, value: '2' }),
        store.write({ type: 'put', key: `${prefix}a`, value: '3' }),
      ]
      const [first, second] = await Promise.all(written)
      expect(second?.revision).toBeGreaterThan(first?.revision ?? Number.POSITIVE_INFINITY)
      expect(await store.get(`${prefix}a`)).toMatchObject({ value: '3' })
    })

    test('a put with a stale expectation conflicts and shows what stands there, or that nothing does', async () => {
      const revision = await put(store, `${prefix}a`, '1')
      const fresh = { type: 'put', key: `${prefix}a`, value: '2', expect: { modRevision: revision } } as const
      expect((await store.write(fresh)).ok).toBe(true)
      expect(await store.write({ ...fresh, value: '3' })).toMatchObject({ ok: false, current: { value: '2' } })
      const absent = await store.write({ ...fresh, key: `${prefix}b` })
      expect(absent.ok).toBe(false)
      expect(absent).not.toHaveProperty('current')
      expect(await store.get(`${prefix}b`)).toBeUndefined()
    })

    test('a delete answers with what it removed; of nothing it succeeds without expectation only', async () => {
      const revision = await put(store, `${prefix}a`, 'x')
      const stale = await store.write({ type: 'delete', key: `${prefix}a`, expect: { modRevision: revision + 1_000 } })
      expect(stale).toMatchObject({ ok: false, current: { value: 'x' } })
      const removed = await store.write({ type: 'delete', key: `${prefix}a`, expect: { modRevision: revision } })
      expect(removed).toMatchObject({ ok: true, previous: { value: 'x', modRevision: revision } })
      const nothing = await store.write({ type: 'delete', key: `${prefix}a` })
      expect(nothing.ok).toBe(true)
      expect(nothing).not.toHaveProperty('previous')
      expect((await store.write({ type: 'delete', key: `${prefix}a`, expect: { modRevision: revision } })).ok).toBe(
        false,
      )
    })

    test('hundreds of writes at once succeed or conflict each alone', async () => {
      await put(store, `${prefix}0007`, 'taken')
      const keys = Array.from({ length: 500 }, (_, i) => `${prefix}${String(i).padStart(4, '0')}`)
      const outcomes = await Promise.all(
        keys.map((key) => store.write({ type: 'put', key, value: key, expect: { modRevision: 0 } })),
      )
      expect(outcomes.filter((outcome) => !outcome.ok)).toHaveLength(1)
      expect(outcomes[7]).toMatchObject({ ok: false, current: { value: 'taken' } })
      const { items } = await store.list(prefix)
      expect(items.map((item) => item.key)).toEqual(keys)
      for (const [i, item] of items.entries()) if (i !== 7) expect(item.modRevision).toBe(outcomes[i]?.revision)
    })

    test('writes of one key at once keep their order', async () => {
      const key = `${prefix}a`
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, i) => store.write({ type: 'put', key, value: String(i) })),
      )
      const revisions = outcomes.map((outcome) => outcome.revision)
      expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b))
      expect((await store.get(key))?.value).toBe('19')
    })

    test('of many compare-and-swaps of one key at once exactly one wins', async () => {
      const revision = await put(store, `${prefix}a`, 'x')
      const swaps = Array.from({ length: 30 }, (_, i) =>
        store.write({ type: 'put', key: `${prefix}a`, value: String(i), expect: { modRevision: revision } }),
      )
      expect((await Promise.all(swaps)).filter((outcome) => outcome.ok)).toHaveLength(1)
    })

    test('a list shows one revision, sorted, in parts where asked', async () => {
      await Promise.all(['c', 'a', 'b', 'a/x', 'd'].map((key) => put(store, prefix + key, key)))
      await put(store, `${prefix.slice(0, -1)}0`, 'outside')
      const whole = await store.list(prefix)
      expect(whole.items.map((item) => item.value)).toEqual(['a', 'a/x', 'b', 'c', 'd'])
      expect(whole.more).toBe(false)
      const first = await store.list(prefix, { limit: 2 })
      expect(first.items.map((item) => item.value)).toEqual(['a', 'a/x'])
      expect(first.more).toBe(true)
      await put(store, `${prefix}bb`, 'later')
      const rest = await store.list(prefix, { after: `${prefix}a/x`, revision: first.revision })
      expect(rest.items.map((item) => item.value)).toEqual(['b', 'c', 'd'])
      expect(rest.revision).toBe(first.revision)
      expect((await store.list(prefix, { limit: 5, after: `${prefix}a/x` })).more).toBe(false)
      expect((await store.list(`${prefix}none`)).items).toEqual([])
    })

    test('a list of the past shows what has since been changed and removed', async () => {
      await put(store, `${prefix}a`, 'old')
      const then = await put(store, `${prefix}b`, 'gone')
      await put(store, `${prefix}a`, 'new')
      await store.write({ type: 'delete', key: `${prefix}b` })
      await put(store, `${prefix}c`, 'new')
      const past = await store.list(prefix, { revision: then })
      expect(past.items.map((item) => item.value)).toEqual(['old', 'gone'])
    })

    test('a watch delivers what came after its start, then what comes, deletions with their last value', async () => {
      const start = await put(store, `${prefix}a`, '1')
      const second = await put(store, `${prefix}a`, '2')
      const watching = collect(store, { prefix, after: start }, (events) => events.length === 4)
      await put(store, `${prefix}b`, '3')
      await put(store, `${prefix.slice(0, -1)}0`, 'outside')
      await store.write({ type: 'delete', key: `${prefix}a` })
      await put(store, `${prefix}a`, 'again')
      const events = (await watching).flatMap((batch) => batch.events)
      expect(events.map((event) => [event.type, keyOf(event)])).toEqual([
        ['put', `${prefix}a`],
        ['put', `${prefix}b`],
        ['delete', `${prefix}a`],
        ['put', `${prefix}a`],
      ])
      expect(events[2]).toMatchObject({ previous: { value: '2', modRevision: second } })
      const revisions = events.map(revisionOf)
      expect(events[3]).toMatchObject({ item: { createRevision: revisions[3] } })
    })

    test('a watch delivers all changes of one revision in one batch, in order, none twice', async () => {
      const start = await put(store, `${prefix}start`, '')
      const watching = collect(store, { prefix, after: start }, (events) => events.length === 600)
      const writes = Array.from({ length: 600 }, (_, i) => put(store, `${prefix}${i}`, 'x'.repeat(100)))
      const written = new Set(await Promise.all(writes))
      const batches = (await watching).filter((batch) => batch.events.length > 0)
      expect(new Set(batches.map((batch) => batch.revision))).toEqual(written)
      for (const batch of batches) for (const event of batch.events) expect(revisionOf(event)).toBe(batch.revision)
      const revisions = batches.map((batch) => batch.revision)
      expect(revisions).toEqual([...written].sort((a, b) => a - b))
      expect(new Set(batches.flatMap((batch) => batch.events.map(keyOf))).size).toBe(600)
      // Resuming inside: nothing of the last delivered revision comes again.
      const middle = revisions[Math.floor(revisions.length / 2)] ?? 0
      const after = batches.filter((batch) => batch.revision > middle)
      if (after.length === 0) return
      const count = after.flatMap((batch) => batch.events).length
      const resumed = await collect(store, { prefix, after: middle }, (events) => events.length >= count)
      expect(resumed.filter((batch) => batch.events.length > 0)).toEqual(after)
    })

    test('an idle watch reports progress, and ends quietly with its signal', async () => {
      const start = await put(store, `${prefix}a`, '1')
      const batches = await collect(store, { prefix: `${prefix}none/`, after: start }, (_, seen) => seen.length === 1)
      expect(batches[0]?.events).toEqual([])
      expect(batches[0]?.revision).toBeGreaterThanOrEqual(start)
      const stop = new AbortController()
      const ended = (async () => {
        for await (const _ of store.watch(prefix, start, stop.signal));
        return 'ended'
      })()
      stop.abort()
      expect(await ended).toBe('ended')
    })

    test('after compaction, watches and lists of what is forgotten are gone; later ones lose no deletion', async () => {
      const first = await put(store, `${prefix}a`, '1')
      await put(store, `${prefix}b`, '1')
      const removed = await store.write({ type: 'delete', key: `${prefix}b` })
      const last = await put(store, `${prefix}c`, '1')
      await store.compact(removed.revision)
      await store.compact(first)
      expect(await codeOf(store.list(prefix, { revision: first }))).toBe('gone')
      const seen = (after: number) => collect(store, { prefix, after }, (events) => events.length > 0)
      expect(await codeOf(seen(first))).toBe('gone')
      expect(await codeOf(seen(removed.revision - 1))).toBe('gone')
      expect((await seen(removed.revision)).at(-1)).toMatchObject({ revision: last, events: [{ type: 'put' }] })
      expect((await store.list(prefix)).items).toHaveLength(2)
    })

    test('one candidate leads at a time; leadership passes on when given up', async () => {
      const never = new AbortController().signal
      const first = await store.campaign(`${prefix}election`, 'one', never)
      expect((await store.get(first.fence.key))?.value).toBe('one')
      let secondLeads = false
      const second = store.campaign(`${prefix}election`, 'two', never).then((election) => {
        secondLeads = true
        return election
      })
      const fenced = { type: 'put', key: `${prefix}a`, value: '1' } as const
      expect((await store.write(fenced, first.fence)).ok).toBe(true)
      expect(secondLeads).toBe(false)
      await first.resign()
      expect(first.lost.aborted).toBe(true)
      const successor = await second
      expect(await codeOf(store.write({ ...fenced, value: 'stale' }, first.fence))).toBe('forbidden')
      expect((await store.write({ ...fenced, value: '2' }, successor.fence)).ok).toBe(true)
      expect((await store.get(`${prefix}a`))?.value).toBe('2')
      await successor.resign()
    })

    test('a candidate that stops waiting leaves nothing behind', async () => {
      const never = new AbortController().signal
      const leader = await store.campaign(`${prefix}election`, 'one', never)
      const stop = new AbortController()
      const waiting = codeOf(store.campaign(`${prefix}election`, 'two', stop.signal))
      const both = await collect(
        store,
        { prefix: `${prefix}election/`, after: leader.fence.createRevision },
        (events) => events.some((event) => event.type === 'put'),
      )
      expect(both.length).toBeGreaterThan(0)
      stop.abort()
      expect(await waiting).toBe('cancelled')
      expect((await store.list(`${prefix}election/`)).items).toHaveLength(1)
      await leader.resign()
    })

    test('a leader whose key is taken away hears of it', async () => {
      const leader = await store.campaign(`${prefix}election`, 'one', new AbortController().signal)
      const lost = new Promise<void>((resolve) => leader.lost.addEventListener('abort', () => resolve()))
      await store.write({ type: 'delete', key: leader.fence.key })
      await lost
      await leader.resign()
    })

    test('fenced and unfenced writes at once: only those with a lost fence are refused', async () => {
      const lost = { key: `${prefix}election/none`, createRevision: 1 }
      const results = await Promise.allSettled(
        Array.from({ length: 40 }, (_, i) =>
          store.write({ type: 'put', key: `${prefix}w${i}`, value: 'x' }, i % 2 === 0 ? lost : undefined),
        ),
      )
      for (const [i, result] of results.entries()) {
        if (i % 2 === 1) expect(result.status).toBe('fulfilled')
        else expect(result.status === 'rejected' && isCode(result.reason, 'forbidden')).toBe(true)
      }
      expect((await store.list(`${prefix}w`)).items).toHaveLength(20)
    })

    test('health tells the revision and a size', async () => {
      const revision = await put(store, `${prefix}a`, 'x')
      const health = await store.health()
      expect(health.revision).toBeGreaterThanOrEqual(revision)
      expect(health.sizeBytes).toBeGreaterThan(0)
    })
  })
}
