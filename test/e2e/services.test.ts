/** Services and network policies on a cluster of two hosts, from the built program: real traffic from pods, hosts and outside. */
import { createServer, type Server } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { Service } from '../../src/api/service.ts'
import { eventually } from '../support/eventually.ts'
import { LocalCluster, runProgram } from '../support/local_cluster.ts'

const IMAGE = 'drover.local/hello:1'
const WAIT = { timeoutMs: 20_000, intervalMs: 100 }
const cluster = new LocalCluster()
let nodes: string[] = []

interface PodOptions {
  labels?: Record<string, string>
  /** Serves its name on this port, named `web`. */
  port?: number
  spec?: object
  annotations?: Record<string, string>
  namespace?: string
}

function pod(name: string, node: number, options: PodOptions = {}): object {
  const { labels = {}, port, spec = {}, annotations = {}, namespace = 'default' } = options
  const serve = `mkdir -p /tmp/www && echo ${name} > /tmp/www/index.html && exec busybox httpd -f -p ${port} -h /tmp/www`
  const script = port === undefined ? 'trap "exit 0" TERM; while true; do sleep 1 & wait; done' : serve
  const container = {
    name: 'main',
    image: IMAGE,
    command: ['sh', '-c', script],
    ...(port === undefined ? {} : { ports: [{ name: 'web', containerPort: port }] }),
    ...(port === undefined ? {} : { readinessProbe: { tcpSocket: { port: 'web' }, periodSeconds: 1 } }),
  }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels, annotations },
    spec: { nodeName: nodes[node], terminationGracePeriodSeconds: 0, containers: [container], ...spec },
  }
}

function service(name: string, spec: object): object {
  return { apiVersion: 'v1', kind: 'Service', metadata: { name }, spec }
}

async function ready(...names: string[]): Promise<void> {
  await cluster.kubectl('wait', '--for=condition=Ready', '--timeout=60s', ...names.map((name) => `pod/${name}`))
}

/** What a pod gets from a URL's host and port, or why it gets nothing. */
async function fetchFrom(client: string, target: string, namespace = 'default'): Promise<string> {
  const args = ['-n', namespace, 'exec', client, '--', 'timeout', '5', 'wget', '-qO-', `http://${target}/`]
  const { code, stdout, stderr } = await cluster.drover(args)
  if (code === 0) return stdout.trim()
  return /refused|unreachable|No route|timed out/i.exec(stderr)?.[0].toLowerCase() ?? `failed: ${stderr}`
}

async function answers(client: string, target: string, count = 12): Promise<string[]> {
  const script = `i=0; while [ $i -lt ${count} ]; do timeout 5 wget -qO- http://${target}/; i=$((i+1)); done`
  const text = await cluster.ask('exec', client, '--', 'sh', '-c', script)
  return [...new Set(text.trim().split('\n'))].sort()
}

/** From outside the cluster: `open`, or the error's code. */
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

async function clusterIP(name: string): Promise<string> {
  return (await cluster.json<Service>('get', `svc/${name}`)).spec.clusterIP ?? ''
}

async function podIP(name: string): Promise<string> {
  return (await cluster.json<Pod>('get', `pod/${name}`)).status?.podIP ?? ''
}

beforeAll(async () => {
  await cluster.start('--nodes', '2', '--sample')
  nodes = cluster.record().hosts.map(({ name }) => name)
  await cluster.apply([
    pod('c1', 0, { labels: { role: 'friend' } }),
    pod('c2', 1, { labels: { role: 'stranger' } }),
    pod('s1', 0, { labels: { app: 's' }, port: 8080 }),
    pod('s2', 1, { labels: { app: 's' }, port: 9090 }),
  ])
  await ready('c1', 'c2', 's1', 's2')
})

afterAll(() => cluster.remove())

describe('services', () => {
  it('serve the API at the first address', async () => {
    expect(await clusterIP('kubernetes')).toBe('10.96.0.1')
    const probe = ['exec', 'c1', '--', 'sh', '-c', 'nc -w 3 10.96.0.1 443 </dev/null']
    await eventually(async () => (await cluster.drover(probe)).code === 0, WAIT)
  })

  it('reach pods whose named port differs, by address and by the node port of every host', async () => {
    const ports = [{ name: 'http', port: 80, targetPort: 'web', nodePort: 30123 }]
    await cluster.apply(service('s', { type: 'NodePort', selector: { app: 's' }, ports }))
    const address = await clusterIP('s')
    await eventually(async () => (await answers('c1', address)).join() === 's1,s2', WAIT)
    for (const client of ['c1', 'c2']) {
      for (const index of [1, 2]) {
        expect(await answers(client, `${cluster.hostAddress(index)}:30123`)).toEqual(['s1', 's2'])
      }
    }
    for (const index of [1, 2]) expect(await tryPort(cluster.hostAddress(index), 30123)).toBe('open')
  })

  it('keep one client at one endpoint, and clients from outside on the host they asked', async () => {
    const one = { selector: { app: 's' }, sessionAffinity: 'ClientIP', ports: [{ port: 80, targetPort: 'web' }] }
    const near = { type: 'NodePort', externalTrafficPolicy: 'Local', selector: { app: 's', only: 's1' } }
    await cluster.kubectl('label', 'pod', 's1', 'only=s1')
    await cluster.apply([
      service('sticky', one),
      service('near', { ...near, ports: [{ port: 80, targetPort: 'web', nodePort: 30124 }] }),
    ])
    const sticky = await clusterIP('sticky')
    await eventually(async () => /^s[12]$/.test(await fetchFrom('c1', sticky)), WAIT)
    expect(await answers('c1', sticky)).toHaveLength(1)
    await eventually(async () => (await tryPort(cluster.hostAddress(1), 30124)) === 'open', WAIT)
    expect(await tryPort(cluster.hostAddress(2), 30124)).toBe('ECONNREFUSED')
    expect(await fetchFrom('c2', `${cluster.hostAddress(2)}:30124`)).toBe('s1')
  })

  it('lead to addresses outside that a user listed, and refuse at once when there are none', async () => {
    const gateway = cluster.hostAddress(0)
    const outside: Server = createServer((_request, response) => response.end('outside'))
    await new Promise<void>((resolve) => outside.listen(0, gateway, resolve))
    try {
      const address = outside.address()
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
      await eventually(async () => (await fetchFrom('c1', manual)) === 'outside', WAIT)
      await cluster.ask('delete', 'endpointslice', 'manual-1')
      await eventually(async () => (await fetchFrom('c1', manual)) === 'refused', WAIT)
    } finally {
      outside.close()
    }
  })

  it('lose what they no longer ask for: a node port, then everything', async () => {
    const ports = [{ name: 'http', port: 80, targetPort: 'web' }]
    await cluster.apply(service('s', { type: 'ClusterIP', selector: { app: 's' }, ports }))
    await eventually(async () => (await tryPort(cluster.hostAddress(1), 30123)) === 'ECONNREFUSED', WAIT)
    const address = await clusterIP('s')
    expect(await fetchFrom('c1', address)).toMatch(/^s[12]$/)
    await cluster.ask('delete', 'svc', 's')
    await eventually(async () => (await fetchFrom('c1', address)) === 'refused', WAIT)
  })
})

describe('network policies', () => {
  const policy = (name: string, spec: object): object => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name },
    spec,
  })

  it('let in those they name, by pod, namespace and port, on one host and across', async () => {
    const [s1, s2] = [await podIP('s1'), await podIP('s2')]
    const friends = [{ podSelector: { matchLabels: { role: 'friend' } } }]
    const from = [...friends, { namespaceSelector: { matchLabels: { team: 'a' } } }]
    await cluster.apply(
      policy('s', { podSelector: { matchLabels: { app: 's' } }, ingress: [{ from, ports: [{ port: 'web' }] }] }),
    )
    await eventually(async () => /no route|unreachable/.test(await fetchFrom('c2', `${s1}:8080`)), WAIT)
    expect(await fetchFrom('c2', `${s2}:9090`)).toMatch(/no route|unreachable/)
    expect(await fetchFrom('c1', `${s1}:8080`)).toBe('s1')
    expect(await fetchFrom('c1', `${s2}:9090`)).toBe('s2')
    await ready('s1', 's2')
    await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'other', labels: { team: 'b' } } })
    await cluster.apply(pod('c3', 1, { namespace: 'other' }))
    await cluster.kubectl('wait', '-n', 'other', '--for=condition=Ready', '--timeout=60s', 'pod/c3')
    expect(await fetchFrom('c3', `${s1}:8080`, 'other')).toMatch(/no route|unreachable/)
    await cluster.kubectl('label', 'namespace', 'other', 'team=a', '--overwrite')
    await eventually(async () => (await fetchFrom('c3', `${s1}:8080`, 'other')) === 's1', WAIT)
    const table = await cluster.kubectl('get', 'netpol')
    expect(table).toMatch(/NAME\s+POD-SELECTOR\s+AGE\ns\s+app=s\s/)
  })

  it('keep pods in, and let them go when they are deleted', async () => {
    const s2 = await podIP('s2')
    await cluster.apply(policy('shut', { podSelector: { matchLabels: { role: 'friend' } }, policyTypes: ['Egress'] }))
    await eventually(async () => /no route|unreachable/.test(await fetchFrom('c1', `${s2}:9090`)), WAIT)
    await cluster.ask('delete', 'netpol', 'shut', 's')
    await eventually(async () => (await fetchFrom('c1', `${s2}:9090`)) === 's2', WAIT)
    expect(await fetchFrom('c2', `${s2}:9090`)).toBe('s2')
  })
})

describe('the overlay', () => {
  it('says how much fits', async () => {
    const info = JSON.parse(await cluster.kubectl('get', '--raw', '/apis/drover.dev/v1/cluster')) as object
    expect(info).toMatchObject({ network: { maxNodes: 256, maxPodsPerNode: 253, nodesWithRange: 2 } })
    const node = await cluster.json<Node>('get', `node/${nodes[0]}`)
    expect(node.status?.allocatable?.pods).toBe('110')
  })

  it('gives pods the network they ask for: their own, their host’s, or none', async () => {
    await cluster.apply([
      pod('alone', 0, { annotations: { 'drover.dev/network': 'none' } }),
      pod('hosty', 1, { spec: { hostNetwork: true } }),
    ])
    await ready('alone', 'hosty')
    const links = await cluster.ask('exec', 'alone', '--', 'ip', '-o', 'link')
    expect(links.trim().split('\n')).toHaveLength(1)
    expect(links).toMatch(/lo: <LOOPBACK,UP/)
    expect(await podIP('alone')).toBe('')
    expect(await podIP('hosty')).toBe(cluster.hostAddress(2))
    expect(await fetchFrom('hosty', `${await podIP('s1')}:8080`)).toBe('s1')
  })

  it('is whole again within 5 s of what a hand broke, with its pods', async () => {
    const s2 = `${await podIP('s2')}:9090`
    const enter = [`--net=/run/netns/drover-${cluster.name}-${nodes[0]}`]
    for (const damage of [
      ['nft', 'delete', 'table', 'ip', 'drover'],
      ['ip', 'link', 'del', 'drover0'],
      ['ip', 'link', 'del', 'drover.vx'],
    ]) {
      expect((await runProgram('nsenter', [...enter, ...damage])).code, damage.join(' ')).toBe(0)
      const whole = async (): Promise<boolean> => (await fetchFrom('c1', s2)) === 's2'
      await eventually(whole, { timeoutMs: 8_000, intervalMs: 50 })
      const rules = async () =>
        (await runProgram('nsenter', [...enter, 'nft', 'list', 'table', 'ip', 'drover'])).code === 0
      await eventually(rules, { timeoutMs: 5_000, intervalMs: 50 })
    }
  })
})
