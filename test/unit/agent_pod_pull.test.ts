/** When a pod's image is asked for again. */
import { describe, expect, test } from 'vitest'
import { pullDelayMs } from '../../src/agent/pod/pull.ts'
import { DroverError } from '../../src/base/errors.ts'
import { podOf, World } from '../support/pod_world.ts'

describe('the next pull', () => {
  test.each([
    [1, undefined, 10_000],
    [2, undefined, 20_000],
    [5, undefined, 160_000],
    [6, undefined, 300_000],
    [1000, undefined, 300_000],
    [1, 0, 10_000],
    [1, 9, 10_000],
    [1, 11, 11_000],
    [2, 15, 20_000],
    [3, 120, 120_000],
    [1, 300, 300_000],
    [1, 301, 300_000],
    [1, Number.MAX_SAFE_INTEGER, 300_000],
  ])('after %i failures, asked for %s s: in %i ms', (failures, retryAfterSeconds, delayMs) => {
    expect(pullDelayMs(failures, retryAfterSeconds)).toBe(delayMs)
  })

  test('waits as long as the registry asks', async () => {
    const world = new World(podOf({ containers: [{ name: 'app', image: 'far:1' }] }))
    let pulls = 0
    world.host.before = (call) => {
      if (!call.startsWith('pull')) return
      if (++pulls === 1) throw new DroverError('tooManyRequests', 'slow down', { retryAfterSeconds: 60 })
    }
    world.host.registry.add('far:1')
    await world.run(2)
    expect(pulls).toBe(1)
    await world.run(55)
    expect(pulls).toBe(1)
    await world.run(10)
    expect(pulls).toBe(2)
    expect(world.last?.status.phase).toBe('Running')
  })
})
