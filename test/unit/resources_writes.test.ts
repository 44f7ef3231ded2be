import { afterEach, describe, expect, it } from 'vitest'
import { type ConfigMap, configMapKind } from '../../src/api/configmap.ts'
import { type Deployment, deploymentKind } from '../../src/api/deployment.ts'
import type { ObjectMeta } from '../../src/api/meta.ts'
import { namespaceKind } from '../../src/api/namespace.ts'
import { nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { systemClock } from '../../src/base/clock.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { createManualClock } from '../support/manual_clock.ts'
import { runResources, type TestResources } from '../support/resources.ts'

const running: TestResources[] = []
afterEach(async () => {
  for (const each of running.splice(0)) await each.stop()
})

async function run(given: Parameters<typeof runResources>[0] = {}) {
  const made = await runResources(given)
  running.push(made)
  return made
}

const configMap = (metadata: ObjectMeta, data: Record<string, string> = {}): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace: 'default', ...metadata },
  data,
})

const pod = (name: string, spec: Partial<Pod['spec']> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default' },
  spec: { containers: [{ name: 'c', image: 'busybox' }], ...spec },
})

const deployment = (containers: Deployment['spec']['template']['spec']['containers']): Deployment => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers } },
  },
})

describe('create', () => {
  it('gives identity and ignores what the user says of it', async () => {
    const clock = createManualClock()
    const { resources } = await run({ clock })
    const given = configMap({
      name: 'a',
      uid: 'mine',
      generation: 7,
      creationTimestamp: null,
      selfLink: '/x',
      managedFields: [{}],
    })
    const made = await resources.create(configMapKind, given)
    expect(made.metadata.uid).not.toBe('mine')
    expect(made.metadata.creationTimestamp).toBe('2026-01-01T00:00:00Z')
    for (const field of ['generation', 'selfLink', 'managedFields']) expect(made.metadata).not.toHaveProperty(field)
    expect(Object.isFrozen(made.metadata)).toBe(true)
    expect(given.metadata.uid, 'the argument is left alone').toBe('mine')
  })

  it('makes names from generateName', async () => {
    const { resources } = await run()
    const made = await resources.create(configMapKind, configMap({ generateName: `${'n'.repeat(70)}-` }))
    expect(made.metadata.name).toMatch(/^n{58}[a-z0-9]{5}$/)
    await expect(resources.create(configMapKind, configMap({}))).rejects.toThrow(/name or generateName is required/)
  })

  it('refuses what is there, unknown namespaces, other kinds and a resourceVersion', async () => {
    const { resources } = await run()
    await resources.create(configMapKind, configMap({ name: 'a' }))
    await expect(resources.create(configMapKind, configMap({ name: 'a' }))).rejects.toThrow(
      'configmaps "a" already exists',
    )
    await expect(resources.create(configMapKind, configMap({ name: 'a', namespace: 'no' }))).rejects.toThrow(
      'namespaces "no" not found',
    )
    await expect(resources.create(configMapKind, { ...configMap({ name: 'b' }), kind: 'Secret' })).rejects.toThrow(
      /is a v1 Secret/,
    )
    await expect(resources.create(configMapKind, configMap({ name: 'b', resourceVersion: '1' }))).rejects.toMatchObject(
      { code: 'invalid' },
    )
    for (const name of ['a/b', '..', 'A', 'ä', '']) {
      await expect(resources.create(configMapKind, configMap({ name }))).rejects.toMatchObject({ code: 'invalid' })
    }
  })

  it('speaks of wrong fields as kubectl users know it', async () => {
    const { resources } = await run()
    await expect(resources.create(deploymentKind, deployment([{ name: 'web' }]))).rejects.toThrow(
      'Deployment.apps "web" is invalid: spec.template.spec.containers[0].image: Required value: name an image',
    )
    await expect(
      resources.create(deploymentKind, deployment([{ name: 'web' }, { name: 'Web', image: 'x' }])),
    ).rejects.toMatchObject({
      fields: [{ path: 'spec.template.spec.containers[0].image' }, { path: 'spec.template.spec.containers[1].name' }],
    })
  })

  it('tells of unknown and unhonoured fields, as strictly as asked', async () => {
    const { resources } = await run()
    const odd = (name: string): Pod => ({
      ...pod(name),
      spec: { ...pod(name).spec, hostnameOverride: 'h', foo: 1 } as Pod['spec'],
    })
    const warnings: string[] = []
    const warn = (text: string): void => {
      warnings.push(text)
    }
    const made = await resources.create(podKind, odd('a'), { warn })
    expect(warnings).toEqual(['unknown field "spec.foo"', 'spec.hostnameOverride: Drover does not honour this field'])
    expect(made.spec).not.toHaveProperty('foo')
    expect(made.spec).toHaveProperty('hostnameOverride')
    await expect(resources.create(podKind, odd('b'), { fieldValidation: 'Strict' })).rejects.toThrow(
      'unknown field "spec.foo"',
    )
    warnings.length = 0
    await resources.create(podKind, odd('c'), { warn, fieldValidation: 'Ignore' })
    expect(warnings).toEqual(['spec.hostnameOverride: Drover does not honour this field'])
  })

  it('dryRun stores nothing', async () => {
    const { resources, store } = await run()
    const made = await resources.create(podKind, pod('a'), { dryRun: true })
    expect(made.spec.restartPolicy).toBe('Always')
    expect(await store.get('/drover/core/pods/default/a')).toBeUndefined()
    expect(resources.get(podKind, 'default', 'a')).toBeUndefined()
  })

  it('keeps a status only for the machinery', async () => {
    const { resources } = await run()
    const node = (name: string) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name }, status: { phase: 'x' } })
    expect((await resources.create(nodeKind, node('a'))).status).toEqual({})
    expect((await resources.create(nodeKind, node('b'), { internal: true })).status).toEqual({ phase: 'x' })
  })
})

describe('update', () => {
  it('holds to the resourceVersion that it is given', async () => {
    const { resources } = await run()
    const first = await resources.create(configMapKind, configMap({ name: 'a' }))
    const { resourceVersion } = first.metadata
    await resources.update(configMapKind, configMap({ name: 'a', resourceVersion }, { x: '1' }), 'main')
    await expect(
      resources.update(configMapKind, configMap({ name: 'a', resourceVersion }, { x: '2' }), 'main'),
    ).rejects.toThrow(/Operation cannot be fulfilled on configmaps "a": the object has been modified/)
    await expect(resources.update(configMapKind, configMap({ name: 'a', uid: 'other' }), 'main')).rejects.toMatchObject(
      { code: 'conflict' },
    )
    const last = await resources.update(configMapKind, configMap({ name: 'a' }, { x: '3' }), 'main')
    expect(last.data).toEqual({ x: '3' })
    await expect(resources.update(configMapKind, configMap({ name: 'b' }), 'main')).rejects.toMatchObject({
      code: 'notFound',
    })
  })

  it('writes nothing when nothing changes', async () => {
    const { resources, store } = await run()
    const made = await resources.create(deploymentKind, deployment([{ name: 'web', image: 'x' }]))
    const before = (await store.health()).revision
    const same = await resources.update(deploymentKind, deployment([{ name: 'web', image: 'x' }]), 'main')
    expect(same.metadata.resourceVersion).toBe(made.metadata.resourceVersion)
    expect((await store.health()).revision).toBe(before)
  })

  it('writes a no-op to a stale view when the store has moved on', async () => {
    const store = createMemoryStore({ clock: systemClock })
    const a = await run({ store })
    const b = await run({ store })
    await a.resources.create(configMapKind, configMap({ name: 'a' }, { x: 'old' }))
    await b.resources.waitForRevision((await store.health()).revision, 5000)
    // The second server hears of this only later; its user asks for what its cache still shows.
    const changed = a.resources.update(configMapKind, configMap({ name: 'a' }, { x: 'new' }), 'main')
    const back = changed.then(() => b.resources.update(configMapKind, configMap({ name: 'a' }, { x: 'old' }), 'main'))
    expect((await back).data).toEqual({ x: 'old' })
    expect(JSON.parse((await store.get('/drover/core/configmaps/default/a'))?.value ?? '').data).toEqual({ x: 'old' })
  })

  it('judges of a status only the status', async () => {
    const { resources, store } = await run()
    const old = { ...pod('old'), metadata: { ...pod('old').metadata, uid: 'u-1', labels: { 'not a key': 'x' } } }
    await store.write({ type: 'put', key: '/drover/core/pods/default/old', value: JSON.stringify(old) })
    const set = (status: object) =>
      resources.modify(podKind, 'default', 'old', 'status', (each) => ({ ...each, status }) as Pod)
    expect((await set({ phase: 'Running' })).status?.phase).toBe('Running')
    await expect(set({ phase: 'Dancing' })).rejects.toThrow('Pod "old" is invalid: status.phase: Unsupported value')
    await expect(resources.update(podKind, { ...pod('old'), status: 1 } as never, 'status')).rejects.toThrow(
      /status: Invalid value/,
    )
  })

  it('can change spec and status at once', async () => {
    const { resources } = await run()
    await resources.create(podKind, pod('a'))
    const bound = await resources.modify(podKind, 'default', 'a', 'all', (each) => ({
      ...each,
      spec: { ...each.spec, nodeName: 'n' },
      status: { ...each.status, conditions: [{ type: 'PodScheduled', status: 'True' as const }] },
    }))
    expect([bound.spec.nodeName, bound.status?.conditions?.length, bound.metadata.generation]).toEqual(['n', 1, 2])
  })

  it('loses no change of many writers', async () => {
    const store = createMemoryStore({ clock: systemClock })
    const servers = [await run({ store }), await run({ store })]
    await servers[0]?.resources.create(configMapKind, configMap({ name: 'a' }))
    await Promise.all(
      Array.from({ length: 16 }, async (_, i) => {
        await servers[i % 2]?.resources.modify(configMapKind, 'default', 'a', 'main', (map) => ({
          ...map,
          data: { ...map.data, [`k${i}`]: 'x' },
        }))
      }),
    )
    const item = await store.get('/drover/core/configmaps/default/a')
    expect(Object.keys(JSON.parse(item?.value ?? '{}').data)).toHaveLength(16)
    expect(item?.value).not.toContain('resourceVersion')
  })

  it('leaves an object that `change` wants left, and finds none that is not there', async () => {
    const { resources } = await run()
    const made = await resources.create(configMapKind, configMap({ name: 'a' }))
    expect(await resources.modify(configMapKind, 'default', 'a', 'main', () => undefined)).toBe(made)
    await expect(resources.modify(configMapKind, 'default', 'b', 'main', (map) => map)).rejects.toThrow(
      'configmaps "b" not found',
    )
  })
})

describe('patch', () => {
  it('applies, keeps status out, and insists on a resourceVersion', async () => {
    const { resources } = await run()
    const made = await resources.create(
      deploymentKind,
      deployment([
        { name: 'web', image: 'x:1' },
        { name: 'log', image: 'y' },
      ]),
    )
    const patch = {
      spec: { template: { spec: { containers: [{ name: 'web', image: 'x:2' }] } } },
      status: { replicas: 4 },
    }
    const patched = await resources.patch(deploymentKind, 'default', 'web', 'main', 'strategic', patch)
    expect(patched.spec.template.spec.containers.map(({ image }) => image)).toEqual(['x:2', 'y'])
    expect(patched.status).toEqual({})
    const { resourceVersion } = made.metadata
    const insisting = { metadata: { resourceVersion }, spec: { replicas: 3 } }
    await expect(resources.patch(deploymentKind, 'default', 'web', 'main', 'merge', insisting)).rejects.toMatchObject({
      code: 'conflict',
    })
    await expect(
      resources.patch(deploymentKind, 'default', 'web', 'main', 'merge', { metadata: { name: 'other' } }),
    ).rejects.toMatchObject({ code: 'invalid' })
  })
})

describe('delete', () => {
  it('waits for finalizers and ends with the last of them', async () => {
    const { resources } = await run()
    await resources.create(configMapKind, configMap({ name: 'a', finalizers: ['x.dev/a', 'x.dev/b'] }))
    const marked = await resources.delete(configMapKind, 'default', 'a')
    expect(marked.metadata.deletionTimestamp).toBeDefined()
    const again = await resources.delete(configMapKind, 'default', 'a')
    expect(again.metadata.resourceVersion).toBe(marked.metadata.resourceVersion)
    const finalizers = (list: string[]) =>
      resources.modify(configMapKind, 'default', 'a', 'main', (map) => ({
        ...map,
        metadata: { ...map.metadata, finalizers: list },
      }))
    await expect(finalizers(['x.dev/a', 'x.dev/b', 'x.dev/c'])).rejects.toThrow(/no new finalizers/)
    await finalizers(['x.dev/b'])
    expect(resources.get(configMapKind, 'default', 'a')).toBeDefined()
    await finalizers([])
    expect(resources.get(configMapKind, 'default', 'a')).toBeUndefined()
  })

  it('propagates through finalizers', async () => {
    const { resources } = await run()
    for (const [propagation, finalizer] of [
      ['Foreground', 'foregroundDeletion'],
      ['Orphan', 'orphan'],
    ] as const) {
      await resources.create(configMapKind, configMap({ name: finalizer.toLowerCase() }))
      const marked = await resources.delete(configMapKind, 'default', finalizer.toLowerCase(), { propagation })
      expect(marked.metadata.finalizers).toEqual([finalizer])
    }
  })

  it('checks its preconditions', async () => {
    const { resources } = await run()
    const made = await resources.create(configMapKind, configMap({ name: 'a' }))
    const attempt = (preconditions: { uid?: string; resourceVersion?: string }) =>
      resources.delete(configMapKind, 'default', 'a', { preconditions })
    await expect(attempt({ uid: 'other' })).rejects.toMatchObject({ code: 'conflict' })
    await expect(attempt({ resourceVersion: '1' })).rejects.toMatchObject({ code: 'conflict' })
    const gone = await attempt({ uid: made.metadata.uid, resourceVersion: made.metadata.resourceVersion })
    expect(Number(gone.metadata.resourceVersion)).toBeGreaterThan(Number(made.metadata.resourceVersion))
    await expect(attempt({})).rejects.toMatchObject({ code: 'notFound' })
  })

  it('gives a bound pod its grace, which can only get shorter', async () => {
    const clock = createManualClock()
    const { resources } = await run({ clock })
    await resources.create(podKind, pod('a', { nodeName: 'n', terminationGracePeriodSeconds: 60 }))
    const marked = await resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 40 })
    expect(marked.metadata).toMatchObject({ deletionTimestamp: '2026-01-01T00:00:40Z', deletionGracePeriodSeconds: 40 })
    await clock.advance(5000)
    const longer = await resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 90 })
    expect(longer.metadata.resourceVersion).toBe(marked.metadata.resourceVersion)
    const shorter = await resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 10 })
    expect(shorter.metadata).toMatchObject({
      deletionTimestamp: '2026-01-01T00:00:10Z',
      deletionGracePeriodSeconds: 10,
    })
    await resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 0 })
    expect(resources.get(podKind, 'default', 'a')).toBeUndefined()
    await expect(resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: -1 })).rejects.toMatchObject({
      code: 'notFound',
    })
  })

  it('removes a finished pod at once', async () => {
    const { resources } = await run()
    await resources.create(podKind, pod('a', { nodeName: 'n' }))
    await resources.modify(podKind, 'default', 'a', 'status', (each) => ({
      ...each,
      status: { phase: 'Failed' as const },
    }))
    await resources.delete(podKind, 'default', 'a')
    expect(resources.get(podKind, 'default', 'a')).toBeUndefined()
  })

  it('keeps a namespace while something holds it, whatever a user leaves out', async () => {
    const { resources } = await run()
    const team = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team' } }
    const made = await resources.create(namespaceKind, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'team' },
    })
    expect(made.spec?.finalizers).toEqual(['kubernetes'])
    await resources.delete(namespaceKind, '', 'team')
    await resources.update(namespaceKind, { ...team, metadata: { name: 'team', labels: { a: 'b' } } }, 'main')
    expect(resources.get(namespaceKind, '', 'team')?.spec?.finalizers).toEqual(['kubernetes'])
    await expect(resources.delete(namespaceKind, '', 'default')).rejects.toMatchObject({ code: 'forbidden' })
  })
})

describe('indexes', () => {
  it('follow owners and nodes', async () => {
    const { resources } = await run()
    const owner = await resources.create(configMapKind, configMap({ name: 'owner' }))
    const { uid } = owner.metadata
    const owned = pod('a', { nodeName: 'n1' })
    owned.metadata.ownerReferences = [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid, controller: true }]
    await resources.create(podKind, owned)
    expect(resources.ownedBy(podKind, uid)).toHaveLength(1)
    expect(resources.podsOnNode('n1')).toHaveLength(1)
    await resources.modify(podKind, 'default', 'a', 'main', (each) => {
      const { ownerReferences: _owners, ...metadata } = each.metadata
      return { ...each, metadata }
    })
    expect(resources.ownedBy(podKind, uid)).toHaveLength(0)
    await resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 0 })
    expect(resources.podsOnNode('n1')).toHaveLength(0)
  })

  it('encode an object once', async () => {
    const { resources } = await run()
    const made = await resources.create(configMapKind, configMap({ name: 'a' }))
    expect(resources.encoded(made)).toBe(resources.encoded(made))
    expect(JSON.parse(resources.encoded(made).toString())).toEqual(made)
  })
})
