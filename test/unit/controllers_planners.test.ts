/** Planners of ReplicaSets, EndpointSlices, nodes and garbage: tables, and properties where there is a promise. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { EndpointSlice } from '../../src/api/endpointslice.ts'
import type { KubeObject, OwnerReference, Stored } from '../../src/api/meta.ts'
import type { Node, Taint } from '../../src/api/node.ts'
import type { Pod, Toleration } from '../../src/api/pod.ts'
import type { ReplicaSet } from '../../src/api/replicaset.ts'
import type { Service } from '../../src/api/service.ts'
import { parseCidr } from '../../src/base/cidr.ts'
import { planClaim } from '../../src/controllers/common/owners.ts'
import { changesCounts, countReplicas } from '../../src/controllers/common/pods.ts'
import { planSlices, type SlicePlan } from '../../src/controllers/endpointslice/plan.ts'
import { type OwnerState, planDependent, planOwner } from '../../src/controllers/garbage/plan.ts'
import { planPodCidrs } from '../../src/controllers/node/ipam.ts'
import { clusterSeenBy, evictAtMs, isMassFailure, planNode, planTaints } from '../../src/controllers/node/plan.ts'
import { planPodGarbage } from '../../src/controllers/podgc/plan.ts'
import { MAX_IN_FLIGHT, planReplicaSet, planStatus } from '../../src/controllers/replicaset/plan.ts'
import { SelectorIndex } from '../../src/resources/selector_index.ts'

const NOW_MS = Date.parse('2026-01-01T12:00:00Z')
const meta = (name: string) => ({
  name,
  namespace: 'default',
  uid: `uid-${name}`,
  resourceVersion: '1',
  creationTimestamp: '2026-01-01T00:00:00Z',
})

interface PodFacts {
  node?: string
  phase?: 'Pending' | 'Running' | 'Failed' | 'Succeeded'
  ready?: boolean
  readySince?: string
  created?: string
  deleting?: string
  ip?: string
  labels?: Record<string, string>
  tolerations?: Toleration[]
  port?: number
  annotations?: Record<string, string>
}

/** Some node does not route to it yet. */
function unrouted(given: Stored<Pod>): Stored<Pod> {
  given.status?.conditions?.push({ type: 'drover.dev/Routed', status: 'False' })
  return given
}

function pod(name: string, facts: PodFacts = {}): Stored<Pod> {
  const { node = 'n1', phase = 'Running', ready = true, readySince = '2026-01-01T01:00:00Z', ip, port } = facts
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...meta(name),
      labels: facts.labels ?? { app: 'web' },
      ...(facts.created !== undefined && { creationTimestamp: facts.created }),
      ...(facts.deleting !== undefined && { deletionTimestamp: facts.deleting }),
      ...(facts.annotations !== undefined && { annotations: facts.annotations }),
    },
    spec: {
      containers: [
        {
          name: 'main',
          image: 'web:1',
          ...(port !== undefined && { ports: [{ name: 'http', containerPort: port, protocol: 'TCP' as const }] }),
        },
      ],
      ...(node !== '' && { nodeName: node }),
      ...(facts.tolerations !== undefined && { tolerations: facts.tolerations }),
    },
    status: {
      phase,
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: readySince }],
      ...(ip !== undefined && { podIP: ip, podIPs: [{ ip }] }),
    },
  }
}

function set(replicas: number, spec: Partial<ReplicaSet['spec']> = {}): Stored<ReplicaSet> {
  const template = { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'main', image: 'web:1' }] } }
  return {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: { ...meta('set'), generation: 4 },
    spec: { replicas, selector: { matchLabels: { app: 'web' } }, template, ...spec },
    status: {},
  }
}

const NOW = Date.parse('2026-01-01T12:00:00Z')
const names = (objects: readonly Stored<KubeObject>[]): string[] => objects.map((object) => object.metadata.name)

describe('replica set', () => {
  const none = new Map<string, number>()
  const deleted = (replicas: number, pods: Stored<Pod>[], podsPerNode: ReadonlyMap<string, number> = none) =>
    names(planReplicaSet({ replicaSet: set(replicas), pods, podsPerNode, nowMs: NOW }).delete)

  it('makes what is missing; finished and terminating pods are missing', () => {
    const pods = [pod('a'), pod('b', { phase: 'Failed' }), pod('c', { deleting: '2026-01-01T12:00:00Z' })]
    expect(planReplicaSet({ replicaSet: set(3), pods, podsPerNode: none, nowMs: NOW })).toEqual({
      create: 2,
      delete: [],
      drain: [],
      more: false,
    })
  })

  it('bounds one pass', () => {
    const plan = planReplicaSet({ replicaSet: set(2000), pods: [], podsPerNode: none, nowMs: NOW })
    expect([plan.create, plan.more]).toEqual([MAX_IN_FLIGHT, true])
  })

  describe('on a node that is drained', () => {
    const drainingNodes = new Set(['n1'])
    const onDrain = (replicas: number, pods: Stored<Pod>[], spec: Partial<ReplicaSet['spec']> = {}) => {
      const replicaSet = set(replicas, spec)
      const plan = planReplicaSet({ replicaSet, pods, podsPerNode: none, drainingNodes, nowMs: NOW })
      return [plan.create, names([...plan.delete, ...plan.drain])]
    }
    const routing = unrouted(pod('b', { node: 'n2' }))

    it.each<[string, number, Stored<Pod>[], [number, string[]]]>([
      ['a pod is replaced before it goes', 1, [pod('a')], [1, []]],
      ['it stays while its replacement starts', 1, [pod('a'), pod('b', { node: 'n2', ready: false })], [0, []]],
      ['and while not every node routes to it', 1, [pod('a'), routing], [0, []]],
      ['it goes when its replacement serves', 1, [pod('a'), pod('b', { node: 'n2' })], [0, ['a']]],
      ['one that does not serve goes at once', 2, [pod('a', { ready: false }), pod('b', { node: 'n2' })], [1, ['a']]],
      [
        'only as many go as others serve',
        3,
        [
          pod('a'),
          pod('b'),
          pod('c', { node: 'n2' }),
          pod('d', { node: 'n2' }),
          pod('e', { node: 'n3', ready: false }),
        ],
        [0, ['b']],
      ],
      ['a set of none keeps none', 0, [pod('a')], [0, ['a']]],
      [
        'a set that shrinks meanwhile gives up those that would stay last',
        1,
        [pod('a'), pod('b', { node: 'n2' }), pod('c', { node: 'n3', ready: false })],
        [0, ['c', 'a']],
      ],
    ])('%s', (_title, replicas, pods, expected) => {
      expect(onDrain(replicas, pods)).toEqual(expected)
    })

    it('waits until a replacement has been ready for long enough', () => {
      const fresh = pod('b', { node: 'n2', readySince: new Date(NOW - 1_000).toISOString() })
      expect(onDrain(1, [pod('a'), fresh], { minReadySeconds: 5 })).toEqual([0, []])
    })
  })

  it('does nothing while it is being deleted', () => {
    const ending = { ...set(3), metadata: { ...meta('set'), deletionTimestamp: '2026-01-01T12:00:00Z' } }
    expect(planReplicaSet({ replicaSet: ending, pods: [], podsPerNode: none, nowMs: NOW }).create).toBe(0)
  })

  it.each<[string, string[], Stored<Pod>[]]>([
    ['unbound first', ['b'], [pod('a', { phase: 'Pending' }), pod('b', { node: '', phase: 'Pending' })]],
    ['then pending', ['b'], [pod('a', { ready: false }), pod('b', { phase: 'Pending' })]],
    ['then not ready', ['b'], [unrouted(pod('a')), pod('b', { ready: false })]],
    ['then not routed', ['b'], [pod('a', { readySince: '2026-01-01T02:00:00Z' }), unrouted(pod('b'))]],
    ['then the later ready', ['b'], [pod('a'), pod('b', { readySince: '2026-01-01T02:00:00Z' })]],
    ['then the younger', ['b'], [pod('a'), pod('b', { created: '2026-01-01T00:00:01Z' })]],
    [
      'cheap ones before dear ones',
      ['b'],
      [pod('a', { annotations: { 'controller.kubernetes.io/pod-deletion-cost': '10' } }), pod('b')],
    ],
  ])('gives up %s', (_name, expected, pods) => {
    expect(deleted(1, pods)).toEqual(expected)
    expect(deleted(1, pods.toReversed())).toEqual(expected)
  })

  it('stays spread when it shrinks', () => {
    const pods = ['a1', 'a2', 'a3', 'b1', 'b2', 'c1'].map((name) => pod(name, { node: name.slice(0, 1) }))
    const perNode = new Map([
      ['a', 3],
      ['b', 2],
      ['c', 1],
    ])
    expect(
      deleted(3, pods, perNode)
        .map((name) => name.slice(0, 1))
        .sort(),
    ).toEqual(['a', 'a', 'b'])
  })

  it('counts a pod as available when it was ready for long enough, and knows when that will be', () => {
    const pods = [pod('a'), pod('b', { readySince: '2026-01-01T11:59:50Z' }), pod('c', { ready: false })]
    const { status, againAfterMs } = planStatus({
      replicaSet: set(3, { minReadySeconds: 30 }),
      pods,
      nowMs: NOW_MS,
    })
    expect(status).toMatchObject({ replicas: 3, readyReplicas: 2, availableReplicas: 1, observedGeneration: 4 })
    expect(againAfterMs).toBe(20_000)
  })

  it('does not count a pod that some live node does not route to', () => {
    const unrouted = pod('a')
    unrouted.status?.conditions?.push({ type: 'drover.dev/Routed', status: 'False' })
    const { status } = planStatus({ replicaSet: set(1), pods: [unrouted], nowMs: NOW_MS })
    expect([status.readyReplicas, status.availableReplicas]).toEqual([1, 0])
  })

  it('has the same counts before and after a change that is said to move none', () => {
    const facts = fc.record({
      phase: fc.constantFrom('Pending' as const, 'Running' as const, 'Failed' as const, 'Succeeded' as const),
      ready: fc.boolean(),
      readySince: fc.constantFrom('2026-01-01T11:59:50Z', '2026-01-01T11:00:00Z'),
      ending: fc.boolean(),
      routed: fc.boolean(),
    })
    const made = facts.map(({ ending, routed, ...rest }) => {
      const given = pod('a', { ...rest, ...(ending && { deleting: '2026-01-01T12:00:00Z' }) })
      return routed ? given : unrouted(given)
    })
    fc.assert(
      fc.property(made, made, fc.constantFrom(0, 30), (old, next, minReadySeconds) => {
        if (changesCounts(old, next)) return
        const [before, after] = [old, next].map((each) => countReplicas([each], minReadySeconds, NOW_MS))
        expect(after).toEqual(before)
      }),
      { numRuns: 500 },
    )
  })

  it('claims what matches and is free, and releases what no longer matches', () => {
    const owner = set(1)
    const reference = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'set', uid: owner.metadata.uid }
    const owned = (name: string, labels: Record<string, string>): Stored<Pod> => {
      const made = pod(name, { labels })
      made.metadata.ownerReferences = [{ ...reference, controller: true }]
      return made
    }
    const claim = planClaim({
      owner,
      selector: owner.spec.selector,
      owned: [owned('mine', { app: 'web' }), owned('strayed', { app: 'x' })],
      orphans: [pod('free'), pod('other', { labels: { app: 'x' } }), pod('ending', { deleting: 'now' })],
    })
    expect([names(claim.mine), names(claim.release), names(claim.adopt)]).toEqual([['mine'], ['strayed'], ['free']])
  })
})

describe('endpoint slices', () => {
  const service = (spec: Partial<Service['spec']> = {}): Stored<Service> => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: meta('web'),
    spec: {
      clusterIP: '10.96.0.1',
      selector: { app: 'web' },
      ports: [{ name: 'http', port: 80, targetPort: 'http', protocol: 'TCP' }],
      ...spec,
    },
  })
  let serial = 0
  const apply = (slices: readonly Stored<EndpointSlice>[], plan: SlicePlan): Stored<EndpointSlice>[] => {
    const kept = slices
      .filter((slice) => !plan.delete.includes(slice))
      .map((slice) => ({ ...slice, ...plan.update.find((update) => update.slice === slice)?.content }))
    const made = plan.create.map((content) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: meta(`slice-${serial++}`),
      ...content,
    }))
    return [...kept, ...made]
  }
  const plan = (pods: readonly Stored<Pod>[], slices: readonly Stored<EndpointSlice>[] = [], of = service()) =>
    planSlices({ service: of, pods, slices, zoneOf: () => undefined })
  const web = (name: string, facts: PodFacts = {}): Stored<Pod> =>
    pod(name, { ip: `10.244.1.${name.length}`, port: 8080, ...facts })

  it('resolves named ports for each pod, and groups pods that differ', () => {
    const { create } = plan([web('a'), web('b', { port: 9090 }), web('c')])
    expect(create.map(({ ports, endpoints }) => [ports[0]?.port, endpoints.length])).toEqual([
      [8080, 2],
      [9090, 1],
    ])
  })

  it('says of each endpoint whether it is ready, serving, terminating', () => {
    const pods = [web('a'), web('b', { ready: false }), web('c', { deleting: '2026-01-01T12:00:00Z' })]
    expect(plan(pods).create[0]?.endpoints.map(({ conditions }) => conditions)).toEqual([
      { ready: true, serving: true, terminating: false },
      { ready: false, serving: false, terminating: false },
      { ready: false, serving: true, terminating: true },
    ])
    const published = plan(pods, [], service({ publishNotReadyAddresses: true }))
    expect(published.create[0]?.endpoints.every(({ conditions }) => conditions?.ready === true)).toBe(true)
  })

  it('leaves out pods without an address, of the other family, and finished ones', () => {
    const pods = [pod('none', { port: 8080 }), web('six', { ip: 'fd00::1' }), web('done', { phase: 'Succeeded' })]
    expect(plan(pods).create).toEqual([])
    const dual = plan(pods, [], service({ ipFamilies: ['IPv4', 'IPv6'] }))
    expect(dual.create.map(({ addressType }) => addressType)).toEqual(['IPv6'])
  })

  it('rewrites only the slice that a change touches', () => {
    const pods = Array.from({ length: 250 }, (_, index) => web(`p${String(index).padStart(3, '0')}`))
    const slices = apply([], plan(pods))
    expect(slices.map((slice) => slice.endpoints?.length)).toEqual([100, 100, 50])
    expect(plan(pods, slices)).toEqual({ create: [], update: [], delete: [] })
    const changed = pods.map((each) => (each.metadata.name === 'p150' ? web('p150', { ready: false }) : each))
    const next = plan(changed, slices)
    expect(next.update.map(({ slice }) => slice)).toEqual([slices[1]])
    const fewer = plan(
      pods.filter((each) => each.metadata.name !== 'p000'),
      slices,
    )
    expect(fewer.update.map(({ slice, content }) => [slice, content.endpoints.length])).toEqual([[slices[0], 99]])
  })

  it('ends with every pod listed once, in as few passes as one, whatever was there before', () => {
    const anyPods = fc.array(fc.record({ name: fc.nat(300), ready: fc.boolean(), port: fc.constantFrom(80, 81) }))
    fc.assert(
      fc.property(fc.array(anyPods, { minLength: 1, maxLength: 5 }), (history) => {
        let slices: Stored<EndpointSlice>[] = []
        for (const facts of history) {
          const unique = [...new Map(facts.map((fact) => [fact.name, fact])).values()]
          const pods = unique.map(({ name, ready, port }) => web(`p${name}`, { ready, port }))
          slices = apply(slices, plan(pods, slices))
          const listed = slices.flatMap((slice) => slice.endpoints ?? []).map(({ targetRef }) => targetRef?.name)
          expect(listed.sort()).toEqual(names(pods).sort())
          expect(slices.every((slice) => (slice.endpoints ?? []).length <= 100)).toBe(true)
          expect(plan(pods, slices)).toEqual({ create: [], update: [], delete: [] })
        }
      }),
      { numRuns: 100 },
    )
  })

  it('finds the services of a pod by its labels', () => {
    const index = new SelectorIndex()
    index.put('ns', 'ns/web', { app: 'web', tier: 'front' })
    index.put('ns', 'ns/all', { app: 'web' })
    index.put('other', 'other/web', { app: 'web' })
    expect(index.matching('ns', { app: 'web', tier: 'front' }).sort()).toEqual(['ns/all', 'ns/web'])
    expect(index.matching('ns', { app: 'web' })).toEqual(['ns/all'])
    index.put('ns', 'ns/all', { app: 'db' })
    expect(index.matching('ns', { app: 'web' })).toEqual([])
    index.remove('ns/all')
    expect(index.matching('ns', { app: 'db' })).toEqual([])
  })
})

function node(name: string, ready: 'True' | 'False' | 'Unknown', taints: Taint[] = [], podCIDR?: string): Stored<Node> {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: meta(name),
    spec: { taints, ...(podCIDR !== undefined && { podCIDR }) },
    status: { conditions: [{ type: 'Ready', status: ready }] },
  }
}

describe('node ranges', () => {
  it('are unique, lowest first, and never change', () => {
    const nodes = [node('c', 'True'), node('a', 'True', [], '10.0.1.0/24'), node('b', 'True')]
    const plan = planPodCidrs(nodes, parseCidr('10.0.0.0/22'), 24)
    expect(plan.assign.map(({ node: { metadata }, cidr }) => [metadata.name, cidr])).toEqual([
      ['b', '10.0.0.0/24'],
      ['c', '10.0.2.0/24'],
    ])
  })

  it('step around ranges of another size', () => {
    const plan = planPodCidrs([node('a', 'True', [], '10.0.0.0/23'), node('b', 'True')], parseCidr('10.0.0.0/22'), 24)
    expect(plan.assign.map(({ cidr }) => cidr)).toEqual(['10.0.2.0/24'])
  })

  it('run out', () => {
    const nodes = ['a', 'b', 'c'].map((name) => node(name, 'True'))
    const plan = planPodCidrs(nodes, parseCidr('10.0.0.0/23'), 24)
    expect([plan.assign.length, names(plan.exhausted)]).toEqual([2, ['c']])
  })
})

describe('node health', () => {
  const noExecute: Taint = {
    key: 'node.kubernetes.io/unreachable',
    effect: 'NoExecute',
    timeAdded: '2026-01-01T11:59:00Z',
  }

  it.each<['True' | 'False' | 'Unknown', string[]]>([
    ['True', []],
    ['False', ['node.kubernetes.io/not-ready:NoSchedule', 'node.kubernetes.io/not-ready:NoExecute']],
    ['Unknown', ['node.kubernetes.io/unreachable:NoSchedule', 'node.kubernetes.io/unreachable:NoExecute']],
  ])('Ready=%s means taints %j', (ready, expected) => {
    const taints = planTaints(node('a', ready), NOW_MS)
    expect(taints.map(({ key, effect }) => `${key}:${effect}`)).toEqual(expected)
    expect(planTaints(node('a', ready, [...taints]), NOW_MS + 5000)).toEqual(taints)
  })

  it('a node that runs short takes no new pods, and takes them again when it has enough', () => {
    const healthy = node('a', 'True')
    const condition = (type: string, status: 'True' | 'False') => ({
      type,
      status,
      lastTransitionTime: '2026-01-01T00:00:00Z',
    })
    const withConditions = (taints: readonly Taint[], memory: 'True' | 'False', disk: 'True' | 'False'): Node => ({
      ...healthy,
      spec: { taints: [...taints] },
      status: {
        ...healthy.status,
        conditions: [
          ...(healthy.status?.conditions ?? []),
          condition('MemoryPressure', memory),
          condition('DiskPressure', disk),
        ],
      },
    })
    const short = planTaints(withConditions([], 'True', 'True'), NOW_MS)
    expect(short).toEqual([
      { key: 'node.kubernetes.io/memory-pressure', effect: 'NoSchedule' },
      { key: 'node.kubernetes.io/disk-pressure', effect: 'NoSchedule' },
    ])
    expect(planTaints(withConditions(short, 'True', 'True'), NOW_MS)).toEqual(short)
    expect(planTaints(withConditions(short, 'False', 'True'), NOW_MS)).toEqual(short.slice(1))
  })

  it("leaves users' taints alone and notes when NoExecute came", () => {
    const own: Taint[] = [{ key: 'mine', effect: 'NoSchedule' }, { key: 'out', effect: 'NoExecute' }, noExecute]
    expect(planTaints(node('a', 'True', own), NOW_MS)).toEqual([
      { key: 'mine', effect: 'NoSchedule' },
      { key: 'out', effect: 'NoExecute', timeAdded: '2026-01-01T12:00:00Z' },
    ])
  })

  it.each<[string, Toleration[], number | undefined]>([
    ['no toleration', [], 0],
    ['another key', [{ key: 'x', operator: 'Exists' }], 0],
    ['for ever', [{ key: noExecute.key, operator: 'Exists' }], undefined],
    ['everything', [{ operator: 'Exists' }], undefined],
    [
      'for a while',
      [{ key: noExecute.key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 90 }],
      NOW_MS + 30_000,
    ],
    [
      'the shorter of two',
      [
        { key: noExecute.key, operator: 'Exists', tolerationSeconds: 300 },
        { operator: 'Exists', tolerationSeconds: 70 },
      ],
      NOW_MS + 10_000,
    ],
  ])('eviction with %s', (_name, tolerations, expected) => {
    expect(evictAtMs(pod('p', { tolerations }), [noExecute])).toBe(expected)
  })

  it('gives a pod that came after the taint its whole time', () => {
    const tolerations: Toleration[] = [{ operator: 'Exists', tolerationSeconds: 30 }]
    const made = pod('p', { tolerations, created: '2026-01-01T11:59:58Z' })
    expect(evictAtMs(made, [noExecute])).toBe(NOW_MS + 28_000)
    const lastTransitionTime = '2026-01-01T12:00:00Z'
    made.status?.conditions?.push({ type: 'PodScheduled', status: 'True', lastTransitionTime })
    expect(evictAtMs(made, [noExecute])).toBe(NOW_MS + 30_000)
  })

  it.each<[number, number, number, boolean]>([
    [1, 1, 1, true],
    [2, 1, 1, false],
    [2, 2, 1, true],
    [3, 2, 2, true],
    [3, 2, 1, false],
    [3, 3, 3, true],
    [5, 3, 3, true],
    [10, 5, 5, false],
    [10, 6, 6, true],
    [10, 6, 5, false],
  ])('%i nodes, %i unready, %i of them together: mass failure %s', (nodes, unready, together, expected) => {
    expect(isMassFailure({ nodes, unready, together, late: 0 })).toBe(expected)
  })

  it('counts as lost together what was lost within minutes, and what never was ready not at all', () => {
    const at = (name: string, status: 'True' | 'Unknown', time: string): Stored<Node> => ({
      ...node(name, status),
      status: { conditions: [{ type: 'Ready', status, lastTransitionTime: time }] },
    })
    const own = at('a', 'Unknown', '2026-01-01T12:00:00Z')
    const late = at('d', 'True', '2026-01-01T09:00:00Z')
    late.status?.conditions?.push({ type: 'drover.dev/Late', status: 'True' })
    const nodes = [
      own,
      at('b', 'Unknown', '2026-01-01T12:00:03Z'),
      at('c', 'Unknown', '2026-01-01T10:00:00Z'),
      late,
      { ...node('e', 'True'), status: {} },
    ]
    const nowMs = Date.parse('2026-01-01T12:00:08Z')
    expect(clusterSeenBy(own, nodes, nowMs)).toEqual({ nodes: 5, unready: 4, together: 2, late: 1 })
    // One that was lost with it and is back says that it may be back soon too; one that came before says nothing.
    const back = at('f', 'True', '2026-01-01T12:00:05Z')
    const before = at('g', 'True', '2026-01-01T11:59:58Z')
    expect(clusterSeenBy(own, [own, back, before], nowMs).late).toBe(1)
    expect(clusterSeenBy(own, [own, back, before], nowMs + 10_000).late).toBe(0)
  })

  it('waits for late nodes where they would decide', () => {
    const of = (late: number) =>
      planNode({ ...base, cluster: { nodes: 4, unready: 1, together: 1, late }, pods: [pod('p')] })
    expect([of(1).evict.length, of(1).againAfterMs]).toEqual([1, undefined])
    expect([of(2).evict.length, of(2).heldBack]).toEqual([0, 0])
    expect(of(2).againAfterMs).toBeGreaterThan(0)
  })

  const lost = node('a', 'Unknown')
  const base = {
    node: lost,
    cluster: { nodes: 3, unready: 1, together: 1, late: 0 },
    evictionDelayMs: 0,
    nowMs: NOW_MS,
  }

  it('takes pods of a lost node out of traffic, and removes them by force, with their endpoints, if they may not stay', () => {
    const stays = { tolerations: [{ operator: 'Exists' as const }] }
    const staying = (made: Stored<Pod>): Stored<Pod> => ({ ...made, spec: { ...made.spec, ...stays } })
    const quiet = staying(pod('quiet', { ready: false }))
    const plan = planNode({ ...base, pods: [pod('p'), pod('q', { ready: false }), staying(pod('stays')), quiet] })
    expect(names(plan.markNotReady)).toEqual(['stays'])
    expect(plan.evict.map(({ pod: { metadata }, force }) => [metadata.name, force])).toEqual([
      ['p', true],
      ['q', true],
    ])
  })

  it('lets Ready follow the containers again when the node is back', () => {
    const marked = (name: string, containersReady: 'True' | 'False', reason = 'NodeNotReady'): Stored<Pod> => {
      const made = pod(name)
      const conditions = [
        { type: 'Ready', status: 'False' as const, reason },
        { type: 'ContainersReady', status: containersReady },
      ]
      return { ...made, status: { ...made.status, conditions } }
    }
    const pods = [marked('back', 'True'), marked('broken', 'False'), marked('agents', 'True', 'ContainersNotReady')]
    expect(names(planNode({ ...base, node: node('a', 'True'), pods }).markReady)).toEqual(['back'])
    expect(planNode({ ...base, pods }).markReady).toEqual([])
  })

  it('gives pods of a node that answers their grace', () => {
    const plan = planNode({
      ...base,
      node: node('a', 'False'),
      pods: [pod('p'), pod('q', { deleting: '2026-01-01T12:00:30Z' })],
    })
    expect(plan.evict.map(({ pod: { metadata }, force }) => [metadata.name, force])).toEqual([['p', false]])
  })

  it('ends what was told to end on a lost node, at its deadline at the latest', () => {
    const tolerations: Toleration[] = [{ operator: 'Exists' }]
    const pods = [
      pod('due', { tolerations, deleting: '2026-01-01T11:59:59Z' }),
      pod('later', { tolerations, deleting: '2026-01-01T12:00:20Z' }),
      pod('stays', { tolerations }),
    ]
    const plan = planNode({ ...base, pods })
    expect(names(plan.evict.map(({ pod: evicted }) => evicted))).toEqual(['due'])
    expect(plan.againAfterMs).toBe(20_000)
  })

  it('waits for the eviction delay, counted from the taint', () => {
    const tainted = node('a', 'Unknown', [{ ...noExecute, timeAdded: '2026-01-01T11:59:55Z' }])
    const plan = planNode({ ...base, node: tainted, evictionDelayMs: 8_000, pods: [pod('p')] })
    expect([plan.evict.length, plan.againAfterMs]).toEqual([0, 3_000])
  })

  it('holds everything back when most nodes fail together', () => {
    const most = planNode({ ...base, cluster: { nodes: 5, unready: 3, together: 3, late: 0 }, pods: [pod('p')] })
    expect([most.evict.length, most.heldBack, most.markNotReady.length]).toEqual([0, 1, 1])
    const all = planNode({ ...base, cluster: { nodes: 3, unready: 3, together: 3, late: 0 }, pods: [pod('p')] })
    expect([all.evict.length, all.heldBack, all.markNotReady.length]).toEqual([0, 1, 0])
  })
})

describe('garbage', () => {
  const reference = (uid: string, blockOwnerDeletion = false): OwnerReference => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    name: uid,
    uid,
    blockOwnerDeletion,
  })
  const owned = (...uids: string[]): Stored<KubeObject> => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { ...meta('s'), ownerReferences: uids.map((uid) => reference(uid, true)) },
  })
  const state = ({ uid }: OwnerReference): OwnerState => uid.replace(/\d/, '') as OwnerState

  it.each<[string[], object]>([
    [[], { type: 'keep' }],
    [['present'], { type: 'keep' }],
    [['absent'], { type: 'delete', foreground: false }],
    [['absent1', 'absent2'], { type: 'delete', foreground: false }],
    [['absent', 'present'], { type: 'disown', uids: ['absent'] }],
    [['waiting', 'present'], { type: 'disown', uids: ['waiting'] }],
    [['waiting', 'absent'], { type: 'delete', foreground: true }],
  ])('owners %j: %j', (owners, expected) => {
    expect(planDependent(owned(...owners), state, true)).toEqual(expected)
  })

  it('waits under foreground deletion for dependents that block', () => {
    const owner = {
      ...owned(),
      metadata: { ...meta('o'), deletionTimestamp: 'now', finalizers: ['foregroundDeletion'] },
    }
    const blocking = owned(owner.metadata.uid)
    expect(planOwner(owner, [blocking])).toMatchObject({ type: 'foreground', blocked: true })
    const loose = { ...blocking, metadata: { ...meta('l'), ownerReferences: [reference(owner.metadata.uid)] } }
    expect(planOwner(owner, [loose])).toMatchObject({ type: 'foreground', blocked: false })
    expect(planOwner({ ...owner, metadata: { ...owner.metadata, finalizers: ['mine'] } }, [blocking])).toEqual({
      type: 'none',
    })
  })

  it('keeps the newest finished pods', () => {
    const pods = [3, 1, 2].map((second) =>
      pod(`p${second}`, { phase: 'Failed', created: `2026-01-01T00:00:0${second}Z` }),
    )
    expect(names(planPodGarbage([...pods, pod('running')], 1))).toEqual(['p1', 'p2'])
  })
})
