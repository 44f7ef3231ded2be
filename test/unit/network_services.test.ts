import { describe, expect, it } from 'vitest'
import { planServices } from '../../src/agent/network/plan_services.ts'
import { parseTable, planTable } from '../../src/agent/network/table.ts'
import type { ServiceEndpoint, ServiceRow } from '../../src/rpc/tables.ts'
import { CONFIG } from '../support/node_network_config.ts'

const LOCAL = { address: '10.244.1.5', port: 8080, ready: true }
const REMOTE = { address: '10.244.2.5', port: 8080, ready: true }

function web(endpoints: ServiceEndpoint[], change: Partial<ServiceRow> = {}): ServiceRow {
  return {
    namespace: 'default',
    name: 'web',
    clusterIP: '10.96.0.1',
    externalIPs: [],
    sessionAffinitySeconds: 0,
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30080, endpoints }],
    ...change,
  }
}

function elements(rows: ServiceRow[], set: string): Record<string, string> {
  const { table } = planServices(CONFIG, rows)
  return Object.fromEntries(
    [...(table.elements.get(set) ?? [])].map(([key, value]) => [key, value.replace(/-[0-9a-f]{12}/, '')]),
  )
}

function rulesOf(rows: ServiceRow[], prefix: string): string[] {
  const { table } = planServices(CONFIG, rows)
  return [...table.chains]
    .filter(([name]) => name.startsWith(`${prefix}-`))
    .flatMap(([, rules]) => rules.map(({ text }) => text))
}

describe('services', () => {
  it('name their chain by cluster IP and node port, and pick among endpoints', () => {
    const rows = [web([REMOTE, LOCAL])]
    expect(elements(rows, 'services')).toEqual({ '10.96.0.1 . tcp . 80': 'goto svc/default/web/http' })
    expect(elements(rows, 'node-ports')).toEqual({ 'tcp . 30080': 'goto svc/default/web/http' })
    expect(elements(rows, 'hairpin')).toEqual({ '10.244.1.5 . 10.244.1.5': '' })
    expect(rulesOf(rows, 'svc')).toEqual([
      'meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.1.5 . 8080, 1 : 10.244.2.5 . 8080 }',
    ])
  })

  it('are refused without endpoints', () => {
    expect(elements([web([])], 'services')).toEqual({})
    expect(elements([web([])], 'refused')).toEqual({ '10.96.0.1 . tcp . 80': '' })
    expect(elements([web([])], 'refused-node-ports')).toEqual({ 'tcp . 30080': '' })
  })

  it('prefer ready endpoints, and publish others where there are no ready ones', () => {
    const waiting = { ...REMOTE, ready: false }
    expect(rulesOf([web([LOCAL, waiting])], 'svc')).toEqual(['meta l4proto tcp dnat to 10.244.1.5:8080'])
    expect(rulesOf([web([waiting])], 'svc')).toEqual(['meta l4proto tcp dnat to 10.244.2.5:8080'])
  })

  it('under Local policies go to local endpoints, refuse when there are none, and serve the cluster all the same', () => {
    const policy = { externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local' } as const
    expect(elements([web([REMOTE], policy)], 'services')).toEqual({})
    expect(elements([web([REMOTE], policy)], 'refused-node-ports')).toEqual({ 'tcp . 30080': '' })
    expect(elements([web([REMOTE], policy)], 'node-ports')).toEqual({ 'tcp . 30080': 'goto ext/default/web/http' })
    expect(rulesOf([web([REMOTE, LOCAL], policy)], 'near')).toEqual(['meta l4proto tcp dnat to 10.244.1.5:8080'])
    expect(elements([web([REMOTE, LOCAL], policy)], 'refused-node-ports')).toEqual({})
  })

  it('that claim one address do not block each other: the first by name has it', () => {
    const claim = { externalIPs: ['198.51.100.1'], clusterIP: '' }
    const rows = [web([LOCAL], { ...claim, name: 'zeta' }), web([LOCAL], { ...claim, name: 'alpha' })]
    expect(elements(rows, 'services')).toEqual({ '198.51.100.1 . tcp . 80': 'goto svc/default/alpha/http' })
    expect(planServices(CONFIG, rows).problems).toContain(
      'service default/zeta: 198.51.100.1 . tcp . 80 belongs to another service already',
    )
  })

  it('leave out what nft would refuse, and say so', () => {
    const rows = [
      web(
        [
          { address: 'fd00::1', port: 80, ready: true },
          { ...LOCAL, port: 70000 },
        ],
        { externalIPs: ['1.2.3.4 }'] },
      ),
    ]
    const plan = planServices(CONFIG, rows)
    expect(plan.problems).toHaveLength(3)
    expect(planTable(undefined, plan.table, plan.skeleton)).not.toMatch(/fd00|70000|1\.2\.3\.4 \}/)
  })

  it('keep chain names within what the kernel takes', () => {
    const long = web([LOCAL], { namespace: 'n'.repeat(63), name: 's'.repeat(63) })
    for (const name of planServices(CONFIG, [long]).table.chains.keys()) expect(name.length).toBeLessThan(128)
  })
})

describe('transactions', () => {
  it('are empty when nothing changed, and speak of one service when one changed', () => {
    const other = web([REMOTE], { name: 'other', clusterIP: '10.96.0.2', ports: [] })
    const before = planServices(CONFIG, [web([LOCAL]), other])
    const same = planServices(CONFIG, [web([LOCAL]), other], before.rendered)
    expect(planTable(before.table, same.table, same.skeleton)).toBe('')
    expect(same.rendered.get('default/web')?.service).toBe(before.rendered.get('default/web')?.service)
    const after = planServices(CONFIG, [web([REMOTE]), other], before.rendered)
    const script = planTable(before.table, after.table, after.skeleton)
    expect(script.replace(/[0-9a-f]{12}/g, '#').split('\n')).toEqual([
      'flush chain ip drover svc-#/default/web/http',
      'add rule ip drover svc-#/default/web/http meta l4proto tcp dnat to 10.244.2.5:8080 comment "#"',
      'delete element ip drover hairpin { 10.244.1.5 . 10.244.1.5 }',
      '',
    ])
  })

  it('replace a table of another make whole, in one go', () => {
    const plan = planServices(CONFIG, [])
    const script = planTable(undefined, plan.table, plan.skeleton)
    expect(script.startsWith('add table ip drover\ndelete table ip drover\nadd table ip drover\n')).toBe(true)
    expect(parseTable({ nftables: [{ chain: { name: 'seal-0' } }] }, plan.skeleton)).toBeUndefined()
  })
})
