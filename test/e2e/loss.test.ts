/** Hosts that freeze, lose their power or their network: what runs moves on, and what comes back cleans up. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { isPodReady } from '../../src/api/conditions.ts'
import type { Event } from '../../src/api/event.ts'
import { isNodeReady, type Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { eventually } from '../support/eventually.ts'
import { LocalCluster, output } from '../support/local_cluster.ts'

const WAIT = { timeoutMs: 30_000, intervalMs: 100 }
/** Watches the world without taking the processor from it. */
const LOOK = { timeoutMs: 30_000, intervalMs: 50 }
const cluster = new LocalCluster()
const host = (index: number): string => `${cluster.name}-${index}`

beforeAll(() => cluster.start('--nodes', '3', '--zones', '2', '--label', '1:disk=ssd', '--sample'))
afterAll(() => cluster.remove())

interface List<T> {
  items: T[]
}

async function pods(): Promise<Pod[]> {
  const { items } = await cluster.json<List<Pod>>('get', 'pods', '-l', 'app=hello')
  return items.filter((pod) => pod.metadata.deletionTimestamp === undefined)
}

async function readyNodes(): Promise<string[]> {
  const { items } = await cluster.json<List<Node>>('get', 'nodes')
  return items.filter(isNodeReady).map(({ metadata }) => metadata.name ?? '')
}

async function events(reason: string): Promise<Event[]> {
  const { items } = await cluster.json<List<Event>>('events')
  return items.filter((event) => event.reason === reason)
}

const allReady = (): Promise<boolean> => readyNodes().then((names) => names.length === 3)

/** Three ready pods, none of them on the host, and the service answers every time. */
async function servesWithout(index: number): Promise<boolean> {
  const now = await pods()
  const good = now.filter((pod) => isPodReady(pod) && pod.spec.nodeName !== host(index))
  if (good.length !== 3 || now.length !== 3) return false
  const via = cluster.hostAddress(index === 1 ? 2 : 1)
  for (let i = 0; i < 6; i++) await output('curl', ['-sSf', '--max-time', '1', `http://${via}:30080/`])
  return true
}

/** Cgroups of pods on the host, in the memory hierarchy or the unified one. */
function podCgroups(index: number): string[] {
  const roots = ['/sys/fs/cgroup/memory', '/sys/fs/cgroup'].map((root) =>
    join(root, 'drover', cluster.name, host(index)),
  )
  const root = roots.find((path) => existsSync(path))
  if (root === undefined) return []
  return readdirSync(root, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
}

/** Only what the cluster knows runs on the host. */
async function isClean(index: number): Promise<boolean> {
  const { items } = await cluster.json<List<Pod>>('get', 'pods')
  const known = items.filter((pod) => pod.spec.nodeName === host(index)).map(({ metadata }) => metadata.uid)
  return podCgroups(index).every((uid) => known.includes(uid))
}

describe('labels of hosts', () => {
  it('stand on their nodes', async () => {
    const { items } = await cluster.json<List<Node>>('get', 'nodes')
    const zones = items.map(({ metadata }) => metadata.labels?.['topology.kubernetes.io/zone'])
    expect(zones).toEqual(['a', 'b', 'a'])
    expect(items.map(({ metadata }) => metadata.labels?.disk)).toEqual(['ssd', undefined, undefined])
  })
})

describe('a lost host', () => {
  afterEach(() => cluster.chaos('heal'))

  it('frozen: its pods serve elsewhere within seconds, and it cleans up when it goes on', async () => {
    await eventually(async () => (await pods()).some(({ spec }) => spec.nodeName === host(2)), WAIT)
    const startedMs = systemClock.monotonicMs()
    await cluster.chaos('freeze', '2')
    expect(await cluster.chaosFacts()).toEqual([{ target: host(2), fault: 'frozen', detail: '' }])
    await eventually(() => servesWithout(2), LOOK)
    console.log(`freeze → replacement serving: ${Math.round(systemClock.monotonicMs() - startedMs)} ms`)
    expect(await readyNodes()).toEqual([host(1), host(3)])
    await cluster.chaos('thaw', '2')
    await eventually(allReady, WAIT)
    await eventually(() => isClean(2), WAIT)
    expect(await pods()).toHaveLength(3)
  })

  it('without power: the same, and it takes pods again when it is back', async () => {
    await cluster.chaos('kill', '3')
    expect(podCgroups(3)).toEqual([])
    await eventually(() => servesWithout(3), LOOK)
    await cluster.chaos('heal', '3')
    await eventually(allReady, WAIT)
    await cluster.ask('scale', 'deploy/hello', '--replicas', '6')
    await eventually(async () => {
      const now = await pods()
      return now.filter(isPodReady).length === 6 && now.some(({ spec }) => spec.nodeName === host(3))
    }, WAIT)
    await eventually(() => isClean(3), WAIT)
    await cluster.ask('scale', 'deploy/hello', '--replicas', '3')
    await eventually(async () => (await pods()).length === 3, WAIT)
  })

  it('more than half at once: nothing is moved, the events say why, and all is as before once they are back', async () => {
    const before = (await pods()).map(({ metadata }) => metadata.uid).sort()
    await Promise.all([cluster.chaos('partition', '1', '--from', 'server'), cluster.chaos('partition', '2')])
    await eventually(async () => (await readyNodes()).length === 1, WAIT)
    const stopped = await eventually(async () => (await events('EvictionsStopped'))[0], WAIT)
    expect(stopped.message).toMatch(/^2 of 3 nodes .* at once/)
    expect((await pods()).map(({ metadata }) => metadata.uid).sort()).toEqual(before)
    await cluster.chaos('heal')
    await eventually(allReady, WAIT)
    await eventually(async () => (await pods()).filter(isPodReady).length === 3, WAIT)
    expect((await pods()).map(({ metadata }) => metadata.uid).sort()).toEqual(before)
  })
})

describe('a starved machine', () => {
  const loops: ChildProcess[] = []
  afterAll(() => {
    for (const loop of loops) loop.kill('SIGKILL')
  })

  it('loses no node', async () => {
    const lostBefore = (await events('NodeNotReady')).reduce((sum, { count = 1 }) => sum + count, 0)
    for (let i = 0; i < 4; i++) loops.push(spawn(process.execPath, ['-e', 'for (;;);']))
    await sleep(systemClock, 10_000)
    for (const loop of loops.splice(0)) loop.kill('SIGKILL')
    expect((await events('NodeNotReady')).reduce((sum, { count = 1 }) => sum + count, 0)).toBe(lostBefore)
    expect(await readyNodes()).toHaveLength(3)
  })
})
