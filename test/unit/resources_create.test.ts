import { afterEach, describe, expect, it } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import { deploymentKind } from '../../src/api/deployment.ts'
import { namespaceKind } from '../../src/api/namespace.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { ensureBuiltins } from '../../src/resources/builtins.ts'
import { createResources } from '../../src/resources/create.ts'
import type { ResourceEvent } from '../../src/resources/resources.ts'
import { createMemoryStore } from '../../src/store/memory.ts'

const stop: AbortController[] = []
afterEach(() => {
  for (const each of stop.splice(0)) each.abort()
})

async function setUp() {
  const store = createMemoryStore({ clock: systemClock })
  const resources = createResources({
    store,
    clock: systemClock,
    random: seededRandom(1),
    log: silentLogger,
    serviceCidr: '10.96.0.0/24',
    nodePortRange: { from: 30000, to: 30010 },
  })
  const controller = new AbortController()
  stop.push(controller)
  void resources.run(controller.signal)
  await resources.ready()
  await ensureBuiltins(resources)
  return { store, resources, signal: controller.signal }
}

const configMap = (name: string, data: Record<string, string> = {}) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'default' },
  data,
})

const template = { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'nginx:1' }] } }
const deployment = (name = 'web') => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace: 'default' },
  spec: { replicas: 2, selector: { matchLabels: { app: 'web' } }, template },
})

describe('empty texts', () => {
  it('of a pod are as good as none', async () => {
    const { resources } = await setUp()
    let pods = 0
    // As a client would send it, whatever the types say.
    const make = async (spec: object, container: object) => {
      const metadata = { name: `p${pods++}`, namespace: 'default' }
      const given = { ...spec, containers: [{ name: 'c', image: 'x:1', ...container }] }
      return (await resources.create(podKind, { apiVersion: 'v1', kind: 'Pod', metadata, spec: given } as Pod)).spec
    }
    const port = { containerPort: 80 }
    const get = { port: 80 }
    const plain = await make(
      { tolerations: [{ key: 'k' }] },
      { ports: [port], livenessProbe: { httpGet: get }, lifecycle: { preStop: { httpGet: get } } },
    )
    const names = ['hostname', 'subdomain', 'nodeName', 'serviceAccountName', 'priorityClassName', 'schedulerName']
    const none = Object.fromEntries([...names, 'restartPolicy', 'dnsPolicy'].map((field) => [field, '']))
    const empty = await make(
      { ...none, tolerations: [{ key: 'k', operator: '' }] },
      {
        imagePullPolicy: '',
        terminationMessagePath: '',
        terminationMessagePolicy: '',
        ports: [{ ...port, protocol: '' }],
        livenessProbe: { httpGet: { ...get, scheme: '', path: '' } },
        lifecycle: { preStop: { httpGet: { ...get, scheme: '' } } },
      },
    )
    expect(empty).toEqual(plain)
    expect(plain).toMatchObject({ restartPolicy: 'Always', schedulerName: 'default-scheduler' })
  })

  it('of a word that must be there are refused', async () => {
    const { resources } = await setUp()
    const spread = { maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: '' }
    const metadata = { name: 'p', namespace: 'default' }
    const spec = { containers: [{ name: 'c', image: 'x:1' }], topologySpreadConstraints: [spread] }
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec } as unknown as Pod
    await expect(resources.create(podKind, pod)).rejects.toThrow('whenUnsatisfiable')
  })
})

describe('writes', () => {
  it('creates, shows, updates, deletes and tells subscribers once and in order', async () => {
    const { resources } = await setUp()
    const seen: string[] = []
    resources.subscribe(configMapKind, (event) => seen.push(`${event.type} ${event.object.data?.a ?? ''}`))
    const made = await resources.create(configMapKind, configMap('one', { a: '1' }))
    expect(resources.get(configMapKind, 'default', 'one')).toBe(made)
    const changed = await resources.modify(configMapKind, 'default', 'one', 'main', (map) => ({
      ...map,
      data: { a: '2' },
    }))
    expect(changed.data).toEqual({ a: '2' })
    const gone = await resources.delete(configMapKind, 'default', 'one')
    expect(resources.get(configMapKind, 'default', 'one')).toBeUndefined()
    await resources.waitForRevision(Number(gone.metadata.resourceVersion), 1000)
    expect(seen).toEqual(['ADDED 1', 'MODIFIED 2', 'DELETED 2'])
  })

  it('keeps status and spec apart and counts generations', async () => {
    const { resources } = await setUp()
    const made = await resources.create(deploymentKind, { ...deployment(), status: { replicas: 9 } })
    expect(made.status).toEqual({})
    expect(made.metadata.generation).toBe(1)
    const status = await resources.modify(deploymentKind, 'default', 'web', 'status', (d) => ({
      ...d,
      spec: { ...d.spec, replicas: 7 },
      status: { replicas: 2 },
    }))
    expect([status.spec.replicas, status.status?.replicas, status.metadata.generation]).toEqual([2, 2, 1])
    const spec = await resources.modify(deploymentKind, 'default', 'web', 'main', (d) => ({
      ...d,
      spec: { ...d.spec, replicas: 7 },
      status: {},
    }))
    expect([spec.spec.replicas, spec.status?.replicas, spec.metadata.generation]).toEqual([7, 2, 2])
  })

  it('watches from a revision', async () => {
    const { resources, signal } = await setUp()
    const from = (await resources.create(configMapKind, configMap('a'))).metadata.resourceVersion
    await resources.create(configMapKind, configMap('b'))
    const events: ResourceEvent[] = []
    for await (const batch of resources.watch(configMapKind, {}, Number(from), signal)) {
      events.push(...batch)
      if (events.length === 1) await resources.create(configMapKind, configMap('c'))
      if (events.length === 2) break
    }
    expect(events.map((event) => event.object.metadata.name)).toEqual(['b', 'c'])
  })

  it('lets a bound pod keep its grace and removes an unbound one', async () => {
    const { resources } = await setUp()
    const pod = (name: string, nodeName?: string) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default' },
      spec: { ...template.spec, ...(nodeName === undefined ? {} : { nodeName }) },
    })
    await resources.create(podKind, pod('free'))
    await resources.delete(podKind, 'default', 'free')
    expect(resources.get(podKind, 'default', 'free')).toBeUndefined()
    await resources.create(podKind, pod('bound', 'n1'))
    expect(resources.podsOnNode('n1')).toHaveLength(1)
    const marked = await resources.delete(podKind, 'default', 'bound')
    expect(marked.metadata.deletionGracePeriodSeconds).toBe(30)
    await resources.delete(podKind, 'default', 'bound', { gracePeriodSeconds: 0 })
    expect(resources.get(podKind, 'default', 'bound')).toBeUndefined()
    expect(resources.podsOnNode('n1')).toEqual([])
  })

  it('holds a namespace until its finalizer goes', async () => {
    const { resources } = await setUp()
    await resources.create(namespaceKind, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team' } })
    const ending = await resources.delete(namespaceKind, '', 'team')
    expect(ending.status?.phase).toBe('Terminating')
    await expect(
      resources.create(configMapKind, { ...configMap('x'), metadata: { name: 'x', namespace: 'team' } }),
    ).rejects.toMatchObject({ code: 'forbidden' })
    await resources.modify(namespaceKind, '', 'team', 'main', (ns) => ({ ...ns, spec: { finalizers: [] } }))
    expect(resources.get(namespaceKind, '', 'team')).toBeUndefined()
  })
})
