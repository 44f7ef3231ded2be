import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FairQueue, type Leave } from '../../src/apiserver/fair_queue.ts'
import { takesGzip } from '../../src/apiserver/list_body.ts'
import { isCode } from '../../src/base/errors.ts'
import { createManualClock } from '../support/manual_clock.ts'

const LIMITS = { running: 4, runningPerUser: 3, waitingPerUser: 5, waitMs: 1_000, longRunningPerUser: 2 }
const never = new AbortController().signal
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('room for requests', () => {
  it('gives one user only a part, and the next free place to whoever has waited for a turn', async () => {
    const queue = new FairQueue(createManualClock(), LIMITS)
    const order: string[] = []
    const leaves: Leave[] = []
    const ask = (user: string): void => {
      queue.enter(user, never).then(
        (leave) => {
          order.push(user)
          leaves.push(leave)
        },
        () => order.push(`${user} refused`),
      )
    }
    for (let i = 0; i < 8; i++) ask('flood')
    await settled()
    expect(order).toEqual(['flood', 'flood', 'flood'])
    ask('quiet')
    ask('other')
    await settled()
    expect(order.slice(3)).toEqual(['quiet'])
    ask('flood')
    await settled()
    expect(order.slice(4), 'its own queue is full').toEqual(['flood refused'])
    leaves.shift()?.()
    leaves.shift()?.()
    await settled()
    expect(order.slice(5).sort()).toEqual(['flood', 'other'])
  })

  it('holds its limits and forgets nobody, whatever comes and goes', { timeout: 30_000 }, async () => {
    const step = fc.record({ user: fc.constantFrom('a', 'b', 'c'), act: fc.constantFrom('enter', 'leave', 'abort') })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const queue = new FairQueue(createManualClock(), LIMITS)
        const running: { user: string; leave: Leave }[] = []
        const waiting: { user: string; abort: AbortController }[] = []
        for (const { user, act } of steps) {
          if (act === 'leave') running.shift()?.leave()
          else if (act === 'abort') waiting.shift()?.abort.abort()
          else {
            const entry = { user, abort: new AbortController() }
            waiting.push(entry)
            const gone = (): void => void waiting.splice(waiting.indexOf(entry), waiting.includes(entry) ? 1 : 0)
            queue.enter(user, entry.abort.signal).then((leave) => {
              gone()
              running.push({ user, leave })
            }, gone)
          }
          await settled()
          expect(running.length).toBeLessThanOrEqual(LIMITS.running)
          for (const each of 'abc') {
            const own = running.filter((other) => other.user === each).length
            expect(own).toBeLessThanOrEqual(LIMITS.runningPerUser)
            const waits = waiting.some((other) => other.user === each)
            expect(waits && own < LIMITS.runningPerUser && running.length < LIMITS.running).toBe(false)
          }
        }
        while (running.length > 0) {
          running.shift()?.leave()
          await settled()
        }
        expect([waiting.length, queue.users]).toEqual([0, 0])
      }),
      { numRuns: 40 },
    )
  })

  it('gives up in time, and bounds what stays open', async () => {
    const clock = createManualClock()
    const queue = new FairQueue(clock, LIMITS)
    const held = await Promise.all([1, 2, 3].map(() => queue.enter('u', never)))
    const late = queue.enter('u', never).catch((error: unknown) => error)
    await clock.advance(LIMITS.waitMs)
    expect(isCode(await late, 'tooManyRequests')).toBe(true)
    for (const leave of held) leave()
    const open = [queue.enterLong('u'), queue.enterLong('u')]
    expect(() => queue.enterLong('u')).toThrow(/2 watches and sessions open/)
    expect(queue.enterLong('v')).toBeTypeOf('function')
    for (const leave of open) leave()
    expect(queue.users).toBe(1)
  })
})

describe('compression', () => {
  it.each([
    ['gzip', true],
    ['deflate, gzip;q=1.0', true],
    ['gzip;q=0.5', true],
    ['*', true],
    ['gzip;q=0', false],
    ['gzip;q=0.0', false],
    ['br, identity', false],
    [undefined, false],
  ])('of %s is %s', (header, wanted) => {
    expect(takesGzip(header)).toBe(wanted)
  })
})
