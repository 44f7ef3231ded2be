import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { microTimestamp, sleep, systemClock, timestamp, withTimeout } from '../../src/base/clock.ts'
import { DroverError } from '../../src/base/errors.ts'
import { readIfExists } from '../../src/base/files.ts'
import { silentLogger } from '../../src/base/log.ts'
import { WorkQueue } from '../../src/base/queue.ts'
import { seededRandom } from '../../src/base/random.ts'
import { repeat, runServices } from '../../src/base/service.ts'
import { createManualClock, type ManualClock } from '../support/manual_clock.ts'

const environment = (clock: ManualClock) => ({ clock, random: seededRandom(1), log: silentLogger })
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('the work queue', () => {
  it('never runs a key twice at once, and runs after the last add', async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('add' as const), key: fc.constantFrom('a', 'b', 'c') }),
      fc.record({ do: fc.constant('finish' as const), key: fc.constantFrom('a', 'b', 'c') }),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 40 }),
        fc.integer({ min: 1, max: 3 }),
        async (steps, concurrency) => {
          const clock = createManualClock()
          const running = new Map<string, () => void>()
          const added = new Map<string, number>()
          const seen = new Map<string, number>()
          const queue = new WorkQueue({ ...environment(clock), name: 'q', concurrency }, async (key) => {
            expect(running.has(key)).toBe(false)
            seen.set(key, added.get(key) ?? 0)
            await new Promise<void>((resolve) => running.set(key, resolve))
            running.delete(key)
            return undefined
          })
          const controller = new AbortController()
          const done = queue.run(controller.signal)
          let n = 0
          for (const each of steps) {
            if (each.do === 'add') {
              added.set(each.key, ++n)
              queue.add(each.key)
            } else running.get(each.key)?.()
            await turn()
            expect(running.size).toBeLessThanOrEqual(concurrency)
          }
          for (let i = 0; i < 10; i++) {
            for (const finish of [...running.values()]) finish()
            await turn()
          }
          expect(seen).toEqual(added)
          controller.abort()
          await done
        },
      ),
      { numRuns: 60 },
    )
  })

  it('tries again with back-off, and later when asked', async () => {
    const clock = createManualClock()
    const times: number[] = []
    const queue = new WorkQueue({ ...environment(clock), name: 'q' }, async () => {
      times.push(clock.monotonicMs())
      if (times.length <= 3) throw new DroverError('unavailable', 'not yet')
      return times.length === 4 ? { againAfterMs: 1000 } : undefined
    })
    const controller = new AbortController()
    const done = queue.run(controller.signal)
    queue.add('a')
    await clock.advance(5000)
    expect(times).toHaveLength(5)
    const gaps = times.map((time, i) => time - (times[i - 1] ?? 0)).slice(1)
    for (const [i, plain] of [20, 40, 80].entries()) expect(gaps[i]).toBeCloseTo(plain, -1.3)
    expect(gaps[3]).toBe(1000)
    controller.abort()
    await done
  })

  it('stops when told: waits for what runs, starts nothing, and leaves no timer', async () => {
    const clock = createManualClock()
    let release: () => void = () => undefined
    const runs: string[] = []
    const queue = new WorkQueue({ ...environment(clock), name: 'q' }, async (key) => {
      runs.push(key)
      await new Promise<void>((resolve) => {
        release = resolve
      })
      return { againAfterMs: 10 }
    })
    const controller = new AbortController()
    let ended = false
    const done = queue.run(controller.signal).then(() => {
      ended = true
    })
    queue.add('a')
    queue.add('b')
    queue.addAfter('c', 10)
    await turn()
    controller.abort()
    await turn()
    expect(ended).toBe(false)
    release()
    await done
    queue.add('d')
    queue.addAfter('e', 1)
    expect([runs, queue.size, clock.pending]).toEqual([['a'], 0, 0])
  })

  it('forgets', async () => {
    const clock = createManualClock()
    const runs: string[] = []
    const queue = new WorkQueue({ ...environment(clock), name: 'q' }, async (key) => {
      runs.push(key)
      return undefined
    })
    queue.add('a')
    queue.addAfter('b', 5)
    queue.forget('a')
    queue.forget('b')
    queue.addAfter('c', 5)
    queue.addAfter('c', 500)
    const controller = new AbortController()
    const done = queue.run(controller.signal)
    await clock.advance(10)
    expect(runs).toEqual(['c'])
    controller.abort()
    await done
  })
})

describe('services', () => {
  it('are started again when they fail, and stopped last to first', async () => {
    const clock = createManualClock()
    const story: string[] = []
    let failures = 0
    const waiting = (id: string) => ({
      id,
      async run(signal: AbortSignal) {
        story.push(`${id} runs`)
        if (id === 'b' && failures++ < 2) throw new DroverError('unavailable', 'no')
        if (!signal.aborted)
          await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
        story.push(`${id} ends`)
      },
    })
    const controller = new AbortController()
    const done = runServices([waiting('a'), waiting('b')], environment(clock), controller.signal)
    await clock.advance(1000)
    expect(story).toEqual(['a runs', 'b runs', 'b runs', 'b runs'])
    controller.abort()
    await done
    expect(story.slice(4)).toEqual(['b ends', 'a ends'])
    expect(clock.pending).toBe(0)
  })

  it('that return too early count as failed', async () => {
    const clock = createManualClock()
    let runs = 0
    const controller = new AbortController()
    const early = {
      id: 'early',
      run: async () => {
        runs++
      },
    }
    const done = runServices([early], environment(clock), controller.signal)
    await clock.advance(150)
    expect(runs).toBe(2)
    controller.abort()
    await done
  })
})

describe('looks that come again and again', () => {
  async function looksAt(waits: boolean, fails: (atMs: number) => boolean): Promise<number[]> {
    const clock = createManualClock()
    const looks: number[] = []
    const controller = new AbortController()
    const look = async () => {
      looks.push(clock.monotonicMs())
      if (fails(clock.monotonicMs())) throw new DroverError('cancelled', 'of its own')
    }
    await clock.advance(300)
    const options = { clock, log: silentLogger, everyMs: 1_000, failure: 'no', waits }
    const done = repeat(look, options, controller.signal)
    await clock.advance(3_000)
    controller.abort()
    await done
    expect(clock.pending).toBe(0)
    return looks
  }

  it('fall together, at once or when it is time', async () => {
    expect(await looksAt(false, () => false)).toEqual([300, 1_000, 2_000, 3_000])
    expect(await looksAt(true, () => false)).toEqual([1_000, 2_000, 3_000])
  })

  it('are ended by no failure', async () => {
    expect(await looksAt(false, (atMs) => atMs < 2_500)).toEqual([300, 1_000, 2_000, 3_000])
  })

  it('do not come twice when a timer is early', async () => {
    const clock = createManualClock()
    const early = { ...clock, schedule: (ms: number, callback: () => void) => clock.schedule(ms - 1, callback) }
    const looks: number[] = []
    const controller = new AbortController()
    const options = { clock: early, log: silentLogger, everyMs: 1_000, failure: 'no' }
    const done = repeat(async () => void looks.push(clock.monotonicMs()), options, controller.signal)
    await clock.advance(3_500)
    controller.abort()
    await done
    expect(looks).toEqual([0, 999, 1_999, 2_999])
  })
})

describe('time', () => {
  it('is written as Kubernetes writes it', () => {
    expect(timestamp(1_700_000_000_123)).toBe('2023-11-14T22:13:20Z')
    expect(microTimestamp(1_700_000_000_123)).toBe('2023-11-14T22:13:20.123000Z')
  })

  it('can be waited for, bounded and called off', async () => {
    const clock = createManualClock()
    const controller = new AbortController()
    const waiting = sleep(clock, 1000, controller.signal)
    controller.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' })
    await expect(sleep(clock, 1, controller.signal)).rejects.toMatchObject({ code: 'cancelled' })
    const slow = withTimeout(clock, new Promise(() => undefined), 50, 'the thing')
    const judged = expect(slow).rejects.toThrow('the thing did not finish within 50 ms')
    await clock.advance(50)
    await judged
    await expect(withTimeout(clock, Promise.resolve(1), 50, 'x')).resolves.toBe(1)
    expect(clock.pending).toBe(0)
    await sleep(systemClock, 0)
  })
})

describe('errors', () => {
  it('keep their code, and classify what they wrap', () => {
    const cause = Object.assign(new Error('x'), { name: 'AbortError' })
    expect(DroverError.from(cause).code).toBe('cancelled')
    expect(DroverError.from('text', 'unavailable')).toMatchObject({
      code: 'unavailable',
      message: 'text',
      temporary: true,
    })
    const own = new DroverError('invalid', 'y')
    expect(DroverError.from(own)).toBe(own)
    expect(own.temporary).toBe(false)
  })
})

describe('readIfExists', () => {
  it('a process that has gone between the opening and the reading of its file is one that is not there', async () => {
    const child = spawn('sleep', ['100'])
    const file = openSync(`/proc/${child.pid}/stat`, 'r')
    try {
      const exited = new Promise((resolve) => child.on('exit', resolve))
      child.kill('SIGKILL')
      await exited
      expect(readIfExists(`/proc/self/fd/${file}`)).toBeUndefined()
    } finally {
      closeSync(file)
    }
  })
})
