/**
 * What pods take of a node, on real containers: limits of the disk, and a node that runs short of memory, disk or processes. What
 * the node has left of memory and processes is counted by what these pods use, so that nothing else on the machine moves it; the disk
 * is a small one of its own.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Shortage, Signals } from '../../src/agent/pressure/plan.ts'
import { readSignals } from '../../src/agent/pressure/signals.ts'
import type { Upkeep } from '../../src/agent/upkeep.ts'
import { nodeKind } from '../../src/api/node.ts'
import type { Container } from '../../src/api/pod.ts'
import { runOk } from '../../src/base/process.ts'
import { AgentPods } from '../support/agent_pods.ts'
import { createRuntimeHost } from '../support/runtime_host.ts'

const MiB = 2 ** 20
const sh = (script: string): Partial<Container> => ({ command: ['/bin/sh', '-c', `${script}; exec sleep 1000`] })
const writes = (path: string, count: number): string => `dd if=/dev/zero of=${path} bs=1048576 count=${count}`
const storage = (limit: string) => ({ resources: { limits: { 'ephemeral-storage': limit } } })
const PLENTY = 2 ** 40

const host = await createRuntimeHost()
const data = join(host.directory, 'data')
const pods = new AgentPods(host)
/** What must be left, and what the node has of memory and processes for its pods. */
const leave: Record<Shortage, string> = { memory: '100Mi', disk: '0', pids: '50' }
const total = { memory: PLENTY, pids: PLENTY }
const logBounds: Upkeep['logBounds'] = { maxFileBytes: 10 * MiB, maxFiles: 5, maxNodeBytes: 100 * MiB }

async function used(): Promise<{ memory: number; pids: number }> {
  const sum = { memory: 0, pids: 0 }
  for (const { id, podUid, phase } of await host.driver.listContainers()) {
    if (phase !== 'running') continue
    const usage = host.driver.usage(podUid, id, true)
    sum.memory += usage?.memoryWorkingSetBytes ?? 0
    sum.pids += usage?.processes ?? 0
  }
  return sum
}

async function signals(): Promise<Signals> {
  const { memory, pids } = await used()
  const { disk } = await readSignals(data)
  return {
    memory: { available: total.memory - memory, total: total.memory },
    pids: { available: total.pids - pids, total: total.pids },
    disk,
  }
}

const condition = (type: string): string =>
  pods.harness.resources.get(nodeKind, '', 'n1')?.status?.conditions?.find((each) => each.type === type)?.status ?? ''
const evicted = (name: string, message: RegExp): Promise<void> =>
  pods.holds(() =>
    expect(pods.status(name)).toMatchObject({
      phase: 'Failed',
      reason: 'Evicted',
      message: expect.stringMatching(message),
    }),
  )
const disruption = (name: string): string | undefined =>
  pods.status(name)?.conditions?.find(({ type }) => type === 'DisruptionTarget')?.reason
const running = (name: string): void => expect(pods.status(name)?.phase).toBe('Running')

beforeAll(async () => {
  // A disk of its own, and small.
  await mkdir(data, { recursive: true })
  await runOk('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'drvt-disk', data])
  await pods.open(undefined, {
    upkeep: { logBounds, leave, pressureHoldMs: 1_000, pressureEveryMs: 400, signals },
  })
  // Looked at every ten seconds: the last test sees what has become of them.
  const cache = { volumes: [{ name: 'cache', emptyDir: {} }] }
  const mounted = { volumeMounts: [{ name: 'cache', mountPath: '/cache' }] }
  const quiet = { name: 'quiet', ...sh('true'), ...storage('8Mi') }
  await pods.run('layer', { ...sh(writes('/big', 3)), ...storage('2Mi') }, { containers: [quiet] })
  await pods.run(
    'talker',
    { ...sh('yes 0123456789012345 | head -n 50000'), ...storage('2Mi') },
    { containers: [quiet] },
  )
  await pods.run('sum', { ...sh(writes('/cache/big', 3)), ...mounted, ...storage('2Mi') }, cache)
  await pods.run('modest', { ...sh(writes('/cache/big', 1)), ...mounted, ...storage('2Mi') }, cache)
})
afterAll(async () => {
  await pods.close()
  await host.destroy().catch(() => undefined)
  await runOk('umount', ['-l', data])
  await rm(host.directory, { recursive: true, force: true })
})

describe('a node that runs short', () => {
  test('of memory says so, evicts whoever uses most beyond what it asked for, and recovers', async () => {
    const volumes = [{ name: 'mem', emptyDir: { medium: 'Memory' as const } }]
    const takes = (count: number): Partial<Container> => ({
      ...sh(writes('/mem/big', count)),
      volumeMounts: [{ name: 'mem', mountPath: '/mem' }],
    })
    await pods.run('keeps', { ...takes(60), resources: { requests: { memory: '80Mi' } } }, { volumes })
    await pods.run('small', { ...takes(20), resources: { requests: { memory: '1Mi' } } }, { volumes })
    await pods.run('hog', takes(50), { volumes })
    await pods.holds(async () => expect((await used()).memory).toBeGreaterThan(128 * MiB))
    // Room for `keeps` alone; and it alone has what it asked for.
    total.memory = 175 * MiB
    await evicted(
      'hog',
      /^The node was low on resource: memory\. Threshold quantity: 100Mi, available: \d+Ki\. Container app was using \d+Ki, request is 0, has larger consumption of memory\.$/,
    )
    expect(condition('MemoryPressure')).toBe('True')
    expect(disruption('hog')).toBe('TerminationByKubelet')
    await evicted('small', /Container app was using \d+[KM]i, request is 1Mi, has larger consumption of memory/)
    const hog = pods.harness.events.findIndex(({ message }) =>
      /Container app was using \d+Ki, request is 0/.test(message),
    )
    const small = pods.harness.events.findIndex(({ message }) => message.includes('request is 1Mi'))
    expect(hog).toBeGreaterThanOrEqual(0)
    expect(small).toBeGreaterThan(hog)
    await pods.holds(() => expect(condition('MemoryPressure')).toBe('False'))
    running('keeps')
    total.memory = PLENTY
    for (const name of ['keeps', 'small', 'hog']) await pods.remove(name, 0)
  })

  test('of processes, evicts whoever has most of them', async () => {
    await pods.run('forks', sh('for i in $(seq 40); do sleep 1000 & done'))
    await pods.run('one', sh('true'))
    await pods.holds(async () => expect((await used()).pids).toBeGreaterThan(41))
    total.pids = 80
    await evicted('forks', /^The node was low on resource: pids\. Threshold quantity: 50, available: \d+\.$/)
    expect(condition('PIDPressure')).toBe('True')
    await pods.holds(() => expect(condition('PIDPressure')).toBe('False'))
    running('one')
    total.pids = PLENTY
    for (const name of ['forks', 'one']) await pods.remove(name, 0)
  })

  test('what takes more of the disk than its limits say is evicted, with what it has written', async () => {
    await evicted('layer', /^Container app exceeded its local ephemeral storage limit "2Mi"\.$/)
    await evicted('talker', /^Container app exceeded its local ephemeral storage limit "2Mi"\.$/)
    await evicted('sum', /^Pod ephemeral local storage usage exceeds the total limit of containers 2Mi\.$/)
    running('modest')
    expect(disruption('layer')).toBeUndefined()
    for (const name of ['layer', 'talker', 'sum', 'modest']) await pods.remove(name, 0)
  })

  test('of disk, evicts whoever takes most, whose volumes and layers go at once', async () => {
    const volumes = [{ name: 'cache', emptyDir: {} }]
    const mounted = { volumeMounts: [{ name: 'cache', mountPath: '/cache' }] }
    const asks = { resources: { requests: { 'ephemeral-storage': '20Mi' } } }
    await pods.run('asked', { ...sh(writes('/cache/big', 15)), ...mounted, ...asks }, { volumes })
    await pods.run('taker', { ...sh(`${writes('/cache/big', 4)}; ${writes('/big', 8)}`), ...mounted }, { volumes })
    await pods.holds(async () => {
      const { available, total: all } = (await signals()).disk
      expect(all - available).toBeGreaterThan(26 * MiB)
    })
    await writeFile(join(data, 'others'), Buffer.alloc(2 * MiB))
    leave.disk = '42Mi'
    await evicted(
      'taker',
      /^The node was low on resource: ephemeral-storage\. Threshold quantity: 42Mi, available: \d+[KM]i\. Container app was using \d+[KM]i, request is 0, has larger consumption of ephemeral-storage\.$/,
    )
    await pods.holds(async () => expect((await signals()).disk.available).toBeGreaterThan(42 * MiB))
    running('asked')
    leave.disk = '0'
    await pods.holds(() => expect(condition('DiskPressure')).toBe('False'))
    for (const name of ['asked', 'taker']) await pods.remove(name, 0)
  })
})
