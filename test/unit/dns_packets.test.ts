/** Hostile packets and odd names: nothing throws, nothing loops, what is written is what is read. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeSections } from '../../src/agent/dns/answer.ts'
import { parseResponse, queryBytes } from '../../src/agent/dns/query.ts'
import { dashed, parseDashed, parseReverse, reverseName } from '../../src/agent/dns/records.ts'
import { parseResolvConf } from '../../src/agent/dns/resolv_conf.ts'
import { Resolver } from '../../src/agent/dns/resolver.ts'
import { Responder } from '../../src/agent/dns/responder.ts'
import { nameBytes, parseName, readName, readRecord, TYPE } from '../../src/agent/dns/wire.ts'
import { Zone } from '../../src/agent/dns/zone.ts'
import { CONFIG, outsideReply, parseReply, port, question, row, show } from '../support/dns.ts'

const label = fc.uint8Array({ minLength: 1, maxLength: 20 })
const packetName = fc
  .array(label, { maxLength: 8 })
  .map((labels) =>
    Buffer.concat([...labels.flatMap((bytes) => [Uint8Array.of(bytes.length), bytes]), Uint8Array.of(0)]),
  )
const plainName = fc
  .array(fc.stringMatching(/^[a-z0-9_-]{1,12}$/), { minLength: 1, maxLength: 6 })
  .map((labels) => labels.join('.'))
const address = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }).map((value) => ({ family: 4 as const, value })),
  fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }).map((value) => ({ family: 6 as const, value })),
)

describe('names', () => {
  test('any bytes have one text, and it gives the bytes back in lower case', () => {
    fc.assert(
      fc.property(packetName, (bytes) => {
        const read = readName(bytes, 0)
        expect(read?.end).toBe(bytes.length)
        const again = nameBytes(read?.name ?? '')
        const lower = Buffer.from(bytes).map((byte) => (byte >= 65 && byte <= 90 ? byte | 32 : byte))
        expect(again && Buffer.from(again).equals(lower)).toBe(true)
      }),
    )
  })

  test('a pointer that leads forwards, to itself, or nowhere, is refused', () => {
    expect(readName(Uint8Array.of(0xc0, 0), 0)).toBeUndefined()
    expect(readName(Uint8Array.of(0xc0, 2, 0xc0, 0), 0)).toBeUndefined()
    expect(readName(Uint8Array.of(1, 97), 0)).toBeUndefined()
    expect(readName(Uint8Array.of(0x80, 97, 0), 0)).toBeUndefined()
    expect(readName(Buffer.alloc(300, Uint8Array.of(1, 97)), 0)).toBeUndefined()
  })

  test.each([
    ['Web.Example.', 'web.example'],
    ['', ''],
    ['a..b', undefined],
    [`${'a'.repeat(64)}.b`, undefined],
    [Array(130).fill('a').join('.'), undefined],
  ])('%s', (text, name) => expect(parseName(text)).toBe(name))

  test('addresses have a name each, both ways', () => {
    fc.assert(
      fc.property(address, (value) => {
        const part = parseReverse(reverseName(value))
        expect(part).toEqual({ family: value.family, base: value.value, bits: value.family === 4 ? 32 : 128 })
        expect(parseDashed(dashed(value))).toEqual(value)
        expect(parseName(dashed(value))).toBe(dashed(value))
      }),
    )
  })
})

describe('packets', () => {
  const zone = new Zone({ config: CONFIG, serverAddress: '169.254.20.53' })
  zone.apply([
    row('web', { clusterIP: '10.96.0.10', ports: [port('http', 80)] }),
    row('db', { hosts: [{ address: '10.244.1.2', hostname: 'db-0' }] }),
  ])
  const resolver = new Resolver({
    zone: () => zone,
    outside: {
      resolve: () => ({
        answer: { rcode: 3, authoritative: false, answers: [], authority: [], additional: [] },
        storedMs: 0,
        expiresMs: 0,
      }),
      searchDomains: () => [],
    },
    nowMs: () => 0,
  })
  const counts = { known: 0, resolved: 0, refused: 0 }
  const responder = new Responder({ resolver, counts, maxReplies: 8, nowMs: () => 0, complete: true })

  test('of any bytes are answered in order or not at all', () => {
    const header = fc.uint8Array({ minLength: 12, maxLength: 12 }).map((bytes) => {
      bytes.set([1, 0, 0, 1, 0, 0, 0, 0, 0], 2)
      return bytes
    })
    const shaped = fc
      .tuple(header, fc.oneof(packetName, fc.uint8Array({ maxLength: 300 })), fc.uint8Array({ maxLength: 40 }))
      .map((parts) => Buffer.concat(parts))
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 600 }), shaped), fc.boolean(), (bytes, tcp) => {
        const packet = Buffer.from(bytes)
        const reply = responder.respond(packet, tcp ? 'tcp' : 'udp')
        if (reply instanceof Promise || reply === undefined) return
        expect(reply.readUInt16BE(0)).toBe(packet.readUInt16BE(0))
        parseReply(reply)
      }),
      { numRuns: 2_000 },
    )
  })

  test('that were damaged on their way are answered in order or not at all', () => {
    const whole = question('db-0.db.default.svc.cluster.local', TYPE.A, { edns: 1232 })
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, byte, length) => {
        const packet = Buffer.from(whole.subarray(0, length))
        if (at < length) packet[at] = byte
        const reply = responder.respond(packet, 'udp')
        if (!(reply instanceof Promise) && reply !== undefined) parseReply(reply)
      }),
      { numRuns: 2_000 },
    )
  })

  test('the same name in other letters gets the same answer, from memory and anew', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }), (upper) => {
        const name = [...'db-0.db.default.svc.cluster.local'].map((c, i) => (upper[i] ? c.toUpperCase() : c)).join('')
        const reply = responder.respond(question(name, TYPE.A), 'udp')
        const parsed = parseReply(reply instanceof Promise || reply === undefined ? Buffer.alloc(0) : reply)
        expect([parsed.asked, parsed.answers.map(show)]).toEqual([
          name,
          ['db-0.db.default.svc.cluster.local A 10.244.1.2'],
        ])
      }),
    )
  })

  test('sections are read as they were written, and never longer than allowed', () => {
    const record = fc
      .tuple(plainName, fc.uint8Array({ maxLength: 60 }), fc.nat(100_000))
      .map(([name, data, ttlSeconds]) => ({ name, type: TYPE.TXT, class: 1, ttlSeconds, data }))
    fc.assert(
      fc.property(
        plainName,
        fc.array(record, { maxLength: 30 }),
        fc.nat(1_200),
        (questionName, answers, limitBytes) => {
          const answer = { rcode: 0, authoritative: true, answers, authority: [], additional: [] }
          const { bytes, counts, truncated } = encodeSections(answer, { questionName, limitBytes })
          expect(bytes.length).toBeLessThanOrEqual(limitBytes)
          expect(truncated).toBe(counts.answers < answers.length)
          const packet = Buffer.concat([question(questionName, TYPE.TXT), bytes])
          let at = packet.length - bytes.length
          for (const expected of answers.slice(0, counts.answers)) {
            const read = readRecord(packet, at)
            expect(read?.record).toEqual({ ...expected, data: expect.anything() })
            expect(Buffer.compare(read?.record.data ?? Buffer.alloc(1), expected.data)).toBe(0)
            at = read?.end ?? at
          }
          expect(at).toBe(packet.length)
        },
      ),
    )
  })

  test('of servers outside: a true answer is taken, anything else is as if it had not come', () => {
    const query = { id: 77, name: 'example.com', type: TYPE.A }
    const asked = queryBytes(query, true) ?? Buffer.alloc(0)
    const reply = outsideReply(asked, { addresses: ['192.0.2.1'] })
    expect(parseResponse(reply, query)?.answer.answers.map(show)).toEqual(['example.com A 192.0.2.1'])
    expect(parseResponse(reply, { ...query, id: 78 })).toBeUndefined()
    expect(parseResponse(reply, { ...query, name: 'example.org' })).toBeUndefined()
    expect(parseResponse(reply, { ...query, type: TYPE.AAAA })).toBeUndefined()
    expect(parseResponse(asked, query)).toBeUndefined()
    fc.assert(
      fc.property(fc.nat(reply.length - 1), fc.nat(255), fc.nat(reply.length), (at, byte, length) => {
        const packet = Buffer.from(reply.subarray(0, length))
        if (at < length) packet[at] = byte
        const parsed = parseResponse(packet, query)
        for (const { name } of parsed?.answer.answers ?? []) expect(name).toBe('example.com')
      }),
      { numRuns: 2_000 },
    )
  })
})

test('the same rows give the same names, whatever came before', () => {
  const rowArbitrary = fc
    .record({
      name: fc.constantFrom('a', 'b', 'c'),
      namespace: fc.constantFrom('x', 'y'),
      kind: fc.nat(3),
      byte: fc.nat(3),
    })
    .map(({ name, namespace, kind, byte }) => {
      const ip = `10.96.0.${byte}`
      if (kind === 0) return row(name, { namespace, clusterIP: ip, ports: [port('http', 80)] })
      if (kind === 1) return row(name, { namespace, externalName: 'example.com' })
      if (kind === 2) return row(name, { namespace })
      return row(name, { namespace, hosts: [{ address: ip, hostname: 'h' }], ports: [port('p', 1, [ip])] })
    })
  const table = fc.uniqueArray(rowArbitrary, { selector: (item) => `${item.namespace}/${item.name}`, maxLength: 6 })
  fc.assert(
    fc.property(fc.array(table, { minLength: 1, maxLength: 6 }), (tables) => {
      const walked = new Zone({ config: CONFIG, serverAddress: '169.254.20.53' })
      for (const rows of tables) walked.apply(rows)
      const fresh = new Zone({ config: CONFIG, serverAddress: '169.254.20.53' })
      fresh.apply(tables.at(-1) ?? [])
      for (const namespace of ['x', 'y']) {
        const services = ['', 'a.', 'b.', 'c.', 'h.a.', '_http._tcp.a.', '_tcp.b.', '_p._tcp.c.']
        for (const prefix of services) {
          const name = `${prefix}${namespace}.svc.cluster.local`
          expect(walked.find(name)).toEqual(fresh.find(name))
        }
      }
      for (const byte of [0, 1, 2, 3]) {
        const name = `${byte}.0.96.10.in-addr.arpa`
        expect(walked.find(name)?.map(show).sort()).toEqual(fresh.find(name)?.map(show).sort())
      }
    }),
  )
})

test('the host says whom to ask; never ourselves', () => {
  const text = [
    '# comment',
    'nameserver 169.254.20.53',
    'nameserver 192.0.2.1',
    'nameserver fe80::1%eth0',
    'nameserver nonsense',
    'nameserver 0.0.0.0',
    'nameserver 192.0.2.2',
    'nameserver 192.0.2.3',
    'search Corp.Example bad..name b.example',
  ].join('\n')
  expect(parseResolvConf(text, ['169.254.20.53'])).toEqual({
    upstreams: [
      { address: '192.0.2.1', port: 53 },
      { address: 'fe80::1%eth0', port: 53 },
      { address: '192.0.2.2', port: 53 },
    ],
    searchDomains: ['corp.example', 'b.example'],
  })
})
