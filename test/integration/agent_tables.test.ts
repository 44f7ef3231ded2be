/** An agent that is killed while every server is away comes back from its own disk; see docs/design/joining.md. */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Agent, createAgent } from '../../src/agent/agent.ts'
import { createTableStore } from '../../src/agent/table_store.ts'
import { configMapKind } from '../../src/api/configmap.ts'
import { type EndpointSlice, endpointSliceKind } from '../../src/api/endpointslice.ts'
import { LABEL } from '../../src/api/names.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { type Service, serviceKind } from '../../src/api/service.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { systemRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { addressOf, holds, SessionHarness, type Stoppable } from '../support/node_session.ts'

let harness: SessionHarness
let dataDir: string
let stops: (() => Promise<void>)[]

beforeEach(async () => {
  harness = new SessionHarness()
  await harness.open()
  dataDir = await mkdtemp(join(tmpdir(), 'drvt-tables-'))
  stops = []
})

afterEach(async () => {
  for (const stop of stops.reverse()) await stop()
  await harness.close()
  await rm(dataDir, { recursive: true, force: true })
})

const storeOf = (caHash = 'ca') => createTableStore({ dataDir, nodeName: 'n1', caHash, log: silentLogger })

async function startAgent(host: FakeHost, address: string, tables = storeOf()): Promise<Agent & Stoppable> {
  const agent = createAgent({
    nodeName: 'n1',
    server: { address },
    tls: await harness.nodeCertificate('n1'),
    tables,
    drivers: fakeDrivers(host),
    dataDir,
    nodeAddress: '127.0.0.1',
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    registry: new Registry(),
    version: 'v0.0.0-test',
  })
  const control = new AbortController()
  const done = runServices(
    [agent.service],
    { clock: systemClock, random: systemRandom, log: silentLogger },
    control.signal,
  )
  const stop = async (): Promise<void> => {
    control.abort()
    await done
  }
  stops.push(stop)
  return { ...agent, stop }
}

const running = (host: FakeHost): string[] => host.running('app').map(({ state }) => state.id)

async function runPod(name: string, spec: Partial<Pod['spec']> = {}): Promise<void> {
  const containers = [{ name: 'app', image: 'app:1', imagePullPolicy: 'IfNotPresent' as const }]
  await harness.resources.create(podKind, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: { containers, ...spec },
  })
  await harness.resources.modify<Pod>(podKind, 'default', name, 'all', (pod) => ({
    ...pod,
    spec: { ...pod.spec, nodeName: 'n1' },
  }))
}

async function exposeService(): Promise<void> {
  await harness.resources.create<Service>(serviceKind, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80, protocol: 'TCP' }] },
  } as Service)
  await harness.resources.create<EndpointSlice>(endpointSliceKind, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'web-1', namespace: 'default', labels: { [LABEL.serviceName]: 'web' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.244.0.9'], conditions: { ready: true } }],
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  } as EndpointSlice)
}

/** A node with a pod that reads a ConfigMap, and a service; then no server any more. */
async function nodeWithoutServer() {
  const dispatch = await harness.startDispatch()
  const address = addressOf(dispatch)
  const host = new FakeHost()
  const agent = await startAgent(host, address)
  await harness.giveCidr('n1')
  await harness.resources.create(configMapKind, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'settings', namespace: 'default' },
    data: { color: 'blue' },
  })
  await exposeService()
  await runPod('web', { volumes: [{ name: 'conf', configMap: { name: 'settings' } }] })
  await holds(() => expect(running(host)).toHaveLength(1))
  await holds(() => expect(host.services).toHaveLength(1))
  await holds(async () => {
    const saved = (await storeOf().load())?.tables
    expect([...(saved?.get('assignments')?.keys() ?? [])].sort()).toEqual([
      'configmap/default/settings',
      'pod/default/web',
    ])
    expect(saved?.get('services')?.size).toBe(1)
  })
  await dispatch.stop()
  return { host, agent, address, port: Number(address.split(':')[1]) }
}

describe('without a server', () => {
  test('an agent that is started again programs its tables, and restarts what dies', async () => {
    const { host, agent, address } = await nodeWithoutServer()
    const before = running(host)
    await agent.stop()
    // As after a reboot of the kernel's tables, not of the containers.
    host.services = []
    host.peers = []
    const again = await startAgent(host, address)
    await holds(() => expect(host.services.map(({ name }) => name)).toEqual(['web']))
    expect(host.services[0]?.ports[0]?.endpoints[0]?.address).toBe('10.244.0.9')
    await holds(() => expect(host.peers.map(({ nodeName }) => nodeName)).toEqual(['n1']))
    await holds(() => expect(again.state()).toMatchObject({ connected: false, networkReady: true, pods: 1 }))
    expect(running(host)).toEqual(before)
    host.exit(before[0] ?? '', 1)
    await holds(() => expect(running(host)).toHaveLength(1))
    expect(running(host)).not.toEqual(before)
    // Its volume came from the saved ConfigMap.
    expect(JSON.stringify([...host.volumes.values()])).toContain('blue')
  })

  test('after a reboot, pods are started from the disk alone', async () => {
    const { host, agent, address } = await nodeWithoutServer()
    await agent.stop()
    const rebooted = new FakeHost()
    await startAgent(rebooted, address)
    await holds(() => expect(running(rebooted)).toHaveLength(1))
    expect(running(host)).toHaveLength(1)
  })

  test('nothing is removed for not being in an old table; the first COMPLETE decides', async () => {
    const { host, agent, port } = await nodeWithoutServer()
    const tables = await storeOf().load()
    if (tables === undefined) throw new Error('nothing saved')
    const second = await harness.startDispatch({ listen: { host: '127.0.0.1', port } })
    await runPod('late')
    await holds(() => expect(running(host)).toHaveLength(2))
    await agent.stop()
    await second.stop()
    // The disk as it was before the second pod came.
    for (const [table, rows] of tables.tables) await storeOf().saveTable(table, rows)
    const again = await startAgent(host, `127.0.0.1:${port}`)
    await holds(() => expect(again.state()).toMatchObject({ networkReady: true, pods: 1, synced: false }))
    expect(running(host)).toHaveLength(2)
    await harness.resources.delete(podKind, 'default', 'web', { gracePeriodSeconds: 0 })
    await harness.startDispatch({ listen: { host: '127.0.0.1', port } })
    await holds(() => expect(again.state().synced).toBe(true), 15_000)
    await holds(() => expect(host.running('app').map(({ request }) => request.podUid)).toHaveLength(1))
    expect(harness.resources.get(podKind, 'default', 'late')).toBeDefined()
    await holds(() => expect(again.state().pods).toBe(1))
  })
})

describe('the files', () => {
  test('only root can read them, and no half-written one is left', async () => {
    await nodeWithoutServer()
    const directory = join(dataDir, 'tables')
    expect((await stat(directory)).mode & 0o777).toBe(0o700)
    const names = (await readdir(directory)).filter((name) => !name.endsWith('.new'))
    expect(names.sort()).toEqual(['assignments.json', 'cluster.json', 'peers.json', 'policies.json', 'services.json'])
    for (const name of names) expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600)
  })

  test('those of another cluster or damaged ones count as none', async () => {
    const { host, agent, address } = await nodeWithoutServer()
    await agent.stop()
    expect(await storeOf('another').load()).toBeUndefined()
    const path = join(dataDir, 'tables', 'assignments.json')
    await writeFile(path, (await readFile(path, 'utf8')).slice(0, 40))
    const again = await startAgent(host, address)
    await holds(() => expect(again.state().networkReady).toBe(true))
    expect(again.state().pods).toBe(0)
    expect(running(host)).toHaveLength(1)
  })
})
