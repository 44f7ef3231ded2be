/** Two servers on one etcd: either serves everything, reads see what the other wrote, and one may die. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ConfigMap } from '../../src/api/configmap.ts'
import type { Deployment } from '../../src/api/deployment.ts'
import type { Event } from '../../src/api/event.ts'
import type { Pod } from '../../src/api/pod.ts'
import { localKubeconfig, localStateDir } from '../../src/base/paths.ts'
import { eventually } from '../support/eventually.ts'
import { DROVER, LocalCluster, output } from '../support/local_cluster.ts'

const WAIT = { timeoutMs: 30_000, intervalMs: 100 }
const cluster = new LocalCluster()
const first = localKubeconfig(cluster.name)
const second = join(localStateDir(cluster.name), 'servers', 'server-2', 'kubeconfig')

beforeAll(() => cluster.start('--nodes', '3', '--servers', '2', '--sample'))
afterAll(() => cluster.remove())

const through = (kubeconfig: string, ...args: string[]): Promise<string> =>
  output(process.execPath, [DROVER, '--kubeconfig', kubeconfig, ...args])
const json = async <T>(kubeconfig: string, ...args: string[]): Promise<T> =>
  JSON.parse(await through(kubeconfig, ...args, '-o', 'json')) as T

describe('two servers', () => {
  it('show each what the other wrote, at once', async () => {
    const manifest = (value: string): string =>
      JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'shared' }, data: { value } })
    for (let round = 0; round < 6; round++) {
      const [writer, reader] = round % 2 === 0 ? [first, second] : [second, first]
      const input = manifest(String(round))
      await output(process.execPath, [DROVER, '--kubeconfig', writer, 'apply', '-f', '-'], { input })
      const one = await json<ConfigMap>(reader, 'get', 'configmap', 'shared')
      const { items } = await json<{ items: ConfigMap[] }>(reader, 'get', 'configmaps')
      expect(one.data?.value).toBe(String(round))
      expect(items.find(({ metadata }) => metadata.name === 'shared')?.data?.value).toBe(String(round))
    }
  })

  it('both reach every pod and image, whichever server holds its node', async () => {
    const { items } = await json<{ items: Pod[] }>(first, 'get', 'pods', '-l', 'app=hello')
    expect(items).toHaveLength(3)
    for (const kubeconfig of [first, second]) {
      for (const pod of items) {
        const name = pod.metadata.name ?? ''
        expect((await through(kubeconfig, 'exec', name, '--', 'hostname')).trim()).toBe(name)
      }
      const images = await json<{ items: { node: string; images: unknown[]; error?: string }[] }>(
        kubeconfig,
        'image',
        'ls',
      )
      expect(images.items.map(({ node, images: held }) => [node, held.length])).toEqual(
        [1, 2, 3].map((host) => [`${cluster.name}-${host}`, 1]),
      )
    }
  })

  it('when the leader is killed the other leads, and no node is taken for lost', async () => {
    await cluster.chaos('kill', 'server')
    await eventually(async () => {
      await through(second, 'scale', 'deploy/hello', '--replicas', '5')
      const deployment = await json<Deployment>(second, 'get', 'deploy/hello')
      return deployment.status?.readyReplicas === 5
    }, WAIT)
    const { items } = await json<{ items: Event[] }>(second, 'events')
    expect(items.filter(({ reason }) => reason === 'NodeNotReady')).toEqual([])
    const { items: nodes } = await json<{ items: { metadata: { annotations: Record<string, string> } }[] }>(
      second,
      'get',
      'nodes',
    )
    expect(new Set(nodes.map(({ metadata }) => metadata.annotations['drover.dev/session-server'])).size).toBe(1)
  })

  it('the first comes back and serves again', async () => {
    await cluster.chaos('heal')
    await eventually(
      async () => (await json<Deployment>(first, 'get', 'deploy/hello')).status?.readyReplicas === 5,
      WAIT,
    )
    expect(await cluster.chaosFacts()).toEqual([])
  })
})
