/**
 * What programs that only look send: k9s (access reviews in protobuf, tables, dynamic informers, metrics) and Prometheus'
 * service discovery (informers of a typed client, as a service account that may read and no more).
 * Source: derailed/k9s internal/{client,dao,watch}, prometheus/prometheus discovery/kubernetes.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { clusterRoleKind } from '../../src/api/clusterrole.ts'
import { clusterRoleBindingKind } from '../../src/api/clusterrolebinding.ts'
import { endpointSliceKind } from '../../src/api/endpointslice.ts'
import { isNodeReady, nodeKind } from '../../src/api/node.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { serviceKind } from '../../src/api/service.ts'
import { serviceAccountKind } from '../../src/api/serviceaccount.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import { GUEST_TOKEN, type Harness, startHarness } from '../support/apiserver_harness.ts'
import { eventually } from '../support/eventually.ts'
import { gatewayOf, type NodeCall } from '../support/frame_pair.ts'
import { GoClient } from '../support/go_client.ts'
import { type AccessFields, accessReviewBody } from '../support/kubernetes_protobuf.ts'
import type { WatchLine } from '../support/watch_lines.ts'

let harness: Harness
const clients: GoClient[] = []

const rates = { cpuNanoCores: 250_000_000, memoryWorkingSetBytes: 64 << 20, windowMs: 10_000 }

async function node({ verb, stream }: NodeCall): Promise<void> {
  expect(verb).toBe('usage')
  const pods = [{ namespace: 'default', name: 'p', containers: [{ name: 'c', ...rates }] }]
  const usage = { atMs: Date.parse('2026-01-01T00:00:00Z'), node: rates, pods }
  await stream.send({ channel: CHANNEL.stdout, data: Buffer.from(JSON.stringify(usage)) })
}

function client(agent: string, token?: string): GoClient {
  const made = new GoClient(harness, agent, token)
  clients.push(made)
  return made
}

const pod = (name: string, nodeName: string) => ({
  apiVersion: 'v1' as const,
  kind: 'Pod' as const,
  metadata: { name, namespace: 'default', labels: { app: 'web' } },
  spec: { nodeName, containers: [{ name: 'c', image: 'x', ports: [{ containerPort: 80, name: 'http' }] }] },
})

beforeAll(async () => {
  harness = await startHarness({ gateway: gatewayOf({ n1: node }) })
  const { resources } = harness
  const addresses = [{ type: 'InternalIP' as const, address: '10.0.0.1' }]
  const conditions = [{ type: 'Ready', status: 'True' as const, reason: 'x', message: '' }]
  await resources.create(nodeKind, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' }, spec: {} })
  const ready = await resources.modify(nodeKind, '', 'n1', 'status', (found) => ({
    ...found,
    status: { addresses, conditions },
  }))
  expect(isNodeReady(ready)).toBe(true)
  await resources.create(podKind, pod('p', 'n1'))
  await resources.modify(podKind, 'default', 'p', 'status', (found) => ({
    ...found,
    status: { phase: 'Running' as const, podIP: '10.244.0.2' },
  }))
  await resources.create(serviceKind, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80 }] },
  })
  await resources.create(endpointSliceKind, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
    endpoints: [{ addresses: ['10.244.0.2'], conditions: { ready: true } }],
  })
})
afterEach(() => {
  for (const each of clients.splice(0)) each.close()
})
afterAll(() => harness.stop())

const names = (lines: readonly WatchLine[]): string[] =>
  lines.map(({ type, object }) => `${type} ${object.metadata.name ?? ''}`.trim())

describe('k9s', () => {
  const review = (from: GoClient, asked: AccessFields) =>
    from.typed('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', accessReviewBody(asked))

  it('starts: version, groups, what is preferred, and what it may do', async () => {
    const k9s = client('k9s/v0.50.0 (linux/amd64) kubernetes/$Format')
    expect((await k9s.json('GET', '/version')).status).toBe(200)
    const { groups } = (await k9s.json('GET', '/apis')).json as {
      groups: { name: string; versions: { version: string }[]; preferredVersion: { version: string } }[]
    }
    const metrics = groups.find(({ name }) => name === 'metrics.k8s.io')
    expect(metrics?.versions.map(({ version }) => version)).toContain('v1beta1')
    for (const { name, preferredVersion } of groups) {
      const list = await k9s.json('GET', `/apis/${name}/${preferredVersion.version}`)
      expect([name, list.json.kind]).toEqual([name, 'APIResourceList'])
    }
    const asked = { namespace: 'default', verb: 'list', resource: 'pods' }
    expect((await review(k9s, asked)).json).toMatchObject({
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes: { namespace: 'default', verb: 'list', resource: 'pods' } },
      status: { allowed: true },
    })
    const guest = client('k9s/v0.50.0', GUEST_TOKEN)
    const refused = await review(guest, { verb: 'watch', resource: 'nodes', name: 'n1' })
    expect([refused.status, (refused.json.status as { allowed: boolean }).allowed]).toEqual([201, false])
    const inGroup = { verb: 'list', group: 'metrics.k8s.io', resource: 'pods', namespace: 'default' }
    expect((await review(guest, inGroup)).json).toMatchObject({ status: { allowed: false } })
  })

  it('lists tables with whole objects, in a namespace and in all', async () => {
    const k9s = client('k9s/v0.50.0')
    for (const path of ['/api/v1/namespaces/default/pods', '/api/v1/pods']) {
      const { json } = await k9s.table(`${path}?includeObject=Object`)
      expect(json).toMatchObject({
        kind: 'Table',
        apiVersion: 'meta.k8s.io/v1',
        rows: [{ object: { kind: 'Pod', apiVersion: 'v1', metadata: { name: 'p' }, spec: { nodeName: 'n1' } } }],
      })
      const { columnDefinitions, rows } = json as { columnDefinitions: object[]; rows: { cells: unknown[] }[] }
      expect(rows[0]?.cells).toHaveLength(columnDefinitions.length)
    }
    const partial = await k9s.table('/api/v1/nodes?includeObject=Metadata')
    expect(partial.json).toMatchObject({ rows: [{ object: { kind: 'PartialObjectMetadata' } }] })
  })

  it('follows by informers of the dynamic client, old and new, and by fields', async () => {
    const k9s = client('k9s/v0.50.0')
    const { list, watch } = await k9s.listAndWatch('/api/v1/pods', '', 'application/json')
    const onNode = await k9s.watchList('/api/v1/pods', 'fieldSelector=spec.nodeName%3Dn1&', 'application/json')
    expect(list.items.map(({ metadata }) => metadata.name)).toEqual(['p'])
    await harness.resources.create(podKind, pod('q', 'n2'))
    await harness.resources.create(podKind, pod('r', 'n1'))
    await eventually(() => watch.lines.length === 2 && onNode.lines.length === 3)
    expect(names(watch.lines)).toEqual(['ADDED q', 'ADDED r'])
    expect(names(onNode.lines)).toEqual(['ADDED p', 'BOOKMARK', 'ADDED r'])
    for (const name of ['q', 'r']) await harness.resources.delete(podKind, 'default', name, { gracePeriodSeconds: 0 })
    await eventually(() => watch.lines.length === 4)
  })

  it('reads metrics page by page', async () => {
    const k9s = client('k9s/v0.50.0')
    const root = '/apis/metrics.k8s.io/v1beta1'
    const nodes = await k9s.typed('GET', `${root}/nodes?limit=500`)
    expect(nodes.json).toMatchObject({
      kind: 'NodeMetricsList',
      items: [{ metadata: { name: 'n1' }, usage: { cpu: '250000000n', memory: '65536Ki' } }],
    })
    for (const path of [`${root}/pods?limit=500`, `${root}/namespaces/default/pods?limit=500`]) {
      const pods = await k9s.typed('GET', path)
      expect(pods.json).toMatchObject({ items: [{ metadata: { name: 'p' }, containers: [{ name: 'c' }] }] })
    }
  })
})

describe('Prometheus', () => {
  /** All it takes, as it says of itself: it asks for protobuf and would take anything. */
  const ACCEPT = 'application/vnd.kubernetes.protobuf, */*'
  let token = ''

  beforeAll(async () => {
    const { resources, serviceAccounts } = harness
    await resources.create(serviceAccountKind, {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'prometheus', namespace: 'default' },
    })
    // The role of its own documentation names ingresses, too, which Drover lacks.
    const verbs = ['get', 'list', 'watch']
    await resources.create(clusterRoleKind, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'prometheus' },
      rules: [
        { apiGroups: [''], resources: ['nodes', 'nodes/metrics', 'services', 'endpoints', 'pods'], verbs },
        { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs },
        { apiGroups: ['networking.k8s.io'], resources: ['ingresses'], verbs },
        { nonResourceURLs: ['/metrics'], verbs: ['get'] },
      ],
    })
    await resources.create(clusterRoleBindingKind, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'prometheus' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'prometheus' },
      subjects: [{ kind: 'ServiceAccount', name: 'prometheus', namespace: 'default' }],
    })
    token = serviceAccounts.issueToken({ namespace: 'default', serviceAccount: 'prometheus' }).token
  })

  it.each([
    ['node', ['/api/v1/nodes'], 'n1'],
    ['pod', ['/api/v1/pods', '/api/v1/nodes'], 'p'],
    ['service', ['/api/v1/services'], 'web'],
    ['endpoints', ['/api/v1/endpoints', '/api/v1/services', '/api/v1/pods'], 'web'],
    ['endpointslice', ['/apis/discovery.k8s.io/v1/endpointslices', '/api/v1/services', '/api/v1/pods'], 'web-1'],
  ])('role %s finds what is there, and hears of changes', async (_role, paths, found) => {
    const prometheus = client('Prometheus/3.9.0', token)
    for (const path of paths) {
      const { list } = await prometheus.listAndWatch(path, '', ACCEPT)
      const watch = await prometheus.watchList(path, '', ACCEPT)
      const there = watch.lines.filter(({ type }) => type === 'ADDED').map(({ object }) => object.metadata.name)
      expect(there.sort()).toEqual(list.items.map(({ metadata }) => metadata.name).sort())
      if (path === paths[0]) expect(there).toContain(found)
    }
  })

  it('role endpoints hears of each pod that comes and goes, wherever its watch begins', async () => {
    const prometheus = client('Prometheus/3.9.0', token)
    const path = '/api/v1/namespaces/default/endpoints'
    const { list, watch } = await prometheus.listAndWatch(path, 'fieldSelector=metadata.name%3Dweb&', ACCEPT)
    expect(list.items).toMatchObject([
      {
        metadata: { name: 'web', namespace: 'default' },
        subsets: [{ addresses: [{ ip: '10.244.0.2' }], ports: [{ name: 'http', port: 80, protocol: 'TCP' }] }],
      },
    ])
    const { resources } = harness
    const shape = { apiVersion: 'discovery.k8s.io/v1' as const, kind: 'EndpointSlice' as const }
    const slice = (name: string, service: string, ip: string, ready: boolean) => ({
      ...shape,
      metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': service } },
      addressType: 'IPv4' as const,
      ports: [{ name: 'http', port: 80, protocol: 'TCP' as const }],
      endpoints: [{ addresses: [ip], conditions: { ready } }],
    })
    await resources.create(endpointSliceKind, slice('web-2', 'web', '10.244.0.1', false))
    await resources.create(endpointSliceKind, slice('other-1', 'other', '10.244.9.9', true))
    await resources.update(endpointSliceKind, slice('web-2', 'web', '10.244.0.1', true), 'main')
    await resources.delete(endpointSliceKind, 'default', 'web-2')
    const last = (): unknown => (watch.lines.at(-1)?.object as { subsets?: unknown } | undefined)?.subsets
    const ports = [{ name: 'http', port: 80, protocol: 'TCP' }]
    await eventually(() => JSON.stringify(last()) === JSON.stringify([{ addresses: [{ ip: '10.244.0.2' }], ports }]))
    expect(new Set(names(watch.lines))).toEqual(new Set(['MODIFIED web']))
    const all = prometheus.resume(path, list.metadata.resourceVersion, ACCEPT)
    await eventually(() => names(all.lines).includes('ADDED other'))
    await resources.delete(endpointSliceKind, 'default', 'other-1')
    await eventually(() => names(all.lines).at(-1) === 'DELETED other')
    const { stdout } = await harness.kubectl(['get', 'endpoints', '--no-headers'])
    expect(stdout).toMatch(/^web +10\.244\.0\.2:80 +\S+\n$/)
    const refused = await harness.call(path, { method: 'POST', body: { metadata: { name: 'x' } } })
    expect([refused.status, refused.json.message]).toEqual([405, expect.stringContaining('make an EndpointSlice')])
  })

  it('goes on with a watch from its last bookmark', async () => {
    const prometheus = client('Prometheus/3.9.0', token)
    const first = await prometheus.watchList('/api/v1/services', '', ACCEPT)
    const from = first.lines.at(-1)?.object.metadata.resourceVersion ?? ''
    const make = { apiVersion: 'v1' as const, kind: 'Service' as const, spec: { ports: [{ port: 80 }] } }
    await harness.resources.create(serviceKind, { ...make, metadata: { name: 'late', namespace: 'default' } })
    const watch = prometheus.resume('/api/v1/services', from, ACCEPT)
    await eventually(() => watch.lines.length === 1)
    expect(names(watch.lines)).toEqual(['ADDED late'])
    await harness.resources.delete(serviceKind, 'default', 'late')
  })

  it('keeps to its namespaces and selectors, and is refused what its role does not name', async () => {
    const prometheus = client('Prometheus/3.9.0', token)
    const spaced = '/api/v1/namespaces/default/pods'
    const { list } = await prometheus.listAndWatch(
      spaced,
      'fieldSelector=spec.nodeName%3Dn1&labelSelector=app%3Dweb&',
      ACCEPT,
    )
    expect(list.items.map(({ metadata }) => metadata.name)).toEqual(['p'])
    const secrets = await prometheus.typed('GET', '/api/v1/secrets?limit=500&resourceVersion=0')
    expect(secrets.json).toMatchObject({ code: 403, reason: 'Forbidden' })
    expect((await prometheus.json('GET', '/metrics')).text).toContain('apiserver_request_total')
  })
})
