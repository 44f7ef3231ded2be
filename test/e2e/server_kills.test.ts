/**
 * A whole `drover server` and the etcd it keeps are killed while Kubernetes' JavaScript client writes over HTTPS, several
 * at once; then etcd's history and what the API lists are compared with what the clients were told. Every
 * acknowledged write is there once, at the resourceVersion that was told, and nothing deleted is back. On demand:
 *
 *   DROVER_PROOF_SERVER_KILLS=300 DROVER_PROOF_SEED=7 npx vitest run test/e2e/server_kills.test.ts
 *
 * By turns the server dies (the next one adopts its etcd), etcd (the server starts it again), and both. A kill comes
 * only after each client was acknowledged anew.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ApiException, CoreV1Api, KubeConfig, type V1ConfigMap } from '@kubernetes/client-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { randomInt, seededRandom, systemRandom } from '../../src/base/random.ts'
import { findProcesses } from '../../src/store/etcd/server_host.ts'
import { createEtcdStore } from '../../src/store/etcd/store.ts'
import { freePort } from '../support/etcd.ts'
import { eventually } from '../support/eventually.ts'
import { DROVER } from '../support/local_cluster.ts'

const KILLS = Number(process.env.DROVER_PROOF_SERVER_KILLS ?? 3)
const CLIENTS = 4
const MAX_LIFE_MS = 40
const START_TIMEOUT_MS = 60_000
const KILL_TIMEOUT_MS = 20_000
const namespace = 'default'
const LEDGER = 'ledger'
const PREFIX = `/drover/core/configmaps/${namespace}/`

const seed = Number(process.env.DROVER_PROOF_SEED ?? randomInt(systemRandom, 2 ** 31))
const random = seededRandom(seed)
const directory = mkdtempSync(join(tmpdir(), 'drvt-kills-'))
const etcdDir = join(directory, 'etcd', 'etcd')
const kubeconfig = join(directory, 'kubeconfig')
let server: ChildProcess
let ports: [number, number]

function startServer(): void {
  const flags = {
    'data-dir': directory,
    'run-dir': join(directory, 'run'),
    listen: `127.0.0.1:${ports[0]}`,
    'node-listen': `127.0.0.1:${ports[1]}`,
    'kubeconfig-out': kubeconfig,
    'log-level': 'silent',
  }
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value])
  server = spawn(process.execPath, [DROVER, 'server', '--no-join-line', ...args], { stdio: 'ignore' })
}

async function killServer(): Promise<void> {
  expect(server.exitCode, 'the server ended by itself').toBeNull()
  const ended = once(server, 'exit')
  server.kill('SIGKILL')
  await ended
}

async function etcdPid(): Promise<number> {
  const options = { timeoutMs: START_TIMEOUT_MS, intervalMs: 10 }
  return eventually(async () => (await findProcesses(etcdDir))[0]?.pid, options)
}

function openClient(): CoreV1Api {
  const config = new KubeConfig()
  config.loadFromFile(kubeconfig)
  return config.makeApiClient(CoreV1Api)
}

interface Told {
  fact: string
  name: string
  /** Deletions are not told theirs. */
  revision: number | undefined
}

/** Creates objects of its own, changes and deletes them, and appends to a ledger that all share. */
class Client {
  readonly told: Told[] = []
  /** Facts that it was told are not, by a 4xx. */
  readonly refused: string[] = []
  readonly #name: string
  #api = openClient()
  #count = 0

  constructor(name: string) {
    this.#name = name
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const name = `${this.#name}-${this.#count}`
      const metadata = { name, namespace }
      const made = await this.#write(name, (fact) =>
        this.#api.createNamespacedConfigMap({ namespace, body: { metadata, data: { fact, text: 'x'.repeat(500) } } }),
      )
      const changed = made && (await this.#replace(made))
      await this.#append()
      // Every other one stays.
      if (changed && this.#count % 2 === 0) await this.#delete(name)
      if (made === undefined) await sleep(systemClock, 10)
    }
  }

  #replace(found: V1ConfigMap): Promise<V1ConfigMap | undefined> {
    const name = found.metadata?.name ?? ''
    const change = (fact: string) => ({ ...found, data: { ...found.data, fact } })
    return this.#write(name, (fact) => this.#api.replaceNamespacedConfigMap({ namespace, name, body: change(fact) }))
  }

  /** Fails for the others' appends; that is what the resourceVersion is for. */
  async #append(): Promise<void> {
    const found = await this.#api.readNamespacedConfigMap({ namespace, name: LEDGER }).catch(() => undefined)
    if (found === undefined) return
    await this.#write(LEDGER, (fact) => {
      const data = { fact, log: `${found.data?.log ?? ''} ${fact}` }
      return this.#api.replaceNamespacedConfigMap({ namespace, name: LEDGER, body: { ...found, data } })
    })
  }

  async #delete(name: string): Promise<void> {
    try {
      await this.#api.deleteNamespacedConfigMap({ namespace, name })
      this.told.push({ fact: `delete ${name}`, name, revision: undefined })
    } catch {
      // Whether it was deleted is not known.
    }
  }

  async #write(name: string, send: (fact: string) => Promise<V1ConfigMap>): Promise<V1ConfigMap | undefined> {
    const fact = `${this.#name}.${this.#count++}`
    try {
      const written = await send(fact)
      this.told.push({ fact, name, revision: Number(written.metadata?.resourceVersion) })
      return written
    } catch (error) {
      if (error instanceof ApiException && error.code < 500) this.refused.push(fact)
      return undefined
    }
  }
}

interface Place {
  name: string
  revision: number
}

/** What was put and deleted, from etcd itself. */
async function readHistory(after: number): Promise<Map<string, Place[]>> {
  const { client } = JSON.parse(readFileSync(join(directory, 'etcd', 'ports.json'), 'utf8')) as { client: number }
  const pem = (file: string): string => readFileSync(join(directory, 'pki', file), 'utf8')
  const tls = { ca: pem('ca.crt'), cert: pem('etcd-client.crt'), key: pem('etcd-client.key'), serverName: 'localhost' }
  const base = { clock: systemClock, random: systemRandom, log: silentLogger, tls, writerId: 'judge' }
  const judge = await createEtcdStore({ ...base, endpoints: [`https://127.0.0.1:${client}`] })
  try {
    const end = await judge.write({ type: 'put', key: `${PREFIX}~end`, value: '{}' })
    const found = new Map<string, Place[]>()
    for await (const { events, revision } of judge.watch(PREFIX, after, new AbortController().signal)) {
      for (const event of events) {
        const isPut = event.type === 'put'
        const key = isPut ? event.item.key : event.key
        const name = key.slice(PREFIX.length)
        const fact = isPut ? (JSON.parse(event.item.value) as V1ConfigMap).data?.fact : `delete ${name}`
        if (fact === undefined) continue
        const place = { name, revision: isPut ? event.item.modRevision : event.modRevision }
        found.set(fact, [...(found.get(fact) ?? []), place])
      }
      if (revision >= end.revision) break
    }
    await judge.write({ type: 'delete', key: `${PREFIX}~end` })
    return found
  } finally {
    await judge.close()
  }
}

async function check(clients: readonly Client[], after: number): Promise<number> {
  // Read through the API before the judge's own key is among the objects.
  const { items } = await openClient().listNamespacedConfigMap({ namespace })
  const found = await readHistory(after)
  const told = clients.flatMap((client) => client.told)
  const wrong = told.filter(({ fact, name, revision }) => {
    const [place, second] = found.get(fact) ?? []
    if (place === undefined || second !== undefined || place.name !== name) return true
    return revision !== undefined && place.revision !== revision
  })
  expect(wrong.slice(0, 5), 'acknowledged, and not there once as told').toEqual([])
  const twice = [...found].filter(([, places]) => places.length > 1)
  expect(twice.slice(0, 5), 'applied twice').toEqual([])
  const refused = clients.flatMap((client) => client.refused)
  expect(refused.filter((fact) => found.has(fact)).slice(0, 5), 'refused, and there').toEqual([])
  const last = new Map<string, string>()
  const appended: string[] = []
  for (const [fact, [place]] of found) {
    if (place === undefined) continue
    last.set(place.name, fact)
    if (place.name === LEDGER && fact !== 'start') appended.push(fact)
  }
  const expected = [...last].filter(([, fact]) => !fact.startsWith('delete ')).sort()
  const listed = items.filter(({ data }) => data?.fact !== undefined)
  expect(listed.map(({ metadata, data }) => [metadata?.name, data?.fact]).sort(), 'as the API lists').toEqual(expected)
  const ledger = items.find(({ metadata }) => metadata?.name === LEDGER)
  expect(ledger?.data?.log?.trim().split(' '), 'each append once, in order').toEqual(appended)
  return told.length
}

beforeAll(async () => {
  ports = [await freePort(), await freePort()]
  startServer()
  const ready = () => openClient().listNamespacedConfigMap({ namespace })
  await eventually(ready, { timeoutMs: START_TIMEOUT_MS })
})
afterAll(async () => {
  await killServer()
  for (const { pid } of await findProcesses(etcdDir)) process.kill(pid, 'SIGKILL')
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

/** Kills what the turn says, in mid-write, and has it started again. */
async function strike(turn: number, tally: Record<string, number>): Promise<void> {
  await sleep(systemClock, randomInt(random, MAX_LIFE_MS))
  const before = await etcdPid()
  const victim = ['server', 'etcd', 'both'][turn % 3] ?? 'both'
  tally[victim] = (tally[victim] ?? 0) + 1
  if (victim !== 'server') process.kill(before, 'SIGKILL')
  if (victim === 'etcd') return
  await killServer()
  startServer()
  if (victim === 'server') expect(await etcdPid(), 'etcd lives on and is adopted').toBe(before)
}

test('what a server acknowledged is there once, though it and its etcd are killed in mid-write', {
  timeout: KILLS * KILL_TIMEOUT_MS + START_TIMEOUT_MS,
}, async () => {
  const tally: Record<string, number> = {}
  const metadata = { name: LEDGER, namespace }
  const first = await openClient().createNamespacedConfigMap({ namespace, body: { metadata, data: { fact: 'start' } } })
  const stop = new AbortController()
  const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(`c${i}`))
  const running = Promise.all(clients.map((client) => client.run(stop.signal)))
  const allWrite = () => {
    const before = clients.map(({ told }) => told.length)
    return eventually(() => clients.every(({ told }, i) => told.length > (before[i] ?? 0)), {
      timeoutMs: START_TIMEOUT_MS,
      intervalMs: 2,
    })
  }
  try {
    for (let turn = 0; turn < KILLS; turn++) {
      await allWrite()
      await strike(turn, tally)
    }
    await allWrite()
  } finally {
    stop.abort()
    await running
  }
  const acknowledged = await check(clients, Number(first.metadata?.resourceVersion) - 1)
  console.log(JSON.stringify({ seed, ...tally, acknowledged }))
  expect(acknowledged).toBeGreaterThan(KILLS * CLIENTS)
})
