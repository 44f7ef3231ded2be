/** Pods of every class of service: what each gets of the node beside others, and that an agent that comes back sees to it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Container } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { AgentPods } from '../support/agent_pods.ts'
import { addressOf } from '../support/node_session.ts'
import { POD_FILES, type PodCgroup, podCgroup, podCgroupFile, sharesHere, unboundedPod } from '../support/pod_cgroup.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

let runtimeHost: RuntimeHost
let pods: AgentPods

beforeAll(async () => {
  runtimeHost = await createRuntimeHost()
  pods = new AgentPods(runtimeHost)
})
afterAll(async () => {
  await pods.close()
  await runtimeHost.destroy()
})

const MI = 2 ** 20
const stopping: Partial<Container> = { lifecycle: { stopSignal: 'SIGKILL' } }
const cgroupOf = (name: string): string => {
  const uid = pods.harness.resources.get(podKind, 'default', name)?.metadata.uid ?? 'none'
  return join(runtimeHost.cgroupParent, uid)
}

/** As an agent left it that knew of containers alone. */
function forget(name: string): void {
  const defaults = { shares: String(unboundedPod().shares), quota: '-1', memory: '-1' }
  for (const key of ['shares', 'quota', 'memory'] as const) {
    const path = podCgroupFile(cgroupOf(name), POD_FILES[key])
    if (path === undefined) throw new Error(`no ${key} of pod ${name}`)
    writeFileSync(path, defaults[key] === '-1' && path.endsWith('.max') ? 'max' : defaults[key])
  }
}

test('their cgroups weigh as they ask and bound them where all of their containers are bounded', async () => {
  const { dispatch, agent } = await pods.open()
  const bounded = (cpu: string, memory: string): Partial<Container> => ({
    ...stopping,
    resources: { limits: { cpu, memory } },
  })
  await pods.run('guaranteed', bounded('500m', '64Mi'), {
    containers: [{ name: 'second', ...bounded('250m', '32Mi') } as Container],
  })
  await pods.run('burstable', { ...stopping, resources: { requests: { cpu: '1500m' } } })
  await pods.run('besteffort', stopping)
  const expected: Record<string, PodCgroup> = {
    guaranteed: { shares: sharesHere(768), quota: 75_000, memoryBytes: 96 * MI },
    burstable: { ...unboundedPod(), shares: sharesHere(1536) },
    besteffort: { ...unboundedPod(), shares: sharesHere(2) },
  }
  const names = Object.keys(expected)
  const actual = () => Object.fromEntries(names.map((name) => [name, podCgroup(cgroupOf(name))]))
  for (const name of names) await pods.ready(name)
  expect(names.map((name) => pods.status(name)?.qosClass)).toEqual(['Guaranteed', 'Burstable', 'BestEffort'])
  expect(actual()).toEqual(expected)

  await agent.stop()
  for (const name of names) forget(name)
  await pods.startAgent(addressOf(dispatch))
  await pods.holds(() => expect(actual()).toEqual(expected))
  for (const name of names) expect(pods.container(name)).toMatchObject({ restartCount: 0 })

  for (const name of names) await pods.remove(name)
  await pods.holds(() => expect(runtimeHost.remains()).toEqual([]))
})
