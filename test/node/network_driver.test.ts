/** The network driver on real kernels' namespaces: two hosts, four pods, services of every kind. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createNetworkDriver } from '../../src/agent/network/driver.ts'
import type { NodeNetworkConfig } from '../../src/agent/network/network.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { runOk } from '../../src/base/process.ts'
import { createHostsNetwork } from '../../src/local/hosts_network.ts'
import type { PeerRow, ServiceEndpoint, ServiceRow } from '../../src/rpc/tables.ts'
import { eventually } from '../support/eventually.ts'
import {
  ask,
  createNamespace,
  enterNamespace,
  startAnswering,
  TCP_PORT,
  type TestNamespace,
  UDP_PORT,
} from '../support/netns.ts'

const ID = `${(process.pid % 0xffff).toString(16)}`
const CLUSTER = {
  clusterName: `drvt${ID}`,
  clusterCidr: '10.244.0.0/16',
  serviceCidr: '10.96.0.0/16',
  nodePortRange: { from: 30000, to: 32767 },
  clusterDomain: 'cluster.local',
}
const CLUSTER_IP = '10.96.0.10'
const NODE_PORT = 30080

type Driver = ReturnType<typeof createNetworkDriver>
interface Host {
  namespace: TestNamespace
  config: NodeNetworkConfig
  driver: Driver
  before: string
}
interface Pod {
  uid: string
  host: Host
  address: string
  namespace: TestNamespace
}

const hostsNetwork = createHostsNetwork({ clusterName: CLUSTER.clusterName, id: ID, clock: systemClock })
const hosts: Host[] = []
const pods = new Map<string, Pod>()
let directory = ''

/** All that a host's namespace holds, to compare before and after. */
async function snapshot(namespace: TestNamespace): Promise<string> {
  const commands = [
    ['ip', '-br', 'link'],
    ['ip', '-4', 'route', 'show', 'table', 'all'],
    ['nft', 'list', 'ruleset'],
    ['sysctl', 'net.ipv4.ip_forward', 'net.ipv4.conf.all.send_redirects'],
  ]
  const parts = await Promise.all(commands.map((args) => namespace.exec(args)))
  return parts
    .map(({ stdout }) => stdout)
    .join('\n')
    .replace(/@if\d+/g, '')
}

function makeDriver(namespacePath: string, name: string): Driver {
  return createNetworkDriver({
    dataDir: join(directory, name),
    log: silentLogger,
    clock: systemClock,
    namespacePath,
    manageSysctls: true,
  })
}

function host(index: number): Host {
  const found = hosts[index]
  if (found === undefined) throw new Error(`no host ${index}`)
  return found
}

function pod(name: string): Pod {
  const found = pods.get(name)
  if (found === undefined) throw new Error(`no pod ${name}`)
  return found
}

function endpoint(name: string, port = TCP_PORT): ServiceEndpoint {
  return { address: pod(name).address, port, nodeName: pod(name).host.config.nodeName, ready: true }
}

function service(change: Partial<ServiceRow>, endpoints: string[]): ServiceRow {
  return {
    namespace: 'default',
    name: 'web',
    clusterIP: CLUSTER_IP,
    externalIPs: [],
    sessionAffinitySeconds: 0,
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    ports: [
      {
        name: 'http',
        protocol: 'TCP',
        port: 80,
        nodePort: NODE_PORT,
        endpoints: endpoints.map((name) => endpoint(name)),
      },
      {
        name: 'dns',
        protocol: 'UDP',
        port: 53,
        nodePort: 0,
        endpoints: endpoints.map((name) => endpoint(name, UDP_PORT)),
      },
    ],
    ...change,
  }
}

const apply = (...rows: ServiceRow[]) => Promise.all(hosts.map(({ driver }) => driver.applyServices(rows)))
const names = (answers: { name?: string; error?: string }[]) =>
  [...new Set(answers.map((a) => a.name ?? a.error))].sort()

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drvt-network-'))
  const state = await hostsNetwork.ensure(['one', 'two'])
  for (const [i, { name, namespacePath, address }] of state.hosts.entries()) {
    const namespace = enterNamespace(namespacePath)
    const config = { cluster: CLUSTER, nodeName: name, nodeAddress: address, podCidr: `10.244.${i + 1}.0/24` }
    const before = await snapshot(namespace)
    hosts.push({ namespace, config, driver: makeDriver(namespacePath, name), before })
  }
  const peers: PeerRow[] = hosts.map(({ config }) => ({
    nodeName: config.nodeName,
    address: config.nodeAddress,
    podCidr: config.podCidr,
  }))
  await Promise.all(
    hosts.map(async ({ driver, config }) => {
      await driver.initialize()
      await driver.ensureNode(config)
      await driver.applyPeers(peers)
    }),
  )
  for (const [name, index] of [
    ['a', 0],
    ['b', 0],
    ['c', 1],
    ['d', 1],
  ] as const) {
    const namespace = await createNamespace(`drvt${ID}-pod-${name}`)
    const uid = `uid-${name}-${ID}`
    const { address } = await host(index).driver.ensurePod(uid, namespace.path)
    pods.set(name, { uid, host: host(index), address, namespace })
    startAnswering(namespace, name)
  }
  await eventually(
    async () => {
      for (const { address, namespace } of pods.values()) {
        expect(names(await ask(namespace, { address, port: TCP_PORT }))).not.toEqual(['ECONNREFUSED'])
      }
      return true
    },
    { timeoutMs: 20_000 },
  )
})

afterAll(async () => {
  for (const { namespace } of pods.values()) await namespace.remove()
  for (const { driver, namespace } of hosts) {
    await driver.teardown()
    await namespace.remove()
  }
  await hostsNetwork.remove()
  await rm(directory, { recursive: true, force: true })
})

describe('overlay', () => {
  it("joins pods of one host and of two, and shows them each other's own addresses", async () => {
    const a = pod('a')
    for (const name of ['b', 'c']) {
      const [answer] = await ask(a.namespace, { address: pod(name).address, port: TCP_PORT })
      expect(answer).toEqual({ name, from: a.address })
      const [datagram] = await ask(a.namespace, { protocol: 'udp', address: pod(name).address, port: UDP_PORT })
      expect(datagram).toEqual({ name, from: a.address })
    }
  })

  it('carries full-size packets between hosts', async () => {
    const { stdout } = await pod('a').namespace.exec(['ip', '-j', 'link', 'show', 'eth0'])
    const [{ mtu }] = JSON.parse(stdout) as [{ mtu: number }]
    expect(mtu).toBe(1450)
    const ping = await pod('a').namespace.exec([
      'busybox',
      'ping',
      '-c1',
      '-w3',
      '-s',
      String(mtu - 28),
      pod('d').address,
    ])
    expect(ping.exitCode).toBe(0)
  })

  it("lets a host reach pods everywhere, and pods leave the cluster under their host's address", async () => {
    expect((await ask(host(0).namespace, { address: pod('a').address, port: TCP_PORT }))[0]?.name).toBe('a')
    expect((await ask(host(0).namespace, { address: pod('d').address, port: TCP_PORT }))[0]?.name).toBe('d')
    const outside = await createOutside(251)
    try {
      const [answer] = await ask(pod('a').namespace, { address: outside.address, port: TCP_PORT })
      expect(answer).toEqual({ name: 'outside', from: host(0).config.nodeAddress })
    } finally {
      await outside.remove()
    }
  })

  it('has one route, one neighbour and one forwarding entry a peer, and follows peers that change', async () => {
    const { driver, namespace } = host(0)
    const count = async () => {
      const [routes, neighbours, entries] = await Promise.all([
        namespace.exec(['ip', 'route', 'show', 'dev', 'drover.vx']),
        namespace.exec(['ip', 'neigh', 'show', 'dev', 'drover.vx']),
        namespace.exec(['bridge', 'fdb', 'show', 'dev', 'drover.vx']),
      ])
      return [routes, neighbours, entries].map(
        ({ stdout }) =>
          stdout
            .trim()
            .split('\n')
            .filter((line) => line !== '').length,
      )
    }
    const peers = hosts.map(({ config: { nodeName, nodeAddress, podCidr } }) => ({
      nodeName,
      address: nodeAddress,
      podCidr,
    }))
    expect(await count()).toEqual([1, 1, 1])
    await driver.applyPeers([...peers, { nodeName: 'far', address: '192.0.2.9', podCidr: '10.244.9.0/24' }])
    expect(await count()).toEqual([2, 2, 2])
    await driver.applyPeers([...peers, { nodeName: 'far', address: '192.0.2.10', podCidr: '10.244.9.0/24' }])
    expect((await namespace.exec(['bridge', 'fdb', 'show', 'dev', 'drover.vx'])).stdout).toMatch(/192\.0\.2\.10/)
    await driver.applyPeers(peers)
    expect(await count()).toEqual([1, 1, 1])
    expect((await ask(pod('a').namespace, { address: pod('c').address, port: TCP_PORT }))[0]?.name).toBe('c')
  })
})

/** A server beside the hosts, on their switch, that is no part of the cluster. Each its own number: neighbours remember. */
async function createOutside(number: number) {
  const { switchNamespacePath, subnet } = await hostsNetwork.observe()
  const address = subnet.replace('.0/24', `.${number}`)
  const namespace = await createNamespace(`drvt${ID}-outside`)
  try {
    await runOk('nsenter', [
      `--net=${switchNamespacePath}`,
      'ip',
      'link',
      'add',
      'drvtout',
      'master',
      'bridge',
      'type',
      'veth',
      'peer',
      'eth0',
      'netns',
      namespace.path,
    ])
    await runOk('nsenter', [`--net=${switchNamespacePath}`, 'ip', 'link', 'set', 'drvtout', 'up'])
    await namespace.exec(['ip', 'addr', 'add', `${address}/24`, 'dev', 'eth0'])
    await namespace.exec(['ip', 'link', 'set', 'eth0', 'up'])
    startAnswering(namespace, 'outside')
    await eventually(async () => (await ask(undefined, { address, port: TCP_PORT }))[0]?.name === 'outside', {
      timeoutMs: 10_000,
    })
  } catch (error) {
    await namespace.remove()
    throw error
  }
  return { ...namespace, address }
}

describe('services', () => {
  it('spreads a cluster IP over endpoints of all hosts, for pods and hosts, over TCP and UDP', async () => {
    await apply(service({}, ['b', 'c', 'd']))
    for (const from of [pod('a').namespace, host(0).namespace, host(1).namespace]) {
      expect(names(await ask(from, { address: CLUSTER_IP, port: 80, count: 30 }))).toEqual(['b', 'c', 'd'])
    }
    const [datagram] = await ask(pod('a').namespace, { protocol: 'udp', address: CLUSTER_IP, port: 53 })
    expect(['b', 'c', 'd']).toContain(datagram?.name)
    expect(datagram?.from).toBe(pod('a').address)
  })

  it('answers on the node port of every host, whoever asks', async () => {
    await apply(service({}, ['a', 'c']))
    for (const { config } of hosts) {
      const target = { address: config.nodeAddress, port: NODE_PORT, count: 20 }
      for (const from of [undefined, host(0).namespace, host(1).namespace, pod('b').namespace]) {
        expect(names(await ask(from, target))).toEqual(['a', 'c'])
      }
    }
  })

  it('refuses at once what has no endpoints and ports that nobody serves', async () => {
    await apply(service({ externalIPs: ['198.51.100.7'] }, []))
    const refused = (answers: { error?: string }[]) => expect(answers).toEqual([{ error: 'ECONNREFUSED' }])
    for (const from of [pod('a').namespace, host(0).namespace]) {
      refused(await ask(from, { address: CLUSTER_IP, port: 80 }))
      refused(await ask(from, { address: CLUSTER_IP, port: 81 }))
      refused(await ask(from, { address: '198.51.100.7', port: 80 }))
      refused(await ask(from, { protocol: 'udp', address: CLUSTER_IP, port: 53 }))
    }
    refused(await ask(undefined, { address: host(0).config.nodeAddress, port: NODE_PORT }))
  })

  it('lets a pod reach itself through its service', async () => {
    await apply(service({}, ['a']))
    const target = { address: CLUSTER_IP, port: 80, count: 3 }
    expect(names(await ask(pod('a').namespace, target))).toEqual(['a'])
    expect(names(await ask(pod('a').namespace, { ...target, protocol: 'udp', port: 53 }))).toEqual(['a'])
    expect(
      names(await ask(pod('a').namespace, { ...target, address: host(0).config.nodeAddress, port: NODE_PORT })),
    ).toEqual(['a'])
  })

  it('answers pods of one host where bridged frames pass no filter', async () => {
    await apply(service({}, ['b']))
    const bridged = 'net.bridge.bridge-nf-call-iptables'
    const { exec } = host(0).namespace
    const before = await exec(['sysctl', '-n', bridged])
    for (const value of before.exitCode === 0 ? ['0', '1'] : []) {
      await exec(['sysctl', '-q', '-w', `${bridged}=${value}`])
      expect(await ask(pod('a').namespace, { address: CLUSTER_IP, port: 80 })).toEqual([
        { name: 'b', from: pod('a').address },
      ])
    }
    if (before.exitCode === 0) await exec(['sysctl', '-q', '-w', `${bridged}=${before.stdout.trim()}`])
  })

  it('follows endpoints that change, UDP clients with a lasting socket too', async () => {
    await apply(service({}, ['b']))
    expect(names(await ask(pod('a').namespace, { address: CLUSTER_IP, port: 80, count: 5 }))).toEqual(['b'])
    const client = pod('a').namespace
    const script = [
      "const s = require('node:dgram').createSocket('udp4'); const got = new Set()",
      "s.on('message', (m) => { got.add(JSON.parse(m).name); if (got.size === 2) { console.log([...got].join()); process.exit(0) } })",
      "s.on('error', () => undefined)",
      `s.connect(53, '${CLUSTER_IP}', () => setInterval(() => s.send('x'), 20)); setTimeout(() => process.exit(3), 8000)`,
    ].join(';')
    const lasting = client.exec([process.execPath, '-e', script])
    await eventually(
      async () => {
        const flows = await host(0).namespace.exec(['conntrack', '-L', '-p', 'udp', '--dst-nat', pod('b').address])
        return flows.stdout.includes(CLUSTER_IP)
      },
      { timeoutMs: 5_000 },
    )
    await apply(service({}, ['c']))
    expect(await lasting).toMatchObject({ exitCode: 0, stdout: 'b,c\n' })
    expect(names(await ask(pod('a').namespace, { address: CLUSTER_IP, port: 80, count: 5 }))).toEqual(['c'])
    await apply()
    expect(names(await ask(pod('a').namespace, { address: CLUSTER_IP, port: 80 }))).toEqual(['ECONNREFUSED'])
  })

  it("keeps to local endpoints and the client's address under Local policies", async () => {
    await apply(service({ externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local' }, ['c']))
    const outside = await ask(undefined, { address: host(1).config.nodeAddress, port: NODE_PORT })
    expect(outside).toEqual([{ name: 'c', from: (await hostsNetwork.observe()).gatewayAddress }])
    expect(names(await ask(undefined, { address: host(0).config.nodeAddress, port: NODE_PORT }))).toEqual([
      'ECONNREFUSED',
    ])
    expect(names(await ask(pod('d').namespace, { address: CLUSTER_IP, port: 80 }))).toEqual(['c'])
    expect(names(await ask(pod('a').namespace, { address: CLUSTER_IP, port: 80 }))).toEqual(['ECONNREFUSED'])
    // Clients inside the cluster are not bound by the external policy.
    expect(names(await ask(pod('a').namespace, { address: host(0).config.nodeAddress, port: NODE_PORT }))).toEqual([
      'c',
    ])
  })

  it('keeps a client with its endpoint under ClientIP affinity, while others come and go', async () => {
    const target = { address: CLUSTER_IP, port: 80, count: 12 }
    await apply(service({ sessionAffinitySeconds: 600 }, ['b', 'c', 'd']))
    const [chosen = '', ...others] = names(await ask(pod('a').namespace, target))
    expect(others).toEqual([])
    await apply(
      service({ sessionAffinitySeconds: 600 }, [chosen, ...['b', 'c', 'd'].filter((name) => name !== chosen).slice(1)]),
    )
    expect(names(await ask(pod('a').namespace, target))).toEqual([chosen])
    await apply(
      service(
        { sessionAffinitySeconds: 600 },
        ['b', 'c', 'd'].filter((name) => name !== chosen),
      ),
    )
    expect(names(await ask(pod('a').namespace, target))).not.toContain(chosen)
  })

  it('keeps a UDP client with its endpoint, too; one that is silent for longer than it is told may get another', async () => {
    await apply(service({ sessionAffinitySeconds: 600 }, ['b', 'c', 'd']))
    const datagram = { protocol: 'udp' as const, address: CLUSTER_IP, port: 53 }
    const met = new Set<string | undefined>()
    // Each a socket of its own, and so a flow of its own: by chance six would meet one in 240 times.
    for (let i = 0; i < 6; i++) for (const { name } of await ask(pod('a').namespace, datagram)) met.add(name)
    expect(met.size).toBe(1)

    const sessionAffinitySeconds = 2
    await apply(service({ sessionAffinitySeconds }, ['b', 'c', 'd']))
    const one = { address: CLUSTER_IP, port: 80 }
    const [{ name: first } = {}] = await ask(pod('a').namespace, one)
    await eventually(async () => names(await ask(pod('a').namespace, one)).some((name) => name !== first), {
      timeoutMs: 40_000,
      intervalMs: sessionAffinitySeconds * 1_000 + 300,
    })
  })

  it('serves external addresses and datagrams at node ports to machines outside, under their own address where they may', async () => {
    const external = '198.51.100.7'
    const base = service({ externalIPs: [external], externalTrafficPolicy: 'Local' }, ['c'])
    const ports = base.ports.map((port) => (port.protocol === 'UDP' ? { ...port, nodePort: NODE_PORT } : port))
    const local = { ...base, ports }
    await apply(local)
    const outside = await createOutside(252)
    try {
      const through = (index: number) =>
        outside.exec(['ip', 'route', 'replace', `${external}/32`, 'via', host(index).config.nodeAddress])
      const asked: [string, number, string, number][] = [
        ['tcp', 1, external, 80],
        ['udp', 1, external, 53],
        ['tcp', 1, host(1).config.nodeAddress, NODE_PORT],
        ['udp', 1, host(1).config.nodeAddress, NODE_PORT],
        ['tcp', 0, external, 80],
        ['udp', 0, external, 53],
        ['udp', 0, host(0).config.nodeAddress, NODE_PORT],
      ]
      const answers = async () => {
        const found: (string | undefined)[] = []
        for (const [protocol, index, address, port] of asked) {
          await through(index)
          const [answer = {}] = await ask(outside, { protocol: protocol as 'tcp' | 'udp', address, port })
          found.push(answer.error ?? `${answer.name} ${answer.from}`)
        }
        return found
      }
      const own = `c ${outside.address}`
      // The first host has no endpoint of its own.
      const refused = 'ECONNREFUSED'
      expect(await answers()).toEqual([own, own, own, own, refused, refused, refused])
      // Without the policy it passes them on, as its own.
      await apply({ ...local, externalTrafficPolicy: 'Cluster' })
      const [onItsHost, passedOn] = [(await answers()).slice(0, 4), (await answers()).slice(4)]
      expect(onItsHost).toEqual([own, own, own, own])
      for (const answer of passedOn) expect(answer).toMatch(/^c 10\.244\.1\./)
    } finally {
      await outside.remove()
    }
  })

  it('reaches endpoints that are hosts themselves', async () => {
    const { config, namespace } = host(1)
    startAnswering(namespace, 'host-two')
    await eventually(
      async () => (await ask(undefined, { address: config.nodeAddress, port: TCP_PORT }))[0]?.name === 'host-two',
      { timeoutMs: 10_000 },
    )
    const row = service({}, [])
    const endpoints = [{ address: config.nodeAddress, port: TCP_PORT, nodeName: config.nodeName, ready: true }]
    await apply({ ...row, ports: row.ports.slice(0, 1).map((port) => ({ ...port, endpoints })) })
    for (const from of [pod('a').namespace, pod('c').namespace, host(0).namespace, host(1).namespace]) {
      expect(names(await ask(from, { address: CLUSTER_IP, port: 80 }))).toEqual(['host-two'])
    }
    expect(names(await ask(undefined, { address: host(0).config.nodeAddress, port: NODE_PORT }))).toEqual(['host-two'])
  })
})

describe('over time', () => {
  it('adopts what is there after a restart, without touching it', async () => {
    await apply(service({}, ['b', 'c']))
    const { config, namespace } = host(0)
    const rules = async () => (await namespace.exec(['nft', '-a', 'list', 'ruleset'])).stdout
    const before = await rules()
    const restarted = makeDriver(namespace.path, config.nodeName)
    await restarted.initialize()
    await restarted.ensureNode(config)
    expect(await rules()).toBe(before)
    await restarted.applyServices([service({}, ['b', 'c'])])
    expect(await rules()).toBe(before)
    expect((await restarted.listPods()).map(({ podUid }) => podUid).sort()).toEqual([pod('a').uid, pod('b').uid])
    expect((await restarted.ensurePod(pod('a').uid, pod('a').namespace.path)).address).toBe(pod('a').address)
    const fresh = await createNamespace(`drvt${ID}-pod-e`)
    const { address } = await restarted.ensurePod('uid-e', fresh.path)
    expect([pod('a').address, pod('b').address]).not.toContain(address)
    await restarted.removePod('uid-e')
    await restarted.removePod('uid-e')
    await fresh.remove()
    host(0).driver = restarted
    await restarted.applyPeers(
      hosts.map(({ config: { nodeName, nodeAddress, podCidr } }) => ({ nodeName, address: nodeAddress, podCidr })),
    )
  })

  it('completes an interface that was left half made', async () => {
    const { driver, namespace } = host(0)
    const half = await createNamespace(`drvt${ID}-pod-h`)
    const first = await driver.ensurePod('uid-h', half.path)
    await half.exec(['ip', 'route', 'del', 'default'])
    expect(await driver.ensurePod('uid-h', half.path)).toEqual(first)
    expect((await half.exec(['ip', 'route', 'show', 'default'])).stdout).toContain('eth0')
    const link = (await namespace.exec(['ip', '-br', 'link'])).stdout
      .split('\n')
      .filter((line) => line.startsWith('dv'))
    await namespace.exec(['ip', 'link', 'del', link.at(-1)?.split('@')[0] ?? ''])
    expect(await driver.ensurePod('uid-h', half.path)).toEqual(first)
    expect((await half.exec(['busybox', 'ping', '-c1', '-w3', pod('b').address])).exitCode).toBe(0)
    await driver.removePod('uid-h')
    await half.remove()
  })

  it('mends what was changed by hand', async () => {
    const { driver, namespace } = host(0)
    await apply(service({}, ['b', 'c']))
    expect(await driver.mendDrift()).toBe(false)
    const reach = async () => {
      expect(names(await ask(pod('a').namespace, { address: CLUSTER_IP, port: 80, count: 20 }))).toEqual(['b', 'c'])
    }
    const damage = [
      ['nft', 'flush', 'ruleset'],
      ['nft', 'flush', 'chain', 'ip', 'drover', 'prerouting'],
      ['nft', 'flush', 'map', 'ip', 'drover', 'services'],
      ['nft', 'add', 'rule', 'ip', 'drover', 'filter-forward', 'drop'],
      ['ip', 'link', 'del', 'drover.vx'],
      ['ip', 'link', 'del', 'drover0'],
      ['ip', 'route', 'flush', 'dev', 'drover.vx'],
      ['ip', 'neigh', 'flush', 'nud', 'permanent', 'dev', 'drover.vx'],
    ]
    for (const args of damage) {
      expect((await namespace.exec(args)).exitCode, args.join(' ')).toBe(0)
      expect(await driver.mendDrift(), args.join(' ')).toBe(true)
      await reach()
      expect(await driver.mendDrift(), `again after ${args.join(' ')}`).toBe(false)
    }
    await namespace.exec(['nft', 'flush', 'ruleset'])
    await driver.applyServices([service({}, ['b'])])
    expect(names(await ask(pod('a').namespace, { address: CLUSTER_IP, port: 80, count: 5 }))).toEqual(['b'])
  })

  it('makes many pods side by side, each with an address of its own', async () => {
    const { driver } = host(1)
    const made = await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const namespace = await createNamespace(`drvt${ID}-many-${i}`)
        return { namespace, pod: await driver.ensurePod(`many-${i}`, namespace.path) }
      }),
    )
    expect(new Set(made.map((item) => item.pod.address)).size).toBe(12)
    await Promise.all(made.map((item) => driver.removePod(item.pod.podUid)))
    for (const { namespace } of made) await namespace.remove()
    expect((await driver.listPods()).map(({ podUid }) => podUid).sort()).toEqual([pod('c').uid, pod('d').uid])
  })

  it('leaves a host as it was', async () => {
    for (const { driver, namespace, before } of hosts) {
      await driver.teardown()
      expect(await snapshot(namespace)).toBe(before)
      await driver.teardown()
    }
  })
})
