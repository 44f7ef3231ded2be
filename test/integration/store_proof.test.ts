/**
 * The watch cache and elections against etcd's own history, while connections break and leaders die. A few dozen rounds
 * here; on demand as many as asked for, each part by itself (store_kills.test.ts kills servers and etcd in mid-write):
 *
 *   DROVER_PROOF_WATCH=1000 npx vitest run test/integration/store_proof.test.ts -t cache
 *   DROVER_PROOF_LEADERS=200 npx vitest run test/integration/store_proof.test.ts -t leaders
 */
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { type ConfigMap, configMapKind } from '../../src/api/configmap.ts'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { isCode } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { randomInt, seededRandom, systemRandom } from '../../src/base/random.ts'
import { createEtcdStore } from '../../src/store/etcd/store.ts'
import type { Store, StoreEvent } from '../../src/store/store.ts'
import { startTestEtcd, type TestEtcd } from '../support/etcd.ts'
import { eventually } from '../support/eventually.ts'
import { runResources } from '../support/resources.ts'
import { WriterPool } from '../support/store_victims.ts'
import { breakConnection, TcpProxy } from '../support/tcp_proxy.ts'

const rounds = (name: string, fallback: number): number => Number(process.env[name] ?? fallback)
const WATCH_ROUNDS = rounds('DROVER_PROOF_WATCH', 24)
const LEADER_ROUNDS = rounds('DROVER_PROOF_LEADERS', 2)
const ROUND_TIMEOUT_MS = 20_000
const START_TIMEOUT_MS = 60_000
const PREFIX = '/drover/core/configmaps/default/'

const seed = randomInt(systemRandom, 2 ** 31)
const random = seededRandom(seed)
let etcd: TestEtcd

async function openStore(endpoint: string, writerId: string): Promise<Store> {
  const base = { clock: systemClock, random: systemRandom, log: silentLogger }
  const store = await createEtcdStore({ ...base, endpoints: [endpoint], writerId })
  onTestFinished(() => store.close())
  return store
}

beforeAll(async () => {
  console.log(`seed ${seed}`)
  etcd = await startTestEtcd({ args: ['--heartbeat-interval', '20', '--election-timeout', '200'] })
})
afterAll(() => etcd.stop())

interface Fact {
  type: 'ADDED' | 'MODIFIED' | 'DELETED'
  name: string
  revision: number
}

/** What etcd says has happened, as the cache's readers should be told of it. */
function factsOf(events: readonly StoreEvent[]): Fact[] {
  const there = new Set<string>()
  return events.map((event) => {
    const key = event.type === 'put' ? event.item.key : event.key
    const name = key.slice(PREFIX.length)
    if (event.type === 'delete') {
      there.delete(name)
      return { type: 'DELETED', name, revision: event.modRevision }
    }
    const type = there.has(name) ? 'MODIFIED' : 'ADDED'
    there.add(name)
    return { type, name, revision: event.item.modRevision }
  })
}

/** Name to revision of what is there after these. A deletion that was found by a list has the list's revision. */
function stateAfter(facts: readonly Fact[], revision: number): Map<string, number> {
  const state = new Map<string, number>()
  for (const fact of facts) {
    if (fact.revision > revision) break
    if (fact.type === 'DELETED') state.delete(fact.name)
    else state.set(fact.name, fact.revision)
  }
  return state
}

interface Gap {
  from: number
  to: number
}

/** Notes between which revisions the cache had to list instead of being told. */
function noteGaps(store: Store): { store: Store; gaps: Gap[] } {
  const gaps: Gap[] = []
  let told: number | undefined
  const noting: Store = {
    get: (key) => store.get(key),
    write: (write, fence) => store.write(write, fence),
    async list(prefix, options) {
      const result = await store.list(prefix, options)
      if (prefix === '/drover/' && options?.after === undefined) {
        if (told !== undefined) gaps.push({ from: told, to: result.revision })
        told = result.revision
      }
      return result
    },
    async *watch(prefix, afterRevision, signal) {
      for await (const batch of store.watch(prefix, afterRevision, signal)) {
        if (batch.events.length > 0) told = batch.revision
        yield batch
      }
    },
    campaign: (key, id, signal) => store.campaign(key, id, signal),
    compact: (revision) => store.compact(revision),
    health: () => store.health(),
    close: () => store.close(),
  }
  return { store: noting, gaps }
}

test(
  'the cache tells each change once and in order through double disconnects with compaction in between',
  async () => {
    const proxy = await TcpProxy.start(etcd.port)
    onTestFinished(() => proxy.stop())
    const direct = await openStore(etcd.endpoint, 'direct')
    const { store, gaps } = noteGaps(await openStore(proxy.endpoint, 'cached'))
    const world = await runResources({ store })
    onTestFinished(() => world.stop())
    const writer = await runResources({ store: direct })
    onTestFinished(() => writer.stop())
    const start = world.resources.revision()
    const stop = new AbortController()
    const history: StoreEvent[] = []
    let recorded = start
    const recording = (async () => {
      for await (const { events, revision } of direct.watch(PREFIX, start, stop.signal)) {
        history.push(...events)
        recorded = Math.max(recorded, revision)
      }
    })()
    const told: Fact[] = []
    world.resources.subscribe(configMapKind, ({ type, object, revision }) => {
      told.push({ type, name: object.metadata.name, revision })
    })
    const burst = async (round: number): Promise<number> => {
      const { resources } = writer
      const writes = Array.from({ length: 12 }, async (_, i) => {
        const name = `c${(round * 5 + i) % 20}`
        const found = resources.get(configMapKind, 'default', name)
        const data = { round: String(round) }
        if (found === undefined) {
          const map: ConfigMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default' }, data }
          return Number((await resources.create(configMapKind, map)).metadata.resourceVersion)
        }
        if (i % 4 === 3)
          return Number((await resources.delete(configMapKind, 'default', name)).metadata.resourceVersion)
        const next = await resources.modify(configMapKind, 'default', name, 'main', (map) => ({ ...map, data }))
        return Number(next.metadata.resourceVersion)
      })
      return Math.max(...(await Promise.all(writes)))
    }
    const reached = async (what: () => number, revision: number): Promise<void> => {
      await eventually(() => expect(what()).toBeGreaterThanOrEqual(revision), { timeoutMs: 60_000 })
    }
    for (let round = 0; round < WATCH_ROUNDS; round++) {
      await burst(round * 2)
      await breakConnection(proxy, random)
      const last = await burst(round * 2 + 1)
      // Sometimes up to what the cache has, so that it can go on from there; sometimes past it, so that it cannot.
      if (round % 3 !== 0) {
        await reached(() => recorded, last)
        const { revision } = await direct.health()
        const upTo = round % 3 === 1 ? Math.min(world.resources.revision(), revision) : last
        await direct.compact(upTo).catch((error: unknown) => {
          if (!isCode(error, 'invalid')) throw error
        })
      }
      await sleep(systemClock, randomInt(random, 40))
      await breakConnection(proxy, random)
      // The second break falls on what is being mended; every few rounds it may come to rest.
      if (round % 4 === 3) await reached(() => world.resources.revision(), last)
    }
    const last = await burst(WATCH_ROUNDS * 2 + 1)
    await reached(() => world.resources.revision(), last)
    await reached(() => recorded, last)
    stop.abort()
    await recording

    const facts = factsOf(history)
    const inGap = ({ revision }: Fact): boolean => gaps.some(({ from, to }) => revision > from && revision <= to)
    console.log(`${WATCH_ROUNDS} rounds: ${facts.length} changes, ${told.length} told, ${gaps.length} new lists`)
    // What came by watch: every change, once, in order.
    expect(told.filter((fact) => !inGap(fact))).toEqual(facts.filter((fact) => !inGap(fact)))
    // What came by lists: nothing goes back, and after each the cache's readers know what etcd knew.
    for (const [i, fact] of told.entries()) expect(fact.revision).toBeGreaterThanOrEqual(told[i - 1]?.revision ?? 0)
    for (const { to } of gaps) expect(stateAfter(told, to)).toEqual(stateAfter(facts, to))
    expect(stateAfter(told, last)).toEqual(stateAfter(facts, last))
    for (const { from, to } of gaps) {
      const names = told.filter(({ revision }) => revision > from && revision <= to)
      const added = names.filter(({ type }) => type !== 'DELETED').map(({ name }) => name)
      expect(new Set(added).size).toBe(added.length)
    }
    expect(gaps.length).toBeGreaterThan(0)
  },
  WATCH_ROUNDS * ROUND_TIMEOUT_MS,
)

test(
  'two leaders never write one after the other, though leaders are killed and frozen',
  async () => {
    const direct = await openStore(etcd.endpoint, 'judge')
    const before = (await direct.health()).revision
    const pool = await WriterPool.create()
    onTestFinished(() => pool.stop())
    const { endpoint } = etcd
    const start = (writerId: string, run: string) => pool.start({ endpoint, writerId, run, mode: { type: 'lead' } })
    const candidates = [await start('leader-0', 'run0'), await start('leader-1', 'run1')]
    const all = [...candidates]
    const newest = (): number => {
      for (const writer of all) writer.listen()
      return Math.max(0, ...all.flatMap(({ terms }) => terms))
    }
    for (let round = 0; round < LEADER_ROUNDS; round++) {
      await eventually(() => expect(newest()).toBeGreaterThan(0), { timeoutMs: START_TIMEOUT_MS })
      const term = newest()
      const index = candidates.findIndex(({ terms }) => terms.includes(term))
      const leader = candidates[index]
      if (leader === undefined) throw new Error(`nobody has term ${term}`)
      await sleep(systemClock, randomInt(random, 300))
      const isKilled = round % 2 === 1
      leader.child.kill(isKilled ? 'SIGKILL' : 'SIGSTOP')
      await eventually(() => expect(newest()).toBeGreaterThan(term), { timeoutMs: START_TIMEOUT_MS })
      // The frozen one wakes up and goes on writing where it was.
      if (isKilled) {
        const next = await start(`leader-${index}`, `run${all.length}`)
        candidates[index] = next
        all.push(next)
      } else leader.child.kill('SIGCONT')
      await sleep(systemClock, randomInt(random, 300))
    }
    for (const { child } of candidates) child.kill('SIGKILL')
    await Promise.all(all.map(({ ended }) => ended))
    newest()
    const last = await direct.write({ type: 'put', key: '/proof-led', value: '' })
    const terms: number[] = []
    const values = new Set<string>()
    for await (const { events, revision } of direct.watch('/proof-led', before, new AbortController().signal)) {
      for (const event of events) {
        if (event.type !== 'put' || event.item.value === '') continue
        terms.push(Number(event.item.value.split(' ')[0]))
        values.add(event.item.value)
      }
      if (revision >= last.revision) break
    }
    console.log(`${LEADER_ROUNDS} leaders lost: ${terms.length} writes of ${new Set(terms).size} terms`)
    expect(terms).toEqual([...terms].sort((a, b) => a - b))
    expect(values.size).toBe(terms.length)
    const said = all.flatMap(({ acknowledged }) => acknowledged)
    expect(said.filter(({ fact }) => !values.has(fact.replace('put ', '')))).toEqual([])
    expect(new Set(terms).size).toBeGreaterThan(LEADER_ROUNDS / 2)
  },
  LEADER_ROUNDS * ROUND_TIMEOUT_MS + START_TIMEOUT_MS,
)
