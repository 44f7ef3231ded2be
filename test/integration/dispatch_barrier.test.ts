/**
 * The traffic barrier over real node sessions: endpoint slices by the real controller, hosts in memory. A pod gets no
 * signal before every live node has programmed a service table without it, and counts only when all route to it.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { findCondition } from '../../src/api/conditions.ts'
import { POD_CONDITION } from '../../src/api/names.ts'
import { isNodeReady, nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { type ReplicaSet, replicaSetKind } from '../../src/api/replicaset.ts'
import { type Service, serviceKind } from '../../src/api/service.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import { createEndpointSliceController } from '../../src/controllers/endpointslice/controller.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { addressOf, holds, SessionHarness } from '../support/node_session.ts'

let harness: SessionHarness
/** Hosts that are held up; a test that fails must not leave them so. */
const held: { release(): void }[] = []
let stopController: () => Promise<void>

beforeEach(async () => {
  harness = new SessionHarness()
  await harness.open()
})

afterEach(async () => {
  for (const host of held.splice(0)) host.release()
  await stopController()
  await harness.close()
})

/** A host whose service rules can be held up, and that tells when it is asked to stop a container. */
class SlowHost extends FakeHost {
  readonly signalled: { podUid: string; routed: string[] }[] = []
  #gate: Promise<void> | undefined
  #open: () => void = () => undefined

  hold(): void {
    held.push(this)
    this.#gate = new Promise((resolve) => {
      this.#open = resolve
    })
  }

  release(): void {
    this.#gate = undefined
    this.#open()
  }

  drivers(everywhere: () => string[]) {
    const drivers = fakeDrivers(this)
    const { network, runtime } = drivers
    const program = network.applyServices.bind(network)
    const signal = runtime.signalContainer.bind(runtime)
    network.applyServices = async (services) => {
      await this.#gate
      await program(services)
    }
    runtime.signalContainer = async (id, name, all) => {
      this.signalled.push({ podUid: this.containers.get(id)?.state.podUid ?? '', routed: everywhere() })
      await signal(id, name, all)
    }
    return drivers
  }

  routes(): string[] {
    return this.services.flatMap(({ ports }) =>
      ports.flatMap(({ endpoints }) => endpoints.map(({ address }) => address)),
    )
  }
}

const HOSTS = ['n1', 'n2', 'n3'] as const

/** `servers`: how many; the last node calls the last of them first. */
async function threeNodes(servers = 1) {
  const alive = new Set(['server-1', ...(servers > 1 ? ['server-2'] : [])])
  const options = { heartbeatIntervalMs: 100, notReadyAfterMs: 1_000, isServerAlive: (id: string) => alive.has(id) }
  const dispatch = await harness.startDispatch(options)
  const second = servers > 1 ? await harness.startDispatch({ ...options, serverId: 'server-2' }) : undefined
  const hosts = HOSTS.map(() => new SlowHost())
  const everywhere = (): string[] => hosts.flatMap((host) => host.routes())
  const agents = []
  for (const [index, name] of HOSTS.entries()) {
    const host = hosts[index] as SlowHost
    const server = second !== undefined && index === 2 ? second : dispatch
    agents.push(await harness.startAgent(name, host.drivers(everywhere), addressOf(server)))
    await harness.giveCidr(name, `10.244.${index}.0/24`)
    host.nextAddress = () => `10.244.${index}.${2 + host.interfaces.size}`
  }
  const control = new AbortController()
  const context = {
    resources: harness.resources,
    events: { record: () => undefined },
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    fence: await harness.fence(),
  }
  const done = runServices([createEndpointSliceController(context)], context, control.signal)
  stopController = async () => {
    control.abort()
    await done
  }
  const service: Service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
  }
  await harness.resources.create(serviceKind, service)
  return { dispatch, second, hosts, agents, alive }
}

const stored = (name: string) => harness.resources.get(podKind, 'default', name)
const condition = (name: string, type: string) => findCondition(stored(name)?.status?.conditions, type)

async function createPod(name: string, nodeName: string, extra: Partial<Pod['metadata']> = {}): Promise<void> {
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app: 'web' }, ...extra },
    spec: { containers: [{ name: 'app', image: 'app:1', imagePullPolicy: 'IfNotPresent' }] },
  }
  await harness.resources.create(podKind, pod)
  await harness.resources.modify<Pod>(podKind, 'default', name, 'all', (object) => ({
    ...object,
    spec: { ...object.spec, nodeName },
  }))
}

async function routedPod(name: string, nodeName: string, extra: Partial<Pod['metadata']> = {}): Promise<string> {
  await createPod(name, nodeName, extra)
  await holds(() => expect(condition(name, POD_CONDITION.routed)?.status).toBe('True'))
  return stored(name)?.status?.podIP ?? ''
}

const remove = (name: string, gracePeriodSeconds = 20) =>
  harness.resources.delete(podKind, 'default', name, { gracePeriodSeconds })

describe('the traffic barrier', () => {
  test('a new pod is Routed only when the last live node routes to it', async () => {
    const { hosts } = await threeNodes()
    await routedPod('a', 'n1')
    hosts[2]?.hold()
    const seen: string[] = []
    const stop = harness.resources.subscribe(podKind, ({ object }) => {
      if (object.metadata.name !== 'b') return
      const status = (type: string) => findCondition(object.status?.conditions, type)?.status
      if (status(POD_CONDITION.ready) === 'True') seen.push(status(POD_CONDITION.routed) ?? 'absent')
    })
    await createPod('b', 'n2')
    await holds(() => expect(condition('b', POD_CONDITION.ready)?.status).toBe('True'))
    const address = stored('b')?.status?.podIP ?? ''
    await holds(() => expect(hosts[1]?.routes()).toContain(address))
    expect(condition('b', POD_CONDITION.routed)?.status).toBe('False')
    hosts[2]?.release()
    await holds(() => expect(condition('b', POD_CONDITION.routed)?.status).toBe('True'))
    expect(hosts.every((host) => host.routes().includes(address))).toBe(true)
    stop()
    // From its first moment as Ready it says that it is not routed: there is no window.
    expect(seen[0]).toBe('False')
    expect(seen).not.toContain('absent')
  })

  test('a pod that ends gets no signal while any live node still routes to it', async () => {
    const { hosts } = await threeNodes()
    await routedPod('a', 'n1')
    const address = await routedPod('b', 'n2')
    hosts[2]?.hold()
    await remove('b')
    await holds(() => expect(hosts[0]?.routes()).not.toContain(address))
    await holds(() => expect(hosts[1]?.routes()).not.toContain(address))
    expect(hosts[1]?.signalled).toEqual([])
    expect(condition('b', POD_CONDITION.drained)).toBeUndefined()
    hosts[2]?.release()
    await holds(() => expect(stored('b')).toBeUndefined())
    expect(hosts[1]?.signalled).toHaveLength(1)
    for (const { routed } of hosts[1]?.signalled ?? []) expect(routed).not.toContain(address)
  })

  test('many that end at once keep the order', async () => {
    const { hosts } = await threeNodes()
    await routedPod('keep', 'n1')
    const names = Array.from({ length: 12 }, (_, index) => `p${index}`)
    await Promise.all(names.map((name, index) => routedPod(name, HOSTS[index % 3] as string)))
    const addresses = new Map(names.map((name) => [stored(name)?.metadata.uid, stored(name)?.status?.podIP ?? '']))
    await Promise.all(names.map((name) => remove(name)))
    await holds(() => expect(names.map(stored).every((pod) => pod === undefined)).toBe(true))
    const signals = hosts.flatMap((host) => host.signalled)
    expect(signals).toHaveLength(names.length)
    for (const { podUid, routed } of signals) {
      const address = addresses.get(podUid) ?? ''
      expect(address).not.toBe('')
      expect(routed).not.toContain(address)
    }
  })

  test('a node that has died is not waited for', async () => {
    const { agents, hosts } = await threeNodes()
    await routedPod('a', 'n1')
    await routedPod('b', 'n2')
    await agents[2]?.stop()
    const startedMs = systemClock.monotonicMs()
    await remove('b')
    await holds(() => expect(stored('b')).toBeUndefined(), 8_000)
    // Until it is known to be lost it may still route; then nobody waits.
    expect(systemClock.monotonicMs() - startedMs).toBeLessThan(4_000)
    expect(hosts[1]?.signalled).toHaveLength(1)
  })

  test('a live node that does not confirm is given up on in time, by name', async () => {
    const { hosts } = await threeNodes()
    await routedPod('a', 'n1')
    await routedPod('b', 'n2')
    hosts[2]?.hold()
    await remove('b', 2)
    await holds(() => expect(stored('b')).toBeUndefined())
    const event = harness.events.find(({ reason }) => reason === 'EndpointNotConfirmed')
    expect(event?.message).toContain('n3')
    hosts[2]?.release()
  })

  test('a pod of no service is stopped at once', async () => {
    const { hosts } = await threeNodes()
    for (const host of hosts) host.hold()
    await createPod('alone', 'n1', { labels: { app: 'other' } })
    await holds(() => expect(condition('alone', POD_CONDITION.ready)?.status).toBe('True'))
    expect(condition('alone', POD_CONDITION.routed)).toBeUndefined()
    await remove('alone')
    await holds(() => expect(stored('alone')).toBeUndefined(), 1_000)
    for (const host of hosts) host.release()
  })

  test('the last of a service is stopped at once when nobody follows, and kept for a replacement that comes', async () => {
    const { hosts } = await threeNodes()
    const set: ReplicaSet = {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name: 'set', namespace: 'default' },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: 'web' } },
        template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'app', image: 'app:1' }] } },
      },
    }
    const { uid } = (await harness.resources.create(replicaSetKind, set)).metadata
    const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'set', uid, controller: true }
    await routedPod('a', 'n1', { ownerReferences: [owner] })
    await remove('a')
    await createPod('b', 'n2', { ownerReferences: [owner] })
    await holds(() => expect(stored('a')).toBeUndefined())
    const address = stored('b')?.status?.podIP ?? ''
    expect(hosts[0]?.signalled[0]?.routed).toEqual([address, address, address])
    await harness.resources.modify<ReplicaSet>(replicaSetKind, 'default', 'set', 'main', (object) => ({
      ...object,
      spec: { ...object.spec, replicas: 0 },
    }))
    await remove('b')
    await holds(() => expect(stored('b')).toBeUndefined(), 1_500)
  })

  test('a server that starts anew takes the waits up from what is stored', async () => {
    const { dispatch, hosts } = await threeNodes()
    await routedPod('a', 'n1')
    await routedPod('b', 'n2')
    const { port } = dispatch.address()
    hosts[2]?.hold()
    await remove('b')
    await holds(() => expect(hosts[1]?.routes()).toHaveLength(1))
    await dispatch.stop()
    await harness.startDispatch({ listen: { host: '127.0.0.1', port }, notReadyAfterMs: 5_000 })
    expect(hosts[1]?.signalled).toEqual([])
    hosts[2]?.release()
    await holds(() => expect(stored('b')).toBeUndefined(), 10_000)
    for (const { routed } of hosts[1]?.signalled ?? []) expect(routed).toHaveLength(3)
  })

  test('a node of another server is waited for, and its word comes through the stored pod', async () => {
    const { hosts } = await threeNodes(2)
    await routedPod('a', 'n1')
    const address = await routedPod('b', 'n2')
    hosts[2]?.hold()
    await remove('b')
    const acks = () =>
      (stored('b')?.status?.conditions ?? []).map(({ type }) => type).filter((type) => /-by-/.test(type))
    await holds(() => expect(acks()).toEqual(['drover.dev/Drained-by-server-1']))
    expect(hosts[1]?.signalled).toEqual([])
    hosts[2]?.release()
    await holds(() => expect(stored('b')).toBeUndefined())
    expect(hosts[1]?.signalled).toHaveLength(1)
    for (const { routed } of hosts[1]?.signalled ?? []) expect(routed).not.toContain(address)
    expect((stored('a')?.status?.conditions ?? []).filter(({ type }) => /-by-/.test(type))).toEqual([])
  })

  test('a server that dies is no reason to forget its nodes, nor to wait for it without end', async () => {
    const { second, hosts, alive } = await threeNodes(2)
    await routedPod('a', 'n1')
    await routedPod('b', 'n2')
    hosts[2]?.hold()
    await remove('b', 4)
    await holds(() => expect(hosts[1]?.routes()).toHaveLength(1))
    await second?.stop()
    alive.delete('server-2')
    await holds(() => expect(stored('b')).toBeUndefined(), 8_000)
    // Nobody hears it: it is lost, and so not waited for. Had it come to this server, it would have been asked.
    const n3 = harness.resources.get(nodeKind, '', 'n3')
    expect(n3 !== undefined && isNodeReady(n3)).toBe(false)
    hosts[2]?.release()
  })
})
