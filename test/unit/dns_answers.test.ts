/** From the service table to packets: what each name is answered with, and in what form. */
import { beforeEach, describe, expect, test } from 'vitest'
import type { Resolution } from '../../src/agent/dns/reply_table.ts'
import { Resolver } from '../../src/agent/dns/resolver.ts'
import { Responder } from '../../src/agent/dns/responder.ts'
import { TYPE } from '../../src/agent/dns/wire.ts'
import { Zone } from '../../src/agent/dns/zone.ts'
import type { ServiceRow } from '../../src/rpc/tables.ts'
import { type Asked, CONFIG, parseReply, port, question, type Reply, row, show } from '../support/dns.ts'

const SQL = port('sql', 5432, ['10.244.1.2', '10.244.2.3'])
const ROWS: ServiceRow[] = [
  row('web', { clusterIP: '10.96.0.10', ports: [port('http', 80), port('', 443)] }),
  row('db', {
    ports: [SQL],
    hosts: [{ address: '10.244.1.2', hostname: 'db-0' }, { address: '10.244.2.3' }],
  }),
  row('empty', { ports: [port('x', 1)] }),
  row('six', { clusterIP: 'fd00::a' }),
  row('inner', { externalName: 'Web.default.svc.cluster.local.' }),
  row('outer', { externalName: 'www.example.com' }),
  row('broken', { externalName: 'no..name' }),
  row('ring', { externalName: 'gnir.default.svc.cluster.local' }),
  row('gnir', { externalName: 'ring.default.svc.cluster.local' }),
  row('web', { namespace: 'shop', clusterIP: '10.96.0.11', ports: [port('http', 80)] }),
]

let zone: Zone | undefined
let asked: string[]
let outside: (name: string, type: number) => string
let responder: Responder
let nowMs: number

function outsideResolution(name: string, type: number): Resolution {
  asked.push(`${name} ${type}`)
  const word = outside(name, type)
  const base = { authoritative: false, answers: [], authority: [], additional: [] }
  const times = { storedMs: nowMs, expiresMs: nowMs + 60_000 }
  if (word === 'nx') return { answer: { ...base, rcode: 3 }, ...times }
  if (word === 'fail') return { answer: { ...base, rcode: 2 }, ...times }
  if (word === 'none') return { answer: { ...base, rcode: 0 }, ...times }
  const data = Uint8Array.from(word.split('.').map(Number))
  return { answer: { ...base, rcode: 0, answers: [{ name, type, class: 1, ttlSeconds: 60, data }] }, ...times }
}

function newResponder(complete: boolean): Responder {
  const resolver = new Resolver({
    zone: () => zone,
    outside: { resolve: async (name, type) => outsideResolution(name, type), searchDomains: () => ['corp.example'] },
    nowMs: () => nowMs,
  })
  const counts = { known: 0, resolved: 0, refused: 0 }
  return new Responder({ resolver, counts, maxReplies: 64, nowMs: () => nowMs, complete })
}

beforeEach(() => {
  zone = new Zone({ config: CONFIG, serverAddress: '169.254.20.53' })
  zone.apply(ROWS)
  asked = []
  outside = () => '192.0.2.1'
  nowMs = 0
  responder = newResponder(true)
})

async function ask(name: string, type: number = TYPE.A, how: Asked & { tcp?: boolean } = {}): Promise<Reply> {
  const packet = await responder.respond(question(name, type, how), how.tcp ? 'tcp' : 'udp')
  if (packet === undefined) throw new Error('no reply')
  return parseReply(packet)
}

const answers = async (name: string, type?: number): Promise<string[]> =>
  (await ask(name, type)).answers.map(show).sort()

const D = 'svc.cluster.local'

describe('records of the specification', () => {
  test.each<[string, number, string[]]>([
    [`web.default.${D}`, TYPE.A, [`web.default.${D} A 10.96.0.10`]],
    [`six.default.${D}`, TYPE.AAAA, [`six.default.${D} AAAA fd00000000000000000000000000000a`]],
    [`db.default.${D}`, TYPE.A, [`db.default.${D} A 10.244.1.2`, `db.default.${D} A 10.244.2.3`]],
    [`db-0.db.default.${D}`, TYPE.A, [`db-0.db.default.${D} A 10.244.1.2`]],
    [`10-244-2-3.db.default.${D}`, TYPE.A, [`10-244-2-3.db.default.${D} A 10.244.2.3`]],
    [`_http._tcp.web.default.${D}`, TYPE.SRV, [`_http._tcp.web.default.${D} SRV 100 80 web.default.${D}`]],
    [
      `_sql._tcp.db.default.${D}`,
      TYPE.SRV,
      [
        `_sql._tcp.db.default.${D} SRV 50 5432 10-244-2-3.db.default.${D}`,
        `_sql._tcp.db.default.${D} SRV 50 5432 db-0.db.default.${D}`,
      ],
    ],
    ['10.0.96.10.in-addr.arpa', TYPE.PTR, [`10.0.96.10.in-addr.arpa PTR web.default.${D}`]],
    ['2.1.244.10.in-addr.arpa', TYPE.PTR, [`2.1.244.10.in-addr.arpa PTR db-0.db.default.${D}`]],
    ['10-244-9-9.default.pod.cluster.local', TYPE.A, ['10-244-9-9.default.pod.cluster.local A 10.244.9.9']],
    ['dns-version.cluster.local', TYPE.TXT, ['dns-version.cluster.local TXT 1.1.0']],
    ['cluster.local', TYPE.NS, ['cluster.local NS ns.dns.cluster.local']],
    ['cluster.local', TYPE.SOA, ['cluster.local SOA']],
    ['244.10.in-addr.arpa', TYPE.SOA, ['244.10.in-addr.arpa SOA']],
    [`inner.default.${D}`, TYPE.CNAME, [`inner.default.${D} CNAME web.default.${D}`]],
    [`inner.default.${D}`, TYPE.A, [`inner.default.${D} CNAME web.default.${D}`, `web.default.${D} A 10.96.0.10`]],
    [`outer.default.${D}`, TYPE.A, [`outer.default.${D} CNAME www.example.com`, 'www.example.com A 192.0.2.1']],
  ])('%s %i', async (name, type, expected) => {
    const reply = await ask(name, type)
    expect(reply.answers.map(show).sort()).toEqual(expected)
    expect(reply).toMatchObject({ rcode: 0, authoritative: true, truncated: false })
    for (const { ttlSeconds } of reply.answers.slice(0, 1)) expect(ttlSeconds).toBe(5)
  })

  test('a target comes with its addresses', async () => {
    const { additional } = await ask(`_sql._tcp.db.default.${D}`, TYPE.SRV)
    expect(additional.map(show).sort()).toEqual([
      `10-244-2-3.db.default.${D} A 10.244.2.3`,
      `db-0.db.default.${D} A 10.244.1.2`,
    ])
  })

  test.each<[string, number]>([
    [`web.default.${D}`, TYPE.AAAA],
    [`web.default.${D}`, 65_280],
    [`default.${D}`, TYPE.A],
    [D, TYPE.A],
    [`_tcp.web.default.${D}`, TYPE.A],
    ['default.pod.cluster.local', TYPE.A],
    [`broken.default.${D}`, TYPE.A],
    ['96.10.in-addr.arpa', TYPE.PTR],
  ])('nothing of this kind at %s %i', async (name, type) => {
    const reply = await ask(name, type)
    expect(reply).toMatchObject({ rcode: 0, answers: [] })
    expect(reply.authority.map(({ type, ttlSeconds }) => [type, ttlSeconds])).toEqual([[TYPE.SOA, 5]])
  })

  test.each([
    `none.default.${D}`,
    `empty.default.${D}`,
    `web.none.${D}`,
    `_ssh._tcp.web.default.${D}`,
    `db-9.db.default.${D}`,
    '8-8-8-8.default.pod.cluster.local',
    '010-244-9-9.default.pod.cluster.local',
    'x.y.default.pod.cluster.local',
    'none.cluster.local',
    '9.9.244.10.in-addr.arpa',
  ])('no such name: %s', async (name) => {
    const reply = await ask(name, TYPE.A)
    expect(reply).toMatchObject({ rcode: 3, answers: [] })
    expect(reply.authority.map(({ type }) => type)).toEqual([TYPE.SOA])
    expect(asked).toEqual([])
  })

  test('ANY gets one set, a ring of aliases ends', async () => {
    expect(await answers(`web.default.${D}`, TYPE.ANY)).toEqual([`web.default.${D} A 10.96.0.10`])
    expect(await ask(`ring.default.${D}`)).toMatchObject({ rcode: 2 })
  })
})

test('an endpoint whose name would be too long is found by the service alone', async () => {
  const hosts = [{ address: '10.244.4.1', hostname: 'h'.repeat(63) }, { address: '10.244.4.2' }]
  const long = row('s'.repeat(63), { namespace: 'n'.repeat(63), hosts })
  zone = new Zone({ config: { ...CONFIG, clusterDomain: `${'d'.repeat(60)}.local` }, serverAddress: '169.254.20.53' })
  zone.apply([long])
  const name = `${long.name}.${long.namespace}.svc.${zone.domain}`
  expect((await answers(name)).map((text) => text.split(' ').at(-1))).toEqual(['10.244.4.1', '10.244.4.2'])
  expect((await ask('1.4.244.10.in-addr.arpa', TYPE.PTR)).rcode).toBe(3)
  expect((await ask('2.4.244.10.in-addr.arpa', TYPE.PTR)).answers).toHaveLength(1)
})

describe('a packet', () => {
  test('echoes the letters and the id, also from memory', async () => {
    for (const id of [1, 2, 0xffff]) {
      const reply = await ask('wEb.DeFault.SVC.cluster.LOCAL', TYPE.A, { id })
      expect(reply).toMatchObject({ id, asked: 'wEb.DeFault.SVC.cluster.LOCAL', rcode: 0 })
      expect(reply.answers).toHaveLength(1)
    }
  })

  test('says OPT to those who say it, and BADVERS to a later version', async () => {
    for (let i = 0; i < 2; i++) {
      expect((await ask(`web.default.${D}`, TYPE.A, { edns: 4096 })).additional.map(show)).toEqual(['OPT'])
    }
    const packet = question(`web.default.${D}`, TYPE.A, { edns: 4096 })
    packet[packet.length - 5] = 1
    const reply = parseReply((await responder.respond(packet, 'udp')) ?? Buffer.alloc(0))
    expect(reply.rcode).toBe(0)
    expect((reply.additional[0]?.ttlSeconds ?? 0) >> 24).toBe(1)
  })

  test('is cut to what the client takes, and whole over TCP', async () => {
    const hosts = Array.from({ length: 100 }, (_, i) => ({ address: `10.244.3.${i}` }))
    zone?.apply([row('many', { hosts })])
    responder.forget()
    for (let i = 0; i < 2; i++) {
      const small = await ask(`many.default.${D}`)
      expect(small.truncated).toBe(true)
      expect(small.answers.length).toBe(29)
      const medium = await ask(`many.default.${D}`, TYPE.A, { edns: 65_535 })
      expect(medium.truncated).toBe(true)
      expect(medium.answers.length).toBe(73)
      const whole = await ask(`many.default.${D}`, TYPE.A, { tcp: true })
      expect(whole.truncated).toBe(false)
      expect(whole.answers.length).toBe(100)
    }
  })

  test('begins with another address each time', async () => {
    const first = new Set<string>()
    for (let i = 0; i < 4; i++) first.add(show((await ask(`db.default.${D}`)).answers[0] ?? never()))
    expect(first.size).toBe(2)
  })

  test.each<[string, Buffer, number | undefined]>([
    ['too short', Buffer.from([0, 1, 1, 0]), undefined],
    ['an answer', Buffer.from([0, 1, 0x81, 0, 0, 1, 0, 0, 0, 0, 0, 0]), undefined],
    ['no question', Buffer.from([0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1],
    ['an update', Buffer.from([0, 1, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0]), 4],
    ['a pointer in the question', Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1]), 1],
    ['a cut name', Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9, 65, 65]), 1],
    ['a zone transfer', question('cluster.local', TYPE.AXFR), 5],
    ['class CHAOS', question('version.bind', TYPE.TXT, { class: 3 }), 5],
  ])('%s', async (_, packet, rcode) => {
    const reply = await responder.respond(packet, 'udp')
    expect(reply === undefined ? undefined : parseReply(reply).rcode).toBe(rcode)
  })
})

const never = (): never => {
  throw new Error('nothing')
}

describe('the table', () => {
  test('is asked for before anything is said', async () => {
    zone = undefined
    expect((await ask(`web.default.${D}`)).rcode).toBe(2)
    expect((await ask('example.com')).rcode).toBe(2)
    expect(asked).toEqual([])
  })

  test('shows its changes in the next answer', async () => {
    expect((await ask(`new.default.${D}`)).rcode).toBe(3)
    zone?.apply([...ROWS, row('new', { clusterIP: '10.96.0.99' })])
    responder.forget()
    expect(await answers(`new.default.${D}`)).toEqual([`new.default.${D} A 10.96.0.99`])
    zone?.apply(ROWS)
    responder.forget()
    expect((await ask(`new.default.${D}`)).rcode).toBe(3)
  })
})

describe('search paths', () => {
  test('an outside name is found by the first question', async () => {
    for (let i = 0; i < 3; i++) {
      outside = (name) => (name === 'example.com' ? '192.0.2.7' : 'nx')
      const reply = await ask(`example.com.default.${D}`)
      expect(reply.answers.map(show)).toEqual([`example.com.default.${D} CNAME example.com`, 'example.com A 192.0.2.7'])
    }
    // From memory the second time; the host's own search domains come before the plain name.
    expect(asked).toEqual(['example.com.corp.example 1', 'example.com 1'])
  })

  test.each([
    [`web.shop.default.${D}`, [`web.shop.default.${D} CNAME web.shop.${D}`, `web.shop.${D} A 10.96.0.11`]],
    [`web.shop.svc.default.${D}`, [`web.shop.${D} A 10.96.0.11`, `web.shop.svc.default.${D} CNAME web.shop.${D}`]],
    [`web.shop.${D}.default.${D}`, [`web.shop.${D} A 10.96.0.11`, `web.shop.${D}.default.${D} CNAME web.shop.${D}`]],
  ])('%s is a service', async (name, expected) => {
    expect(await answers(name)).toEqual(expected)
    expect(asked).toEqual([])
  })

  test.each([
    ['a service that is not there', `typo.default.${D}`],
    ['one of another namespace', `typo.shop.default.${D}`],
    ['an endpoint that is not there', `db-9.db.default.${D}`],
    ['a port that is not there', `_ssh._tcp.web.default.${D}`],
    ['a port of a service that is not there', `_ssh._tcp.typo.default.${D}`],
    ['a name of the cluster, written in full', `typo.shop.${D}.default.${D}`],
    ['half a name', `typo.shop.svc.default.${D}`],
    ['a second step of the list', `example.com.${D}`],
    ['a third step', 'example.com.cluster.local'],
  ])('%s never leaves', async (_, name) => {
    expect((await ask(name)).rcode).toBe(3)
    expect(asked).toEqual([])
  })

  test('what exists nowhere is said to be nowhere, a failure to be a failure, nothing of a kind to be nothing', async () => {
    outside = () => 'nx'
    expect((await ask(`example.com.default.${D}`)).rcode).toBe(3)
    outside = () => 'fail'
    expect(await ask(`example.org.default.${D}`)).toMatchObject({ rcode: 2, answers: [] })
    outside = () => 'none'
    const none = await ask(`example.net.default.${D}`, TYPE.AAAA)
    expect([none.rcode, none.answers.map(show)]).toEqual([
      0,
      [`example.net.default.${D} CNAME example.net.corp.example`],
    ])
  })

  test('a service that comes takes the place of what was found outside', async () => {
    await ask(`web.example.default.${D}`)
    zone?.apply([...ROWS, row('web', { namespace: 'example', clusterIP: '10.96.0.77' })])
    responder.forget()
    expect((await ask(`web.example.default.${D}`)).answers.map(show).at(-1)).toBe(`web.example.${D} A 10.96.0.77`)
  })

  test('are left to the client where it asks so', async () => {
    responder = newResponder(false)
    expect((await ask(`example.com.default.${D}`)).rcode).toBe(3)
    expect((await ask(`web.shop.default.${D}`)).rcode).toBe(3)
    expect(asked).toEqual([])
    expect((await ask('example.com')).answers).toHaveLength(1)
  })
})

test('names outside: one label stays here, TTLs count down', async () => {
  expect((await ask('intranet')).rcode).toBe(3)
  expect((await ask('web.default.svc')).rcode).toBe(3)
  expect((await ask('10.96.0.10')).rcode).toBe(3)
  expect(asked).toEqual([])
  expect((await ask('com', TYPE.NS)).rcode).toBe(0)
  await ask('example.com')
  nowMs += 20_500
  expect((await ask('example.com')).answers[0]?.ttlSeconds).toBe(40)
  nowMs += 40_000
  await ask('example.com')
  expect(asked).toEqual(['com 2', 'example.com 1', 'example.com 1'])
})
