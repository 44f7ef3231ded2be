/** A namespace that does not end says why, and ends when it can. */
import { expect, it } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import type { Stored } from '../../src/api/meta.ts'
import { type Namespace, namespaceKind } from '../../src/api/namespace.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { createNamespaceController } from '../../src/controllers/namespace/controller.ts'
import { eventually } from '../support/eventually.ts'
import { createManualClock } from '../support/manual_clock.ts'
import { runResources } from '../support/resources.ts'

it('names the kinds that are left and the finalizers that hold them', async () => {
  const clock = createManualClock()
  const { resources, store, signal, stop } = await runResources({ clock })
  const { fence } = await store.campaign('/test/leader', 'test', signal)
  const events = { record: () => undefined }
  const random = seededRandom(3)
  const end = new AbortController()
  const controller = createNamespaceController({ resources, events, clock, random, log: silentLogger, fence })
  const running = controller.run(end.signal)
  const namespace = (): Stored<Namespace> | undefined => resources.get(namespaceKind, '', 'held')
  try {
    await resources.create(namespaceKind, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'held' } })
    for (const [name, finalizers] of [
      ['free', []],
      ['kept', ['example.org/keep']],
    ] as const) {
      const metadata = { name, namespace: 'held', finalizers: [...finalizers] }
      await resources.create(configMapKind, { apiVersion: 'v1', kind: 'ConfigMap', metadata })
    }
    await resources.delete(namespaceKind, '', 'held')
    await eventually(() => resources.list(configMapKind, { namespace: 'held' }).length === 1)
    expect(namespace()?.status?.conditions, 'not worth words yet').toBeUndefined()
    await eventually(async () => {
      await clock.advance(1_000)
      return namespace()?.status?.conditions?.length === 3
    })
    const said = namespace()?.status?.conditions?.map(({ type, status, message }) => [type, status, message])
    expect(said).toEqual([
      ['NamespaceDeletionContentFailure', 'False', expect.any(String)],
      ['NamespaceContentRemaining', 'True', 'Some resources are remaining: configmaps'],
      ['NamespaceFinalizersRemaining', 'True', 'Finalizers that hold configmaps: example.org/keep'],
    ])
    const change = (map: { metadata: object }) => ({ ...map, metadata: { ...map.metadata, finalizers: [] } })
    await resources.modify(configMapKind, 'held', 'kept', 'main', (map) => ({ ...map, ...change(map) }) as typeof map)
    await eventually(() => namespace() === undefined)
  } finally {
    end.abort()
    await running
    await stop()
  }
})
