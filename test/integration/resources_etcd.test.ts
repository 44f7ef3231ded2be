import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import { serviceKind } from '../../src/api/service.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom, systemRandom } from '../../src/base/random.ts'
import { createEtcdStore } from '../../src/store/etcd/store.ts'
import type { Store } from '../../src/store/store.ts'
import { startTestEtcd, type TestEtcd } from '../support/etcd.ts'
import { runResources } from '../support/resources.ts'

let etcd: TestEtcd
const stores: Store[] = []

async function connect(): Promise<Store> {
  const environment = { clock: systemClock, random: systemRandom, log: silentLogger }
  const writerId = `drvt-resources-${stores.length}`
  const store = await createEtcdStore({ ...environment, endpoints: [etcd.endpoint], writerId })
  stores.push(store)
  return store
}

beforeAll(async () => {
  etcd = await startTestEtcd()
})
afterAll(async () => {
  for (const store of stores) await store.close()
  await etcd.stop()
})

describe('two servers on one etcd', () => {
  it('see each change once and in order, and their own at once', async () => {
    const first = await runResources({ store: await connect(), random: seededRandom(1) })
    const second = await runResources({ store: await connect(), random: seededRandom(2) })
    const servers = [first, second]
    const heard: string[][] = servers.map(() => [])
    const stops = servers.map(({ resources }, i) =>
      resources.subscribe(configMapKind, ({ type, object, revision }) => {
        heard[i]?.push(`${type} ${object.metadata.name} ${revision}`)
      }),
    )
    const metadata = (name: string) => ({ name, namespace: 'default' })
    await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const { resources } = i % 2 === 0 ? first : second
        const name = `m${i}`
        const made = await resources.create(configMapKind, {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: metadata(name),
        })
        expect(resources.get(configMapKind, 'default', name)).toBe(made)
        const next = await resources.modify(configMapKind, 'default', name, 'main', (map) => ({
          ...map,
          data: { a: 'b' },
        }))
        expect(resources.get(configMapKind, 'default', name)).toBe(next)
        if (i % 4 === 0) await resources.delete(configMapKind, 'default', name)
      }),
    )
    for (const { resources } of servers) await resources.waitForRevision(await resources.currentRevision(), 10_000)
    expect(heard[0]).toHaveLength(90)
    const revisions = (heard[0] ?? []).map((line) => Number(line.split(' ')[2]))
    expect(revisions).toEqual([...revisions].sort((a, b) => a - b))
    expect([...(heard[1] ?? [])].sort()).toEqual([...(heard[0] ?? [])].sort())
    const [a, b] = servers.map(({ resources }) =>
      resources.list(configMapKind).map(({ metadata: { name, resourceVersion } }) => `${name} ${resourceVersion}`),
    )
    expect(a).toEqual(b)
    expect(a).toHaveLength(30)
    for (const stop of stops) stop()
    for (const server of servers) await server.stop()
  })

  it('show what was acknowledged on the other, even when the last write is no object', async () => {
    const [first, second] = [
      await runResources({ store: await connect() }),
      await runResources({ store: await connect() }),
    ]
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'default' },
      spec: { ports: [{ port: 80 }] },
    }
    await first.resources.create(serviceKind, service)
    await first.resources.delete(serviceKind, 'default', 'web')
    await second.resources.waitForRevision(await second.resources.currentRevision(), 10_000)
    expect(second.resources.get(serviceKind, 'default', 'web')).toBeUndefined()
    await first.stop()
    await second.stop()
  })

  it('live through a restart of etcd', async () => {
    const { resources, stop } = await runResources({ store: await connect() })
    const heard: string[] = []
    resources.subscribe(configMapKind, ({ object }) => heard.push(object.metadata.name))
    await etcd.kill()
    await etcd.restart()
    const other = await runResources({ store: await connect(), random: seededRandom(3) })
    await other.resources.create(configMapKind, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'after', namespace: 'default' },
    })
    await resources.waitForRevision(other.resources.revision(), 10_000)
    await resources.waitForRevision(await other.resources.currentRevision(), 20_000)
    expect(heard).toEqual(['after'])
    await stop()
    await other.stop()
  })
})
