/** What pods as a whole weigh and may take, as the kernel has it and acts by it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { ContainerRequest, PodResources } from '../../src/agent/runtime/runtime.ts'
import { describeRuntimes } from '../support/describe_runtimes.ts'
import { eventually } from '../support/eventually.ts'
import { podCgroup, sharesHere, unboundedPod } from '../support/pod_cgroup.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

const signal = new AbortController().signal
const NOTHING: PodResources = { cpuRequestMillis: 0, cpuLimitMillis: 0, memoryLimitBytes: 0 }
const MI = 2 ** 20

const GREEDY = ['/bin/sh', '-c', 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done']

/** A mask of the first processor that we may run on. */
function oneProcessor(): string {
  const [, first = '0'] = /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return (1n << BigInt(first)).toString(16)
}

describeRuntimes('the resources of a pod', (runtime) => {
  let host: RuntimeHost
  beforeAll(async () => {
    host = await createRuntimeHost(runtime)
  })
  afterAll(() => host.destroy())

  async function start(podUid: string, resources: PodResources | undefined, changes: Partial<ContainerRequest> = {}) {
    const sandbox = await host.sandbox(podUid, resources === undefined ? {} : { resources })
    const request = host.request(sandbox, changes)
    await host.driver.startContainer(request, signal)
    return request.id
  }
  const values = (podUid: string) => podCgroup(join(host.cgroupParent, podUid))
  const isRunning = async (podUid: string): Promise<void> => {
    expect(await host.driver.listContainers(podUid)).toMatchObject([{ phase: 'running' }])
  }
  async function remove(...podUids: string[]): Promise<void> {
    for (const podUid of podUids) {
      for (const { id } of await host.driver.listContainers(podUid)) await host.driver.removeContainer(id)
      await host.driver.removeSandbox(podUid)
    }
    await eventually(() => expect(host.remains()).toEqual([]))
  }

  it('are there when its first container runs; one that says nothing keeps what the kernel gives', async () => {
    await start('asks', { cpuRequestMillis: 250, cpuLimitMillis: 2000, memoryLimitBytes: 512 * MI })
    expect(values('asks')).toEqual({ shares: sharesHere(256), quota: 200_000, memoryBytes: 512 * MI })
    await start('asks-nothing', NOTHING)
    expect(values('asks-nothing')).toEqual({ ...unboundedPod(), shares: sharesHere(2) })
    await start('of-nobody', undefined)
    expect(values('of-nobody')).toEqual(unboundedPod())
    await remove('asks', 'asks-nothing', 'of-nobody')
  })

  it('reach a pod that runs, when another driver asks for its sandbox again', async () => {
    await start('older', undefined)
    const again = await host.again()
    const resources = { cpuRequestMillis: 1500, cpuLimitMillis: 2000, memoryLimitBytes: 64 * MI }
    const named = { podUid: 'older', namespace: 'default', podName: 'older', hostname: 'drvt-host', hostNetwork: false }
    await again.ensureSandbox({ ...named, resources })
    expect(values('older')).toEqual({ shares: sharesHere(1536), quota: 200_000, memoryBytes: 64 * MI })
    await isRunning('older')
    await remove('older')
  })

  it('that are less than it takes already, or than its container may, leave it as it was', async () => {
    const limited = {
      cpuLimitMillis: 1000,
      cpuRequestMillis: 0,
      memoryLimitBytes: 0,
      memoryRequestBytes: 0,
      pidsLimit: 0,
    }
    await start('small', { ...NOTHING, cpuLimitMillis: 100, memoryLimitBytes: 4096 }, { resources: limited })
    await isRunning('small')
    expect(values('small')).toMatchObject({ shares: sharesHere(2), memoryBytes: 'unbounded' })
    await remove('small')
  })

  it('bound a container that may take as much alone: one that wants more is killed for it', async () => {
    const bounded = {
      cpuLimitMillis: 0,
      cpuRequestMillis: 0,
      memoryLimitBytes: 32 * MI,
      memoryRequestBytes: 0,
      pidsLimit: 0,
    }
    await start('greedy', { ...NOTHING, memoryLimitBytes: 32 * MI }, { args: GREEDY, resources: bounded })
    const state = await eventually(async () => {
      const [found] = await host.driver.listContainers('greedy')
      return found?.phase === 'exited' && found
    })
    expect(state.exit).toMatchObject({ oomKilled: true })
    await remove('greedy')
  })

  it('share out a processor that two pods want whole', async () => {
    const args = ['/bin/taskset', oneProcessor(), '/bin/sh', '-c', 'while :; do :; done']
    const starved = await start('starved', NOTHING, { args })
    const big = await start('big', { ...NOTHING, cpuRequestMillis: 1500 }, { args })
    const used = () => ({
      starved: host.driver.cpuSeconds('starved', starved) ?? 0,
      big: host.driver.cpuSeconds('big', big) ?? 0,
    })
    // From here on both run.
    const before = used()
    const after = await eventually(
      () => {
        const now = used()
        return now.starved + now.big - before.starved - before.big >= 1 && now
      },
      { timeoutMs: 30_000 },
    )
    expect(after.big - before.big).toBeGreaterThan(3 * (after.starved - before.starved))
    // It has next to nothing of the processor, and is gone soon all the same; what is left of the pod weighs what it did.
    await host.driver.signalContainer(starved, 'SIGKILL', true)
    await eventually(async () => {
      const [state] = await host.driver.listContainers('starved')
      return state?.phase === 'exited'
    })
    expect(values('starved').shares).toBe(sharesHere(2))
    await remove('starved', 'big')
  })
})
