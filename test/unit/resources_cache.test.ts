import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import { systemClock } from '../../src/base/clock.ts'
import { DroverError, isCode } from '../../src/base/errors.ts'
import type { ResourceEvent } from '../../src/resources/resources.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { delayWatch } from '../support/delayed_store.ts'
import { runResources, type TestResources } from '../support/resources.ts'

const NAMES = ['a', 'b', 'c']
const keyOf = (name: string): string => `/drover/core/configmaps/default/${name}`

type Step =
  | { do: 'put'; name: string; own: boolean }
  | { do: 'delete'; name: string; own: boolean }
  | { do: 'staleUpdate'; name: string }
  | { do: 'release'; count: number }
  | { do: 'compact' }

const name = fc.constantFrom(...NAMES)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('put' as const), name, own: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), name, own: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('staleUpdate' as const), name }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('release' as const), count: fc.integer({ min: 1, max: 3 }) }) },
)

/** What happened in the store, as `revision type name`. */
async function history(store: Store, after: number): Promise<string[]> {
  const { revision } = await store.health()
  const lines: string[] = []
  const controller = new AbortController()
  if (revision <= after) return lines
  for await (const batch of store.watch('/drover/core/configmaps/', after, controller.signal)) {
    for (const event of batch.events) {
      const put = event.type === 'put'
      const key = put ? event.item.key : event.key
      lines.push(
        `${put ? event.item.modRevision : event.modRevision} ${put ? 'put' : 'delete'} ${key.split('/').at(-1)}`,
      )
    }
    if (batch.revision >= revision) break
  }
  return lines
}

const line = ({ type, revision, object }: ResourceEvent): string =>
  `${revision} ${type === 'DELETED' ? 'delete' : 'put'} ${object.metadata.name}`

/** Another server's write: it reaches us only through the watch. */
async function foreign(store: Store, step: Step & { name: string }): Promise<void> {
  const key = keyOf(step.name)
  if (step.do === 'delete') {
    await store.write({ type: 'delete', key })
    return
  }
  const old = await store.get(key)
  const object = old === undefined ? undefined : JSON.parse(old.value)
  const value = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name: step.name,
      namespace: 'default',
      uid: object?.metadata.uid ?? `foreign-${Math.abs(Number((await store.health()).revision))}`,
      creationTimestamp: '2026-01-01T00:00:00Z',
    },
    data: { n: String((await store.health()).revision) },
  }
  await store.write({ type: 'put', key, value: JSON.stringify(value) })
}

async function own({ resources }: TestResources, step: Step & { name: string }, n: number): Promise<void> {
  const metadata = { name: step.name, namespace: 'default' }
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { n: `own-${n}` } }
  try {
    if (step.do === 'delete') {
      const gone = await resources.delete(configMapKind, 'default', step.name)
      expect(resources.get(configMapKind, 'default', step.name), 'a deletion of ours is seen at once').toBeUndefined()
      expect(Number(gone.metadata.resourceVersion)).toBeGreaterThan(0)
      return
    }
    const known = resources.get(configMapKind, 'default', step.name)
    const written =
      known === undefined
        ? await resources.create(configMapKind, object)
        : await resources.modify(configMapKind, 'default', step.name, 'main', (map) => ({ ...map, data: object.data }))
    expect(resources.get(configMapKind, 'default', step.name), 'a write of ours is seen at once').toBe(written)
  } catch (error) {
    if (!isCode(error, 'alreadyExists') && !isCode(error, 'notFound')) throw error
  }
}

async function staleUpdate({ resources }: TestResources, name: string): Promise<void> {
  const known = resources.get(configMapKind, 'default', name)
  const metadata = { name, namespace: 'default', resourceVersion: known?.metadata.resourceVersion ?? '1' }
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { n: 'update' } }
  try {
    await resources.update(configMapKind, object, 'main')
  } catch (error) {
    if (!isCode(error, 'conflict') && !isCode(error, 'notFound')) throw error
  }
}

/** Fails when what `get` shows of a name is older than what it showed before. */
function watchReads(resources: TestResources['resources']): () => void {
  const newest = new Map<string, number>()
  return () => {
    for (const each of NAMES) {
      const object = resources.get(configMapKind, 'default', each)
      if (object === undefined) continue
      const revision = Number(object.metadata.resourceVersion)
      expect(revision, `get of ${each} went back`).toBeGreaterThanOrEqual(newest.get(each) ?? 0)
      newest.set(each, revision)
    }
  }
}

describe('the watch cache, with a watch that comes late', () => {
  it('delivers every change once and in order, and reads never go back', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const inner = createMemoryStore({ clock: systemClock })
        const delayed = delayWatch(inner)
        const test = await runResources({ store: delayed.store })
        const start = (await inner.health()).revision
        const heard: string[] = []
        const watched: string[] = []
        const late: string[] = []
        const deletedAt = new Map<string, number>()
        test.resources.subscribe(configMapKind, (event) => heard.push(line(event)))
        const follow = async (into: string[]): Promise<void> => {
          for await (const events of test.resources.watch(configMapKind, {}, start, test.signal)) {
            for (const event of events) into.push(line(event))
          }
        }
        const following = follow(watched)
        const checkReads = watchReads(test.resources)
        for (const [n, each] of steps.entries()) {
          if (each.do === 'release') delayed.release(each.count)
          else if (each.do === 'staleUpdate') await staleUpdate(test, each.name)
          else if (each.do === 'compact') continue
          else if (each.own) {
            await own(test, each, n)
            if (each.do === 'delete' && (await inner.get(keyOf(each.name))) === undefined) {
              deletedAt.set(each.name, (await inner.health()).revision)
            }
          } else await foreign(inner, each)
          if (n % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
          checkReads()
          for (const [deleted, revision] of deletedAt) {
            const object = test.resources.get(configMapKind, 'default', deleted)
            if (object !== undefined) expect(Number(object.metadata.resourceVersion)).toBeGreaterThan(revision)
          }
        }
        delayed.open()
        const end = (await inner.health()).revision
        await test.resources.waitForRevision(end, 5000)
        const followingLate = follow(late)
        await new Promise((resolve) => setImmediate(resolve))
        checkReads()
        const expected = await history(inner, start)
        // Deleting what the watchers never saw is no event: the store reports it only when there was something.
        expect(heard).toEqual(expected)
        expect(watched).toEqual(expected)
        expect(late).toEqual(expected)
        const stored = (await inner.list('/drover/core/configmaps/')).items.map(
          ({ key, modRevision }) => `${key} ${modRevision}`,
        )
        const shown = test.resources
          .list(configMapKind)
          .map(({ metadata }) => `${keyOf(metadata.name)} ${metadata.resourceVersion}`)
        expect(shown).toEqual(stored)
        expect(test.resources.snapshot(configMapKind).items).toEqual(test.resources.list(configMapKind))
        await test.stop()
        await Promise.all([following, followingLate])
      }),
      { numRuns: 150 },
    )
  })

  it('lists again when its revision is compacted, and events still lead to what is stored', async () => {
    const withCompaction = fc.oneof(
      { weight: 9, arbitrary: step },
      { weight: 2, arbitrary: fc.constant({ do: 'compact' } as Step) },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(withCompaction, { maxLength: 30 }), async (steps) => {
        const inner = createMemoryStore({ clock: systemClock })
        const delayed = delayWatch(inner)
        const test = await runResources({ store: delayed.store })
        const replica = new Map<string, string>()
        let last = 0
        test.resources.subscribe(configMapKind, (event) => {
          expect(event.revision).toBeGreaterThanOrEqual(last)
          last = event.revision
          const { name: which, resourceVersion, uid } = event.object.metadata
          if (event.type === 'ADDED') expect(replica.has(which)).toBe(false)
          else expect(replica.has(which)).toBe(true)
          if (event.type === 'MODIFIED') expect(event.old.metadata.uid).toBe(uid)
          if (event.type === 'DELETED') replica.delete(which)
          else replica.set(which, resourceVersion)
        })
        const checkReads = watchReads(test.resources)
        for (const [n, each] of steps.entries()) {
          if (each.do === 'release') delayed.release(each.count)
          else if (each.do === 'compact') await inner.compact((await inner.health()).revision)
          else if (each.do === 'staleUpdate') await staleUpdate(test, each.name)
          else if (each.own) await own(test, each, n)
          else await foreign(inner, each)
          await new Promise((resolve) => setImmediate(resolve))
          checkReads()
        }
        delayed.open()
        await test.resources.waitForRevision((await inner.health()).revision, 5000)
        const { items } = await inner.list('/drover/core/configmaps/')
        const stored = items.map(({ key, modRevision }) => [key.split('/').at(-1), String(modRevision)])
        expect([...replica].sort()).toEqual(stored)
        expect(
          test.resources.list(configMapKind).map(({ metadata }) => [metadata.name, metadata.resourceVersion]),
        ).toEqual(stored)
        await test.stop()
      }),
      { numRuns: 150 },
    )
  })

  it('resynchronises when the watch goes back in time', async () => {
    const inner = createMemoryStore({ clock: systemClock })
    let replayed = false
    const store: Store = {
      ...delayWatch(inner).store,
      async *watch(prefix, after, signal) {
        for await (const batch of inner.watch(prefix, after, signal)) {
          yield batch
          if (!replayed && batch.events.length > 0) {
            replayed = true
            yield batch
          }
        }
      },
    }
    const test = await runResources({ store })
    const heard: string[] = []
    test.resources.subscribe(configMapKind, (event) => heard.push(event.object.metadata.name))
    for (const each of NAMES) {
      const metadata = { name: each, namespace: 'default' }
      await test.resources.create(configMapKind, { apiVersion: 'v1', kind: 'ConfigMap', metadata })
    }
    await test.resources.waitForRevision((await inner.health()).revision, 5000)
    expect(replayed).toBe(true)
    expect(heard).toEqual(NAMES)
    await test.stop()
  })
})

describe('watchers', () => {
  const map = (name: string, labels: Record<string, string>, size = 0) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: 'default', labels },
    data: { x: 'x'.repeat(size) },
  })

  it('see an object come and go through a selector', async () => {
    const { resources, signal, stop } = await runResources()
    const seen: string[] = []
    const done = (async () => {
      const filter = { namespace: 'default', labels: { matchLabels: { on: 'yes' } } }
      for await (const events of resources.watch(configMapKind, filter, resources.revision(), signal)) {
        for (const { type, object } of events) seen.push(`${type} ${object.metadata.labels?.on} ${object.data?.x}`)
        if (seen.length >= 4) return
      }
    })()
    await resources.create(configMapKind, map('m', { on: 'no' }))
    const set = (on: string, x: string) =>
      resources.modify(configMapKind, 'default', 'm', 'main', (old) => ({
        ...map('m', { on }),
        metadata: { ...old.metadata, labels: { on } },
        data: { x },
      }))
    await set('yes', '1')
    await set('yes', '2')
    await set('no', '3')
    await set('no', '4')
    await set('yes', '5')
    await done
    expect(seen).toEqual(['ADDED yes 1', 'MODIFIED yes 2', 'DELETED yes 2', 'ADDED yes 5'])
    await stop()
  })

  it('that do not keep up are cut off, and others are not', async () => {
    const { resources, signal, stop } = await runResources({ ringEvents: 4 })
    const start = resources.revision()
    const slow = resources.watch(configMapKind, {}, start, signal)[Symbol.asyncIterator]()
    await resources.create(configMapKind, map('first', {}))
    await slow.next()
    for (let i = 0; i < 10; i++) await resources.create(configMapKind, map(`big-${i}`, {}, 500_000))
    await resources.waitForRevision(await resources.currentRevision(), 5000)
    await expect(slow.next()).rejects.toMatchObject({ code: 'gone' })
    await expect(
      resources.watch(configMapKind, {}, start, signal)[Symbol.asyncIterator]().next(),
    ).rejects.toBeInstanceOf(DroverError)
    const recent = resources.watch(configMapKind, {}, resources.revision() - 1, signal)[Symbol.asyncIterator]()
    expect((await recent.next()).value).toHaveLength(1)
    await stop()
  })

  it('refuse a field that cannot be selected', async () => {
    const { resources, stop } = await runResources()
    expect(() => resources.list(configMapKind, { fields: [{ field: 'data.x', value: '', equal: true }] })).toThrow(
      /field label not supported: data.x/,
    )
    await stop()
  })
})
