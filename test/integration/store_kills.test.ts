/**
 * Servers and etcd are killed in mid-write, and etcd's history is compared with what the servers were told: every
 * acknowledged write is there, at the revision that was told, and none was applied twice. A few dozen kills here; on
 * demand as many as asked for, with a seed of one's own:
 *
 *   DROVER_PROOF_KILLS=1000 DROVER_PROOF_SEED=7 npx vitest run test/integration/store_kills.test.ts
 *
 * Four servers write side by side to one etcd, writes of each under way at any time, so whatever dies does so in
 * the middle of some. A kill is counted only when its victim was seen to be acknowledged since it (or etcd) last started.
 * The history is checked, and then forgotten, every few dozen kills: the proof may go on for as long as one likes.
 *
 * SIGKILL takes no page from the kernel's cache, so where etcd's files lie makes no difference to what is proved.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { randomInt, seededRandom, systemRandom } from '../../src/base/random.ts'
import { createEtcdStore } from '../../src/store/etcd/store.ts'
import type { Store } from '../../src/store/store.ts'
import { startTestEtcd, type TestEtcd } from '../support/etcd.ts'
import { eventually } from '../support/eventually.ts'
import { type Writer, WriterPool } from '../support/store_victims.ts'

const KILLS = Number(process.env.DROVER_PROOF_KILLS ?? 28)
const SERVERS = 4
const WRITES_AT_ONCE = 5
const BATCH_KILLS = 48
/** A victim lives on for up to this long after it was seen writing. */
const MAX_LIFE_MS = 40
const START_TIMEOUT_MS = 60_000
const WATCH_MS = 2
const KILL_TIMEOUT_MS = 5_000

const seed = Number(process.env.DROVER_PROOF_SEED ?? randomInt(systemRandom, 2 ** 31))
const random = seededRandom(seed)
let etcd: TestEtcd
let pool: WriterPool
let judge: Store

beforeAll(async () => {
  etcd = await startTestEtcd({ args: ['--heartbeat-interval', '10', '--election-timeout', '50'] })
  pool = await WriterPool.create(SERVERS)
  const base = { clock: systemClock, random: systemRandom, log: silentLogger }
  judge = await createEtcdStore({ ...base, endpoints: [etcd.endpoint], writerId: 'judge' })
})
afterAll(async () => {
  await judge.close()
  await pool.stop()
  await etcd.stop()
})

interface Tally {
  serverKills: number
  etcdKills: number
  acknowledged: number
  /** In the history, though nobody was told: they were under way when their server died. */
  untold: number
  refused: number
}

/** One life after the other under the same name, as a server that is started again has. */
class Server {
  readonly writers: Writer[] = []
  readonly #name: string
  readonly #lives: () => number
  #seen = 0

  constructor(name: string, lives: () => number) {
    this.#name = name
    this.#lives = lives
  }

  get writer(): Writer {
    const last = this.writers.at(-1)
    if (last === undefined) throw new Error(`${this.#name} was not started`)
    return last
  }

  async start(): Promise<void> {
    const mode = { type: 'write', atOnce: WRITES_AT_ONCE } as const
    const run = `run${this.#lives()}`
    this.writers.push(await pool.start({ endpoint: etcd.endpoint, writerId: this.#name, run, mode }))
    this.#seen = 0
  }

  /** From here on it must be acknowledged anew before it counts as writing. */
  mark(): void {
    this.#seen = this.writer.listen()
  }

  async isWriting(): Promise<void> {
    const options = { timeoutMs: START_TIMEOUT_MS, intervalMs: WATCH_MS }
    await eventually(() => this.writer.listen() > this.#seen, options)
  }
}

/** Kills until so many have been killed, all servers last; then nobody writes. */
async function killSome(servers: readonly Server[], kills: number, tally: Tally): Promise<void> {
  await Promise.all(servers.map((server) => server.start()))
  let done = 0
  const killServer = async (server: Server): Promise<void> => {
    await server.writer.kill()
    tally.serverKills++
    done++
  }
  while (done < kills - servers.length) {
    const strikes = randomInt(random, 8)
    const victim = servers[randomInt(random, servers.length)]
    if (victim === undefined) continue
    if (strikes < 4) {
      await victim.isWriting()
      await sleep(systemClock, randomInt(random, MAX_LIFE_MS))
      await killServer(victim)
      await victim.start()
      continue
    }
    await Promise.all(servers.map((server) => server.isWriting()))
    await sleep(systemClock, randomInt(random, MAX_LIFE_MS))
    await etcd.kill()
    tally.etcdKills++
    done++
    for (const server of servers) server.mark()
    // Some die while they are looking for what became of their writes.
    if (strikes === 7 && done < kills - servers.length) {
      await killServer(victim)
      await Promise.all([etcd.restart(), victim.start()])
    } else await etcd.restart()
  }
  await Promise.all(servers.map((server) => server.isWriting()))
  await Promise.all(servers.map(killServer))
}

interface Place {
  key: string
  revision: number
}

/** What was put and deleted after a revision, and where it stands. */
async function readHistory(after: number): Promise<{ found: Map<string, Place[]>; last: number }> {
  const end = await judge.write({ type: 'put', key: '/proof/end', value: '' })
  const found = new Map<string, Place[]>()
  for await (const { events, revision } of judge.watch('/proof/', after, new AbortController().signal)) {
    for (const event of events) {
      const isPut = event.type === 'put'
      const place = isPut
        ? { key: event.item.key, revision: event.item.modRevision }
        : { key: event.key, revision: event.modRevision }
      if (place.key === '/proof/end') continue
      const fact = isPut ? `put ${event.item.value}` : `delete ${place.key}`
      const places = found.get(fact)
      if (places === undefined) found.set(fact, [place])
      else places.push(place)
    }
    if (revision >= end.revision) break
  }
  return { found, last: end.revision }
}

/** Which life a fact belongs to. */
function runOf(fact: string): string {
  return /run\d+/.exec(fact)?.[0] ?? ''
}

function check(writers: readonly Writer[], found: ReadonlyMap<string, readonly Place[]>, tally: Tally): void {
  let told = 0
  const wrong: object[] = []
  for (const writer of writers) {
    for (const { fact, key, revision } of writer.acknowledged) {
      told++
      const places = found.get(fact) ?? []
      const [place] = places
      if (places.length !== 1 || place?.key !== key || place.revision !== revision) {
        wrong.push({ fact, key, revision, places })
      }
    }
  }
  expect(wrong.slice(0, 5), 'acknowledged, and not there once as told').toEqual([])
  const twice = [...found].filter(([, places]) => places.length > 1)
  expect(twice.slice(0, 5), 'applied twice').toEqual([])
  const refused = writers.flatMap((writer) => writer.refused)
  expect(refused.filter((fact) => found.has(fact)).slice(0, 5), 'refused, and there').toEqual([])
  const runs = new Set(writers.map(({ task }) => task.run))
  const late = [...found.keys()].filter((fact) => !runs.has(runOf(fact)))
  expect(late.slice(0, 5), 'of a server that was dead before').toEqual([])
  tally.acknowledged += told
  tally.untold += found.size - told
  tally.refused += refused.length
}

test('every acknowledged write is there, and none twice, though servers and etcd are killed in mid-write', {
  timeout: KILLS * KILL_TIMEOUT_MS + START_TIMEOUT_MS,
}, async () => {
  console.log(`seed ${seed}`)
  const tally: Tally = { serverKills: 0, etcdKills: 0, acknowledged: 0, untold: 0, refused: 0 }
  let after = (await judge.health()).revision
  let lives = 0
  for (let killed = 0; killed < KILLS; killed = tally.serverKills + tally.etcdKills) {
    const servers = Array.from({ length: SERVERS }, (_, i) => new Server(`server-${i}`, () => lives++))
    await killSome(servers, Math.max(Math.min(BATCH_KILLS, KILLS - killed), SERVERS), tally)
    const { found, last } = await readHistory(after)
    const writers = servers.flatMap((server) => server.writers)
    check(writers, found, tally)
    await Promise.all(writers.map((writer) => writer.forget()))
    await judge.compact(last)
    after = last
  }
  console.log(JSON.stringify(tally))
  expect(tally.acknowledged).toBeGreaterThan(KILLS * 10)
})
