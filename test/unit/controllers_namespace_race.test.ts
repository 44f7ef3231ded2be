/**
 * Objects made in a namespace at the moment of its end, through a server whose cache is behind: each is refused or
 * removed, never left in a namespace that is no more.
 */
import { describe, expect, it } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import { namespaceKind } from '../../src/api/namespace.ts'
import { systemClock } from '../../src/base/clock.ts'
import { isCode } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { createNamespaceController } from '../../src/controllers/namespace/controller.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { delayWatch } from '../support/delayed_store.ts'
import { eventually } from '../support/eventually.ts'
import { runResources } from '../support/resources.ts'

const NAMESPACE = 'ending'

describe('a namespace that ends while another server writes', () => {
  it('leaves nothing behind', async () => {
    const store = createMemoryStore({ clock: systemClock })
    const leader = await runResources({ store })
    const behind = delayWatch(store)
    const other = await runResources({ store: behind.store })
    const election = await store.campaign('/test/leader', 'test', leader.signal)
    const controller = createNamespaceController({
      resources: leader.resources,
      events: { record: () => undefined },
      clock: systemClock,
      random: seededRandom(3),
      log: silentLogger,
      fence: election.fence,
    })
    const stop = new AbortController()
    const running = controller.run(stop.signal)
    try {
      const metadata = { name: NAMESPACE }
      const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata }
      await leader.resources.create(namespaceKind, namespace)
      behind.release(1)
      await eventually(() => other.resources.get(namespaceKind, '', NAMESPACE))
      const make = (index: number): Promise<unknown> =>
        other.resources.create(configMapKind, {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: `late-${index}`, namespace: NAMESPACE },
        })
      await make(0)
      await leader.resources.delete(namespaceKind, '', NAMESPACE)
      const made = await Promise.allSettled(Array.from({ length: 20 }, (_, index) => make(index + 1)))
      await eventually(() => leader.resources.get(namespaceKind, '', NAMESPACE) === undefined)
      // The other server still believes in the namespace.
      await make(99)
      await eventually(async () => (await store.list(`/drover/core/configmaps/${NAMESPACE}/`)).items.length === 0)
      expect(made.some(({ status }) => status === 'fulfilled')).toBe(true)
      behind.open()
      await eventually(() => other.resources.get(namespaceKind, '', NAMESPACE) === undefined)
      const refused: unknown = await make(100).catch((error: unknown) => error)
      expect(isCode(refused, 'notFound')).toBe(true)
    } finally {
      behind.open()
      stop.abort()
      await running
      await other.stop()
      await leader.stop()
    }
  })
})
