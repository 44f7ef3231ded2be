/**
 * The store and the watch cache against etcd's own history, while connections, servers and etcd die. A few dozen rounds
 * here; on demand as many as asked for, each part by itself:
 *
 *   DROVER_PROOF_WATCH=1000 npx vitest run test/integration/store_proof.test.ts -t cache
 *   DROVER_PROOF_KILLS=1000 npx vitest run test/integration/store_proof.test.ts -t acknowledged
 *   DROVER_PROOF_LEADERS=200 npx vitest run test/integration/store_proof.test.ts -t leaders
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
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
import { breakConnection, TcpProxy } from '../support/tcp_proxy.ts'

const rounds = (name: string, fallback: number): number => Number(process.env[name] ?? fallback)
const WATCH_ROUNDS = rounds('DROVER_PROOF_WATCH', 24)
const KILLS = rounds('DROVER_PROOF_KILLS', 12)
const LEADER_ROUNDS = rounds('DROVER_PROOF_LEADERS', 2)
const ROUND_TIMEOUT_MS = 20_000
const START_TIMEOUT_MS = 60_000
const PREFIX = '/drover/core/configmaps/default/'

const seed = randomInt(systemRandom, 2 ** 31)
const random = seededRandom(seed)
let etcd: TestEtcd
let directory: string
let program: string

async function openStore(endpoint: string, writerId: string): Promise<Store> {
  const base = { clock: systemClock, random: systemRandom, log: silentLogger }
  const store = await createEtcdStore({ ...base, endpoints: [endpoint], writerId })
  onTestFinished(() => store.close())
  return store
}

beforeAll(async () => {
  console.log(`seed ${seed}`)
  etcd = await startTestEtcd({ args: ['--heartbeat-interval', '20', '--election-timeout', '200'] })
  directory = await mkdtemp(join(tmpdir(), 'drvt-proof-'))
  program = join(import.meta.dirname, '../../node_modules/.cache', `drvt-store-writer-${process.pid}.mjs`)
  const entryPoints = [join(import.meta.dirname, '../support/store_writer.ts')]
  await build({
    entryPoints,
    outfile: program,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
  })
})
afterAll(async () => {
  await etcd.stop()
  await rm(directory, { recursive: true, force: true })
  await rm(program, { force: true })
})

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

interface Writer {
  child: ChildProcess
  /** Value to key and revision of what it said was acknowledged. */
  acknowledged: Map<string, { key: string; revision: number }>
  refused: Set<string>
  conflicts: string[]
  terms: number[]
  ended: Promise<void>
  /** Takes in what it has said since. */
  listen(): void
}

/**
 * It writes into a file: what is there outlives it, and a reader that is slow holds nobody up.
 */
function startWriter(id: string, run: string, mode?: string): Writer {
  const path = join(directory, `${id}-${run}`)
  const output = openSync(path, 'w')
  const args = [program, etcd.endpoint, id, run, ...(mode === undefined ? [] : [mode])]
  const child = spawn(process.execPath, args, { stdio: ['ignore', output, 'inherit'] })
  closeSync(output)
  const writer: Writer = {
    child,
    acknowledged: new Map(),
    refused: new Set(),
    conflicts: [],
    terms: [],
    ended: new Promise((resolve) => child.once('exit', () => resolve())),
    listen() {
      const text = readFileSync(path, 'utf8')
      const lines = text.slice(heard, text.lastIndexOf('\n') + 1)
      heard += lines.length
      for (const line of lines.split('\n')) {
        const [what, value = '', key = '', revision = ''] = line.split(' ')
        if (what === 'A' && revision !== '') writer.acknowledged.set(value, { key, revision: Number(revision) })
        if (what === 'E' && key === 'unavailable') writer.refused.add(value)
        if (what === 'C') writer.conflicts.push(line)
        if (what === 'L') writer.terms.push(Number(value))
      }
    },
  }
  let heard = 0
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  return writer
}

/** How many it said were acknowledged. */
function saidOf(writer: Writer): number {
  writer.listen()
  // A compare-and-swap of its own key can only be met by a write of its own that was applied twice, or not as told.
  if (writer.conflicts.length > 0) throw new Error(`a writer met itself: ${writer.conflicts[0]}`)
  return writer.acknowledged.size
}

test(
  'every acknowledged write is there, and none twice, though servers and etcd are killed in mid-write',
  async () => {
    const direct = await openStore(etcd.endpoint, 'judge')
    const before = (await direct.health()).revision
    const writers: Writer[] = []
    let kills = 0
    for (let round = 0; kills < KILLS; round++) {
      // The same name each time, as a server that is started again has.
      const writer = startWriter('server-1', `run${round}`)
      writers.push(writer)
      await eventually(() => expect(saidOf(writer)).toBeGreaterThan(0), { timeoutMs: START_TIMEOUT_MS })
      // etcd dies under it some times, then the server itself.
      for (let deaths = round % 2 === 0 ? 0 : 3; deaths > 0 && kills < KILLS - 1; deaths--, kills++) {
        await sleep(systemClock, randomInt(random, 300))
        const known = saidOf(writer)
        await etcd.kill()
        await etcd.restart()
        await eventually(() => expect(saidOf(writer)).toBeGreaterThan(known), { timeoutMs: START_TIMEOUT_MS })
      }
      await sleep(systemClock, randomInt(random, 300))
      writer.child.kill('SIGKILL')
      kills++
      await writer.ended
      writer.listen()
    }
    const last = await direct.write({ type: 'put', key: '/proof/end', value: '' })
    const found = new Map<string, { key: string; revision: number }[]>()
    for await (const { events, revision } of direct.watch('/proof/', before, new AbortController().signal)) {
      for (const event of events) {
        if (event.type !== 'put') continue
        const { key, value, modRevision } = event.item
        found.set(value, [...(found.get(value) ?? []), { key, revision: modRevision }])
      }
      if (revision >= last.revision) break
    }
    found.delete('')
    const all = writers.flatMap(({ acknowledged }) => [...acknowledged])
    console.log(`${kills} kills: ${all.length} acknowledged writes, ${found.size} in etcd's history`)
    expect(writers.flatMap(({ conflicts }) => conflicts)).toEqual([])
    const wrong = all.filter(([value, at]) => JSON.stringify(found.get(value)) !== JSON.stringify([at]))
    expect(wrong.slice(0, 5)).toEqual([])
    const twice = [...found].filter(([, places]) => places.length > 1)
    expect(twice.slice(0, 5)).toEqual([])
    const refused = writers.flatMap((writer) => [...writer.refused]).filter((value) => found.has(value))
    expect(refused).toEqual([])
    expect(all.length).toBeGreaterThan(kills * 10)
  },
  KILLS * ROUND_TIMEOUT_MS + START_TIMEOUT_MS,
)

test(
  'two leaders never write one after the other, though leaders are killed and frozen',
  async () => {
    const direct = await openStore(etcd.endpoint, 'judge')
    const before = (await direct.health()).revision
    const candidates = [startWriter('leader-0', 'run0', 'lead'), startWriter('leader-1', 'run1', 'lead')]
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
        const next = startWriter(`leader-${index}`, `run${all.length}`, 'lead')
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
    const said = all.flatMap(({ acknowledged }) => [...acknowledged.keys()].map((value) => value.replaceAll('#', ' ')))
    expect(said.filter((value) => !values.has(value))).toEqual([])
    expect(new Set(terms).size).toBeGreaterThan(LEADER_ROUNDS / 2)
  },
  LEADER_ROUNDS * ROUND_TIMEOUT_MS + START_TIMEOUT_MS,
)
