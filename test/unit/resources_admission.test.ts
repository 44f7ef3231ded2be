import { afterEach, describe, expect, it } from 'vitest'
import { type Service, serviceKind } from '../../src/api/service.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { repairAllocations } from '../../src/resources/allocations.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { createManualClock } from '../support/manual_clock.ts'
import { runResources, type TestResources } from '../support/resources.ts'

const running: TestResources[] = []
afterEach(async () => {
  for (const each of running.splice(0)) await each.stop()
})

async function run(given: Parameters<typeof runResources>[0] = {}): Promise<TestResources> {
  const made = await runResources(given)
  running.push(made)
  return made
}

const service = (name: string, spec: Partial<Service['spec']> = {}): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: { ports: [{ port: 80 }], ...spec },
})

async function reserved(store: Store): Promise<string[]> {
  const { items } = await store.list('/drover-meta/allocations/')
  return items.map(({ key }) => key.slice('/drover-meta/allocations/'.length))
}

describe('service addresses', () => {
  it('are given, one to a service, and given back', async () => {
    const { resources, store } = await run()
    const made = await Promise.all(
      Array.from({ length: 20 }, (_, i) => resources.create(serviceKind, service(`s${i}`))),
    )
    const addresses = made.map(({ spec }) => spec.clusterIP ?? '')
    expect(new Set(addresses).size).toBe(20)
    for (const address of addresses) expect(address).toMatch(/^10\.96\.0\.\d+$/)
    expect(made[0]?.spec).toMatchObject({
      clusterIPs: [addresses[0]],
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
    })
    expect((await reserved(store)).sort()).toEqual(addresses.map((address) => `clusterip/${address}`).sort())
    for (const { metadata } of made) await resources.delete(serviceKind, 'default', metadata.name)
    expect(await reserved(store)).toEqual([])
  })

  it('are honoured when asked for, and refused when taken or out of range', async () => {
    const { resources, store } = await run()
    await resources.create(serviceKind, service('dns', { clusterIP: '10.96.0.10' }))
    await expect(resources.create(serviceKind, service('two', { clusterIP: '10.96.0.10' }))).rejects.toThrow(
      'Service "two" is invalid: spec.clusterIP: Invalid value: "10.96.0.10": provided IP is already allocated',
    )
    for (const wrong of ['10.97.0.1', '10.96.0.0', '10.96.0.255', 'x']) {
      await expect(resources.create(serviceKind, service('two', { clusterIP: wrong }))).rejects.toThrow(
        /not in the valid range/,
      )
    }
    expect(await reserved(store)).toEqual(['clusterip/10.96.0.10'])
  })

  it('are not for headless services and external names', async () => {
    const { resources, store } = await run()
    const headless = await resources.create(serviceKind, service('headless', { clusterIP: 'None' }))
    expect(headless.spec.clusterIPs).toEqual(['None'])
    const external = await resources.create(
      serviceKind,
      service('out', { type: 'ExternalName', externalName: 'example.org' }),
    )
    expect(external.spec.clusterIP).toBeUndefined()
    expect(await reserved(store)).toEqual([])
  })

  it('stay when a replacement leaves them out, and go when the type does without', async () => {
    const { resources, store } = await run()
    const made = await resources.create(serviceKind, service('web', { type: 'NodePort' }))
    const replaced = await resources.update(
      serviceKind,
      service('web', { type: 'NodePort', selector: { app: 'x' } }),
      'main',
    )
    expect(replaced.spec.clusterIP).toBe(made.spec.clusterIP)
    expect(replaced.spec.ports?.[0]?.nodePort).toBe(made.spec.ports?.[0]?.nodePort)
    const same = await resources.update(
      serviceKind,
      service('web', { type: 'NodePort', selector: { app: 'x' } }),
      'main',
    )
    expect(same.metadata.resourceVersion).toBe(replaced.metadata.resourceVersion)
    const patch = { spec: { type: 'ClusterIP' } }
    const plain = await resources.patch(serviceKind, 'default', 'web', 'main', 'merge', patch)
    expect(plain.spec.ports?.[0]?.nodePort).toBeUndefined()
    expect(await reserved(store)).toEqual([`clusterip/${made.spec.clusterIP}`])
    const external = { spec: { type: 'ExternalName', externalName: 'example.org' } }
    await resources.patch(serviceKind, 'default', 'web', 'main', 'merge', external)
    expect(await reserved(store)).toEqual([])
  })

  it('run out with an error that says so', async () => {
    const { resources } = await run({ serviceCidr: '10.96.0.0/29' })
    for (let i = 0; i < 6; i++) await resources.create(serviceKind, service(`s${i}`))
    await expect(resources.create(serviceKind, service('last'))).rejects.toThrow(/no free addresses in 10.96.0.0\/29/)
  })

  it('are given once by two servers on one store', async () => {
    const store = createMemoryStore({ clock: systemClock })
    const a = await run({ store, serviceCidr: '10.96.0.0/28', random: seededRandom(7) })
    // Not the same seed: two services would have one uid. All addresses are given out, so they meet anyway.
    const b = await run({ store, serviceCidr: '10.96.0.0/28', random: seededRandom(8) })
    const made = await Promise.all(
      Array.from({ length: 14 }, (_, i) => (i % 2 ? a : b).resources.create(serviceKind, service(`s${i}`))),
    )
    expect(new Set(made.map(({ spec }) => spec.clusterIP)).size).toBe(14)
  })
})

describe('node ports', () => {
  it('are chosen, honoured, refused and kept apart', async () => {
    const { resources, store } = await run()
    const ports = [
      { name: 'a', port: 1 },
      { name: 'b', port: 2, nodePort: 30003 },
    ]
    const made = await resources.create(serviceKind, service('two', { type: 'NodePort', ports }))
    const given = (made.spec.ports ?? []).map(({ nodePort }) => nodePort)
    expect(given[1]).toBe(30003)
    expect(given[0]).not.toBe(30003)
    const asking = (nodePort: number) => service('x', { type: 'NodePort', ports: [{ port: 1, nodePort }] })
    await expect(resources.create(serviceKind, asking(30003))).rejects.toThrow(
      'spec.ports[0].nodePort: Invalid value: 30003: provided port is already allocated',
    )
    await expect(resources.create(serviceKind, asking(80))).rejects.toThrow(
      /valid range. The range of valid ports is 30000-30009/,
    )
    expect((await reserved(store)).length).toBe(3)
  })

  it('are never given twice within a service, however it grows', async () => {
    const { resources, store } = await run()
    const ports = Array.from({ length: 10 }, (_, i) => ({ name: `p${i}`, port: i + 1 }))
    await resources.create(serviceKind, service('web', { type: 'NodePort', ports: ports.slice(0, 1) }))
    for (let n = 2; n <= 10; n++) {
      const grown = await resources.update(
        serviceKind,
        service('web', { type: 'NodePort', ports: ports.slice(0, n) }),
        'main',
      )
      expect(new Set(grown.spec.ports?.map(({ nodePort }) => nodePort)).size).toBe(n)
    }
    expect((await reserved(store)).filter((key) => key.startsWith('nodeport'))).toHaveLength(10)
    const twice = [
      { name: 'a', port: 1, nodePort: 30001 },
      { name: 'b', port: 2, nodePort: 30001 },
    ]
    await expect(resources.create(serviceKind, service('x', { type: 'NodePort', ports: twice }))).rejects.toThrow(
      /30001\/TCP stands twice/,
    )
  })

  it('stay reserved when two writers ask for the same one at once', async () => {
    const { resources, store } = await run()
    await resources.create(serviceKind, service('web'))
    const ask = (label: string) =>
      resources.modify(serviceKind, 'default', 'web', 'main', (old) => ({
        ...old,
        metadata: { ...old.metadata, labels: { ...old.metadata.labels, [label]: 'x' } },
        spec: { ...old.spec, type: 'NodePort' as const, ports: [{ port: 80, nodePort: 30005 }] },
      }))
    await Promise.all([ask('a'), ask('b'), ask('c')])
    expect(await reserved(store)).toContain('nodeport/30005')
    expect(Object.keys(resources.get(serviceKind, 'default', 'web')?.metadata.labels ?? {}).sort()).toEqual([
      'a',
      'b',
      'c',
    ])
  })

  it('leave nothing behind when the write is refused or only tried', async () => {
    const { resources, store } = await run()
    await resources.create(serviceKind, service('web', { type: 'NodePort' }))
    const before = await reserved(store)
    await expect(resources.create(serviceKind, service('web', { type: 'NodePort' }))).rejects.toMatchObject({
      code: 'alreadyExists',
    })
    const tried = await resources.create(serviceKind, service('dry', { type: 'NodePort' }), { dryRun: true })
    expect(tried.spec.clusterIP).toBeDefined()
    expect(await reserved(store)).toEqual(before)
  })
})

describe('repair', () => {
  it('sweeps old reservations without a service, spares young ones, and restores missing ones', async () => {
    const clock = createManualClock()
    const { resources, store } = await run({ clock })
    const web = await resources.create(serviceKind, service('web', { clusterIP: '10.96.0.20' }))
    const orphan = JSON.stringify({ namespace: 'default', name: 'gone', uid: 'u', atMs: clock.now() })
    await store.write({ type: 'put', key: '/drover-meta/allocations/clusterip/10.96.0.30', value: orphan })
    await store.write({ type: 'delete', key: '/drover-meta/allocations/clusterip/10.96.0.20' })
    await expect(resources.create(serviceKind, service('b', { clusterIP: '10.96.0.30' }))).rejects.toThrow(
      /already allocated/,
    )
    const options = { store, resources, clock, log: silentLogger }
    await repairAllocations(options)
    expect((await reserved(store)).sort()).toEqual(['clusterip/10.96.0.20', 'clusterip/10.96.0.30'])
    await clock.advance(61_000)
    const plan = await repairAllocations(options)
    expect([plan.stale.length, plan.missing.length, plan.disputed.length]).toEqual([1, 0, 0])
    expect(await reserved(store)).toEqual(['clusterip/10.96.0.20'])
    await resources.delete(serviceKind, 'default', web.metadata.name)
    expect(await reserved(store)).toEqual([])
  })

  it('is not needed to take over an old reservation that is asked for', async () => {
    const clock = createManualClock()
    const { resources, store } = await run({ clock })
    const orphan = JSON.stringify({ namespace: 'default', name: 'gone', uid: 'u', atMs: clock.now() - 120_000 })
    await store.write({ type: 'put', key: '/drover-meta/allocations/clusterip/10.96.0.30', value: orphan })
    const made = await resources.create(serviceKind, service('b', { clusterIP: '10.96.0.30' }))
    expect(made.spec.clusterIP).toBe('10.96.0.30')
  })
})
