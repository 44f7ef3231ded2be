/** Nodes that run short: what they say, whom they evict, and in which order. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PressureMonitor } from '../../src/agent/pressure/monitor.ts'
import {
  evictionMessage,
  Held,
  type PodUse,
  rankForEviction,
  type Shortage,
  type Signals,
  shortagesOf,
  thresholdOf,
} from '../../src/agent/pressure/plan.ts'
import { memoryAmount, taskAmount } from '../../src/agent/pressure/signals.ts'
import { silentLogger } from '../../src/base/log.ts'
import { parseBytes } from '../../src/base/quantity.ts'
import { createManualClock } from '../support/manual_clock.ts'

const plenty: Signals = {
  memory: { available: 1_000, total: 2_000 },
  disk: { available: 1_000, total: 2_000 },
  pids: { available: 1_000, total: 2_000 },
}
const thresholds = { memory: 100, disk: 100, pids: 100 }
const use = (uid: string, memory: number, requested = 0, priority = 0): PodUse => ({
  uid,
  priority,
  used: { memory, disk: memory, pids: memory },
  requested: { memory: requested, disk: requested, pids: 0 },
  containers: [],
})

describe('what is short', () => {
  it('is what lies below its threshold and is known', () => {
    expect(shortagesOf(plenty, thresholds)).toEqual([])
    expect(shortagesOf({ ...plenty, disk: { available: 99, total: 2_000 } }, thresholds)).toEqual(['disk'])
    expect(shortagesOf({ ...plenty, pids: { available: 0, total: 0 } }, thresholds)).toEqual([])
  })

  it('thresholds are amounts or shares', () => {
    expect(thresholdOf('100Mi', 0, parseBytes)).toBe(100 << 20)
    expect(thresholdOf('5%', 1_000, parseBytes)).toBe(50)
    for (const bad of ['101%', 'much', '-5', '']) expect(thresholdOf(bad, 1_000, parseBytes)).toBeUndefined()
  })

  it("is read from the kernel's texts", () => {
    expect(memoryAmount('MemTotal:  10 kB\nMemFree:  1 kB\nMemAvailable:  4 kB\n')).toEqual({
      available: 4096,
      total: 10_240,
    })
    expect(taskAmount('0.1 0.2 0.3 2/345 678\n', ['4194304\n', '1000\n'])).toEqual({ available: 655, total: 1_000 })
    expect(taskAmount('', [])).toEqual({ available: 0, total: 0 })
  })

  it('is held for a while after it is over', () => {
    const held = new Held(60_000)
    expect(held.see(['memory'], 0)).toEqual(['memory'])
    expect(held.see([], 59_000)).toEqual(['memory'])
    expect(held.see(['memory'], 59_500)).toEqual(['memory'])
    expect(held.see([], 100_000)).toEqual(['memory'])
    expect(held.see([], 120_000)).toEqual([])
  })
})

describe('who is evicted', () => {
  it('first whoever uses most beyond what it asked for', () => {
    const pods = [use('modest', 50, 100), use('greedy', 300, 100), use('unasked', 150), use('idle', 0)]
    expect(rankForEviction(pods, 'memory').map(({ uid }) => uid)).toEqual(['greedy', 'unasked', 'modest'])
  })

  it.each([
    [
      'who uses more than asked comes before all others, whatever the priorities',
      [use('modest', 50, 100, -5), use('greedy', 101, 100, 1_000)],
      ['greedy', 'modest'],
    ],
    [
      'then less priority, though it uses less beyond',
      [use('greedy', 900, 0, 10), use('low', 10, 0, -1), use('none', 20)],
      ['low', 'none', 'greedy'],
    ],
    ['so too among those who keep to it', [use('much', 90, 100, 1), use('little', 10, 100)], ['little', 'much']],
    [
      'nobody who is critical',
      [use('cluster', 900, 0, 2e9), use('node', 900, 0, 2e9 + 1000), use('high', 9, 0, 1e9)],
      ['high'],
    ],
    ['of equal priority, who uses most beyond it', [use('some', 20, 0, 7), use('most', 30, 0, 7)], ['most', 'some']],
  ])('%s', (_, pods, order) => {
    expect(rankForEviction(pods, 'memory').map(({ uid }) => uid)).toEqual(order)
  })

  it('first of all whoever takes more than could be measured, and it is told so', () => {
    const unmeasured = use('unmeasured', Number.POSITIVE_INFINITY, 100)
    const named = { ...unmeasured, containers: [{ name: 'app', ...unmeasured }] }
    const pods = [use('greedy', 900), named, { ...unmeasured, uid: 'other' }]
    expect(rankForEviction(pods, 'disk').map(({ uid }) => uid)).toEqual(['other', 'unmeasured', 'greedy'])
    expect(evictionMessage('disk', 50, 100, named)).toMatch(
      /Container app was using more than could be measured in time, request is 100, has larger/,
    )
  })

  it('nobody who keeps to it while another does not', () => {
    const anyPod = fc.tuple(fc.nat(100), fc.nat(100), fc.integer())
    fc.assert(
      fc.property(fc.array(anyPod), (all) => {
        const ranked = rankForEviction(
          all.map(([used, requested, priority], i) => use(`p${i}`, used, requested, priority)),
          'memory',
        )
        const beyond = ranked.map(({ used, requested }) => used.memory > requested.memory)
        expect(beyond).toEqual(beyond.toSorted((a, b) => Number(b) - Number(a)))
        expect(ranked.every(({ used }) => used.memory > 0)).toBe(true)
      }),
    )
  })
})

describe('the monitor', () => {
  function setUp() {
    const clock = createManualClock()
    const state = {
      signals: plenty,
      pods: [use('a', 500), use('b', 900), use('c', 10)],
      reclaimed: 0,
      reclaims: 0,
      reclaimFails: false,
      /** What is seen of the disk, when it takes time. */
      walk: undefined as Promise<PodUse[]> | undefined,
    }
    const evicted: string[] = []
    const said: Shortage[][] = []
    const monitor = new PressureMonitor({
      clock,
      log: silentLogger,
      holdMs: 60_000,
      read: async () => state.signals,
      thresholds: () => thresholds,
      pods: async (what) => (what === 'disk' ? await state.walk : undefined) ?? state.pods,
      evict: (uid) => evicted.push(uid),
      holds: (uid) => state.pods.some((pod) => pod.uid === uid),
      async reclaimDisk(isEnough) {
        state.reclaims++
        if (state.reclaimFails) throw new Error('an image cannot be removed')
        const { available, total } = state.signals.disk
        state.signals = { ...state.signals, disk: { available: available + state.reclaimed, total } }
        expect(await isEnough()).toBe(state.reclaimed > 0)
      },
      onChange: (shortages) => said.push([...shortages]),
    })
    const short = (what: Shortage) => {
      state.signals = { ...state.signals, [what]: { available: 50, total: 2_000 } }
    }
    return { clock, state, evicted, said, monitor, short }
  }

  it('evicts one at a time, the next only when it is gone and was not enough', async () => {
    const { clock, state, evicted, said, monitor, short } = setUp()
    await monitor.look()
    expect([evicted, said]).toEqual([[], []])
    short('memory')
    await monitor.look()
    await monitor.look()
    expect(evicted).toEqual(['b'])
    state.pods = state.pods.filter(({ uid }) => uid !== 'b')
    await monitor.look()
    expect(evicted).toEqual(['b', 'a'])
    state.signals = plenty
    await clock.advance(59_000)
    await monitor.look()
    expect(said).toEqual([['memory']])
    await clock.advance(60_000)
    await monitor.look()
    expect(said).toEqual([['memory'], []])
    expect(evicted).toEqual(['b', 'a'])
  })

  it('tries another when one does not go', async () => {
    const { clock, evicted, monitor, short } = setUp()
    short('pids')
    await monitor.look()
    await clock.advance(59_000)
    await monitor.look()
    expect(evicted).toEqual(['b'])
    await clock.advance(2_000)
    await monitor.look()
    expect(evicted).toEqual(['b', 'a'])
  })

  it('removes what nothing uses before anybody has to go', async () => {
    const { state, evicted, said, monitor, short } = setUp()
    state.reclaimed = 500
    short('disk')
    await monitor.look()
    await monitor.lookAtDisk()
    expect([state.reclaims, evicted, said]).toEqual([1, [], [['disk']]])
    state.reclaimed = 0
    short('disk')
    await monitor.lookAtDisk()
    expect(evicted).toEqual(['b'])
  })

  it('evicts though nothing could be removed', async () => {
    const { state, evicted, monitor, short } = setUp()
    state.reclaimFails = true
    short('disk')
    await monitor.lookAtDisk()
    expect([state.reclaims, evicted]).toEqual([1, ['b']])
  })

  it('watches memory while the disk is measured, and evicts nobody for a shortage that is over by then', async () => {
    const { clock, state, evicted, monitor, short } = setUp()
    let measured: (pods: PodUse[]) => void = () => undefined
    state.walk = new Promise((resolve) => {
      measured = resolve
    })
    short('disk')
    const stop = new AbortController()
    const running = monitor.run(stop.signal)
    await clock.advance(5_000)
    expect(evicted).toEqual([])
    short('memory')
    await clock.advance(5_000)
    expect(evicted).toEqual(['b'])
    const all = state.pods
    state.pods = all.filter(({ uid }) => uid !== 'b')
    state.signals = plenty
    measured(all)
    await clock.advance(5_000)
    expect(evicted).toEqual(['b'])
    short('disk')
    await clock.advance(5_000)
    expect(evicted).toEqual(['b', 'a'])
    stop.abort()
    await running
  })
})
