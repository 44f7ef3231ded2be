/**
 * Services and network policies on a cluster of five hosts, from the built program: real traffic from inside pods of every
 * host, from the hosts and from outside.
 */
import { createServer, type Server } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { Service } from '../../src/api/service.ts'
import { eventually } from '../support/eventually.ts'
import { LocalCluster, output, runProgram } from '../support/local_cluster.ts'
import { enterNamespace } from '../support/netns.ts'
import { networkState } from '../support/network_state.ts'
import { type Answer, PORTS, ProbePods, type Question } from '../support/probe_pods.ts'

const IMAGE = 'drover.local/hello:1'
const WAIT = { timeoutMs: 30_000, intervalMs: 100 }
const HOSTS = [1, 2, 3, 4, 5]
const ALL = HOSTS.map((host) => `p${host}`)
const cluster = new LocalCluster()
const probes = new ProbePods(IMAGE)
const hostName = (host: number): string => `${cluster.name}-${host}`
const hostSpace = (host: number): string => `--net=/run/netns/drover-${cluster.name}-${hostName(host)}`

interface PodOptions {
  labels?: Record<string, string>
  annotations?: Record<string, string>
  namespace?: string
  /** The number of the port that is named `web`. */
  web?: number
  spec?: object
}

async function pod(name: string, host: number, options: PodOptions = {}): Promise<object> {
  const { labels = {}, annotations = {}, namespace = 'default', web = PORTS.web, spec = {} } = options
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels, annotations },
    spec: { nodeName: hostName(host), ...(await probes.spec({ web, spec })) },
  }
}

function service(name: string, spec: object): object {
  return { apiVersion: 'v1', kind: 'Service', metadata: { name }, spec }
}

async function ready(...names: string[]): Promise<void> {
  await cluster.kubectl('wait', '--for=condition=Ready', '--timeout=90s', ...names.map((name) => `pod/${name}`))
}

async function clusterIP(name: string): Promise<string> {
  return (await cluster.json<Service>('get', `svc/${name}`)).spec.clusterIP ?? ''
}

async function podIPs(): Promise<Map<string, string>> {
  const { items } = await cluster.json<{ items: Pod[] }>('get', 'pods')
  return new Map(items.map(({ metadata, status }) => [metadata.name ?? '', status?.podIP ?? '']))
}

const http = (host: string, port = 80): Question => ({ ask: 'http', host, port })

/** Who answers a pod that asks often enough to meet every endpoint: with five, one in 10^8 runs misses one. */
const whoAnswers = (from: string, host: string, port = 80): Promise<string[]> => probes.who(from, http(host, port), 90)

/** What every pod gets becomes what is wanted. */
const everywhere = (host: string, port: number, wanted: readonly string[]): Promise<unknown> =>
  Promise.all(ALL.map((from) => probes.meets(from, http(host, port), wanted)))

/** From outside the cluster: an answer, or why there is none. */
async function outside(host: string, port: number): Promise<Answer> {
  const { code, stdout } = await runProgram('curl', ['-s', '--max-time', '3', `http://${host}:${port}/`])
  if (code === 0) return JSON.parse(stdout) as Answer
  return { error: code === 7 ? 'ECONNREFUSED' : `curl ${code}` }
}

/** From outside: whether a connection is taken. */
function tryPort(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 3_000 })
    const end = (word: string): void => {
      socket.destroy()
      resolve(word)
    }
    socket.on('connect', () => end('open'))
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'error'))
    socket.on('timeout', () => end('timeout'))
  })
}

interface IpCounters {
  FragCreates: number
  FragOKs: number
  ReasmReqds: number
}

const pieces = ({ FragCreates, FragOKs, ReasmReqds }: IpCounters): number => FragCreates + FragOKs + ReasmReqds

/** Fragments made and put together, on all hosts and in all pods. */
async function fragments(): Promise<number> {
  const inPods = await Promise.all(ALL.map((name) => probes.one(name, { ask: 'snmp' }) as unknown as IpCounters))
  const onHosts = await Promise.all(
    HOSTS.map(async (host) => {
      const text = await output('nsenter', [hostSpace(host), 'cat', '/proc/net/snmp'])
      const [keys = [], values = []] = text
        .split('\n')
        .filter((line) => line.startsWith('Ip:'))
        .map((line) => line.split(' '))
      return Object.fromEntries(keys.map((key, index) => [key, Number(values[index])])) as unknown as IpCounters
    }),
  )
  return [...inPods, ...onHosts].reduce((sum, counters) => sum + pieces(counters), 0)
}

beforeAll(async () => {
  await cluster.start('--nodes', '5', '--sample')
  // The port named `web` has another number in one of them.
  const pods = await Promise.all(
    HOSTS.map((host) =>
      pod(`p${host}`, host, {
        labels: { app: 's', one: `p${host}`, role: host === 1 ? 'friend' : 'stranger' },
        web: host === 2 ? 9090 : PORTS.web,
      }),
    ),
  )
  await cluster.apply(pods)
  await ready(...ALL)
})

afterAll(async () => {
  await cluster.remove()
  probes.remove()
})

describe('the overlay', () => {
  it('carries packets of full size between the pods of any two hosts, unbroken, under their own addresses', async () => {
    const addresses = await podIPs()
    const mtu = Number(await cluster.ask('exec', 'p1', '--', 'cat', '/sys/class/net/eth0/mtu'))
    const before = await fragments()
    await Promise.all(
      ALL.map(async (from) => {
        const others = ALL.map((to) => addresses.get(to) ?? '')
        const streams = others.map((host, index): Question => {
          return { ask: 'http', host, port: index === 1 ? 9090 : PORTS.web, bytes: 100_000 }
        })
        // As large as goes into one packet: 20 bytes of IP header, 8 of UDP.
        const datagrams = others.map((host): Question => ({ ask: 'udp', host, port: PORTS.datagrams, bytes: mtu - 28 }))
        const answers = await probes.ask(from, [...streams, ...datagrams])
        expect(answers.map(({ pod: name }) => name)).toEqual([...ALL, ...ALL])
        expect(new Set(answers.map(({ client }) => client))).toEqual(new Set([addresses.get(from)]))
        expect(answers.slice(0, 5).every(({ bytes = 0 }) => bytes > 100_000)).toBe(true)
        expect(answers.slice(5).map(({ bytes }) => bytes)).toEqual(ALL.map(() => mtu - 28))
      }),
    )
    expect(await fragments()).toBe(before)
    // One byte more is seen at once.
    const over: Question = { ask: 'udp', host: addresses.get('p2') ?? '', port: PORTS.datagrams, bytes: mtu - 27 }
    expect((await probes.one('p1', over)).bytes).toBe(mtu - 27)
    expect(await fragments()).toBeGreaterThan(before)
  })

  it('says how much fits', async () => {
    const info = JSON.parse(await cluster.kubectl('get', '--raw', '/apis/drover.dev/v1/cluster')) as object
    expect(info).toMatchObject({ network: { maxNodes: 256, maxPodsPerNode: 253, nodesWithRange: 5 } })
    const node = await cluster.json<Node>('get', `node/${hostName(1)}`)
    expect(node.status?.allocatable?.pods).toBe('110')
  })

  it('gives pods the network they ask for: their own, their host’s, or none', async () => {
    const none = { annotations: { 'drover.dev/network': 'none' }, spec: { containers: [] } }
    const sleeper = { name: 'main', image: IMAGE, command: ['sh', '-c', 'trap "exit 0" TERM; sleep 100000 & wait'] }
    await cluster.apply([
      await pod('alone', 1, { ...none, spec: { containers: [sleeper] } }),
      await pod('hosty', 3, { web: 18_080, spec: { hostNetwork: true } }),
    ])
    await ready('alone', 'hosty')
    const links = await cluster.ask('exec', 'alone', '--', 'ip', '-o', 'link')
    expect(links.trim().split('\n')).toHaveLength(1)
    expect(links).toMatch(/lo: <LOOPBACK,UP/)
    const addresses = await podIPs()
    expect(addresses.get('alone')).toBe('')
    expect(addresses.get('hosty')).toBe(cluster.hostAddress(3))
    const answers = await probes.ask(
      'hosty',
      ALL.map((to) => http(addresses.get(to) ?? '', to === 'p2' ? 9090 : PORTS.web)),
    )
    expect(answers.map(({ pod: name }) => name)).toEqual(ALL)
    expect(await probes.who('p5', http(cluster.hostAddress(3), 18_080))).toEqual(['hosty'])
    await cluster.ask('delete', 'pod', 'alone', 'hosty')
  })
})

describe('services', () => {
  it('serve the API at the first address', async () => {
    expect(await clusterIP('kubernetes')).toBe('10.96.0.1')
    const script = ['exec', 'p5', '--', 'sh', '-c', 'nc -w 3 10.96.0.1 443 </dev/null']
    await eventually(async () => (await cluster.drover(script)).code === 0, WAIT)
  })

  it('reach pods on every host by several ports of either protocol, and by the node port of every host', async () => {
    const ports = [
      { name: 'http', port: 80, targetPort: 'web', nodePort: 30123 },
      { name: 'more', port: 81, targetPort: PORTS.second },
      { name: 'datagrams', port: 80, protocol: 'UDP', targetPort: PORTS.datagrams, nodePort: 30123 },
      { name: 'streams', port: 9, protocol: 'SCTP', targetPort: 9 },
    ]
    await cluster.apply(service('s', { type: 'NodePort', selector: { app: 's' }, ports }))
    const address = await clusterIP('s')
    await everywhere(address, 80, ALL)
    await Promise.all(
      ALL.map(async (from) => {
        const udp: Question = { ask: 'udp', host: address, port: 80 }
        await probes.meets(from, udp, ALL)
        expect((await probes.one(from, { ask: 'tcp', host: address, port: 81 })).text).toMatch(/^p[1-5] second$/)
        for (const host of HOSTS) {
          const node = cluster.hostAddress(host)
          expect((await probes.one(from, http(node, 30123))).pod).toMatch(/^p[1-5]$/)
          expect((await probes.one(from, { ask: 'udp', host: node, port: 30123 })).pod).toMatch(/^p[1-5]$/)
        }
      }),
    )
    for (const host of HOSTS) expect((await outside(cluster.hostAddress(host), 30123)).pod).toMatch(/^p[1-5]$/)
    // No kernel here speaks SCTP: the rules that would lead it are all there is to see.
    for (const host of HOSTS) {
      const rules = await output('nsenter', [hostSpace(host), 'nft', 'list', 'table', 'ip', 'drover'])
      expect(rules).toContain(`${address} . sctp . 9 `)
    }
  })

  it('serve at external addresses, and to the pod that asks for itself', async () => {
    const ports = [{ port: 80, targetPort: 'web' }]
    await cluster.apply([
      service('public', { selector: { app: 's' }, externalIPs: ['203.0.113.80'], ports }),
      service('self', { selector: { one: 'p3' }, ports }),
    ])
    await everywhere('203.0.113.80', 80, ALL)
    const fromHost = await runProgram('nsenter', [
      hostSpace(4),
      'curl',
      '-sS',
      '--max-time',
      '3',
      'http://203.0.113.80',
    ])
    expect(fromHost.stdout).toMatch(/"pod":"p[1-5]"/)
    const self = await clusterIP('self')
    await eventually(async () => (await probes.one('p3', http(self))).pod === 'p3', WAIT)
    expect((await probes.one('p2', http(self))).client).toBe((await podIPs()).get('p2'))
  })

  it('keep one client at one endpoint', async () => {
    const affinity = { selector: { app: 's' }, sessionAffinity: 'ClientIP', ports: [{ port: 80, targetPort: 'web' }] }
    await cluster.apply(service('sticky', affinity))
    const sticky = await clusterIP('sticky')
    for (const from of ALL) {
      await eventually(async () => (await probes.one(from, http(sticky))).pod !== undefined, WAIT)
      expect(await whoAnswers(from, sticky)).toHaveLength(1)
    }
  })

  it('stay on the host that was asked where that is the policy, and show the client’s address', async () => {
    const ports = [{ port: 80, targetPort: 'web', nodePort: 30124 }]
    const inner = { internalTrafficPolicy: 'Local', ports: [{ port: 80, targetPort: 'web' }] }
    await cluster.kubectl('label', 'pod', 'p1', 'p2', 'some=yes')
    await cluster.apply([
      service('near', { type: 'NodePort', externalTrafficPolicy: 'Local', selector: { some: 'yes' }, ports }),
      service('inner', { ...inner, selector: { app: 's' } }),
      service('few', { ...inner, selector: { some: 'yes' } }),
    ])
    for (const host of [1, 2]) {
      await eventually(async () => (await outside(cluster.hostAddress(host), 30124)).pod === `p${host}`, WAIT)
      expect(await outside(cluster.hostAddress(host), 30124)).toEqual({
        pod: `p${host}`,
        client: cluster.hostAddress(0),
      })
    }
    for (const host of [3, 4, 5]) expect(await tryPort(cluster.hostAddress(host), 30124)).toBe('ECONNREFUSED')
    // A pod that asks its own host is not bound by it.
    expect((await probes.one('p4', http(cluster.hostAddress(4), 30124))).pod).toMatch(/^p[12]$/)
    const [all, few, addresses] = [await clusterIP('inner'), await clusterIP('few'), await podIPs()]
    for (const from of ALL) {
      await eventually(async () => (await whoAnswers(from, all)).join() === from, WAIT)
      await eventually(async () => {
        const { pod: name, error } = await probes.one(from, http(few))
        return ['p1', 'p2'].includes(from) ? name === from : error === 'ECONNREFUSED'
      }, WAIT)
    }
    expect((await probes.one('p1', http(few))).client).not.toBe(addresses.get('p2'))
  })

  it('leave out what is not ready, unless they say otherwise', async () => {
    const ports = [{ port: 80, targetPort: 'web' }]
    await cluster.apply(service('early', { selector: { app: 's' }, publishNotReadyAddresses: true, ports }))
    const [address, early] = [await clusterIP('s'), await clusterIP('early')]
    await everywhere(early, 80, ALL)
    await probes.one('p3', { ask: 'ready', value: false })
    await everywhere(
      address,
      80,
      ALL.filter((name) => name !== 'p3'),
    )
    expect(await whoAnswers('p1', early)).toEqual(ALL)
    await probes.one('p3', { ask: 'ready', value: true })
    await everywhere(address, 80, ALL)
  })

  it('lead to addresses outside that a user listed, and refuse at once when there are none', async () => {
    const gateway = cluster.hostAddress(0)
    const outer: Server = createServer((_request, response) => response.end('{"pod":"outside"}'))
    await new Promise<void>((resolve) => outer.listen(0, gateway, resolve))
    try {
      const address = outer.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      await cluster.apply([
        service('manual', { ports: [{ name: 'web', port: 80 }] }),
        {
          apiVersion: 'discovery.k8s.io/v1',
          kind: 'EndpointSlice',
          metadata: { name: 'manual-1', labels: { 'kubernetes.io/service-name': 'manual' } },
          addressType: 'IPv4',
          endpoints: [{ addresses: [gateway] }],
          ports: [{ name: 'web', port }],
        },
      ])
      const manual = await clusterIP('manual')
      await everywhere(manual, 80, ['outside'])
      await cluster.ask('delete', 'endpointslice', 'manual-1')
      await everywhere(manual, 80, ['ECONNREFUSED'])
      // Nobody has this address: refused too, not waited for.
      expect((await probes.one('p5', http('10.96.255.77'))).error).toBe('ECONNREFUSED')
      expect((await probes.one('p5', { ask: 'udp', host: manual, port: 80 })).error).toBe('ECONNREFUSED')
    } finally {
      outer.close()
    }
  })

  it('lose what they no longer ask for: a node port, then everything', async () => {
    const ports = [{ name: 'http', port: 80, targetPort: 'web' }]
    await cluster.apply(service('s', { type: 'ClusterIP', selector: { app: 's' }, ports }))
    await Promise.all(
      HOSTS.map((host) =>
        eventually(async () => (await tryPort(cluster.hostAddress(host), 30123)) === 'ECONNREFUSED', WAIT),
      ),
    )
    const address = await clusterIP('s')
    expect((await probes.one('p1', http(address))).pod).toMatch(/^p[1-5]$/)
    await cluster.ask('delete', 'svc', 's')
    await everywhere(address, 80, ['ECONNREFUSED'])
  })
})

describe('network policies', () => {
  const policy = (name: string, spec: object): object => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name },
    spec,
  })
  const SHUT = 'EHOSTUNREACH'

  /** What one pod gets from all others by the port named `web`. */
  async function reach(from: string): Promise<string[]> {
    const addresses = await podIPs()
    const answers = await probes.ask(
      from,
      ALL.map((to) => http(addresses.get(to) ?? '', to === 'p2' ? 9090 : PORTS.web)),
    )
    return answers.map(({ pod: name, error }) => name ?? error ?? 'nothing')
  }

  it('let in those they name, by pod, namespace and port, on one host and across', async () => {
    const friends = [{ podSelector: { matchLabels: { role: 'friend' } } }]
    const from = [...friends, { namespaceSelector: { matchLabels: { team: 'a' } } }]
    await cluster.apply(
      policy('s', { podSelector: { matchLabels: { app: 's' } }, ingress: [{ from, ports: [{ port: 'web' }] }] }),
    )
    // A pod reaches itself whatever its policies say.
    for (const stranger of ['p2', 'p5']) {
      const wanted = ALL.map((name) => (name === stranger ? name : SHUT)).join()
      await eventually(async () => (await reach(stranger)).join() === wanted, WAIT)
    }
    expect(await reach('p1')).toEqual(ALL)
    const address = (await podIPs()).get('p4') ?? ''
    expect((await probes.one('p1', { ask: 'tcp', host: address, port: PORTS.second })).error).toBe(SHUT)
    await ready(...ALL)
    await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'other', labels: { team: 'b' } } })
    await cluster.apply(await pod('guest', 2, { namespace: 'other' }))
    await cluster.kubectl('wait', '-n', 'other', '--for=condition=Ready', '--timeout=60s', 'pod/guest')
    expect(await reach('guest')).toEqual(ALL.map(() => SHUT))
    await cluster.kubectl('label', 'namespace', 'other', 'team=a', '--overwrite')
    await eventually(async () => (await reach('guest')).join() === ALL.join(), WAIT)
    expect(await cluster.kubectl('get', 'netpol')).toMatch(/NAME\s+POD-SELECTOR\s+AGE\ns\s+app=s\s/)
    await cluster.ask('delete', 'netpol', 's')
  })

  it('let out to ranges of addresses but for some, and of ports', async () => {
    const addresses = await podIPs()
    const cidr = '10.244.0.0/16'
    const to = [{ ipBlock: { cidr, except: [`${addresses.get('p3')}/32`] } }]
    const ports = [{ port: PORTS.web, endPort: PORTS.web + 1 }]
    const egress = [{ to, ports }]
    await cluster.apply(policy('out', { podSelector: { matchLabels: { one: 'p1' } }, policyTypes: ['Egress'], egress }))
    const wanted = ['p1', SHUT, SHUT, 'p4', 'p5'].join()
    await eventually(async () => (await reach('p1')).join() === wanted, WAIT)
    expect(await reach('p2')).toEqual(ALL)
    await cluster.apply(policy('out', { podSelector: { matchLabels: { one: 'p1' } }, policyTypes: ['Egress'] }))
    await eventually(async () => (await reach('p1')).join() === ['p1', SHUT, SHUT, SHUT, SHUT].join(), WAIT)
    await cluster.ask('delete', 'netpol', 'out')
    await eventually(async () => (await reach('p1')).join() === ALL.join(), WAIT)
  })
})

describe('what a hand broke', () => {
  it('is whole again within 5 s, with its pods: rules, ways, neighbours, forwarding entries and devices', async () => {
    // Whom it keeps with whom is the kernel's own, and no table of ours.
    await cluster.ask('delete', 'svc', 'sticky')
    const place = enterNamespace(hostSpace(1).replace('--net=', ''))
    const settled = async (): Promise<boolean> =>
      !(await networkState(place)).rules?.some((rule) => /expires/.test(rule))
    await eventually(settled, WAIT)
    const before = await networkState(place)
    const addresses = await podIPs()
    const far = { ...http(addresses.get('p5') ?? '', PORTS.web), timeoutMs: 300 }
    expect((await probes.one('p1', far)).pod).toBe('p5')
    const entries = JSON.parse(
      await output('nsenter', [hostSpace(1), 'bridge', '-j', 'fdb', 'show', 'dev', 'drover.vx']),
    ) as { mac: string; dst: string }[]
    const entry = entries.find(({ dst }) => dst === cluster.hostAddress(5))
    for (const damage of [
      ['nft', 'delete', 'table', 'ip', 'drover'],
      ['nft', 'flush', 'chain', 'ip', 'drover', 'prerouting'],
      ['nft', 'delete', 'table', 'bridge', 'drover'],
      ['ip', 'route', 'flush', 'dev', 'drover.vx'],
      ['ip', 'neigh', 'flush', 'nud', 'permanent', 'dev', 'drover.vx'],
      ['bridge', 'fdb', 'del', entry?.mac ?? '', 'dev', 'drover.vx', 'dst', entry?.dst ?? '', 'self'],
      ['ip', 'link', 'del', 'drover0'],
      ['ip', 'link', 'del', 'drover.vx'],
    ]) {
      const told = damage.join(' ')
      expect((await runProgram('nsenter', [hostSpace(1), ...damage])).code, told).toBe(0)
      await eventually(
        async () => {
          expect(await networkState(place), told).toEqual(before)
          expect((await probes.one('p1', far)).pod, told).toBe('p5')
          return true
        },
        { timeoutMs: 5_000, intervalMs: 50 },
      )
    }
  })
})
