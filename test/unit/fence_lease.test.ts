/** The times of fencing as inequalities, with clocks that differ in rate and messages that come late. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Fencer } from '../../src/agent/fence/fencer.ts'
import { FenceGuard } from '../../src/agent/fence/guard.ts'
import { CLOCK_RATE_ERROR, EXCLUSIVE_LEASE_MS, fenceAfterMs, isExclusive } from '../../src/api/exclusive.ts'
import { silentLogger } from '../../src/base/log.ts'
import { createManualClock } from '../support/manual_clock.ts'

const NOT_READY_MS = 4_000
/** What the margin is for: from the lease's end to the last process' end. */
const KILL_MS = 2_000

const rate = fc.double({ min: 1 - CLOCK_RATE_ERROR / 2, max: 1 + CLOCK_RATE_ERROR / 2, noNaN: true })
const delay = fc.integer({ min: 0, max: 60_000 })

describe('fence times', () => {
  it('the last process on a lost node ends before its replacement may start, whatever the clocks and delays', () => {
    fc.assert(
      fc.property(
        fc.record({
          nodeRate: rate,
          serverRate: rate,
          leaderRate: rate,
          beats: fc.array(fc.record({ pause: fc.integer({ min: 1, max: 3_000 }), up: delay, down: delay }), {
            minLength: 1,
            maxLength: 30,
          }),
          killMs: fc.integer({ min: 0, max: KILL_MS }),
          noticed: delay,
        }),
        ({ nodeRate, serverRate, leaderRate, beats, killMs, noticed }) => {
          // Real time throughout; each host's clock runs at its own rate.
          let sent = 0
          let heard = 0
          let endsAt = 0
          let lostAt: number | undefined
          for (const { pause, up, down } of beats) {
            sent += pause
            // A stream keeps its order.
            const arrived = Math.max(heard, sent + up)
            const judgedAt = heard + NOT_READY_MS / serverRate
            if (arrived > judgedAt) {
              lostAt = judgedAt
              break
            }
            heard = arrived
            // The answer takes its time; the lease counts from when the beat left all the same.
            if (arrived + down < sent + EXCLUSIVE_LEASE_MS / nodeRate) {
              endsAt = Math.max(endsAt, sent + EXCLUSIVE_LEASE_MS / nodeRate)
            }
          }
          lostAt ??= heard + NOT_READY_MS / serverRate
          const replacedAt = lostAt + noticed + fenceAfterMs() / leaderRate
          expect(endsAt + killMs).toBeLessThan(replacedAt)
        },
      ),
    )
  })

  it('even without the time that it takes to see the loss', () => {
    const slowest = EXCLUSIVE_LEASE_MS / (1 - CLOCK_RATE_ERROR)
    const fastest = fenceAfterMs() / (1 + CLOCK_RATE_ERROR)
    expect(slowest + KILL_MS).toBeLessThan(fastest)
  })
})

interface FakeFencer extends Fencer {
  uptimeMs: number
  deadlineMs: number
  ended: boolean
}

function fakeFencer(): FakeFencer {
  const fake: FakeFencer = {
    uptimeMs: 1_000,
    deadlineMs: 0,
    ended: true,
    nowMs: () => fake.uptimeMs,
    renew(deadlineMs) {
      fake.deadlineMs = deadlineMs
    },
    hasEnded: () => fake.ended,
    guards: () => false,
    guard: async () => undefined,
    release: () => undefined,
    killedAtMs: () => undefined,
    run: async () => undefined,
  }
  return fake
}

describe('the right to run exclusive pods', () => {
  it('counts from when the granted beat was sent, however late the answer', async () => {
    const clock = createManualClock()
    const fencer = fakeFencer()
    const changes: boolean[] = []
    const guard: FenceGuard = new FenceGuard({
      fencer,
      clock,
      log: silentLogger,
      onChange: () => changes.push(guard.mayRun()),
    })
    const pass = async (ms: number) => {
      fencer.uptimeMs += ms
      await clock.advance(ms)
    }
    expect(guard.mayRun()).toBe(false)
    const sent = guard.stamp()
    await pass(3_000)
    guard.granted(sent)
    expect(fencer.deadlineMs).toBe(sent + EXCLUSIVE_LEASE_MS)
    expect(changes).toEqual([true])
    await pass(3_999)
    expect(guard.mayRun()).toBe(true)
    await pass(2)
    expect(changes).toEqual([true, false])
    // Nothing granted, an answer to an old beat, or one to a beat of a clock that is not ours.
    guard.granted(0)
    guard.granted(sent)
    guard.granted(fencer.uptimeMs + 1)
    expect(guard.mayRun()).toBe(false)
    guard.granted(fencer.uptimeMs)
    expect(changes).toEqual([true, false, true])
  })

  it('comes again after a lapse only when the fencer has looked: what was replaced must have ended', () => {
    const fencer = fakeFencer()
    const guard = new FenceGuard({ fencer, clock: createManualClock(), log: silentLogger, onChange: () => undefined })
    guard.granted(guard.stamp())
    const before = fencer.deadlineMs
    fencer.ended = false
    // While it lasts it is renewed without a question.
    fencer.uptimeMs += EXCLUSIVE_LEASE_MS - 1
    guard.granted(guard.stamp())
    expect(fencer.deadlineMs).toBe(before + EXCLUSIVE_LEASE_MS - 1)
    // Thawed, and a server speaks before the fencer does.
    fencer.uptimeMs += EXCLUSIVE_LEASE_MS
    guard.granted(guard.stamp())
    expect([guard.mayRun(), fencer.deadlineMs]).toEqual([false, before + EXCLUSIVE_LEASE_MS - 1])
    fencer.ended = true
    fencer.uptimeMs += 1_000
    guard.granted(guard.stamp())
    expect([guard.mayRun(), fencer.deadlineMs]).toEqual([true, fencer.uptimeMs + EXCLUSIVE_LEASE_MS])
  })

  it('is gone after a suspension that no timer has seen', () => {
    const fencer = fakeFencer()
    const guard = new FenceGuard({ fencer, clock: createManualClock(), log: silentLogger, onChange: () => undefined })
    guard.granted(guard.stamp())
    expect(guard.mayRun()).toBe(true)
    fencer.uptimeMs += 60_000
    expect(guard.mayRun()).toBe(false)
  })
})

describe('exclusive pods', () => {
  const owned = (kind: string, apiVersion: string) => [{ kind, apiVersion, controller: true, name: 'o', uid: 'u' }]
  const claim = (readOnly?: boolean) => [
    { name: 'v', persistentVolumeClaim: { claimName: 'c', ...(readOnly === undefined ? {} : { readOnly }) } },
  ]
  const said = (value: string) => ({ annotations: { 'drover.dev/exclusive': value } })
  it.each([
    ['nothing special', {}, {}, false],
    ['of a StatefulSet', { ownerReferences: owned('StatefulSet', 'apps/v1') }, {}, true],
    ["of somebody else's StatefulSet", { ownerReferences: owned('StatefulSet', 'other.io/v1') }, {}, false],
    ['of a ReplicaSet', { ownerReferences: owned('ReplicaSet', 'apps/v1') }, {}, false],
    ['with a claim', {}, { volumes: claim() }, true],
    ['with a claim that it only reads', {}, { volumes: claim(true) }, false],
    ['that says so', said('true'), {}, true],
    ['that says so in other words', said('yes'), {}, false],
    [
      'of a StatefulSet that says no',
      { ownerReferences: owned('StatefulSet', 'apps/v1'), ...said('false') },
      {},
      false,
    ],
  ])('%s', (_name, metadata, spec, expected) => {
    expect(isExclusive({ metadata, spec })).toBe(expected)
  })
})
