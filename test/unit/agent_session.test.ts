/** When an agent that has no session calls again, on a clock that the test moves. */
import { describe, expect, test } from 'vitest'
import { Session } from '../../src/agent/session.ts'
import { DroverError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import type { NodeClient } from '../../src/rpc/client.ts'
import { createManualClock } from '../support/manual_clock.ts'

/** What a server that starts gives a node to call: dispatch's default. */
const NOT_READY_AFTER_MS = 4_000

/** Nobody listens there. */
function refused(): NodeClient {
  return {
    connect: () => ({
      write: () => undefined,
      end: () => undefined,
      close: () => undefined,
      onMessage: () => undefined,
      onEnd: () => undefined,
      onClose: (listener) => listener(new DroverError('unavailable', 'refused')),
      pause: () => undefined,
      resume: () => undefined,
    }),
    stream: () => {
      throw new DroverError('unsupported', 'there is no session')
    },
    close: () => undefined,
  }
}

describe('an agent that no server answers', () => {
  test.each([1, 2, 5])('calls each of %d within the time that a server that starts gives it', async (count) => {
    const clock = createManualClock()
    const calls = new Map<string, number[]>()
    const session = new Session({
      servers: Array.from({ length: count }, (_, index) => `s${index}:1`),
      tls: () => ({ ca: '', cert: '', key: '' }),
      dial: (address) => {
        calls.set(address, [...(calls.get(address) ?? []), clock.monotonicMs()])
        return refused()
      },
      clock,
      random: seededRandom(1),
      log: silentLogger,
      handlers: {
        hello: async () => ({
          type: 'hello',
          nodeName: 'n1',
          bootId: 'b',
          agentVersion: '0',
          nodeJson: new Uint8Array(),
        }),
        heartbeat: () => ({ programmedRevision: 0, peersRevision: 0 }),
        onWelcome: () => undefined,
        onChanges: () => undefined,
        onOpenStream: () => undefined,
      },
    })
    const control = new AbortController()
    const ended = session.run(control.signal)
    await clock.advance(120_000)
    control.abort()
    await clock.advance(10_000)
    await ended
    expect(calls.size).toBe(count)
    for (const times of calls.values()) {
      const waits = times.slice(1).map((time, index) => time - (times[index] ?? 0))
      expect(Math.max(...waits)).toBeLessThan(0.75 * NOT_READY_AFTER_MS)
      // Nor does it hammer at doors that stay shut.
      expect(times.length).toBeLessThan(120)
    }
  })
})
