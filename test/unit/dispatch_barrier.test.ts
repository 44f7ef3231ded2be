/** The barrier's planner: who is waited for, until when, and who is given up on. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type BarrierNode,
  type BarrierSnapshot,
  type BarrierWait,
  planBarrier,
} from '../../src/dispatch/barrier_plan.ts'

const NOW = 10_000
const wait = (overrides: Partial<BarrierWait> = {}): BarrierWait => ({
  key: 'default/a',
  sequence: 7,
  sinceMs: NOW - 100,
  limitMs: 5_000,
  ...overrides,
})
const plan = (overrides: Partial<BarrierSnapshot> = {}) =>
  planBarrier({ waits: [wait()], nodes: [], excused: new Map(), nowMs: NOW, ...overrides })
const node = (name: string, programmed: number): BarrierNode => ({ name, programmed })

describe('planBarrier', () => {
  test('is settled when all nodes have programmed the table, or a newer one', () => {
    expect(plan({ nodes: [node('a', 7), node('b', 9)] })).toEqual({
      settled: [{ key: 'default/a', missing: [], unwritten: false }],
      excused: new Map(),
      againAtMs: undefined,
    })
  })

  test('without nodes there is nobody to wait for', () => {
    expect(plan().settled).toHaveLength(1)
  })

  test('waits for the last node, until the time is up', () => {
    const waiting = plan({ nodes: [node('a', 7), node('b', 6)] })
    expect(waiting.settled).toEqual([])
    expect(waiting.againAtMs).toBe(NOW - 100 + 5_000)
  })

  test('waits for a change that no table holds yet, whatever nodes have programmed', () => {
    const waits = [wait({ sequence: undefined })]
    expect(plan({ waits, nodes: [node('a', 99)] }).settled).toEqual([])
    const late = plan({ waits: [wait({ sequence: undefined, sinceMs: NOW - 5_000 })], nodes: [node('a', 99)] })
    expect(late.settled).toEqual([{ key: 'default/a', missing: [], unwritten: true }])
    expect(late.excused.size).toBe(0)
  })

  test('gives up on a node that does not confirm, and does not wait for it again until it has caught up', () => {
    const nodes = [node('a', 7), node('b', 6)]
    const late = plan({ waits: [wait({ sinceMs: NOW - 5_000 })], nodes })
    expect(late.settled).toEqual([{ key: 'default/a', missing: ['b'], unwritten: false }])
    expect([...late.excused]).toEqual([['b', 7]])
    const next = plan({ waits: [wait({ sequence: 8 })], nodes: [node('a', 8), node('b', 6)], excused: late.excused })
    expect(next.settled).toEqual([{ key: 'default/a', missing: [], unwritten: false }])
    const back = plan({ waits: [wait({ sequence: 8 })], nodes: [node('a', 8), node('b', 7)], excused: late.excused })
    expect(back.settled).toEqual([])
    expect(back.excused.size).toBe(0)
  })

  test('a node that is gone is neither waited for nor remembered', () => {
    expect(plan({ nodes: [node('a', 7)], excused: new Map([['b', 7]]) }).excused.size).toBe(0)
  })

  test('never says confirmed while a node that is asked lags; always ends in time', () => {
    const arbitrary = fc.record({
      waits: fc.array(
        fc.record({
          key: fc.string({ minLength: 1 }),
          sequence: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
          sinceMs: fc.integer({ min: 0, max: NOW }),
          limitMs: fc.integer({ min: 0, max: 9_000 }),
        }),
      ),
      nodes: fc.uniqueArray(fc.record({ name: fc.string(), programmed: fc.integer({ min: -1, max: 9 }) }), {
        selector: ({ name }) => name,
      }),
    })
    fc.assert(
      fc.property(arbitrary, ({ waits, nodes }) => {
        const result = plan({ waits, nodes })
        for (const each of waits) {
          const settled = result.settled.filter(({ key }) => key === each.key)
          const due = each.sinceMs + each.limitMs <= NOW
          if (due) expect(settled.length).toBeGreaterThan(0)
          else
            expect(result.againAtMs ?? Number.POSITIVE_INFINITY).toBeLessThanOrEqual(
              settled.length > 0 ? Number.POSITIVE_INFINITY : each.sinceMs + each.limitMs,
            )
        }
        for (const { key, missing, unwritten } of result.settled) {
          if (unwritten || missing.length > 0) continue
          const lowest = Math.min(...waits.filter((each) => each.key === key).map(({ sequence = 99 }) => sequence))
          expect(nodes.every(({ programmed }) => programmed >= lowest)).toBe(true)
        }
      }),
    )
  })
})
