import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { backoffDelayMs } from '../../src/base/backoff.ts'
import {
  cidrAddress,
  cidrContains,
  cidrSize,
  cidrsOverlap,
  formatAddress,
  formatCidr,
  parseAddress,
  parseCidr,
  subnet,
} from '../../src/base/cidr.ts'
import { canonicalJson, deepFreeze, jsonEqual } from '../../src/base/json.ts'
import {
  formatBytes,
  formatCpuMillis,
  parseBytes,
  parseCpuMillis,
  parseQuantity,
  QUANTITY_PATTERN,
} from '../../src/base/quantity.ts'
import { randomInt, randomSuffix, seededRandom, systemRandom } from '../../src/base/random.ts'

describe('quantities', () => {
  it('mean what Kubernetes documents', () => {
    expect(
      ['1', '1k', '1Ki', '1.5Gi', '100m', '1e3', '1E3', '2E', '.5', '1.', '+1', 2].map((q) => parseQuantity(q)),
    ).toEqual([1, 1000, 1024, 1.5 * 2 ** 30, 0.1, 1000, 1000, 2e18, 0.5, 1, 1, 2])
    expect(['250m', '0.1', '1', '1n', 0.1, '2.0005'].map((q) => parseCpuMillis(q))).toEqual([
      250, 100, 1000, 1, 100, 2001,
    ])
    expect(['1.1M', '0.1Gi', '64Mi', '1m', '0', '-1.5'].map((q) => parseBytes(q))).toEqual([
      1100000, 107374183, 67108864, 1, 0, -1,
    ])
    expect([250, 2000, 0].map(formatCpuMillis)).toEqual(['250m', '2', '0'])
    expect([1024, 1536, 1000, 2 ** 30, 0].map(formatBytes)).toEqual(['1Ki', '1536', '1000', '1Gi', '0'])
  })

  it('refuse what is none, and take all that the pattern takes', () => {
    for (const text of ['', 'x', '1 Gi', '1KiB', '--1', '1e', '.', 'Gi', '1e999', '9'.repeat(100)]) {
      expect(() => parseBytes(text), text).toThrow(/quantity/)
    }
    fc.assert(
      fc.property(
        fc.stringMatching(new RegExp(QUANTITY_PATTERN)).filter((text) => text.length <= 60),
        (text) => {
          for (const parse of [parseQuantity, parseBytes, parseCpuMillis])
            expect(Number.isFinite(parse(text))).toBe(true)
        },
      ),
    )
  })

  it('come back from their text', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31 - 1), fc.nat(60), (n, shift) => {
        expect(parseCpuMillis(formatCpuMillis(n))).toBe(n)
        const bytes = n * 2 ** Math.min(shift, 21)
        expect(parseBytes(formatBytes(bytes))).toBe(bytes)
      }),
    )
  })
})

const bits = { 4: 32n, 6: 128n } as const
const address = fc
  .constantFrom(4 as const, 6 as const)
  .chain((family) =>
    fc.record({ family: fc.constant(family), value: fc.bigInt({ min: 0n, max: (1n << bits[family]) - 1n }) }),
  )
const cidr = address.chain((from) =>
  fc.integer({ min: 0, max: Number(bits[from.family]) }).map((length) => parseCidr(`${formatAddress(from)}/${length}`)),
)

describe('addresses and ranges', () => {
  it('come back from their text', () => {
    fc.assert(
      fc.property(address, (each) => {
        expect(parseAddress(formatAddress(each))).toEqual(each)
      }),
    )
    fc.assert(
      fc.property(cidr, (each) => {
        expect(parseCidr(formatCidr(each))).toEqual(each)
      }),
    )
  })

  it('are written as RFC 5952 says', () => {
    const cases = {
      '2001:DB8:0:0:1:0:0:1': '2001:db8::1:0:0:1',
      '::': '::',
      '1::': '1::',
      '0:0:1::': '0:0:1::',
      '2001:db8:0:1:1:1:1:1': '2001:db8:0:1:1:1:1:1',
      '::ffff:1.2.3.4': '::ffff:102:304',
    }
    for (const [text, canonical] of Object.entries(cases)) expect(formatAddress(parseAddress(text))).toBe(canonical)
  })

  it('hold their first and last address and not those beside them', () => {
    fc.assert(
      fc.property(cidr, (range) => {
        const last = cidrAddress(range, cidrSize(range) - 1n)
        expect(cidrContains(range, cidrAddress(range, 0))).toBe(true)
        expect(cidrContains(range, last)).toBe(true)
        expect(cidrContains(range, { ...last, value: last.value + 1n })).toBe(false)
        expect(() => cidrAddress(range, cidrSize(range))).toThrow(/no address number/)
      }),
    )
  })

  it('fall into parts that do not overlap', () => {
    fc.assert(
      fc.property(cidr, fc.nat(6), fc.nat(63), fc.nat(63), (range, more, i, j) => {
        const length = range.prefixLength + more
        const [a, b] = [subnet(range, length, i), subnet(range, length, j)]
        expect(a === undefined).toBe(length > Number(bits[range.family]) || i >= 2 ** more)
        if (a === undefined || b === undefined) return
        expect(cidrsOverlap(a, range)).toBe(true)
        expect(cidrsOverlap(a, b)).toBe(i === j)
      }),
    )
  })

  it('refuse what is none', () => {
    for (const text of ['', '1.2.3', '1.2.3.4.5', '256.1.1.1', 'fe80::1%eth0', '1.2.3.4/24', ':::']) {
      expect(() => parseAddress(text), text).toThrow(/is not an IP address/)
    }
    for (const text of ['1.2.3.4', '1.2.3.4/33', '1.2.3.4/', '1.2.3.4/a', '1.2.3.4/8/8', '::/129'])
      expect(() => parseCidr(text), text).toThrow()
  })
})

describe('backoff', () => {
  it('grows to its bound and stays within its jitter', () => {
    const policy = { initialMs: 100, maxMs: 5000, factor: 2, jitter: 0.5 }
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.integer(), (failures, seed) => {
        const plain = Math.min(5000, 100 * 2 ** (failures - 1))
        const delay = backoffDelayMs(policy, failures, seededRandom(seed))
        expect(delay).toBeGreaterThanOrEqual(plain * 0.75)
        expect(delay).toBeLessThanOrEqual(plain * 1.25)
      }),
    )
  })
})

describe('randomness', () => {
  it('replays from a seed and stays in bounds', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 1000 }), (seed, bound) => {
        const [a, b] = [seededRandom(seed), seededRandom(seed)]
        expect([a.uuid(), randomSuffix(a), a.next()]).toEqual([b.uuid(), randomSuffix(b), b.next()])
        const n = randomInt(a, bound)
        expect(Number.isInteger(n) && n >= 0 && n < bound).toBe(true)
      }),
    )
    expect(seededRandom(1).uuid()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(randomSuffix(systemRandom, 8)).toMatch(/^[bcdfghjklmnpqrstvwxz2456789]{8}$/)
    for (let i = 0; i < 100; i++) expect(systemRandom.next()).toBeLessThan(1)
  })
})

describe('JSON', () => {
  it('equality and canonical text agree', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        expect(jsonEqual(a, structuredClone(a))).toBe(true)
        expect(jsonEqual(a, b)).toBe(canonicalJson(a) === canonicalJson(b))
        expect(JSON.parse(canonicalJson(a))).toEqual(JSON.parse(JSON.stringify(a)))
      }),
    )
    expect(jsonEqual({ a: undefined }, {})).toBe(true)
    expect(jsonEqual({}, { a: undefined })).toBe(true)
    expect(jsonEqual([], {})).toBe(false)
    expect(Object.isFrozen(deepFreeze({ a: [{ b: 1 }] }).a[0])).toBe(true)
  })
})
