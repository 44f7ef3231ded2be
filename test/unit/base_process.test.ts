/** Programs run to their end: what is left behind when there is no program. */
import { expect, test } from 'vitest'
import { run } from '../../src/base/process.ts'

test('a program that cannot be started leaves no timer that would hold the process up', async () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const runs = Array.from({ length: 20 }, () => run('no-such-program', [], { timeoutMs: 600_000 }))
  const outcomes = await Promise.allSettled(runs)
  expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['rejected']))
  expect(timers()).toBeLessThan(before + 10)
})

test('a program that takes too long is killed', async () => {
  await expect(run('sleep', ['60'], { timeoutMs: 50 })).rejects.toMatchObject({ code: 'timeout' })
})
