/** Placing: tables of what goes where and why not, and the properties that must hold for any cluster. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Stored } from '../../src/api/meta.ts'
import type { Node } from '../../src/api/node.ts'
import { nodeNameSelector } from '../../src/api/node_selector.ts'
import type { Pod, PodSpec } from '../../src/api/pod.ts'
import { place } from '../../src/scheduler/place.ts'
import { podRequests } from '../../src/scheduler/requests.ts'
import { Snapshot } from '../../src/scheduler/snapshot.ts'
import type { ClaimNeed } from '../../src/scheduler/volume_facts.ts'

interface NodeOptions {
  cpu?: string
  memory?: string
  pods?: string
  labels?: Record<string, string>
  spec?: Node['spec']
  ready?: 'True' | 'False' | 'Unknown'
}

let serial = 0
const stored = (name: string, namespace?: string) => ({
  name,
  uid: `uid-${name}-${serial++}`,
  resourceVersion: '1',
  creationTimestamp: '2026-01-01T00:00:00Z',
  ...(namespace !== undefined && { namespace }),
})

function node(name: string, options: NodeOptions = {}): Stored<Node> {
  const { cpu = '4', memory = '8Gi', pods = '110', labels = {}, spec = {}, ready = 'True' } = options
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { ...stored(name), labels: { 'kubernetes.io/hostname': name, ...labels } },
    spec: { podCIDR: '10.244.0.0/24', ...spec },
    status: { allocatable: { cpu, memory, pods }, conditions: [{ type: 'Ready', status: ready }] },
  }
}

interface PodOptions {
  owner?: string
  cpu?: string
  memory?: string
  labels?: Record<string, string>
  spec?: Partial<PodSpec>
}

function pod(name: string, options: PodOptions = {}): Stored<Pod> {
  const { owner, cpu, memory, labels = {}, spec = {} } = options
  const requests = { ...(cpu !== undefined && { cpu }), ...(memory !== undefined && { memory }) }
  const reference = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'set', controller: true }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...stored(name, 'default'),
      labels,
      ...(owner !== undefined && { ownerReferences: [{ ...reference, uid: owner }] }),
    },
    spec: { containers: [{ name: 'main', image: 'web:1', resources: { requests } }], ...spec },
  }
}

const replicas = (count: number, options: PodOptions): Stored<Pod>[] =>
  Array.from({ length: count }, (_, index) => pod(`p${index}`, { owner: 'set', ...options }))

function snapshotOf(nodes: readonly Stored<Node>[]): Snapshot {
  const snapshot = new Snapshot()
  for (const each of nodes) snapshot.putNode(each)
  return snapshot
}

function spreadOver(nodes: readonly Stored<Node>[], pods: readonly Stored<Pod>[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { nodeName } of place(snapshotOf(nodes), pods, 1).placements)
    counts[nodeName] = (counts[nodeName] ?? 0) + 1
  return counts
}

const refusal = (nodes: readonly Stored<Node>[], refused: Stored<Pod>): string | undefined =>
  place(snapshotOf(nodes), [refused], 1).refusals[0]?.message

const abc = ['a', 'b', 'c']

describe('where pods go', () => {
  it('keeps replicas on different nodes', () => {
    expect(
      spreadOver(
        abc.map((name) => node(name)),
        replicas(9, { cpu: '100m' }),
      ),
    ).toEqual({ a: 3, b: 3, c: 3 })
  })

  it('keeps replicas apart before it looks at how full nodes are', () => {
    const nodes = [node('small', { cpu: '1' }), node('large', { cpu: '64' })]
    expect(spreadOver(nodes, replicas(4, { cpu: '100m' }))).toEqual({ small: 2, large: 2 })
  })

  it('uses what is left when nodes fill up', () => {
    const nodes = [node('small', { cpu: '1' }), node('large', { cpu: '8' })]
    expect(spreadOver(nodes, replicas(8, { cpu: '1' }))).toEqual({ small: 1, large: 7 })
  })

  it('spreads over zones after nodes', () => {
    const zone = (name: string) => ({ labels: { 'topology.kubernetes.io/zone': name } })
    const nodes = [node('a1', zone('a')), node('a2', zone('a')), node('a3', zone('a')), node('b1', zone('b'))]
    const counts = spreadOver(nodes, replicas(2, {}))
    expect(counts.b1).toBe(1)
  })

  it('puts a lone pod on the emptiest node', () => {
    const nodes = [node('a'), node('b')]
    const snapshot = snapshotOf(nodes)
    snapshot.putPod(pod('other', { cpu: '2' }), 'a')
    expect(place(snapshot, [pod('lone')], 1).placements[0]?.nodeName).toBe('b')
  })

  it('spreads pods that ask for nothing', () => {
    const nodes = abc.map((name) => node(name))
    const pods = Array.from({ length: 9 }, (_, index) => pod(`lone${index}`))
    expect(spreadOver(nodes, pods)).toEqual({ a: 3, b: 3, c: 3 })
  })

  it('avoids a PreferNoSchedule taint until nothing else is left', () => {
    const taints = [{ key: 'old', effect: 'PreferNoSchedule' as const }]
    const nodes = [node('old', { spec: { taints } }), node('new', { pods: '2' })]
    expect(spreadOver(nodes, replicas(3, {}))).toEqual({ new: 2, old: 1 })
  })

  it('obeys node selectors and tolerations', () => {
    const taints = [{ key: 'gpu', value: 'yes', effect: 'NoSchedule' as const }]
    const nodes = [node('plain'), node('gpu', { spec: { taints }, labels: { gpu: 'yes' } })]
    const spec: Partial<PodSpec> = { nodeSelector: { gpu: 'yes' }, tolerations: [{ key: 'gpu', operator: 'Exists' }] }
    expect(spreadOver(nodes, [pod('p', { spec })])).toEqual({ gpu: 1 })
  })

  it('gives a host port to one pod a node, unless addresses differ', () => {
    const withPort = (name: string, hostIP?: string): Stored<Pod> =>
      pod(name, {
        spec: {
          containers: [
            {
              name: 'main',
              image: 'web:1',
              ports: [{ containerPort: 80, hostPort: 80, ...(hostIP !== undefined && { hostIP }) }],
            },
          ],
        },
      })
    const result = place(snapshotOf([node('a'), node('b')]), [withPort('p1'), withPort('p2'), withPort('p3')], 1)
    expect(result.placements.map(({ nodeName }) => nodeName).sort()).toEqual(['a', 'b'])
    expect(result.refusals[0]?.message).toBe(
      "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.",
    )
    const two = place(snapshotOf([node('a')]), [withPort('p1', '10.0.0.1'), withPort('p2', '10.0.0.2')], 1)
    expect(two.placements).toHaveLength(2)
  })

  it('holds hard spread constraints over zones', () => {
    const zone = (name: string) => ({ labels: { zone: name } })
    const nodes = [node('a1', zone('a')), node('a2', zone('a')), node('b1', { ...zone('b'), pods: '1' })]
    const spec: Partial<PodSpec> = {
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: 'zone',
          whenUnsatisfiable: 'DoNotSchedule',
          labelSelector: { matchLabels: { app: 'web' } },
        },
      ],
    }
    const { placements, refusals } = place(snapshotOf(nodes), replicas(5, { labels: { app: 'web' }, spec }), 1)
    expect(placements).toHaveLength(3)
    expect(refusals[0]?.message).toBe(
      "0/3 nodes are available: 1 Too many pods, 2 node(s) didn't match pod topology spread constraints.",
    )
  })

  it('lets soft spread constraints bend', () => {
    const nodes = [node('a', { labels: { zone: 'a' } }), node('b', { labels: { zone: 'b' }, pods: '1' })]
    const spec: Partial<PodSpec> = {
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: 'zone',
          whenUnsatisfiable: 'ScheduleAnyway',
          labelSelector: { matchLabels: { app: 'web' } },
        },
      ],
    }
    expect(spreadOver(nodes, replicas(4, { labels: { app: 'web' }, spec }))).toEqual({ a: 3, b: 1 })
  })
})

describe('why not', () => {
  const toleratesAll: Partial<PodSpec> = { tolerations: [{ operator: 'Exists' }] }
  const cases: [string, Stored<Node>[], Stored<Pod>, string | undefined][] = [
    ['no nodes', [], pod('p'), '0/0 nodes are available: no node has joined the cluster yet.'],
    [
      'counts each reason',
      [
        node('a', { memory: '1Gi' }),
        node('b', { memory: '1Gi' }),
        node('c', { memory: '1Gi' }),
        node('d', { spec: { unschedulable: true } }),
        node('e', { spec: { unschedulable: true } }),
      ],
      pod('p', { memory: '2Gi' }),
      '0/5 nodes are available: 2 node(s) were unschedulable, 3 Insufficient memory.',
    ],
    [
      'a node may lack two things',
      [node('a', { memory: '1Gi', cpu: '1' })],
      pod('p', { memory: '2Gi', cpu: '2' }),
      '0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.',
    ],
    [
      'local disk, by the limit where nothing is requested',
      [{ ...node('a'), status: { ...node('a').status, allocatable: { pods: '110', 'ephemeral-storage': '1Gi' } } }],
      pod('p', {
        spec: { containers: [{ name: 'main', resources: { limits: { 'ephemeral-storage': '2Gi' } } }] },
      }),
      '0/1 nodes are available: 1 Insufficient ephemeral-storage.',
    ],
    [
      'taints',
      [node('a', { spec: { taints: [{ key: 'k', value: 'v', effect: 'NoSchedule' }] } })],
      pod('p'),
      '0/1 nodes are available: 1 node(s) had untolerated taint {k: v}.',
    ],
    ['not ready', [node('a', { ready: 'Unknown' })], pod('p'), '0/1 nodes are available: 1 node(s) were not ready.'],
    ['tolerates everything', [node('a', { ready: 'Unknown' })], pod('p', { spec: toleratesAll }), undefined],
    [
      'no range of addresses yet',
      [{ ...node('a'), spec: {} }],
      pod('p'),
      '0/1 nodes are available: 1 node(s) had no pod network.',
    ],
    ['needs no range', [{ ...node('a'), spec: {} }], pod('p', { spec: { hostNetwork: true } }), undefined],
    [
      'selector',
      [node('a')],
      pod('p', { spec: { nodeSelector: { disk: 'ssd' } } }),
      "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    ],
    ['full', [node('a', { pods: '0' })], pod('p'), '0/1 nodes are available: 1 Too many pods.'],
  ]
  it.each(cases)('%s', (_name, nodes, refused, message) => {
    expect(refusal(nodes, refused)).toBe(message)
  })

  it('counts the larger of init containers and containers', () => {
    const resources = (cpu: string) => ({ resources: { requests: { cpu } } })
    const heavy = pod('p', {
      spec: {
        initContainers: [{ name: 'init', image: 'i', ...resources('3') }],
        containers: [
          { name: 'a', image: 'i', ...resources('1') },
          { name: 'b', image: 'i', ...resources('500m') },
        ],
      },
    })
    expect(podRequests(heavy)).toEqual({ cpu: 3000, pods: 1 })
  })
})

describe('snapshot', () => {
  it('comes back to where it was when pods and nodes come and go', () => {
    const snapshot = new Snapshot()
    const first = pod('p', { cpu: '1' })
    snapshot.putPod(first, 'late')
    snapshot.putNode(node('late'))
    expect(snapshot.column('cpu')?.requested[0]).toBe(1000)
    snapshot.removeNode('late')
    snapshot.putNode(node('other'))
    expect(snapshot.column('cpu')?.requested[0]).toBe(0)
    snapshot.putNode(node('late'))
    expect(snapshot.column('cpu')?.requested[1]).toBe(1000)
    snapshot.removePod(first.metadata.uid)
    expect(snapshot.column('cpu')?.requested[1]).toBe(0)
    expect(snapshot.podCount).toBe(0)
  })
})

const anyNode = fc.record({
  cpu: fc.integer({ min: 0, max: 8 }),
  memory: fc.integer({ min: 0, max: 8 }),
  pods: fc.integer({ min: 0, max: 5 }),
  zone: fc.constantFrom('', 'a', 'b'),
  cordoned: fc.boolean(),
  tainted: fc.boolean(),
})
const anyClass = fc.record({
  count: fc.integer({ min: 1, max: 8 }),
  cpu: fc.integer({ min: 0, max: 4 }),
  memory: fc.integer({ min: 0, max: 4 }),
  tolerates: fc.boolean(),
  zone: fc.constantFrom('', 'a', 'b'),
  port: fc.boolean(),
  spread: fc.constantFrom('', 'DoNotSchedule' as const, 'ScheduleAnyway' as const),
})
const anyCluster = fc.record({
  nodes: fc.array(anyNode, { maxLength: 8 }),
  classes: fc.array(anyClass, { maxLength: 4 }),
  seed: fc.integer({ min: 0 }),
})

type Cluster = typeof anyCluster extends fc.Arbitrary<infer T> ? T : never

function build({ nodes, classes }: Pick<Cluster, 'nodes' | 'classes'>) {
  const made = nodes.map(({ cpu, memory, pods, zone, cordoned, tainted }, index) =>
    node(`n${index}`, {
      cpu: String(cpu),
      memory: `${memory}Gi`,
      pods: String(pods),
      labels: zone === '' ? {} : { 'topology.kubernetes.io/zone': zone },
      spec: { unschedulable: cordoned, taints: tainted ? [{ key: 't', effect: 'NoSchedule' }] : [] },
    }),
  )
  const pods = classes.flatMap(({ count, cpu, memory, tolerates, zone, port, spread }, index) => {
    const labels = { app: `c${index}` }
    const constraint = {
      maxSkew: 1,
      topologyKey: 'topology.kubernetes.io/zone',
      labelSelector: { matchLabels: labels },
    }
    const resources = { requests: { cpu: String(cpu), memory: `${memory}Gi` } }
    const ports = port ? [{ containerPort: 80, hostPort: 8000 + index }] : []
    const spec: Partial<PodSpec> = {
      containers: [{ name: 'main', image: 'i', resources, ports }],
      ...(tolerates && { tolerations: [{ key: 't', operator: 'Exists' as const }] }),
      ...(zone !== '' && { nodeSelector: { 'topology.kubernetes.io/zone': zone } }),
      ...(spread !== '' && { topologySpreadConstraints: [{ ...constraint, whenUnsatisfiable: spread }] }),
    }
    return Array.from({ length: count }, (_, n) => pod(`c${index}-${n}`, { owner: `set${index}`, labels, spec }))
  })
  return { made, pods }
}

describe('for any cluster', () => {
  it('no node is overcommitted, every pod is answered once, every node has its reason', () => {
    fc.assert(
      fc.property(anyCluster, ({ nodes, classes, seed }) => {
        const { made, pods } = build({ nodes, classes })
        const snapshot = snapshotOf(made)
        const { placements, refusals } = place(snapshot, pods, seed)
        expect(placements.length + refusals.length).toBe(pods.length)
        for (const { pod: placed, nodeName } of placements) snapshot.putPod(placed, nodeName)
        for (const resource of ['cpu', 'memory', 'pods']) {
          const column = snapshot.column(resource)
          for (const row of made.keys()) {
            const asked = column?.requested[row] ?? 0
            if (asked > 0) expect(asked).toBeLessThanOrEqual(column?.allocatable[row] ?? 0)
          }
        }
        for (const { counts } of refusals) {
          const total = [...counts.values()].reduce((sum, count) => sum + count, 0)
          expect(total).toBeGreaterThanOrEqual(made.length)
          for (const count of counts.values()) expect(count).toBeLessThanOrEqual(made.length)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('placing a batch gives what placing one pod after another gives', () => {
    fc.assert(
      fc.property(anyCluster, ({ nodes, classes, seed }) => {
        const { made, pods } = build({ nodes, classes })
        const batch = place(snapshotOf(made), pods, seed)
        const answers = new Map(batch.placements.map(({ pod: placed, nodeName }) => [placed.metadata.name, nodeName]))
        for (const { pod: refused, message } of batch.refusals) answers.set(refused.metadata.name, message)
        const snapshot = snapshotOf(made)
        for (const next of pods) {
          const one = place(snapshot, [next], seed)
          const answer = one.placements[0]?.nodeName ?? one.refusals[0]?.message
          expect([next.metadata.name, answer]).toEqual([next.metadata.name, answers.get(next.metadata.name)])
          const nodeName = one.placements[0]?.nodeName
          if (nodeName !== undefined) snapshot.putPod(next, nodeName)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('placing leaves the snapshot as it was', () => {
    const { made, pods } = build({
      nodes: [{ cpu: 8, memory: 8, pods: 5, zone: 'a', cordoned: false, tainted: false }],
      classes: [{ count: 3, cpu: 1, memory: 1, tolerates: false, zone: '', port: true, spread: '' }],
    })
    const snapshot = snapshotOf(made)
    const first = place(snapshot, pods, 5)
    expect(place(snapshot, pods, 5)).toEqual(first)
    expect(snapshot.column('cpu')?.requested[0] ?? 0).toBe(0)
  })
})

describe('claims without a volume', () => {
  const need = (volumes: Record<string, string | undefined>, otherwise?: 'local'): ClaimNeed => ({
    bytes: 2 ** 30,
    volumes: Object.entries(volumes).map(([name, on]) => ({
      name,
      nodes: on === undefined ? on : nodeNameSelector(on),
    })),
    otherwise,
  })
  const withNeeds = (nodes: readonly Stored<Node>[], pods: readonly Stored<Pod>[], needs: ClaimNeed[]) => {
    const volumes = { nodes: [], needs, unbound: [], exclusive: [] }
    const given = new Map(pods.map(({ metadata }) => [metadata.uid, volumes]))
    const { placements, refusals } = place(snapshotOf(nodes), pods, 1, given)
    return {
      placed: placements.map(({ nodeName, promised }) => [nodeName, promised?.join()]).sort(),
      refused: refusals.map(({ message }) => message),
    }
  }
  const nodes = abc.map((name) => node(name))
  const bindRefusal = "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind."

  it('go where there is a free one, and share none', () => {
    const { placed, refused } = withNeeds(nodes, replicas(3, {}), [need({ 'on-a': 'a', 'on-b': 'b' })])
    expect(placed).toEqual([
      ['a', 'on-a'],
      ['b', 'on-b'],
    ])
    expect(refused).toEqual([bindRefusal])
  })

  it.each([undefined, 'ScheduleAnyway' as const])(
    'share none that all nodes can use (spread %s)',
    (whenUnsatisfiable) => {
      const topologyKey = 'kubernetes.io/hostname'
      const spec = whenUnsatisfiable && {
        topologySpreadConstraints: [{ maxSkew: 1, topologyKey, whenUnsatisfiable, labelSelector: {} }],
      }
      const { placed, refused } = withNeeds(nodes, replicas(3, { ...(spec && { spec }) }), [
        need({ anywhere: undefined }),
      ])
      expect(placed.map(([, name]) => name)).toEqual(['anywhere'])
      expect(refused).toEqual([bindRefusal, bindRefusal])
    },
  )

  it('of one pod are all served, or it does not go there', () => {
    const volumes = { 'on-a': 'a', 'on-b': 'b', 'on-b-too': 'b' }
    const { placed } = withNeeds(nodes, replicas(1, {}), [need(volumes), need(volumes)])
    expect(placed).toEqual([['b', 'on-b,on-b-too']])
  })

  it('are made where there is room on the disk, and need none of it where a free one is', () => {
    const disks = abc.map((name) => {
      const made = node(name, { spec: { unschedulable: name === 'c' } })
      const allocatable = { ...made.status?.allocatable, 'ephemeral-storage': name === 'a' ? '1Gi' : '1Mi' }
      return { ...made, status: { ...made.status, allocatable } }
    })
    const { placed, refused } = withNeeds(disks, replicas(3, {}), [need({ 'on-b': 'b' }, 'local')])
    expect(placed).toEqual([
      ['a', undefined],
      ['b', 'on-b'],
    ])
    expect(refused).toEqual(['0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient storage.'])
  })
})
