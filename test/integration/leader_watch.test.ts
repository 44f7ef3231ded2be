/**
 * The leader dies, hangs, is cut off or goes: another leads at once, one that lives stays, and never do two write. Two
 * servers' elections on a real etcd, each with a way of its own to etcd and a real line to the other's node port.
 */
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { createLogger, silentLogger } from '../../src/base/log.ts'
import { Gauge, Registry } from '../../src/base/metrics.ts'
import { type CertificateAndKey, createCa, issueCertificate } from '../../src/base/pki.ts'
import { systemRandom } from '../../src/base/random.ts'
import { runServices, type Service } from '../../src/base/service.ts'
import { createLeader, ELECTION_KEY } from '../../src/bin/leader.ts'
import { createLeaderWatch, suspicionOf } from '../../src/bin/leader_watch.ts'
import { openPeerLine } from '../../src/rpc/peer_line.ts'
import { createNodeServer, type NodeServer, type TlsFiles } from '../../src/rpc/server.ts'
import { createEtcdStore } from '../../src/store/etcd/store.ts'
import type { Fence, Store } from '../../src/store/store.ts'
import { startTestEtcd, type TestEtcd } from '../support/etcd.ts'
import { eventually } from '../support/eventually.ts'
import { TcpProxy } from '../support/tcp_proxy.ts'

const WAIT = { timeoutMs: 60_000, intervalMs: 10 }
const clock = systemClock
let etcd: TestEtcd
let tls: TlsFiles

beforeAll(async () => {
  etcd = await startTestEtcd()
  const ca: CertificateAndKey = await createCa('drvt', { clock })
  const issued = await issueCertificate(ca, {
    commonName: 'admin',
    organizations: ['system:masters'],
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    usages: ['server', 'client'],
    validityMs: 3_600_000,
    clock,
  })
  tls = { ca: ca.certPem, cert: issued.certPem, key: issued.keyPem }
})
afterAll(() => etcd.stop())

/** What was written under a fence, in the order of the store: who led, and how often it wrote. */
interface Write {
  server: string
  revision: number
}

class TestServer {
  readonly id: string
  readonly said: string[] = []
  readonly writes: Write[]
  readonly #addresses: Map<string, string>
  #toEtcd: TcpProxy | undefined
  #line: TcpProxy | undefined
  #nodeServer: NodeServer | undefined
  #stop = new AbortController()
  #running: Promise<void> | undefined
  leads = false
  candidates: () => Promise<number> = () => Promise.resolve(0)

  constructor(id: string, writes: Write[], addresses: Map<string, string>) {
    this.id = id
    this.writes = writes
    this.#addresses = addresses
  }

  async start(): Promise<void> {
    this.#toEtcd = await TcpProxy.start(etcd.port)
    const options = { clock, random: systemRandom, log: silentLogger }
    const store = await createEtcdStore({ ...options, endpoints: [this.#toEtcd.endpoint], writerId: this.id })
    this.candidates = async () => (await store.list(`${ELECTION_KEY}/`)).items.length
    this.#nodeServer = createNodeServer(tls, {
      onConnect: () => undefined,
      onStream: () => undefined,
      onJoin: () => Promise.reject(new Error('nobody joins')),
      onRenew: () => Promise.reject(new Error('nobody renews')),
    })
    this.#line = await TcpProxy.start(await this.#nodeServer.listen('127.0.0.1', 0))
    this.#addresses.set(this.id, this.#line.endpoint.replace('http://', ''))
    const log = createLogger(this.id, 'info', { write: (line) => void this.said.push(line) })
    const isLeader = new Gauge({ name: 'leads', help: 'leads', registers: [new Registry()] })
    const leader = createLeader({
      ...options,
      log,
      store,
      serverId: this.id,
      isLeader,
      services: (fence) => [this.#writer(store, fence)],
      caughtUp: async () => undefined,
    })
    const watch = createLeaderWatch({
      store,
      serverId: this.id,
      clock,
      log,
      addressesOf: (id) => [this.#addresses.get(id) ?? ''].filter((address) => address !== ''),
      dial: (address, handlers) => openPeerLine(address, tls, handlers),
    })
    this.#running = runServices([leader, watch], options, this.#stop.signal).then(() => store.close())
    onTestFinished(() => this.close())
  }

  /** Writes for as long as it believes that it leads. */
  #writer(store: Store, fence: Fence): Service {
    return {
      id: 'writer',
      run: async (signal) => {
        this.leads = true
        try {
          while (!signal.aborted) {
            const done = await store.write({ type: 'put', key: '/fenced', value: this.id }, fence)
            if (done.ok) this.writes.push({ server: this.id, revision: done.revision })
            await sleep(clock, 10, signal)
          }
        } finally {
          this.leads = false
        }
      },
    }
  }

  /** Its process has died: its port is closed, and it says nothing more. */
  async die(): Promise<void> {
    await this.#line?.stop()
    this.#toEtcd?.hold(true)
  }

  /** It answers nobody, though its connections stand: frozen, or cut off. */
  hang(on: boolean): void {
    this.cutLine(on)
    this.#toEtcd?.hold(on)
  }

  /** It can be reached by nobody, and reaches the store. */
  cutLine(on: boolean): void {
    this.#line?.hold(on)
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  async close(): Promise<void> {
    this.#toEtcd?.hold(false)
    await this.stop()
    await this.#nodeServer?.close()
    await this.#line?.stop().catch(() => undefined)
    await this.#toEtcd?.stop()
  }
}

async function pair(): Promise<{ leader: TestServer; other: TestServer; writes: Write[] }> {
  const writes: Write[] = []
  const addresses = new Map<string, string>()
  const [leader, other] = [new TestServer('one', writes, addresses), new TestServer('two', writes, addresses)]
  await leader.start()
  await eventually(() => leader.leads && writes.length > 3, WAIT)
  await other.start()
  await eventually(async () => (await other.candidates()) === 2, WAIT)
  return { leader, other, writes }
}

/** Who wrote, in the order of the store's revisions, each term once. */
function terms(writes: readonly Write[]): string[] {
  const ordered = [...writes].sort((a, b) => a.revision - b.revision)
  return ordered.map(({ server }) => server).filter((server, index, all) => server !== all[index - 1])
}

async function untilLeads(server: TestServer): Promise<number> {
  const startedMs = clock.monotonicMs()
  await eventually(() => server.leads && server.writes.at(-1)?.server === server.id, WAIT)
  return Math.round(clock.monotonicMs() - startedMs)
}

const DEPOSED = 'its term is ended'

test.each([
  ['answers', { silentTurns: 3 }, undefined],
  ['has been silent for a while', { silentTurns: 12 }, 'silent'],
  ['has, and was called dead too early before', { silentTurns: 12, patience: 2 }, undefined],
  ['was called dead too early, and is silent for longer', { silentTurns: 24, patience: 2 }, 'silent'],
  ['has nobody at its port', { silentTurns: 1, refused: true, patience: 4 }, 'refused'],
  ['has answered a challenge of late', { silentTurns: 90, refused: true, restTurns: 1 }, undefined],
] as const)('a leader that %s', (_what, facts, suspicion) => {
  expect(suspicionOf({ refused: false, restTurns: 0, patience: 1, ...facts })).toBe(suspicion)
})

describe('leadership', () => {
  test('of a process that has died is taken over at once, by the word of its port and the silence in the store', async () => {
    const { leader, other, writes } = await pair()
    await leader.die()
    console.log(`dead leader → first write of the next: ${await untilLeads(other)} ms`)
    expect(other.said.some((line) => line.includes(DEPOSED) && line.includes('refused'))).toBe(true)
    expect(terms(writes)).toEqual(['one', 'two'])
  })

  test('of one that hangs or is cut off is taken over; it never writes again, and knows its place when it is back', async () => {
    const { leader, other, writes } = await pair()
    leader.hang(true)
    console.log(`cut off leader → first write of the next: ${await untilLeads(other)} ms`)
    expect(other.said.some((line) => line.includes(DEPOSED) && line.includes('silent'))).toBe(true)
    leader.hang(false)
    await eventually(() => !leader.leads, WAIT)
    const before = writes.length
    await eventually(() => writes.length > before + 20, WAIT)
    expect(terms(writes)).toEqual(['one', 'two'])
    expect(other.leads).toBe(true)
  })

  test('stays with one that works and cannot be reached from here', async () => {
    const { leader, other, writes } = await pair()
    leader.cutLine(true)
    await eventually(() => other.said.some((line) => line.includes('the leader lives')), WAIT)
    leader.cutLine(false)
    const before = writes.length
    await eventually(() => writes.length > before + 50, WAIT)
    expect(other.said.filter((line) => line.includes(DEPOSED))).toEqual([])
    expect(terms(writes)).toEqual(['one'])
  })

  test('is handed over by one that stops', async () => {
    const { leader, other, writes } = await pair()
    const [handed] = await Promise.all([untilLeads(other), leader.stop()])
    console.log(`stopped leader → first write of the next: ${handed} ms`)
    expect(other.said.filter((line) => line.includes(DEPOSED))).toEqual([])
    expect(terms(writes)).toEqual(['one', 'two'])
  })
})
