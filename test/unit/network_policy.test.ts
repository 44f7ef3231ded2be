/** Network policies without a kernel: what the API takes, what each node is told, and the rules made of it. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { mergePorts, outermost, planPolicies, ruleTexts } from '../../src/agent/network/plan_policies.ts'
import type { LabelSelector } from '../../src/api/meta.ts'
import { namespaceKind } from '../../src/api/namespace.ts'
import { type NetworkPolicy, networkPolicyKind } from '../../src/api/networkpolicy.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { PolicyTables } from '../../src/dispatch/policy_tables.ts'
import type { RowTable } from '../../src/dispatch/row_table.ts'
import { parseJson } from '../../src/rpc/messages.ts'
import type { PolicyTableRow } from '../../src/rpc/tables.ts'
import { runResources } from '../support/resources.ts'

const spec = (value: NonNullable<NetworkPolicy['spec']>, name = 'p', namespace = 'default'): NetworkPolicy => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace },
  spec: value,
})

describe('what the API takes', () => {
  const errors = (value: NonNullable<NetworkPolicy['spec']>) => {
    const policy = spec(value)
    networkPolicyKind.applyDefaults(policy)
    return networkPolicyKind.validate(policy).map(({ path }) => path)
  }

  it.each([
    [{ egress: [{ to: [] }] }, ['Ingress', 'Egress']],
    [{ ingress: [] }, ['Ingress']],
    [{}, ['Ingress']],
    [{ policyTypes: ['Egress' as const] }, ['Egress']],
  ])('takes %j to isolate %j', (value, types) => {
    const policy = spec(value)
    networkPolicyKind.applyDefaults(policy)
    expect(policy.spec?.policyTypes).toEqual(types)
  })

  it('names the field that is wrong', () => {
    expect(errors({ ingress: [{ from: [{}] }] })).toEqual(['spec.ingress[0].from[0]'])
    expect(errors({ ingress: [{ from: [{ podSelector: {}, ipBlock: { cidr: '10.0.0.0/8' } }] }] })).toEqual([
      'spec.ingress[0].from[0]',
    ])
    expect(errors({ egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0' } }] }] })).toEqual([
      'spec.egress[0].to[0].ipBlock.cidr',
    ])
    const except = ['10.1.0.0/16', '11.0.0.0/16', '10.0.0.0/8', 'x']
    expect(errors({ egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/8', except } }] }] })).toEqual(
      [1, 2, 3].map((index) => `spec.egress[0].to[0].ipBlock.except[${index}]`),
    )
    expect(
      errors({ ingress: [{ ports: [{ endPort: 9 }, { port: 'a', endPort: 9 }, { port: 9, endPort: 8 }] }] }),
    ).toEqual([0, 1, 2].map((index) => `spec.ingress[0].ports[${index}].endPort`))
    expect(errors({ ingress: [{ ports: [{ port: 'no_name' }, { port: 'http' }] }] })).toEqual([
      'spec.ingress[0].ports[0].port',
    ])
  })
})

describe('rules', () => {
  it('keeps apart nobody, everybody, and peers of another family', () => {
    expect(ruleTexts({}, 'ingress')).toEqual(['return'])
    expect(ruleTexts({ peers: [] }, 'ingress')).toEqual([])
    expect(ruleTexts({ peers: [{ cidr: '0.0.0.0/0', except: [] }] }, 'egress')).toEqual(['return'])
    expect(ruleTexts({ peers: [{ cidr: '::/0', except: [] }] }, 'egress')).toEqual([])
    expect(
      ruleTexts({ peers: [{ cidr: '10.0.0.0/8', except: ['10.1.0.0/16', '10.1.2.0/24', '10.9.0.0/16'] }] }, 'egress'),
    ).toEqual(['ip daddr 10.0.0.0/8 ip daddr != { 10.1.0.0/16, 10.9.0.0/16 } return'])
  })

  it('gives one rule a protocol, with ranges that overlap as one', () => {
    const ports = [
      { protocol: 'TCP' as const, from: 80, to: 90 },
      { protocol: 'TCP' as const, from: 85, to: 95 },
      { protocol: 'TCP' as const, from: 443, to: 443 },
      { protocol: 'UDP' as const },
      { protocol: 'SCTP' as const, named: 'ports-0123456789ab' },
    ]
    expect(ruleTexts({ ports }, 'ingress')).toEqual([
      'tcp dport { 80-95, 443 } return',
      'meta l4proto udp return',
      'ip daddr . meta l4proto . th dport @ports-0123456789ab return',
    ])
  })

  it('never lets nft see what it would refuse', () => {
    const rows: PolicyTableRow[] = [
      { type: 'pod', podUid: 'u', ingress: ['default/p'] },
      {
        type: 'policy',
        key: 'default/p',
        ingress: [{ peers: [{ set: 'peers-0; flush ruleset' }, { set: 'peers-0a' }] }],
        egress: [],
      },
      { type: 'member', set: 'peers-0a', element: 'fd00::1' },
      { type: 'member', set: 'peers-0a', element: '10.0.0.1' },
    ]
    const plan = planPolicies(rows, () => '10.244.0.2')
    expect([...plan.members]).toEqual([['peers-0a', new Set(['10.0.0.1'])]])
    expect([...plan.chains.values()].flat().map(({ text }) => text)).toEqual(['ip saddr @peers-0a return', 'goto deny'])
    expect(plan.problems).toHaveLength(1)
  })

  it('merges ranges and drops those inside others without changing what they cover', () => {
    const range = fc
      .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 9 }))
      .map(([from, more]) => ({ from, to: from + more }))
    fc.assert(
      fc.property(fc.array(range), (ranges) => {
        const merged = mergePorts(ranges)
        for (let port = 1; port <= 50; port++) {
          const within = (list: typeof ranges) => list.some(({ from, to }) => from <= port && port <= to)
          expect(within(merged)).toBe(within(ranges))
        }
        for (const [i, { from }] of merged.entries()) expect(from).toBeGreaterThan((merged[i - 1]?.to ?? -1) + 1)
      }),
    )
    expect(outermost(['10.1.2.0/24', '10.1.0.0/16', '10.1.0.0/16', '10.2.0.0/16'])).toEqual([
      '10.1.0.0/16',
      '10.2.0.0/16',
    ])
  })
})

const NAMES = ['a', 'b', 'c', 'd']
const NODES = ['n1', 'n2']
const label = fc.constantFrom({ app: 'web' }, { app: 'db' }, { app: 'db', tier: 'x' })
const selector = fc.constantFrom<LabelSelector>(
  {},
  { matchLabels: { app: 'web' } },
  { matchLabels: { app: 'db' } },
  { matchLabels: { tier: 'x' } },
)
const peer = fc.oneof(
  selector.map((podSelector) => ({ podSelector })),
  selector.map((namespaceSelector) => ({ namespaceSelector })),
  fc.tuple(selector, selector).map(([podSelector, namespaceSelector]) => ({ podSelector, namespaceSelector })),
  fc.constant({ ipBlock: { cidr: '10.0.0.0/8' } }),
)
const port = fc.constantFrom({ port: 80 }, { port: 'http' }, { protocol: 'UDP' as const })
const policySpec = fc.record({
  podSelector: selector,
  ingress: fc.array(fc.record({ from: fc.array(peer, { maxLength: 2 }), ports: fc.array(port, { maxLength: 2 }) }), {
    maxLength: 2,
  }),
  egress: fc.array(fc.record({ to: fc.array(peer, { maxLength: 2 }) }), { maxLength: 1 }),
  policyTypes: fc.constantFrom<('Ingress' | 'Egress')[]>(['Ingress'], ['Ingress', 'Egress'], ['Egress']),
})
const namespace = fc.constantFrom('default', 'other')
const action = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('pod' as const),
      name: fc.constantFrom(...NAMES),
      namespace,
      labels: label,
      node: fc.constantFrom(...NODES),
      ip: fc.constantFrom('', '10.0.0.1', '10.0.0.2'),
      phase: fc.constantFrom('Running' as const, 'Succeeded' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('noPod' as const), name: fc.constantFrom(...NAMES), namespace }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('policy' as const),
      name: fc.constantFrom('p', 'q'),
      namespace,
      spec: policySpec,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('noPolicy' as const), name: fc.constantFrom('p', 'q'), namespace }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('namespace' as const), namespace, labels: label }) },
)

function rowsOf(table: RowTable): Record<string, PolicyTableRow> {
  const { changes } = table.complete()
  return Object.fromEntries(changes.map(({ key, json }) => [key, parseJson(json, key) as PolicyTableRow]).sort())
}

describe('what a node is told', () => {
  it('is, after any changes, what a new session would be told, and nothing that is not referred to', {
    timeout: 600_000,
  }, async () => {
    const numRuns = process.env.DROVER_LONG === '1' ? 10_000 : 150
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 10, maxLength: 40 }), async (actions) => {
        const { resources, stop } = await runResources()
        try {
          await resources.create(namespaceKind, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'other' } })
          const live = new PolicyTables(resources)
          live.subscribe()
          const tables = NODES.map((node) => live.open(node, () => undefined))
          for (const step of actions) await act(resources, step)
          await resources.waitForRevision(await resources.currentRevision(), 5_000)
          const fresh = new PolicyTables(resources)
          fresh.subscribe()
          for (const [i, node] of NODES.entries()) {
            const table = tables[i]
            if (table === undefined) throw new Error('no table')
            const rows = rowsOf(table)
            expect(rows).toEqual(rowsOf(fresh.open(node, () => undefined)))
            const text = JSON.stringify(Object.values(rows).filter(({ type }) => type === 'policy'))
            for (const row of Object.values(rows)) if (row.type === 'member') expect(text).toContain(row.set)
          }
        } finally {
          await stop()
        }
      }),
      { numRuns },
    )
  })
})

type Resources = Awaited<ReturnType<typeof runResources>>['resources']
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never

async function act(resources: Resources, step: Action): Promise<void> {
  const gone = { uid: '' }
  switch (step.do) {
    case 'pod': {
      await resources.delete(podKind, step.namespace, step.name, { gracePeriodSeconds: 0 }).catch(() => gone)
      await resources.create(podKind, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: step.name, namespace: step.namespace, labels: step.labels },
        spec: { containers: [{ name: 'c', image: 'i', ports: [{ name: 'http', containerPort: 8080 }] }] },
      })
      await resources.modify(podKind, step.namespace, step.name, 'all', (pod) => ({
        ...pod,
        spec: { ...pod.spec, nodeName: step.node },
        status: { ...pod.status, phase: step.phase, ...(step.ip === '' ? {} : { podIP: step.ip }) },
      }))
      return
    }
    case 'noPod':
      await resources.delete(podKind, step.namespace, step.name, { gracePeriodSeconds: 0 }).catch(() => gone)
      return
    case 'policy':
      await resources.delete(networkPolicyKind, step.namespace, step.name).catch(() => gone)
      await resources.create(networkPolicyKind, spec(step.spec, step.name, step.namespace))
      return
    case 'noPolicy':
      await resources.delete(networkPolicyKind, step.namespace, step.name).catch(() => gone)
      return
    case 'namespace':
      await resources.modify(namespaceKind, '', step.namespace, 'main', (object) => ({
        ...object,
        metadata: { ...object.metadata, labels: step.labels },
      }))
  }
}
