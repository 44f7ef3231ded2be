/** An agent and its exclusive pods, with and without a server: what is started, what is not, and what is said of it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createAgent } from '../../src/agent/agent.ts'
import type { Fencer } from '../../src/agent/fence/fencer.ts'
import { createTableStore } from '../../src/agent/table_store.ts'
import { EXCLUSIVE_LEASE_MS } from '../../src/api/exclusive.ts'
import { ANNOTATION } from '../../src/api/names.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { systemRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { addressOf, holds, SessionHarness } from '../support/node_session.ts'

let harness: SessionHarness
let dataDir: string
let stops: (() => Promise<void>)[]

beforeEach(async () => {
  harness = new SessionHarness()
  await harness.open()
  dataDir = await mkdtemp(join(tmpdir(), 'drvt-fenced-'))
  stops = []
})

afterEach(async () => {
  for (const stop of stops.reverse()) await stop()
  await harness.close()
  await rm(dataDir, { recursive: true, force: true })
})

/** Keeps the times, and does to the host's containers what the program does. */
class HostFencer implements Fencer {
  readonly #host: FakeHost
  readonly #guarded = new Set<string>()
  /** Time that has passed for the host while nothing ran. */
  skippedMs = 0
  deadlineMs = 0
  #killedAtMs: number | undefined

  constructor(host: FakeHost) {
    this.#host = host
  }

  nowMs(): number {
    return Math.round(systemClock.monotonicMs()) + this.skippedMs
  }

  renew(deadlineMs: number): void {
    this.deadlineMs = deadlineMs
  }

  hasEnded(): boolean {
    return true
  }

  guards(podUid: string): boolean {
    return this.#guarded.has(podUid)
  }

  async guard(podUid: string): Promise<void> {
    this.#guarded.add(podUid)
  }

  release(podUid: string): void {
    this.#guarded.delete(podUid)
  }

  killedAtMs(): number | undefined {
    return this.#killedAtMs
  }

  async run(): Promise<void> {}

  /** The lease has run out. */
  strike(): void {
    this.skippedMs += EXCLUSIVE_LEASE_MS
    this.#killedAtMs = systemClock.now()
    for (const { state } of this.#host.running('app')) {
      if (this.#guarded.has(state.podUid)) this.#host.exit(state.id, 137, 9)
    }
  }
}

async function startAgent(host: FakeHost, fencer: Fencer, address: string) {
  const log = silentLogger
  const agent = createAgent({
    nodeName: 'n1',
    server: { address },
    tls: await harness.nodeCertificate('n1'),
    tables: createTableStore({ dataDir, nodeName: 'n1', caHash: 'ca', log }),
    drivers: fakeDrivers(host),
    fencer,
    dataDir,
    nodeAddress: '127.0.0.1',
    clock: systemClock,
    random: systemRandom,
    log,
    registry: new Registry(),
    version: 'v0.0.0-test',
  })
  const control = new AbortController()
  const done = runServices([agent.service], { clock: systemClock, random: systemRandom, log }, control.signal)
  const stop = async (): Promise<void> => {
    control.abort()
    await done
  }
  stops.push(stop)
  return { ...agent, stop }
}

async function bind(name: string, annotations: Record<string, string> = {}): Promise<void> {
  await harness.resources.create(podKind, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', annotations },
    spec: { containers: [{ name: 'app', image: 'app:1', imagePullPolicy: 'IfNotPresent' }] },
  })
  await harness.resources.modify<Pod>(podKind, 'default', name, 'all', (pod) => ({
    ...pod,
    spec: { ...pod.spec, nodeName: 'n1' },
  }))
}

/** Names of the pods that run, with repetitions. */
const running = (host: FakeHost): string[] =>
  host
    .running('app')
    .map(({ state }) => harness.resources.list(podKind).find(({ metadata }) => metadata.uid === state.podUid))
    .map((pod) => pod?.metadata.name ?? '')
    .sort()

const EXCLUSIVE = { [ANNOTATION.exclusive]: 'true' }

async function nodeWithPods() {
  const dispatch = await harness.startDispatch({ heartbeatIntervalMs: 100 })
  const address = addressOf(dispatch)
  const host = new FakeHost()
  const fencer = new HostFencer(host)
  const agent = await startAgent(host, fencer, address)
  await harness.giveCidr('n1')
  await bind('db', EXCLUSIVE)
  await bind('web')
  await holds(() => expect(running(host)).toEqual(['db', 'web']))
  const db = harness.resources.get(podKind, 'default', 'db')
  expect([fencer.guards(db?.metadata.uid ?? ''), fencer.deadlineMs > fencer.nowMs()]).toEqual([true, true])
  return { dispatch, address, port: Number(address.split(':')[1]), host, fencer, agent }
}

test('an exclusive pod that the fencer ended stays down until a server answers, and is not blamed', async () => {
  const { dispatch, port, host, fencer } = await nodeWithPods()
  await dispatch.stop()
  fencer.strike()
  await holds(() => expect(running(host)).toEqual(['web']))
  const [web] = host.running('app')
  host.exit(web?.state.id ?? '', 1)
  // The agent is at work: what is not exclusive is started again.
  await holds(() => expect(running(host)).toEqual(['web']))
  await harness.startDispatch({ heartbeatIntervalMs: 100, listen: { host: '127.0.0.1', port } })
  await holds(() => expect(running(host)).toEqual(['db', 'web']), 15_000)
  const attempt = host.running('app').find(({ state }) => state.podUid !== web?.state.podUid)
  expect(attempt?.request.annotations['drover.dev/crashes']).toBe('0')
})

test('an agent that starts without a server starts no exclusive pod from its disk', async () => {
  const { dispatch, address, port, agent } = await nodeWithPods()
  await holds(async () => {
    const saved = await createTableStore({ dataDir, nodeName: 'n1', caHash: 'ca', log: silentLogger }).load()
    expect(saved?.tables.get('assignments')?.size).toBe(2)
  })
  await dispatch.stop()
  await agent.stop()
  const rebooted = new FakeHost()
  await startAgent(rebooted, new HostFencer(rebooted), address)
  await holds(() => expect(running(rebooted)).toEqual(['web']))
  await harness.startDispatch({ heartbeatIntervalMs: 100, listen: { host: '127.0.0.1', port } })
  await holds(() => expect(running(rebooted)).toEqual(['db', 'web']), 15_000)
})

test('while a server hears the node but grants nothing, the pod says that it is fenced', async () => {
  let term: number | undefined
  const dispatch = await harness.startDispatch({ heartbeatIntervalMs: 100, presenceTerm: () => term })
  const host = new FakeHost()
  await startAgent(host, new HostFencer(host), addressOf(dispatch))
  await harness.giveCidr('n1')
  await bind('db', EXCLUSIVE)
  await holds(() => {
    const [status] = harness.resources.get(podKind, 'default', 'db')?.status?.containerStatuses ?? []
    expect(status?.state?.waiting?.reason).toBe('Fenced')
  })
  expect(running(host)).toEqual([])
  term = 1
  await holds(() => expect(running(host)).toEqual(['db']))
})
