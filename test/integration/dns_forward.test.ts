/** Names outside, asked of servers on loopback that answer, lie, lag, cut off and die. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DnsDriver } from '../../src/agent/dns/dns.ts'
import { createDnsDriver, type DnsDriverOptions } from '../../src/agent/dns/driver.ts'
import { readName, TYPE } from '../../src/agent/dns/wire.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { systemRandom } from '../../src/base/random.ts'
import { CONFIG, outsideReply, parseReply, question, type Reply, row, show } from '../support/dns.ts'
import { eventually } from '../support/eventually.ts'

type Behaviour = (packet: Buffer, name: string) => Buffer[]

const MAX_PORTS = 20

/** A server outside: what it says over UDP; over TCP it always answers 192.0.2.200. */
class FakeUpstream {
  readonly asked: string[] = []
  readonly overTcp: string[] = []
  behaviour: Behaviour = (packet) => [outsideReply(packet, { addresses: ['192.0.2.1'] })]
  #udp: Socket | undefined
  #tcp: Server | undefined
  port = 0

  /** One port for both: what is free for datagrams may be some connection's own, and then another is taken. */
  async start(): Promise<this> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#listen()
      } catch (error) {
        this.#udp?.close()
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || attempt === MAX_PORTS) throw error
      }
    }
  }

  async #listen(): Promise<this> {
    const udp = createSocket('udp4')
    this.#udp = udp
    udp.bind(0, '127.0.0.1')
    await once(udp, 'listening')
    this.port = udp.address().port
    udp.on('message', (packet, from) => {
      const name = readName(packet, 12)?.name ?? '?'
      this.asked.push(name)
      for (const reply of this.behaviour(packet, name)) udp.send(reply, from.port, from.address)
    })
    this.#tcp = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (data) => {
        const packet = data.subarray(2)
        this.overTcp.push(readName(packet, 12)?.name ?? '?')
        const reply = outsideReply(packet, { addresses: ['192.0.2.200'] })
        // In two pieces, as a stream may come.
        const whole = Buffer.concat([Buffer.from([reply.length >> 8, reply.length & 255]), reply])
        socket.write(whole.subarray(0, 5))
        setImmediate(() => socket.end(whole.subarray(5)))
      })
    }).listen(this.port, '127.0.0.1')
    await once(this.#tcp, 'listening')
    return this
  }

  get address() {
    return { address: '127.0.0.1', port: this.port }
  }

  async stop(): Promise<void> {
    this.#udp?.close()
    this.#tcp?.close()
  }
}

const SILENCE: Behaviour = () => []
let upstreams: FakeUpstream[] = []
let driver: DnsDriver | undefined
let listenPort = 0
let directory = ''

beforeEach(async () => {
  upstreams = [await new FakeUpstream().start(), await new FakeUpstream().start()]
  directory = mkdtempSync(join(tmpdir(), 'drvt-dns-'))
})

afterEach(async () => {
  await driver?.close()
  driver = undefined
  await Promise.all(upstreams.map((upstream) => upstream.stop()))
  rmSync(directory, { recursive: true, force: true })
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.31')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function start(options: Partial<DnsDriverOptions> = {}): Promise<void> {
  listenPort = await freePort()
  const resolvConfPath = join(directory, 'resolv.conf')
  writeFileSync(resolvConfPath, '')
  driver = createDnsDriver({
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    registry: new Registry(),
    listenAddress: '127.0.0.31',
    plainListenAddress: '127.0.0.32',
    port: listenPort,
    upstreams: upstreams.map(({ address }) => address),
    resolvConfPath,
    ...options,
  })
  await driver.initialize()
  driver.applyServices([row('web', { clusterIP: '10.96.0.10' })], CONFIG)
}

async function ask(name: string, type: number = TYPE.A, address = '127.0.0.31'): Promise<Reply> {
  const socket = createSocket('udp4')
  socket.send(question(name, type), listenPort, address)
  const [packet] = (await once(socket, 'message')) as [Buffer]
  socket.close()
  return parseReply(packet)
}

const shown = async (name: string): Promise<string[]> => (await ask(name)).answers.map(show)
const [first, second] = [() => upstreams[0] as FakeUpstream, () => upstreams[1] as FakeUpstream]

describe('a name outside', () => {
  test('is asked once and remembered, however many ask at once', async () => {
    await start()
    const all = await Promise.all(Array.from({ length: 20 }, () => shown('www.example.com')))
    expect(new Set(all.flat())).toEqual(new Set(['www.example.com A 192.0.2.1']))
    await shown('WWW.example.com')
    expect([first().asked, second().asked]).toEqual([['www.example.com'], []])
  })

  test('is found by the name that a search list made of it, in one question', async () => {
    await start()
    expect(await shown('www.example.com.default.svc.cluster.local')).toEqual([
      'www.example.com.default.svc.cluster.local CNAME www.example.com',
      'www.example.com A 192.0.2.1',
    ])
    expect(first().asked).toEqual(['www.example.com'])
    expect((await ask('www.example.com.default.svc.cluster.local', TYPE.A, '127.0.0.32')).rcode).toBe(3)
  })

  test('that does not exist is remembered not to', async () => {
    first().behaviour = (packet) => [outsideReply(packet, { rcode: 3 })]
    await start()
    for (let i = 0; i < 3; i++) expect((await ask('none.example.com')).rcode).toBe(3)
    expect(first().asked).toEqual(['none.example.com'])
  })

  test('of a long answer is asked over TCP', async () => {
    first().behaviour = (packet) => [outsideReply(packet, { flags: 0x200 })]
    await start()
    expect(await shown('long.example.com')).toEqual(['long.example.com A 192.0.2.200'])
    expect(first().overTcp).toEqual(['long.example.com'])
  })

  test('is asked again without EDNS of a server that knows none', async () => {
    first().behaviour = (packet) => {
      const hasEdns = packet[11] === 1
      return [outsideReply(packet, hasEdns ? { rcode: 1 } : { addresses: ['192.0.2.5'] })]
    }
    await start()
    expect(await shown('old.example.com')).toEqual(['old.example.com A 192.0.2.5'])
  })

  test('is not taken from an answer to another question', async () => {
    first().behaviour = (packet) => {
      const forged = outsideReply(packet, { addresses: ['203.0.113.66'] })
      forged.writeUInt16BE((forged.readUInt16BE(0) + 1) & 0xffff, 0)
      return [forged, Buffer.from([1, 2, 3]), outsideReply(packet, { addresses: ['192.0.2.1'] })]
    }
    await start()
    expect(await shown('www.example.com')).toEqual(['www.example.com A 192.0.2.1'])
  })
})

describe('servers outside', () => {
  test('one that refuses or fails leaves it to the next', async () => {
    first().behaviour = (packet) => [outsideReply(packet, { rcode: 2 })]
    second().behaviour = (packet) => [outsideReply(packet, { addresses: ['192.0.2.9'] })]
    await start()
    expect(await shown('www.example.com')).toEqual(['www.example.com A 192.0.2.9'])
  })

  test('one that is gone leaves it to the next at once', async () => {
    second().behaviour = (packet) => [outsideReply(packet, { addresses: ['192.0.2.9'] })]
    const { address } = first()
    await start({ upstreams: [{ ...address, port: await freePort() }, second().address] })
    expect(await shown('www.example.com')).toEqual(['www.example.com A 192.0.2.9'])
  })

  test('when none answers, names outside fail at once soon after, the cluster is as ever, and all comes back', async () => {
    first().behaviour = SILENCE
    await start({ upstreams: [first().address] })
    const startedMs = systemClock.monotonicMs()
    const slow = await Promise.all(Array.from({ length: 5 }, (_, i) => ask(`n${i}.example.com`)))
    expect(slow.map(({ rcode }) => rcode)).toEqual([2, 2, 2, 2, 2])
    // Bounded by two tries of two seconds each.
    expect(systemClock.monotonicMs() - startedMs).toBeLessThan(4_500)
    expect(await shown('web.default.svc.cluster.local')).toEqual(['web.default.svc.cluster.local A 10.96.0.10'])
    const asked = first().asked.length
    const quick = await Promise.all(Array.from({ length: 50 }, (_, i) => ask(`m${i}.example.com`)))
    expect(new Set(quick.map(({ rcode }) => rcode))).toEqual(new Set([2]))
    expect(first().asked.length - asked).toBeLessThanOrEqual(2)
    first().behaviour = (packet) => [outsideReply(packet, { addresses: ['192.0.2.1'] })]
    let tries = 0
    const leftMs = 30_000 - (systemClock.monotonicMs() - startedMs)
    const back = (): Promise<boolean> => ask(`back${tries++}.example.com`).then(({ rcode }) => rcode === 0)
    expect(await eventually(back, { timeoutMs: leftMs, intervalMs: 100 })).toBe(true)
  })

  test('are never this one itself', () => {
    const own = { address: '127.0.0.31', port: 5353 }
    const options = { clock: systemClock, random: systemRandom, log: silentLogger, registry: new Registry() }
    expect(() => createDnsDriver({ ...options, listenAddress: own.address, port: 5353, upstreams: [own] })).toThrow(
      /this server itself/,
    )
  })
})

describe('TCP', () => {
  test('takes many questions at once, in pieces, and answers in order', async () => {
    await start()
    const socket = connect(listenPort, '127.0.0.31')
    const names = ['web.default.svc.cluster.local', 'www.example.com', 'none.cluster.local']
    const bytes = Buffer.concat(
      names.flatMap((name, id) => {
        const packet = question(name, TYPE.A, { id })
        return [Buffer.from([packet.length >> 8, packet.length & 255]), packet]
      }),
    )
    for (let at = 0; at < bytes.length; at += 10) socket.write(bytes.subarray(at, at + 10))
    let received = Buffer.alloc(0)
    const replies: Reply[] = []
    for await (const data of socket) {
      received = Buffer.concat([received, data as Buffer])
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0)
        replies.push(parseReply(received.subarray(2, end)))
        received = received.subarray(end)
      }
      if (replies.length === names.length) break
    }
    expect(replies.map(({ id, rcode }) => [id, rcode])).toEqual([
      [0, 0],
      [1, 0],
      [2, 3],
    ])
  })
})

test('a second server on the same addresses says why it cannot be', async () => {
  await start()
  const options = { clock: systemClock, random: systemRandom, log: silentLogger, registry: new Registry() }
  const other = createDnsDriver({
    ...options,
    listenAddress: '127.0.0.31',
    plainListenAddress: '127.0.0.32',
    port: listenPort,
  })
  await expect(other.initialize()).rejects.toThrow(/another program has it.*one agent/)
  expect(await shown('web.default.svc.cluster.local')).toHaveLength(1)
})
