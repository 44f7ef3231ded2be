/** Two servers on one etcd: either serves everything, reads see what the other wrote, and one may die. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ConfigMap } from '../../src/api/configmap.ts'
import type { Deployment } from '../../src/api/deployment.ts'
import type { Event } from '../../src/api/event.ts'
import { EXCLUSIVE_LEASE_MS } from '../../src/api/exclusive.ts'
import { isNodeReady, type Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { localKubeconfig, localStateDir } from '../../src/base/paths.ts'
import { eventually } from '../support/eventually.ts'
import { DROVER, LocalCluster, output } from '../support/local_cluster.ts'
import { Writer } from '../support/writers.ts'

const WAIT = { timeoutMs: 60_000, intervalMs: 100 }
const cluster = new LocalCluster()
const shared = Writer.directory()
const writer = new Writer(shared.path, 'writer')
const first = localKubeconfig(cluster.name)
const second = join(localStateDir(cluster.name), 'servers', 'server-2', 'kubeconfig')

beforeAll(() => cluster.start('--nodes', '3', '--servers', '2', '--sample'))
afterAll(async () => {
  await cluster.chaos('heal').catch(() => undefined)
  await cluster.remove()
  shared.remove()
})

const through = (kubeconfig: string, ...args: string[]): Promise<string> =>
  output(process.execPath, [DROVER, '--kubeconfig', kubeconfig, ...args])
const json = async <T>(kubeconfig: string, ...args: string[]): Promise<T> =>
  JSON.parse(await through(kubeconfig, ...args, '-o', 'json')) as T

const idOf = (file: string): string => readFileSync(join(localStateDir(cluster.name), file), 'utf8').trim()
const nameOf = (serverId: string): string => (serverId === idOf('server/server-id') ? 'server-1' : 'server-2')

const nodes = async (): Promise<Node[]> => (await json<{ items: Node[] }>(second, 'get', 'nodes')).items
const allReady = async (): Promise<boolean> => (await nodes()).every(isNodeReady)

/** By node, the id of the server that holds its session. */
async function sessionServers(): Promise<Record<string, string>> {
  const held = (await nodes()).map(({ metadata }) => [
    metadata.name,
    metadata.annotations?.['drover.dev/session-server'] ?? '',
  ])
  return Object.fromEntries(held) as Record<string, string>
}

async function lossEvents(): Promise<Event[]> {
  const { items } = await json<{ items: Event[] }>(second, 'events')
  return items.filter(({ reason }) => reason === 'NodeNotReady')
}

const lossesOf = async (host: string): Promise<Event[]> =>
  (await lossEvents()).filter((event) => event.involvedObject.name === host)
const losses = async (): Promise<string[]> =>
  (await lossEvents()).map(({ involvedObject, message, count }) => `${involvedObject.name} ${count}: ${message}`).sort()

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

  it('an agent that loses one turns to the other and all its pods run on; one that loses both ends the exclusive ones', async () => {
    await cluster.apply(writer.workload())
    const pod = await eventually(() => writer.pod(cluster), WAIT)
    const uid = pod?.metadata.uid ?? ''
    const host = pod?.spec.nodeName ?? ''
    await eventually(() => writer.last()?.uid === uid, WAIT)
    const held = async (): Promise<string> => (await sessionServers())[host] ?? ''
    const holder = await held()
    const before = await json<{ items: Pod[] }>(first, 'get', 'pods')

    const from = writer.bytes
    const cutMs = writer.last()?.atMs ?? 0
    await cluster.chaos('partition', host, '--from', nameOf(holder))
    await eventually(async () => (await held()) !== holder, WAIT)
    // Its lease would have ended by now.
    await eventually(() => (writer.last()?.atMs ?? 0) > cutMs + 1.25 * EXCLUSIVE_LEASE_MS, WAIT)
    expect(writer.copiesSince(from).map((copy) => copy.uid)).toEqual([uid])
    expect((await lossesOf(host)).map(({ message }) => message)).toEqual([])
    const after = await json<{ items: Pod[] }>(first, 'get', 'pods')
    const uidsAndRestarts = ({ items }: { items: Pod[] }) =>
      items.map(({ metadata, status }) => `${metadata.uid} ${status?.containerStatuses?.[0]?.restartCount}`).sort()
    expect(uidsAndRestarts(after)).toEqual(uidsAndRestarts(before))

    await cluster.chaos('partition', host, '--from', 'server')
    await eventually(() => writer.last()?.uid !== uid, WAIT)
    await cluster.chaos('heal', host)
    await eventually(async () => (await lossesOf(host)).length > 0 && (await allReady()), WAIT)
    const [old, next, ...more] = writer.copiesSince(from)
    expect([old?.uid, more]).toEqual([uid, []])
    expect(Math.max(...(old?.times ?? []))).toBeLessThan(next?.times[0] ?? 0)
    await cluster.ask('delete', 'statefulset', writer.name)
  })

  it('when the leader is killed the other leads, and no node is taken for lost', async () => {
    const lostBefore = await losses()
    await cluster.chaos('kill', 'server')
    await eventually(async () => {
      await through(second, 'scale', 'deploy/hello', '--replicas', '5')
      const deployment = await json<Deployment>(second, 'get', 'deploy/hello')
      return deployment.status?.readyReplicas === 5
    }, WAIT)
    // Time for a node to be called lost, had its agent not found the other server.
    await eventually(async () => new Set(Object.values(await sessionServers())).size === 1, WAIT)
    expect(await losses()).toEqual(lostBefore)
    expect(await allReady()).toBe(true)
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
