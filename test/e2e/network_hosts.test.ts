/**
 * A network of five hosts while endpoints flap, hosts are cut off, removed and taken back, and servers go and come: what is in
 * the kernels and name servers of all hosts, and what traffic from inside pods meets. DROVER_FLAPS sets how many endpoint
 * changes; DROVER_LONG=1 makes 1,000, and holds them to a second.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type EndpointSlice, endpointSliceKind } from '../../src/api/endpointslice.ts'
import { isNodeReady, type Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { Service } from '../../src/api/service.ts'
import { systemClock } from '../../src/base/clock.ts'
import { localKubeconfig, localStateDir } from '../../src/base/paths.ts'
import { seededRandom } from '../../src/base/random.ts'
import { loadKubeconfig } from '../../src/cli/kubeconfig.ts'
import { RestClient, resourcePath } from '../../src/cli/rest_client.ts'
import { eventually } from '../support/eventually.ts'
import { hostLookup, hostPeers, hostTables } from '../support/host_tables.ts'
import { DROVER, LocalCluster, output, runProgram } from '../support/local_cluster.ts'
import { PORTS, ProbePods, type Question } from '../support/probe_pods.ts'

const LONG = process.env.DROVER_LONG === '1'
const FLAPS = Number(process.env.DROVER_FLAPS ?? (LONG ? 1_000 : 20))
/** On a machine that others use too, the promise of a second is looked at, not held. */
const STALE_MS = LONG ? 1_000 : 10_000
const WAIT = { timeoutMs: 60_000, intervalMs: 100 }
const IMAGE = 'drover.local/hello:1'
const DOMAIN = 'default.svc.cluster.local'
const HOSTS = [1, 2, 3, 4, 5]
const ALL = HOSTS.map((host) => `p${host}`)
const NODE_PORT = 30_144
const cluster = new LocalCluster()
const probes = new ProbePods(IMAGE)
const hostName = (host: number): string => `${cluster.name}-${host}`
const space = (host: number): string => `drover-${cluster.name}-${hostName(host)}`

interface List<T> {
  items: T[]
}

/** Stays on its host whatever becomes of its node. */
async function pod(host: number): Promise<object> {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `p${host}`, labels: { app: 's', one: `p${host}` } },
    spec: {
      nodeName: hostName(host),
      ...(await probes.spec({
        spec: { hostname: `p${host}`, subdomain: 'names', tolerations: [{ operator: 'Exists' }] },
      })),
    },
  }
}

const service = (name: string, spec: object): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name },
  spec,
})
const ports = [{ name: 'http', port: 80, targetPort: 'web' }]

const address = async (name: string): Promise<string> =>
  (await cluster.json<Service>('get', `svc/${name}`)).spec.clusterIP ?? ''

async function pods(): Promise<Map<string, Pod>> {
  const { items } = await cluster.json<List<Pod>>('get', 'pods')
  return new Map(items.map((one) => [one.metadata.name ?? '', one]))
}

async function podIP(name: string): Promise<string> {
  return (await pods()).get(name)?.status?.podIP ?? ''
}

async function readyNodes(kubeconfig = localKubeconfig(cluster.name)): Promise<Node[]> {
  const args = [DROVER, '--kubeconfig', kubeconfig, 'get', 'nodes', '-o', 'json']
  const { items } = JSON.parse(await output(process.execPath, args)) as List<Node>
  return items.filter(isNodeReady)
}

const http = (host: string, port = 80): Question => ({ ask: 'http', host, port, timeoutMs: 2_000 })

/** Each of these pods comes to meet just these at the address. */
async function meet(from: readonly string[], host: string, wanted: readonly string[]): Promise<void> {
  await Promise.all(from.map((name) => probes.meets(name, http(host), wanted)))
}

async function outside(host: number): Promise<boolean> {
  const url = `http://${cluster.hostAddress(host)}:${NODE_PORT}/`
  return (await runProgram('curl', ['-sS', '--max-time', '2', url])).stdout.includes('"pod":"p')
}

const ready = (...names: string[]): Promise<string> =>
  cluster.kubectl('wait', '--for=condition=Ready', '--timeout=90s', ...names.map((name) => `pod/${name}`))

beforeAll(async () => {
  await cluster.start('--nodes', '5', '--sample')
  await cluster.ask('delete', 'deploy', 'hello')
  await cluster.apply([
    service('s', { type: 'NodePort', selector: { app: 's' }, ports: [{ ...ports[0], nodePort: NODE_PORT }] }),
    service('names', { clusterIP: 'None', selector: { app: 's' }, ports }),
    ...(await Promise.all(HOSTS.map(pod))),
  ])
  await ready(...ALL)
  await meet(ALL, await address('s'), ALL)
})

afterAll(async () => {
  await cluster.remove()
  probes.remove()
})

describe(`${FLAPS} changes of endpoints`, () => {
  const services = ['flap-0', 'flap-1', 'flap-2', 'flap-3']
  const HEADLESS = 'flap-3'

  it('leave nothing stale in the kernel, in flows or in names', async () => {
    const random = seededRandom(Number(process.env.DROVER_SEED ?? 1))
    const addresses = await Promise.all(ALL.map(podIP))
    const port = { name: 'd', protocol: 'UDP', port: PORTS.datagrams } as const
    const slice = (name: string, endpoints: readonly string[]): EndpointSlice => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      endpoints: endpoints.map((endpoint) => ({ addresses: [endpoint] })),
      ports: [port],
    })
    await cluster.apply(
      services.flatMap((name) => [
        service(name, {
          ports: [{ name: 'd', protocol: 'UDP', port: 53 }],
          ...(name === HEADLESS ? { clusterIP: 'None' } : {}),
        }),
        slice(name, addresses),
      ]),
    )
    const clusterIPs = new Map(await Promise.all(services.map(async (name) => [name, await address(name)] as const)))
    const client = new RestClient(loadKubeconfig({ cluster: cluster.name, env: {} }), () => undefined)
    const last = new Map<string, string[]>()
    const asking = { on: true }
    // Clients that never pause: without care their flows keep leading where they led.
    const clients = ALL.map(async (from) => {
      const questions = services
        .filter((name) => name !== HEADLESS)
        .map((name): Question => ({ ask: 'udp', host: clusterIPs.get(name) ?? '', port: 53, timeoutMs: 200 }))
      while (asking.on) await probes.ask(from, questions)
    })
    const startedMs = systemClock.monotonicMs()
    await Promise.all(
      services.map(async (name, index) => {
        for (let flap = index; flap < FLAPS; flap += services.length) {
          const chosen = addresses.filter(() => random.next() < 0.5)
          last.set(name, chosen)
          const path = resourcePath(endpointSliceKind, 'default', name)
          await client.call('PUT', path, { body: slice(name, chosen) })
        }
      }),
    )
    const doneMs = systemClock.monotonicMs()
    const wanted = (name: string): string[] => (last.get(name) ?? []).map((to) => `${to}:${port.port}`).sort()
    let flowsSeen = 0
    const current = async (host: number): Promise<boolean> => {
      const [{ endpoints, flows }, names] = await Promise.all([
        hostTables(space(host)),
        hostLookup(space(host), `${HEADLESS}.${DOMAIN}`),
      ])
      if (names.join() !== [...(last.get(HEADLESS) ?? [])].sort().join()) return false
      return services.every((name) => {
        if (name === HEADLESS) return true
        flowsSeen += flows.length
        const led = flows.filter(({ service: to }) => to === clusterIPs.get(name))
        return (
          (endpoints.get(`default/${name}`) ?? []).join() === wanted(name).join() &&
          led.every(({ endpoint }) => last.get(name)?.includes(endpoint))
        )
      })
    }
    try {
      const lags = await Promise.all(
        HOSTS.map(async (host) => {
          await eventually(() => current(host), { timeoutMs: STALE_MS, intervalMs: 1 })
          return Math.round(systemClock.monotonicMs() - doneMs)
        }),
      )
      console.info(
        `${FLAPS} changes in ${Math.round(doneMs - startedMs)} ms; seen right after ${lags.join(', ')} ms on the five hosts`,
      )
      expect(flowsSeen).toBeGreaterThan(0)
      // And so it stays, with the clients still asking.
      expect(await Promise.all(HOSTS.map(current))).toEqual(HOSTS.map(() => true))
    } finally {
      asking.on = false
      await Promise.all(clients)
      client.close()
    }
    await cluster.ask('delete', 'svc', ...services)
  })
})

describe('a host that is cut off', () => {
  it('from one other: only the two miss each other, and both stay', async () => {
    const [one, two] = [await podIP('p1'), await podIP('p2')]
    await cluster.chaos('partition', '1', '--from', '2')
    expect((await probes.one('p1', http(two, PORTS.web))).error).toBe('timeout')
    expect((await probes.one('p3', http(two, PORTS.web))).pod).toBe('p2')
    expect((await probes.one('p4', http(one, PORTS.web))).pod).toBe('p1')
    expect(await readyNodes()).toHaveLength(5)
    await cluster.chaos('heal')
    await eventually(async () => (await probes.one('p1', http(two, PORTS.web))).pod === 'p2', WAIT)
  })

  it('from all: the others go on without it, it goes on with what it has, and afterwards all is one again', async () => {
    const [s, own] = [await address('s'), await podIP('p5')]
    const others = ['p1', 'p2', 'p3', 'p4']
    const before = (await pods()).get('p5')
    await cluster.chaos('partition', '5')
    await meet(others, s, others)
    expect(await hostLookup(space(1), `p5.names.${DOMAIN}`)).toEqual([])
    for (const host of [1, 2, 3, 4]) expect(await outside(host)).toBe(true)
    // What changes meanwhile it cannot know.
    await cluster.kubectl('label', 'pod', 'p2', 'app-')
    await cluster.apply(service('fresh', { selector: { one: 'p1' }, ports }))
    await meet(others, s, ['p1', 'p3', 'p4'])
    expect((await probes.one('p5', http(own, PORTS.web))).pod).toBe('p5')
    expect((await probes.one('p5', { ask: 'lookup', host: 's' })).addresses).toEqual([s])
    expect((await probes.one('p5', { ask: 'lookup', host: 'fresh' })).error).toBeDefined()

    await cluster.chaos('heal')
    const fresh = await address('fresh')
    await meet(ALL, s, ['p1', 'p3', 'p4', 'p5'])
    await meet(ALL, fresh, ['p1'])
    expect((await probes.one('p5', { ask: 'lookup', host: 'fresh' })).addresses).toEqual([fresh])
    await eventually(async () => (await hostLookup(space(1), `p5.names.${DOMAIN}`)).join() === own, WAIT)
    expect(await readyNodes()).toHaveLength(5)
    const after = (await pods()).get('p5')
    expect(after?.metadata.uid).toBe(before?.metadata.uid)
    expect(after?.status?.containerStatuses?.[0]?.restartCount).toBe(0)
    await cluster.kubectl('label', 'pod', 'p2', 'app=s')
    await cluster.ask('delete', 'svc', 'fresh')
    await meet(ALL, s, ALL)
  })
})

describe('a host that is removed', () => {
  async function peersAreExactly(hosts: readonly number[]): Promise<boolean> {
    const { items } = await cluster.json<List<Node>>('get', 'nodes')
    const ranges = new Map(items.map(({ metadata, spec }) => [metadata.name, spec?.podCIDR ?? '']))
    const all = await Promise.all(hosts.map((host) => hostPeers(space(host))))
    return hosts.every((host, index) => {
      const peers = hosts.filter((other) => other !== host)
      const routes = peers.map((other) => ranges.get(hostName(other)) ?? '').sort()
      const tunnels = peers.map((other) => cluster.hostAddress(other)).sort()
      return all[index]?.routes.join() === routes.join() && all[index]?.tunnels.join() === tunnels.join()
    })
  }

  it('is forgotten by all others, and comes back under its name', async () => {
    const s = await address('s')
    const left = [1, 2, 3, 5]
    const others = left.map((host) => `p${host}`)
    expect(await peersAreExactly(HOSTS)).toBe(true)
    await cluster.ask('node', 'rm', hostName(4), '--force')
    await eventually(() => peersAreExactly(left), WAIT)
    await meet(others, s, others)
    expect(await hostLookup(space(1), `p4.names.${DOMAIN}`)).toEqual([])
    expect((await pods()).has('p4')).toBe(false)

    expect((await cluster.up('--nodes', '5')).code).toBe(0)
    expect((await readyNodes()).map(({ metadata }) => metadata.name).sort()).toEqual(HOSTS.map(hostName))
    await cluster.apply(await pod(4))
    await ready('p4')
    await meet(ALL, s, ALL)
    expect(await peersAreExactly(HOSTS)).toBe(true)
    for (const host of HOSTS) {
      expect(await hostLookup(space(host), `p4.names.${DOMAIN}`)).toEqual([await podIP('p4')])
      expect(await outside(host)).toBe(true)
    }
  })
})

describe('with every server down', () => {
  it('services route and names lead where they led, and an agent that starts anew mends its rules from its own disk', async () => {
    const [s, own] = [await address('s'), await podIP('p4')]
    const tables = join(localStateDir(cluster.name), 'hosts', hostName(2), 'tables')
    await eventually(() => readFileSync(join(tables, 'services.json'), 'utf8').includes(own), WAIT)
    await cluster.chaos('kill', 'server')
    await cluster.chaos('kill', 'etcd').catch(() => undefined)
    const before = cluster.pid(`agent-${hostName(2)}`)
    process.kill(before, 'SIGKILL')
    await output('nsenter', [`--net=/run/netns/${space(2)}`, 'nft', 'delete', 'table', 'ip', 'drover'])
    await eventually(() => cluster.pid(`agent-${hostName(2)}`) !== before, WAIT)
    await meet(ALL, s, ALL)
    for (const host of HOSTS) {
      await eventually(() => outside(host), WAIT)
      await eventually(async () => (await hostLookup(space(host), `p4.names.${DOMAIN}`)).join() === own, WAIT)
    }
    expect((await probes.one('p2', { ask: 'lookup', host: 's' })).addresses).toEqual([s])
    await cluster.chaos('heal')
    await eventually(async () => (await readyNodes()).length === 5, WAIT)
    await meet(ALL, s, ALL)
    expect([...(await pods()).values()].map(({ status }) => status?.containerStatuses?.[0]?.restartCount)).toEqual(
      ALL.map(() => 0),
    )
  })
})

describe('a server that is added', () => {
  it('is listed for pods, learned by agents that run, and takes over when the first goes', async () => {
    const agents = HOSTS.map((host) => cluster.pid(`agent-${hostName(host)}`))
    expect((await cluster.up('--nodes', '5', '--servers', '2')).code).toBe(0)
    const second = join(localStateDir(cluster.name), 'servers', 'server-2', 'kubeconfig')
    const through = (...args: string[]): Promise<string> =>
      output(process.execPath, [DROVER, '--kubeconfig', second, ...args])
    const listed = async (): Promise<number> => {
      const text = await through('get', 'endpointslices', '-l', 'kubernetes.io/service-name=kubernetes', '-o', 'json')
      const { items } = JSON.parse(text) as List<EndpointSlice>
      return items.flatMap(({ endpoints = [] }) => endpoints).length
    }
    const known = (host: number): number => {
      const file = join(localStateDir(cluster.name), 'hosts', hostName(host), 'pki/servers')
      return readFileSync(file, 'utf8').trim().split('\n').length
    }
    await eventually(async () => (await listed()) === 2, WAIT)
    await Promise.all(HOSTS.map((host) => eventually(() => known(host) === 2, WAIT)))

    await cluster.chaos('kill', 'server')
    await eventually(async () => (await readyNodes(second)).length === 5 && (await listed()) === 1, WAIT)
    // Plain HTTP to a TLS port is answered by no more than an alert: what counts is that someone is there, every time.
    const api = Array.from({ length: 20 }, () => ({ ...http('10.96.0.1', 443), timeoutMs: 5_000 }))
    await eventually(async () => {
      const errors = (await Promise.all(ALL.map((from) => probes.ask(from, api)))).flat().map(({ error }) => error)
      return !errors.includes('ECONNREFUSED') && !errors.includes('timeout')
    }, WAIT)
    const manifest = JSON.stringify(service('late', { selector: { app: 's' }, ports }))
    await output(process.execPath, [DROVER, '--kubeconfig', second, 'apply', '-f', '-'], { input: manifest })
    const { spec } = JSON.parse(await through('get', 'svc/late', '-o', 'json')) as Service
    await meet(ALL, spec.clusterIP ?? '', ALL)
    expect(HOSTS.map((host) => cluster.pid(`agent-${hostName(host)}`))).toEqual(agents)
    await cluster.chaos('heal')
    await eventually(async () => (await listed()) === 2, WAIT)
  })
})
