/** A node whose range is full: who comes too late is told so, and gets the address of the first that goes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findCondition } from '../../src/api/conditions.ts'
import { POD_CONDITION } from '../../src/api/names.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { eventually } from '../support/eventually.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { createNamespace, type TestNamespace } from '../support/netns.ts'
import { NetworkHosts } from '../support/network_hosts.ts'
import { addressOf, SessionHarness } from '../support/node_session.ts'

/** Five addresses: eight less the tunnel's, the bridge's and the last. */
const RANGE = '10.244.1.0/29'
const hosts = new NetworkHosts('6')
const harness = new SessionHarness()
const places = new Map<string, TestNamespace>()
const host = new FakeHost()

/** Real interfaces in real namespaces; the containers are pretended. */
function drivers() {
  const network = hosts.makeDriver(hosts.host(0).namespace.path, 'agent')
  const plain = fakeDrivers(host)
  const { runtime } = plain
  const { ensureSandbox, removeSandbox } = runtime
  runtime.ensureSandbox = async (request) => {
    const sandbox = await ensureSandbox(request)
    const place = places.get(request.podUid) ?? (await createNamespace(`drvt${hosts.id}-${request.podUid.slice(0, 8)}`))
    places.set(request.podUid, place)
    return { ...sandbox, netNamespacePath: place.path }
  }
  runtime.removeSandbox = async (podUid) => {
    await removeSandbox(podUid)
    const place = places.get(podUid)
    places.delete(podUid)
    await place?.remove()
  }
  return { ...plain, network }
}

beforeAll(async () => {
  await hosts.open(['full'])
  await hosts.host(0).driver.teardown()
  await harness.open()
  const dispatch = await harness.startDispatch()
  await harness.startAgent('full', drivers(), addressOf(dispatch))
  await harness.giveCidr('full', RANGE)
})

afterAll(async () => {
  await harness.close()
  for (const place of places.values()) await place.remove()
  await hosts.close()
})

async function runPod(name: string): Promise<void> {
  await harness.resources.create(podKind, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: { containers: [{ name: 'app', image: 'app:1', imagePullPolicy: 'IfNotPresent' }] },
  })
  // Told by name, past the scheduler, which counts addresses: as a DaemonSet's or another scheduler's pod may come.
  await harness.resources.modify<Pod>(podKind, 'default', name, 'all', (pod) => ({
    ...pod,
    spec: { ...pod.spec, nodeName: 'full' },
  }))
}

const stored = (name: string) => harness.resources.get(podKind, 'default', name)
const trouble = (name: string) => findCondition(stored(name)?.status?.conditions, POD_CONDITION.readyToStart)

async function running(name: string, timeoutMs = 20_000): Promise<string> {
  return eventually(() => (stored(name)?.status?.phase === 'Running' ? stored(name)?.status?.podIP : undefined), {
    timeoutMs,
  })
}

describe('a node without a free address', () => {
  it('says so of the pod that waits, which has its address as soon as another is gone', async () => {
    const names = ['a', 'b', 'c', 'd', 'e']
    for (const name of names) await runPod(name)
    const addresses = await Promise.all(names.map((name) => running(name)))
    expect(new Set(addresses).size).toBe(5)

    for (const name of ['late', 'later']) await runPod(name)
    for (const name of ['late', 'later']) {
      await eventually(() => trouble(name), { timeoutMs: 10_000 })
      expect(trouble(name)).toMatchObject({
        status: 'False',
        reason: 'NoPodAddress',
        message: expect.stringMatching(/no pod address is free: 10\.244\.1\.0\/29 holds 5 and all are in use/),
      })
      expect(stored(name)?.status?.phase).toBe('Pending')
    }
    await eventually(
      () => harness.events.some(({ name, message }) => name === 'late' && /no pod address is free/.test(message)),
      { timeoutMs: 10_000 },
    )
    await harness.resources.delete(podKind, 'default', 'b', { gracePeriodSeconds: 1 })
    const heir = await eventually(() => ['late', 'later'].find((name) => stored(name)?.status?.phase === 'Running'), {
      timeoutMs: 20_000,
      intervalMs: 5,
    })
    expect(stored(heir)?.status?.podIP).toBe(addresses[1])
    expect(trouble(heir)).toBeUndefined()

    const last = heir === 'late' ? 'later' : 'late'
    expect(trouble(last)?.reason).toBe('NoPodAddress')
    await harness.resources.delete(podKind, 'default', 'd', { gracePeriodSeconds: 1 })
    expect(await running(last)).toBe(addresses[3])
  })
})
