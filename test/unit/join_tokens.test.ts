/** Tokens, what is read from the command line for them, and who may fail how often. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  createJoinToken,
  formatJoinToken,
  parseJoinToken,
  readTokenSecret,
  secretSha256,
  tokenSecret,
} from '../../src/api/join_token.ts'
import type { Stored } from '../../src/api/meta.ts'
import { type Secret, secretKind } from '../../src/api/secret.ts'
import { parseTaint } from '../../src/bin/membership.ts'
import { parseTtl, remaining } from '../../src/cli/token.ts'
import { KEEP_EXPIRED_MS, planTokens } from '../../src/controllers/token/controller.ts'
import { FailureLimit } from '../../src/dispatch/failure_limit.ts'
import { createManualClock } from '../support/manual_clock.ts'

const CA = 'c'.repeat(64)
const HOUR_MS = 3_600_000

function stored(expiresAtMs: number): { secret: Stored<Secret>; id: string } {
  const token = createJoinToken(CA)
  const secret = structuredClone(tokenSecret(token, { expiresAtMs, description: 'x' }))
  secretKind.applyDefaults?.(secret)
  return { secret: secret as Stored<Secret>, id: token.id }
}

describe('a token', () => {
  test('comes back from its text; any other text is refused without being repeated', () => {
    const token = createJoinToken(CA)
    expect(parseJoinToken(` ${formatJoinToken(token)}\n`)).toEqual(token)
    fc.assert(
      fc.property(fc.string(), (text) => {
        const wrong = `${formatJoinToken(token)}${text.trim()}x`
        expect(() => parseJoinToken(wrong)).toThrow(/this is no join token/)
        expect(() => parseJoinToken(wrong)).not.toThrow(new RegExp(token.secret))
      }),
    )
  })

  test('is stored by the hash of its secret', () => {
    const token = createJoinToken(CA)
    const secret = structuredClone(tokenSecret(token, { expiresAtMs: 1_000_000, description: 'rack 7' }))
    expect(JSON.stringify(secret)).not.toContain(token.secret)
    secretKind.applyDefaults?.(secret)
    expect(readTokenSecret(secret)).toEqual({
      id: token.id,
      secretSha256: secretSha256(token.secret),
      expiresAtMs: 1_000_000,
      description: 'rack 7',
      joins: true,
    })
    expect(readTokenSecret({ ...secret, type: 'Opaque' })).toBeUndefined()
    expect(
      readTokenSecret({ ...secret, metadata: { ...secret.metadata, name: 'bootstrap-token-zzzzzz' } }),
    ).toBeUndefined()
    const broken = { ...secret.data, expiration: Buffer.from('never').toString('base64') }
    expect(readTokenSecret({ ...secret, data: broken })?.expiresAtMs).toBe(0)
  })

  test('is swept some time after it has expired, and the next is waited for', () => {
    const old = stored(0)
    const fresh = stored(10 * HOUR_MS)
    const endless = stored(Number.POSITIVE_INFINITY)
    const all = [old, fresh, endless].map(({ secret }) => secret)
    expect(planTokens(all, KEEP_EXPIRED_MS - 1)).toEqual({ remove: [], againAtMs: KEEP_EXPIRED_MS })
    expect(planTokens(all, KEEP_EXPIRED_MS)).toEqual({
      remove: [old.secret],
      againAtMs: 10 * HOUR_MS + KEEP_EXPIRED_MS,
    })
    expect(planTokens([endless.secret], 0)).toEqual({ remove: [], againAtMs: undefined })
  })
})

test('times to live', () => {
  expect(['90s', '30m', '24h', '7d', '0'].map(parseTtl)).toEqual([
    90e3,
    1800e3,
    86_400e3,
    604_800e3,
    Number.POSITIVE_INFINITY,
  ])
  for (const text of ['', '-1h', '1', 'h', '0h', '1.5h', '1w']) expect(() => parseTtl(text)).toThrow(/--ttl takes/)
  const token = { id: 'abc123', secretSha256: '', description: '', joins: true }
  const left = (ms: number) => remaining({ ...token, expiresAtMs: ms }, 0)
  expect([left(86_399e3), left(172_800e3), left(90e3), left(0), left(Number.POSITIVE_INFINITY)]).toEqual([
    '23h',
    '2d',
    '90s',
    'expired',
    'for ever',
  ])
})

test('taints', () => {
  expect(parseTaint('gpu=yes:NoSchedule')).toEqual({ key: 'gpu', value: 'yes', effect: 'NoSchedule' })
  expect(parseTaint('a.b/c:NoExecute')).toEqual({ key: 'a.b/c', effect: 'NoExecute' })
  for (const text of ['', 'a', 'a=b', 'a=b:Never', ':NoSchedule'])
    expect(() => parseTaint(text)).toThrow(/--taint takes/)
})

test('an address that fails too often waits out its minute; others do not', async () => {
  const clock = createManualClock()
  const limit = new FailureLimit(clock)
  for (let i = 0; i < 10; i++) {
    limit.check('a')
    limit.add('a')
  }
  expect(() => limit.check('a')).toThrow(/too many failed attempts from a; try again in 60 s/)
  expect(() => limit.check('b')).not.toThrow()
  await clock.advance(60_000)
  expect(() => limit.check('a')).not.toThrow()
})
