/** The pure parts of the store on etcd: which writes travel together, what a lost answer was, how events are grouped. */

import type { IEvent } from 'etcd3'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { outcomeFromHistory } from '../../src/store/etcd/batch.ts'
import { takeBatch } from '../../src/store/etcd/commit.ts'
import { prefixEnd, rangeStart } from '../../src/store/etcd/convert.ts'
import { compareVersions, progressIntervalFlag, progressIsInOrder } from '../../src/store/etcd/version.ts'
import { RevisionAssembler } from '../../src/store/etcd/watch.ts'
import type { StoredItem, Write } from '../../src/store/store.ts'

describe('taking batches', () => {
  const waiting = fc.array(
    fc.record({
      write: fc.record({
        type: fc.constant('put' as const),
        key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
        value: fc.constant(''),
      }),
      fence: fc.constantFrom(undefined, { key: 'x', createRevision: 1 }, { key: 'y', createRevision: 2 }),
      bytes: fc.constantFrom(100, 400_000, 1_200_000),
      hurriesAtMs: fc.constantFrom(0, 0, 10),
    }),
    { maxLength: 300 },
  )

  test('every write leaves once, bounded, no key twice together, one fence, each key in its order', () => {
    fc.assert(
      fc.property(waiting, (all) => {
        const left: typeof all = []
        for (let rest = all; rest.length > 0; ) {
          // Patient writes go with others, and alone only when their time has come.
          const hurry = rest.some(({ hurriesAtMs }) => hurriesAtMs === 0)
          expect(takeBatch(rest, 9).batch.length > 0).toBe(hurry)
          const taken = takeBatch(rest, hurry ? 9 : 10)
          expect(taken.batch.length).toBeGreaterThan(0)
          expect(taken.batch.length).toBeLessThanOrEqual(120)
          expect(new Set(taken.batch.map(({ write }) => write.key)).size).toBe(taken.batch.length)
          expect(new Set(taken.batch.map(({ fence }) => fence?.key)).size).toBe(1)
          const bytes = taken.batch.reduce((sum, next) => sum + next.bytes, 0)
          expect(bytes <= 1 << 20 || taken.batch.length === 1).toBe(true)
          left.push(...taken.batch)
          rest = taken.rest
        }
        expect(left).toHaveLength(all.length)
        for (const key of 'abcde') {
          expect(left.filter(({ write }) => write.key === key)).toEqual(all.filter(({ write }) => write.key === key))
        }
      }),
    )
  })
})

describe('the outcome of a batch that was applied at revision 10', () => {
  const at = (modRevision: number): StoredItem => ({ key: 'k', value: 'v', modRevision, createRevision: 1 })
  const put: Write = { type: 'put', key: 'k', value: 'v' }
  const remove: Write = { type: 'delete', key: 'k' }
  const cases: [string, Write, StoredItem | undefined, StoredItem | undefined, object][] = [
    ['put applied', put, at(5), at(10), { ok: true, revision: 10 }],
    [
      'put conflicted',
      { ...put, expect: { modRevision: 4 } },
      at(5),
      at(5),
      { ok: false, revision: 10, current: at(5) },
    ],
    ['put of what is gone', { ...put, expect: { modRevision: 4 } }, undefined, undefined, { ok: false, revision: 10 }],
    [
      'delete applied',
      { ...remove, expect: { modRevision: 5 } },
      at(5),
      undefined,
      { ok: true, revision: 10, previous: at(5) },
    ],
    [
      'delete conflicted',
      { ...remove, expect: { modRevision: 4 } },
      at(5),
      at(5),
      { ok: false, revision: 10, current: at(5) },
    ],
    [
      'delete of what is gone',
      { ...remove, expect: { modRevision: 4 } },
      undefined,
      undefined,
      { ok: false, revision: 10 },
    ],
    ['delete of anything', remove, at(5), undefined, { ok: true, revision: 10, previous: at(5) }],
    ['delete of nothing', remove, undefined, undefined, { ok: true, revision: 10 }],
    [
      'delete that expects nothing',
      { ...remove, expect: { modRevision: 0 } },
      undefined,
      undefined,
      { ok: true, revision: 10 },
    ],
  ]
  test.each(cases)('%s', (_, write, before, after, outcome) => {
    expect(outcomeFromHistory(write, 10, { before, after })).toEqual(outcome)
  })
})

describe('grouping events into revisions', () => {
  const event = (revision: number, key: string): IEvent => {
    const text = String(revision)
    const kv = {
      key: Buffer.from(key),
      value: Buffer.from(''),
      mod_revision: text,
      create_revision: text,
      version: '1',
      lease: '0',
    }
    // The wire says "PUT" where the package's types say "Put"; a field that is not set is null.
    return { type: 'PUT', kv, prev_kv: null } as unknown as IEvent
  }
  const revisions = (batches: Iterable<{ revision: number; events: unknown[] }>) =>
    [...batches].map(({ revision, events }) => [revision, events.length])

  test('what was delivered already is dropped', () => {
    const assembler = new RevisionAssembler(5)
    expect(revisions(assembler.add([event(5, 'a'), event(6, 'a'), event(6, 'b'), event(8, 'a')], false))).toEqual([
      [6, 2],
      [8, 1],
    ])
  })

  test('the last revision of a fragment waits for the rest', () => {
    const assembler = new RevisionAssembler(1)
    expect(revisions(assembler.add([event(2, 'a'), event(3, 'a')], true))).toEqual([[2, 1]])
    expect(assembler.progress(9)).toEqual({ revision: 2, events: [] })
    expect(revisions(assembler.add([event(3, 'b')], true))).toEqual([])
    expect(revisions(assembler.add([event(3, 'c'), event(4, 'a')], false))).toEqual([
      [3, 3],
      [4, 1],
    ])
  })

  test('a revision that goes backwards ends the stream; so does one behind reported progress', () => {
    const assembler = new RevisionAssembler(1)
    expect(revisions(assembler.add([event(7, 'a')], false))).toEqual([[7, 1]])
    expect(() => revisions(assembler.add([event(6, 'a')], false))).toThrow('went back')
    expect(() => revisions(new RevisionAssembler(9).add([event(8, 'a')], false))).toThrow('went back')
    const ahead = new RevisionAssembler(1)
    expect(ahead.progress(9)).toEqual({ revision: 9, events: [] })
    expect(ahead.progress(3)).toEqual({ revision: 9, events: [] })
    expect(() => revisions(ahead.add([event(8, 'a')], false))).toThrow('went back')
  })
})

test('a prefix is a range that holds exactly the keys that start with it', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 4 }), fc.string({ minLength: 1, maxLength: 6 }), (prefix, key) => {
      const bytes = Buffer.from(key)
      const end = prefixEnd(prefix)
      const inRange =
        Buffer.compare(bytes, rangeStart(prefix, undefined)) >= 0 &&
        (end.equals(Buffer.from([0])) || Buffer.compare(bytes, end) < 0)
      expect(inRange).toBe(bytes.subarray(0, Buffer.byteLength(prefix)).equals(Buffer.from(prefix)))
    }),
  )
})

test('what differs between versions of etcd', () => {
  expect(compareVersions('3.4.9', '3.4.23')).toBeLessThan(0)
  expect(compareVersions('3.6.0-rc.1', '3.6.0')).toBe(0)
  const inOrder = ['3.4.23', '3.4.25', '3.5.7', '3.5.8', '3.6.1'].map(progressIsInOrder)
  expect(inOrder).toEqual([false, true, false, true, true])
  expect(progressIntervalFlag('3.4.23')).toContain('experimental')
  expect(progressIntervalFlag('3.6.4')).not.toContain('experimental')
})
