/**
 * The network beside what it could be: pods on two hosts beside namespaces joined by a VXLAN made by hand, of the same MTU on the
 * same underlay; connections through a service among 10,000 beside one among 10; and how soon five hosts have programmed a
 * change. Rounds alternate, so that a busy machine slows both alike.
 */
import { endpointSliceKind } from '../../src/api/endpointslice.ts'
import { serviceKind } from '../../src/api/service.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { ServiceRow } from '../../src/rpc/tables.ts'
import { eventually } from '../support/eventually.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { createNamespace, type TestNamespace } from '../support/netns.ts'
import { NetworkHosts } from '../support/network_hosts.ts'
import { addressOf, SessionHarness } from '../support/node_session.ts'
import { connections, type LoadClient, startLoadClient, startLoadServer } from './network_load.ts'
import { type BenchResult, median } from './result.ts'

const ROUNDS = 7
/** Short and many: others' load falls on all sides alike. */
const OVERLAY_ROUNDS = 120
const STREAM_MS = 40
const PINGS = 300
const CONNECTIONS = 1_000
const SIZES = [10, 1_000, 10_000] as const
const HOSTS = 5
const CHANGES = 150
const CHANGE_LIMIT_MS = 100

const NAMES = ['ours', 'hand', 'ourPods', 'handPods'] as const
type Name = (typeof NAMES)[number]

export async function benchNetwork(): Promise<BenchResult[]> {
  return [...(await benchOverlay()), ...(await benchServices()), await benchChange()]
}

function percentile(values: readonly number[], share: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * share)] ?? Number.NaN
}

async function must(place: TestNamespace, ...commands: string[]): Promise<void> {
  for (const command of commands) {
    const { exitCode, stderr } = await place.exec(command.split(' '))
    if (exitCode !== 0) throw new Error(`${command}: ${stderr}`)
  }
}

/** A namespace on a bridge with a VXLAN port whose only peer is the other host: as plain as it can be made. */
async function handMade(hosts: NetworkHosts, index: number): Promise<{ place: TestNamespace; address: string }> {
  const { namespace, config } = hosts.host(index)
  const peer = hosts.host(index === 2 ? 3 : 2).config.nodeAddress
  const place = await createNamespace(`drvt${hosts.id}-hand${index}`)
  const address = `172.31.77.${index}`
  await must(
    namespace,
    'ip link add hand type bridge',
    `ip link add hand.vx mtu 1450 type vxlan id 99 local ${config.nodeAddress} remote ${peer} dstport 4789 nolearning`,
    'ip link set hand.vx master hand up',
    'ip link set hand up',
    `ip addr add 172.31.78.${index}/24 dev hand`,
    `ip link add hand.pod mtu 1450 type veth peer name eth0 mtu 1450 netns ${place.path}`,
    'ip link set hand.pod master hand up',
  )
  await must(place, 'ip link set lo up', `ip addr add ${address}/24 dev eth0`, 'ip link set eth0 up')
  return { place, address }
}

async function benchOverlay(): Promise<BenchResult[]> {
  const hosts = new NetworkHosts('b')
  const made: TestNamespace[] = []
  const clients = new Map<Name, LoadClient>()
  try {
    await hosts.open(['one', 'two', 'three', 'four'])
    const [a, b] = [await hosts.addPod('a', 0), await hosts.addPod('b', 1)]
    // The hand-made pair stands on hosts of its own, without any of our rules or devices.
    for (const index of [2, 3]) await hosts.host(index).driver.teardown()
    const [c, d] = [await handMade(hosts, 2), await handMade(hosts, 3)]
    made.push(c.place, d.place)
    for (const place of [b.namespace, d.place, hosts.host(1).namespace, hosts.host(3).namespace]) startLoadServer(place)
    const pairs = {
      ours: { from: hosts.host(0).namespace, to: '10.244.2.1' },
      hand: { from: hosts.host(2).namespace, to: '172.31.78.3' },
      ourPods: { from: a.namespace, to: b.address },
      handPods: { from: c.place, to: d.address },
    }
    for (const name of NAMES) clients.set(name, startLoadClient(pairs[name].from, pairs[name].to))
    return await compareOverlays((name) => {
      const client = clients.get(name)
      if (client === undefined) throw new Error(`no client ${name}`)
      return client
    })
  } finally {
    for (const client of clients.values()) client.end()
    for (const place of made) await place.remove()
    await hosts.close()
  }
}

/** What a path does when it is let: a busy machine only ever takes away, and one lucky round proves nothing. */
const goodRate = (rates: readonly number[]): number => percentile(rates, 0.9)
const goodTrip = (trips: readonly number[]): number => percentile(trips, 0.1)

async function compareOverlays(client: (name: Name) => LoadClient): Promise<BenchResult[]> {
  const rates = new Map<Name, number[]>(NAMES.map((name) => [name, []]))
  const trips = new Map<Name, number[]>(NAMES.map((name) => [name, []]))
  for (const name of NAMES) {
    await eventually(async () => (await client(name).pingPong(50)) !== undefined, { timeoutMs: 10_000 })
  }
  for (let round = 0; round < OVERLAY_ROUNDS; round++) {
    for (const name of round % 2 === 0 ? NAMES : [...NAMES].reverse()) {
      rates.get(name)?.push((await client(name).stream(STREAM_MS)) ?? Number.NaN)
      trips.get(name)?.push((await client(name).pingPong(PINGS)) ?? Number.NaN)
    }
  }
  const of = (values: Map<Name, number[]>, name: Name): number[] => values.get(name) ?? []
  const rate = (ours: Name, hand: Name) => {
    const told = (name: Name): string => {
      const all = of(rates, name)
      return `${((goodRate(all) * 8) / 1e9).toFixed(1)} (median ${((median(all) * 8) / 1e9).toFixed(1)}) Gbit/s`
    }
    return {
      ratio: goodRate(of(rates, ours)) / goodRate(of(rates, hand)),
      detail: `${told(ours)}, ${told(hand)} by hand`,
    }
  }
  const trip = (ours: Name, hand: Name) => {
    const told = (name: Name): string => {
      const all = of(trips, name)
      return `${goodTrip(all).toFixed(1)} (median ${median(all).toFixed(1)}) µs`
    }
    return {
      ratio: goodTrip(of(trips, hand)) / goodTrip(of(trips, ours)),
      detail: `${told(ours)}, ${told(hand)} by hand`,
    }
  }
  const higher = { better: 'higher' as const }
  return [
    { name: 'throughput between hosts beside a hand-made VXLAN', limit: 0.95, ...higher, ...rate('ours', 'hand') },
    { name: 'round trip between hosts beside a hand-made VXLAN', limit: 0.95, ...higher, ...trip('ours', 'hand') },
    // By hand there is no address translation and no policy, so nothing that keeps track of connections.
    { name: 'throughput of pods, bridged by hand', ...higher, ...rate('ourPods', 'handPods') },
    { name: 'round trip of pods, bridged by hand', ...higher, ...trip('ourPods', 'handPods') },
  ]
}

function manyServices(hosts: NetworkHosts, count: number, endpoint: string): ServiceRow[] {
  const first = hosts.service({}, [endpoint])
  return Array.from({ length: count }, (_, i) => ({
    ...first,
    name: `s${i}`,
    clusterIP: `10.96.${(i >> 8) + 1}.${i & 255}`,
    ports: first.ports.slice(0, 1).map((port) => ({
      ...port,
      endpoints: port.endpoints.map((target) => ({ ...target, port: 7003 })),
    })),
  }))
}

async function benchServices(): Promise<BenchResult[]> {
  const hosts = new NetworkHosts('c')
  try {
    await hosts.open(SIZES.map((size) => `s${size}`))
    const places = new Map<number, TestNamespace>()
    for (const [index, size] of SIZES.entries()) {
      const client = await hosts.addPod(`client${index}`, index)
      const server = await hosts.addPod(`server${index}`, index)
      startLoadServer(server.namespace)
      await hosts.host(index).driver.applyServices(manyServices(hosts, size, `server${index}`))
      places.set(size, client.namespace)
    }
    const measure = (size: number, count: number): Promise<number[]> => {
      const place = places.get(size)
      if (place === undefined) throw new Error('no place')
      // The last service but one: not the first that any list would find.
      return connections(place, `10.96.${((size - 2) >> 8) + 1}.${(size - 2) & 255}`, 80, count)
    }
    const worst = new Map<number, number[]>(SIZES.map((size) => [size, []]))
    for (const size of SIZES) {
      await eventually(async () => (await measure(size, 100).catch(() => [])).length > 0, { timeoutMs: 10_000 })
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (const size of round % 2 === 0 ? SIZES : [...SIZES].reverse()) {
        worst.get(size)?.push(percentile(await measure(size, CONNECTIONS), 0.99))
      }
    }
    const p99 = (size: number): number => Math.min(...(worst.get(size) ?? []))
    const detail = SIZES.map((size) => `${p99(size).toFixed(0)} µs with ${size}`).join(', ')
    const row = (size: number): BenchResult => ({
      name: `connections with ${size} services beside 10, p99`,
      ratio: p99(size) / p99(10),
      limit: 1.2,
      better: 'lower',
      detail,
    })
    return [row(1_000), row(10_000)]
  } finally {
    await hosts.close()
  }
}

/** Real sessions and real kernels; the store is in memory, so that what is measured is the way from the cache to the rules. */
async function benchChange(): Promise<BenchResult> {
  const hosts = new NetworkHosts('d')
  const harness = new SessionHarness()
  const waiting = new Map<string, { left: number; done: () => void }>()
  try {
    const names = Array.from({ length: HOSTS }, (_, i) => `h${i}`)
    await hosts.open(names)
    await harness.open()
    const dispatch = await harness.startDispatch()
    for (const [i, { name, namespace }] of hosts.hosts.entries()) {
      const network = hosts.makeDriver(namespace.path, `${name}-agent`)
      const apply = network.applyServices.bind(network)
      network.applyServices = async (rows) => {
        await apply(rows)
        const present = rows.flatMap(({ ports }) => ports.flatMap(({ endpoints }) => endpoints.map((e) => e.address)))
        for (const [address, waiter] of waiting) if (present.includes(address) && --waiter.left === 0) waiter.done()
      }
      const config = hosts.host(i).config
      await harness.startAgent(name, { ...fakeDrivers(new FakeHost()), network }, addressOf(dispatch))
      await harness.giveCidr(name, config.podCidr)
    }
    return await measureChanges(harness, waiting)
  } finally {
    await harness.close()
    await hosts.close()
  }
}

async function measureChanges(
  { resources }: SessionHarness,
  waiting: Map<string, { left: number; done: () => void }>,
): Promise<BenchResult> {
  const metadata = { name: 'web', namespace: 'default' }
  await resources.create(serviceKind, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata,
    spec: { ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 80 }] },
  })
  await resources.create(endpointSliceKind, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { ...metadata, labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [],
    ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
  })
  const change = async (address: string, timeoutMs: number): Promise<number> => {
    let done = false
    waiting.set(address, {
      left: HOSTS,
      done: () => {
        done = true
        finishedMs = systemClock.monotonicMs()
      },
    })
    const startedMs = systemClock.monotonicMs()
    let finishedMs = startedMs
    await resources.modify(endpointSliceKind, 'default', 'web', 'main', (slice) => ({
      ...slice,
      endpoints: [{ addresses: [address], conditions: { ready: true } }],
    }))
    await eventually(() => done, { timeoutMs, intervalMs: 2 })
    waiting.delete(address)
    return finishedMs - startedMs
  }
  await change('10.244.200.1', 30_000)
  const times: number[] = []
  for (let i = 0; i < CHANGES; i++) times.push(await change(`10.244.201.${i + 1}`, 10_000))
  const [half, worst] = [percentile(times, 0.5), percentile(times, 0.99)]
  return {
    name: `an endpoint's change on ${HOSTS} hosts, p99 beside ${CHANGE_LIMIT_MS} ms`,
    ratio: worst / CHANGE_LIMIT_MS,
    limit: 1,
    better: 'lower',
    detail: `p50 ${half.toFixed(1)} ms, p99 ${worst.toFixed(1)} ms until the last has programmed it`,
  }
}
