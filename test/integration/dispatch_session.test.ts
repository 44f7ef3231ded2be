/** Dispatch and agent over real gRPC with mutual TLS; store and hosts in memory. */
import { appendFile, mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import { type EndpointSlice, endpointSliceKind } from '../../src/api/endpointslice.ts'
import { LABEL } from '../../src/api/names.ts'
import { isNodeReady, type Node, nodeCondition, nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { type Service, serviceKind } from '../../src/api/service.ts'
import { CHANNEL, type FrameStream } from '../../src/base/stream.ts'
import { createNodeClient } from '../../src/rpc/client.ts'
import { jsonBytes } from '../../src/rpc/messages.ts'
import { FakeHost } from '../support/fake_drivers.ts'
import { addressOf, holds, SessionHarness } from '../support/node_session.ts'
import { TcpProxy } from '../support/tcp_proxy.ts'

let harness: SessionHarness

beforeEach(async () => {
  harness = new SessionHarness()
  await harness.open()
})

afterEach(() => harness.close())

function pod(name: string, spec: Partial<Pod['spec']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: { containers: [{ name: 'app', image: 'app:1', imagePullPolicy: 'IfNotPresent' }], ...spec },
  }
}

async function bind(name: string, nodeName = 'n1'): Promise<void> {
  await harness.resources.modify<Pod>(podKind, 'default', name, 'all', (object) => ({
    ...object,
    spec: { ...object.spec, nodeName },
    status: { ...object.status, conditions: [{ type: 'PodScheduled', status: 'True' }] },
  }))
}

const getPod = (name: string) => harness.resources.get(podKind, 'default', name)
const conditionOf = (name: string, type: string) =>
  getPod(name)?.status?.conditions?.find((condition) => condition.type === type)?.status

/** As the runtime would make it, with this in it; where it is. */
async function makeLog(path = '', text = ''): Promise<string> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, text)
  return path
}

async function runPod(name: string, spec: Partial<Pod['spec']> = {}): Promise<void> {
  await harness.resources.create(podKind, pod(name, spec))
  await bind(name)
  await holds(() => expect(conditionOf(name, 'Ready')).toBe('True'))
}

const emptyHost = (host: FakeHost): number[] => [
  host.containers.size,
  host.sandboxes.size,
  host.interfaces.size,
  host.volumes.size,
]

const node = (name: string) => harness.resources.get(nodeKind, '', name)

/** A server, and agent n1 with its network up. */
async function oneNode() {
  const dispatch = await harness.startDispatch()
  const host = new FakeHost()
  const agent = await harness.startAgent('n1', host, addressOf(dispatch))
  await harness.giveCidr('n1')
  return { dispatch, host, agent }
}

async function collect(stream: FrameStream): Promise<Record<number, string>> {
  const texts: Record<number, string> = {}
  for await (const { channel, data } of stream.frames) {
    texts[channel] = (texts[channel] ?? '') + Buffer.from(data).toString()
  }
  return texts
}

const never = new AbortController().signal

describe('pods', () => {
  test('a bound pod runs and is Ready, and goes when it is deleted', async () => {
    const { host } = await oneNode()
    await runPod('a')
    expect(conditionOf('a', 'PodScheduled')).toBe('True')
    expect(getPod('a')?.status).toMatchObject({
      phase: 'Running',
      podIP: '10.244.0.2',
      hostIP: '127.0.0.1',
      containerStatuses: [{ name: 'app', ready: true, restartCount: 0 }],
    })
    expect(host.running('app')).toHaveLength(1)
    await harness.resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 5 })
    await holds(() => expect(getPod('a')).toBeUndefined())
    expect(emptyHost(host)).toEqual([0, 0, 0, 0])
  })

  test('a readiness gate that others open and close makes the pod Ready or not', async () => {
    await oneNode()
    const type = 'example.com/registered'
    await harness.resources.create(podKind, pod('a', { readinessGates: [{ conditionType: type }] }))
    await bind('a')
    const set = (status: 'True' | 'False') =>
      harness.resources.modify<Pod>(podKind, 'default', 'a', 'status', (object) => {
        const others = (object.status?.conditions ?? []).filter((condition) => condition.type !== type)
        return { ...object, status: { ...object.status, conditions: [...others, { type, status }] } }
      })
    await holds(() => expect(conditionOf('a', 'ContainersReady')).toBe('True'))
    expect(conditionOf('a', 'Ready')).toBe('False')
    await set('True')
    await holds(() => expect(conditionOf('a', 'Ready')).toBe('True'))
    await set('False')
    await holds(() => expect(conditionOf('a', 'Ready')).toBe('False'))
  })

  test('fifty pods at once', async () => {
    const { host } = await oneNode()
    const names = Array.from({ length: 50 }, (_, index) => `p${index}`)
    await Promise.all(names.map((name) => runPod(name)))
    expect(host.running()).toHaveLength(50)
    expect(host.started).toHaveLength(50)
  })

  test('a container that ignores SIGTERM is killed after its grace', async () => {
    const { host } = await oneNode()
    host.ignoresTerm.add('app')
    await runPod('a')
    await harness.resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 1 })
    await holds(() => expect(getPod('a')).toBeUndefined())
    expect(host.log.filter((call) => call.startsWith('signal')).map((call) => call.split(' ')[1])).toEqual([
      'SIGTERM',
      'SIGKILL',
    ])
  })

  test('a node gets the ConfigMaps that its pods name, and their changes', async () => {
    const { host } = await oneNode()
    const config = (data: Record<string, string>) => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'settings', namespace: 'default' },
      data,
    })
    const spec = { volumes: [{ name: 'v', configMap: { name: 'settings' } }] }
    await harness.resources.create(podKind, pod('a', spec))
    await bind('a')
    await holds(() => expect(harness.events.map(({ reason }) => reason)).toContain('FailedMount'))
    await harness.resources.create(configMapKind, config({ a: '1' }))
    await holds(() => expect(conditionOf('a', 'Ready')).toBe('True'))
    const uid = getPod('a')?.metadata.uid ?? ''
    expect(host.volumes.get(uid)).toEqual({ v: { a: '1' } })
    await harness.resources.update(configMapKind, config({ a: '2' }), 'main')
    await holds(() => expect(host.volumes.get(uid)).toEqual({ v: { a: '2' } }))
  })

  test('an image that is pulled shows on the node', async () => {
    const { host } = await oneNode()
    host.registry.add('far:1')
    await runPod('a', { containers: [{ name: 'app', image: 'far:1', imagePullPolicy: 'Always' }] })
    await holds(() =>
      expect(
        node('n1')
          ?.status?.images?.flatMap(({ names = [] }) => names)
          .sort(),
      ).toEqual([...host.images].sort()),
    )
    expect(isNodeReady(node('n1') as Node)).toBe(true)
  })

  test('a pod whose object is gone without a word is taken down', async () => {
    const { host } = await oneNode()
    await runPod('a')
    await harness.resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 0 })
    await holds(() => expect(emptyHost(host)).toEqual([0, 0, 0, 0]))
  })
})

describe('the session', () => {
  test('a server that comes back finds all as it was, and what changed meanwhile reaches the node', async () => {
    const first = await harness.startDispatch()
    const { port } = first.address()
    const host = new FakeHost()
    const agent = await harness.startAgent('n1', host, addressOf(first))
    await harness.giveCidr('n1')
    await runPod('a')
    await runPod('b')
    await first.stop()
    await holds(() => expect(agent.state().connected).toBe(false))
    await harness.resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 1 })
    await harness.startDispatch({ listen: { host: '127.0.0.1', port } })
    await holds(() => expect(getPod('a')).toBeUndefined())
    await holds(() => expect(agent.state().sessions).toBe(2))
    expect(host.started).toHaveLength(2)
    expect(host.running()).toHaveLength(1)
    expect(isNodeReady(node('n1') as Node)).toBe(true)
  })

  test('an agent that is killed and started again adopts its containers, and removes what nobody wants', async () => {
    const { dispatch, host, agent } = await oneNode()
    await runPod('a')
    await runPod('b')
    await agent.stop()
    await harness.resources.delete(podKind, 'default', 'b', { gracePeriodSeconds: 0 })
    host.interfaces.set('stranger', '10.244.0.99')
    await harness.startAgent('n1', host, addressOf(dispatch))
    await holds(() => expect([...host.interfaces.keys()]).toEqual([getPod('a')?.metadata.uid]))
    await holds(() => expect(host.running()).toHaveLength(1))
    expect(host.started).toHaveLength(2)
    expect(getPod('a')?.status?.containerStatuses?.[0]).toMatchObject({ ready: true, restartCount: 0 })
  })

  test('a node that falls silent becomes Unknown, and Ready again when it speaks', async () => {
    const dispatch = await harness.startDispatch()
    const proxy = await TcpProxy.start(dispatch.address().port)
    const agent = await harness.startAgent('n1', new FakeHost(), new URL(proxy.endpoint).host)
    await holds(() => expect(isNodeReady(node('n1') as Node)).toBe(true))
    proxy.hold(true)
    await holds(() =>
      expect(nodeCondition(node('n1') as Node, 'Ready')).toMatchObject({
        status: 'Unknown',
        reason: 'NodeStatusUnknown',
      }),
    )
    proxy.hold(false)
    await holds(() => expect(isNodeReady(node('n1') as Node)).toBe(true))
    await agent.stop()
    await holds(() => expect(nodeCondition(node('n1') as Node, 'Ready')?.status).toBe('Unknown'))
    await proxy.stop()
  })

  test('a node that was Ready and does not come back to a new server becomes Unknown', async () => {
    const first = await harness.startDispatch()
    const agent = await harness.startAgent('n1', new FakeHost(), addressOf(first))
    await holds(() => expect(isNodeReady(node('n1') as Node)).toBe(true))
    await Promise.all([first.stop(), agent.stop()])
    expect(isNodeReady(node('n1') as Node)).toBe(true)
    await harness.startDispatch()
    await holds(() => expect(nodeCondition(node('n1') as Node, 'Ready')?.status).toBe('Unknown'))
  })

  test('when its server dies, an agent goes on with another, and its node stays Ready', async () => {
    const alive = new Set(['server-1', 'server-2'])
    const isServerAlive = (id: string) => alive.has(id)
    const first = await harness.startDispatch({ isServerAlive })
    const second = await harness.startDispatch({ isServerAlive, serverId: 'server-2' })
    const host = new FakeHost()
    const agent = await harness.startAgent('n1', host, [addressOf(first), addressOf(second)])
    await harness.giveCidr('n1')
    await runPod('a')
    const seen: string[] = []
    const stop = harness.resources.subscribe(nodeKind, ({ object }) => {
      seen.push(nodeCondition(object, 'Ready')?.status ?? '')
    })
    const [holder, other] = first.gateway.connectedNodes().length === 1 ? [first, second] : [second, first]
    await holder.stop()
    await holds(() => expect(other.gateway.connectedNodes()).toEqual(['n1']))
    await runPod('b')
    await harness.resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 1 })
    await holds(() => expect(getPod('a')).toBeUndefined())
    stop()
    expect(agent.state().sessions).toBe(2)
    expect(seen.filter((status) => status !== 'True')).toEqual([])
    expect(host.started).toHaveLength(2)
  })

  test('a server that came later is learned over the session, and called when the first is gone', async () => {
    const alive = new Map<string, string>()
    const tls = await harness.certificate('drover-admin', ['system:masters'])
    const servers = {
      isAlive: (id: string) => alive.has(id),
      addressesOf: (id: string) => [alive.get(id) ?? ''],
      nodeAddresses: () => [...alive.values()],
    }
    const shared = { isServerAlive: servers.isAlive, peers: { servers, tls: () => tls } }
    const first = await harness.startDispatch(shared)
    alive.set('server-1', addressOf(first))
    const agent = await harness.startAgent('n1', new FakeHost(), addressOf(first))
    await holds(() => expect(isNodeReady(node('n1') as Node)).toBe(true))
    const second = await harness.startDispatch({ ...shared, serverId: 'server-2' })
    alive.set('server-2', addressOf(second))
    await holds(() => expect(agent.servers()).toEqual([addressOf(first), addressOf(second)]))
    alive.delete('server-1')
    await first.stop()
    await holds(() => expect(second.gateway.connectedNodes()).toEqual(['n1']))
    await holds(() => expect(agent.state().sessions).toBe(2))
  })

  test('a peer that cannot be reached is a condition of the node, until it can be, and survives a session', async () => {
    const dispatch = await harness.startDispatch()
    const host = new FakeHost()
    host.peerProblems = ['peer n2: 192.0.2.9 is not on this subnet']
    await harness.startAgent('n1', host, addressOf(dispatch))
    await harness.giveCidr('n1')
    const told = () => nodeCondition(node('n1') as Node, 'drover.dev/PeersUnreachable')
    await holds(() =>
      expect(told()).toMatchObject({ status: 'True', reason: 'PeersOffSubnet', message: host.peerProblems[0] }),
    )
    expect(nodeCondition(node('n1') as Node, 'MemoryPressure')?.status).toBe('False')
    expect(isNodeReady(node('n1') as Node)).toBe(true)
    const { port } = dispatch.address()
    await dispatch.stop()
    await harness.resources.modify(nodeKind, '', 'n1', 'status', ({ status: _lost, ...object }) => object)
    await harness.startDispatch({ listen: { host: '127.0.0.1', port } })
    await holds(() => expect(told()?.status).toBe('True'))
    host.peerProblems = []
    await holds(() => expect(told()).toMatchObject({ status: 'False', reason: 'PeersReachable' }), 10_000)
  })

  test('a second session of a node ends the first', async () => {
    const { dispatch, agent } = await oneNode()
    const tls = await harness.nodeCertificate('n1')
    const client = createNodeClient(addressOf(dispatch), tls)
    const second = client.connect()
    second.write({ type: 'hello', nodeName: 'n1', nodeJson: jsonBytes({}), bootId: 'other', agentVersion: '' })
    await holds(() => expect(agent.state().sessions).toBeGreaterThan(1))
    expect(dispatch.gateway.connectedNodes()).toEqual(['n1'])
    client.close()
  })

  test.each([
    ['the name of another node', 'system:node:n2', ['system:nodes']],
    ['no organization of nodes', 'system:node:n1', ['people']],
    ['a user', 'admin', ['system:nodes']],
  ])('a certificate with %s is refused', async (_what, name, organizations) => {
    const dispatch = await harness.startDispatch()
    const client = createNodeClient(addressOf(dispatch), await harness.certificate(name, organizations))
    const stream = client.connect()
    const closed = new Promise<unknown>((resolve) => stream.onClose(resolve))
    stream.onMessage(() => undefined)
    stream.write({ type: 'hello', nodeName: 'n1', nodeJson: jsonBytes({}), bootId: '', agentVersion: '' })
    expect(await closed).toMatchObject({ code: 'forbidden' })
    client.close()
    expect(node('n1')).toBeUndefined()
  })
})

describe('tables', () => {
  test('services reach every node, and what is programmed comes back', async () => {
    const { host } = await oneNode()
    const service: Service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'default' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
    }
    await harness.resources.create(serviceKind, service)
    const slice: EndpointSlice = {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'web-1', namespace: 'default', labels: { [LABEL.serviceName]: 'web' } },
      addressType: 'IPv4',
      ports: [{ port: 8080, protocol: 'TCP' }],
      endpoints: [{ addresses: ['10.244.0.7'], conditions: { ready: true }, nodeName: 'n1' }],
    }
    await harness.resources.create(endpointSliceKind, slice)
    await holds(() =>
      expect(host.services[0]?.ports[0]?.endpoints).toEqual([
        { address: '10.244.0.7', port: 8080, nodeName: 'n1', ready: true },
      ]),
    )
    expect(host.peers).toEqual([{ nodeName: 'n1', address: '127.0.0.1', podCidr: '10.244.0.0/24' }])
    await harness.resources.delete(serviceKind, 'default', 'web')
    await holds(() => expect(host.services).toEqual([]))
  })
})

describe('streams', () => {
  test('exec carries bytes both ways and ends with the exit code', async () => {
    const { dispatch, host } = await oneNode()
    await runPod('a')
    host.execHandler = () => ({ exitCode: 3, output: 'done' })
    const request = { namespace: 'default', pod: 'a', container: 'app', command: ['x'], stdin: true, tty: false }
    const stream = await dispatch.gateway.open('n1', 'exec', request, never)
    const sent = 'x'.repeat(3_000_000)
    const received = collect(stream)
    await stream.send({ channel: CHANNEL.stdin, data: Buffer.from(sent) })
    stream.end()
    const texts = await received
    expect(texts[CHANNEL.stdout]?.length).toBe(sent.length + 4)
    expect(JSON.parse(texts[CHANNEL.error] ?? '')).toMatchObject({
      status: 'Failure',
      reason: 'NonZeroExitCode',
      details: { causes: [{ reason: 'ExitCode', message: '3' }] },
    })
  })

  test('logs: tail, follow, and the end of the container', async () => {
    const { dispatch, host } = await oneNode()
    await runPod('a')
    const [running] = host.running('app')
    const line = (text: string) => `2026-01-01T00:00:00.123456789Z stdout F ${text}\n`
    const logPath = await makeLog(running?.request.logPath, line('one') + line('two') + line('three'))
    const request = { namespace: 'default', pod: 'a', container: 'app', follow: true, tailLines: 2 }
    const stream = await dispatch.gateway.open('n1', 'logs', request, never)
    let text = ''
    const reading = (async () => {
      for await (const { data } of stream.frames) text += Buffer.from(data).toString()
    })()
    await holds(() => expect(text).toBe('two\nthree\n'))
    await appendFile(logPath, line('four'))
    await holds(() => expect(text).toBe('two\nthree\nfour\n'))
    await appendFile(logPath, line('five'))
    host.exit(running?.state.id ?? '', 0)
    await reading
    expect(text).toBe('two\nthree\nfour\nfive\n')
    stream.end()
  })

  test('what cannot be done is said in words', async () => {
    const { dispatch } = await oneNode()
    const open = dispatch.gateway.open('elsewhere', 'logs', {}, never)
    await expect(open).rejects.toMatchObject({ code: 'unavailable' })
    const stream = await dispatch.gateway.open('n1', 'logs', { namespace: 'default', pod: 'none' }, never)
    await expect(collect(stream)).rejects.toMatchObject({ code: 'notFound', message: expect.stringMatching(/none/) })
  })

  test('a stream nobody asked for is refused, and ending the signal ends the stream', async () => {
    const { dispatch, host } = await oneNode()
    const client = createNodeClient(addressOf(dispatch), await harness.nodeCertificate('n1'))
    await expect(collect(client.stream('made-up'))).rejects.toMatchObject({ code: 'notFound' })
    client.close()
    await runPod('a')
    await makeLog(host.running('app')[0]?.request.logPath)
    const control = new AbortController()
    const request = { namespace: 'default', pod: 'a', container: 'app', follow: true }
    const stream = await dispatch.gateway.open('n1', 'logs', request, control.signal)
    const reading = collect(stream)
    control.abort()
    await expect(reading).rejects.toMatchObject({ code: 'cancelled' })
  })
})

test('health of the agent', async () => {
  const { agent } = await oneNode()
  await holds(() => expect(agent.state()).toMatchObject({ connected: true, synced: true, networkReady: true }))
  const { host, port } = agent.httpAddress()
  const get = async (path: string) => {
    const response = await fetch(`http://${host}:${port}${path}`)
    return { status: response.status, text: await response.text() }
  }
  expect(await get('/readyz')).toEqual({ status: 200, text: 'ok\n' })
  expect((await get('/healthz')).status).toBe(200)
  expect((await get('/metrics')).text).toContain('drover_agent_connected 1')
})
