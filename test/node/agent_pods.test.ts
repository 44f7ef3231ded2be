import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import type { Container, Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import { busyboxDrivers, freePort } from '../support/agent_pods.ts'
import { addressOf, holds, SessionHarness } from '../support/node_session.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

let runtimeHost: RuntimeHost
let harness: SessionHarness

beforeAll(async () => {
  runtimeHost = await createRuntimeHost()
})
afterAll(() => runtimeHost.destroy())
beforeEach(async () => {
  harness = new SessionHarness()
  await harness.open()
})
afterEach(() => harness.close())

async function runPod(name: string, container: Partial<Container>, spec: Partial<Pod['spec']> = {}): Promise<void> {
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: {
      hostNetwork: true,
      containers: [{ name: 'app', image: 'busybox:1', imagePullPolicy: 'IfNotPresent', ...container }],
      ...spec,
    },
  }
  await harness.resources.create(podKind, pod)
  await harness.resources.modify<Pod>(podKind, 'default', name, 'all', (object) => ({
    ...object,
    spec: { ...object.spec, nodeName: 'n1' },
  }))
}

const statusOf = (name: string) => harness.resources.get(podKind, 'default', name)?.status
const containerOf = (name: string) => statusOf(name)?.containerStatuses?.[0]
const isReady = (name: string) => statusOf(name)?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True'

async function removePod(name: string): Promise<void> {
  await harness.resources.delete(podKind, 'default', name, { gracePeriodSeconds: 2 })
  await holds(() => expect(statusOf(name)).toBeUndefined(), 10_000)
}

async function readStream(
  verb: 'exec' | 'logs',
  dispatch: Awaited<ReturnType<SessionHarness['startDispatch']>>,
  request: object,
) {
  const stream = await dispatch.gateway.open(
    'n1',
    verb,
    { namespace: 'default', ...request },
    new AbortController().signal,
  )
  stream.end()
  const texts: Record<number, string> = {}
  for await (const { channel, data } of stream.frames) texts[channel] = (texts[channel] ?? '') + Buffer.from(data)
  return texts
}

async function started() {
  const dispatch = await harness.startDispatch()
  const agent = await harness.startAgent('n1', await busyboxDrivers(runtimeHost), addressOf(dispatch))
  return { dispatch, agent }
}

describe('an agent on a real runtime', () => {
  test('a container with settings, variables, logs and exec', async () => {
    const { dispatch } = await started()
    await harness.resources.create(configMapKind, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'settings', namespace: 'default' },
      data: { 'a.txt': 'hello' },
    })
    await runPod(
      'cfg',
      {
        command: ['/bin/sh', '-c', 'echo "$GREETING from $(hostname): $(cat /etc/settings/a.txt)"; exec sleep 1000'],
        env: [{ name: 'GREETING', valueFrom: { configMapKeyRef: { name: 'settings', key: 'a.txt' } } }],
        volumeMounts: [{ name: 'v', mountPath: '/etc/settings' }],
      },
      { volumes: [{ name: 'v', configMap: { name: 'settings' } }] },
    )
    await holds(() => expect(isReady('cfg')).toBe(true), 15_000)
    const target = { pod: 'cfg', container: 'app' }
    await holds(async () => expect((await readStream('logs', dispatch, target))[CHANNEL.stdout]).toContain(': hello\n'))
    const texts = await readStream('exec', dispatch, {
      ...target,
      command: ['/bin/sh', '-c', 'echo out; exit 3'],
      stdout: true,
    })
    expect(texts[CHANNEL.stdout]).toBe('out\n')
    expect(JSON.parse(texts[CHANNEL.error] ?? '{}')).toMatchObject({ reason: 'NonZeroExitCode' })
    await removePod('cfg')
  })

  test('a killed container is restarted, its readiness probed over HTTP, and an agent made anew adopts it', async () => {
    const { dispatch, agent } = await started()
    const port = await freePort()
    await runPod('web', {
      command: [
        '/bin/sh',
        '-c',
        `mkdir -p /tmp/w; echo ok > /tmp/w/index.html; exec httpd -f -p 127.0.0.1:${port} -h /tmp/w`,
      ],
      readinessProbe: { httpGet: { path: '/index.html', port, host: '127.0.0.1' } },
    })
    await holds(() => expect(isReady('web')).toBe(true), 15_000)
    const runtime = await runtimeHost.again()
    const pidOf = async () => (await runtime.listContainers()).find(({ phase }) => phase === 'running')?.pid
    const pid = await pidOf()
    process.kill(pid ?? 0, 'SIGKILL')
    await holds(() => expect(containerOf('web')).toMatchObject({ restartCount: 1, ready: true }), 15_000)
    expect(containerOf('web')?.lastState?.terminated).toMatchObject({ exitCode: 137 })

    const before = await pidOf()
    await agent.stop()
    await harness.startAgent('n1', await busyboxDrivers(runtimeHost), addressOf(dispatch))
    await holds(() => expect(dispatch.gateway.connectedNodes()).toEqual(['n1']))
    await removeAndExpectSame(before, pidOf)
  })

  async function removeAndExpectSame(before: number | undefined, pidOf: () => Promise<number | undefined>) {
    expect(await pidOf()).toBe(before)
    expect(isReady('web')).toBe(true)
    expect(containerOf('web')?.restartCount).toBe(1)
    await removePod('web')
    expect(await pidOf()).toBeUndefined()
    expect(runtimeHost.remains()).toEqual([])
  }

  test('a liveness probe that fails restarts the container; one that ends is done', async () => {
    await started()
    await runPod('sick', {
      command: ['/bin/sh', '-c', 'trap "exit 0" TERM; while true; do sleep 0.1; done'],
      livenessProbe: { exec: { command: ['/bin/false'] }, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 5 },
    })
    await runPod('job', { command: ['/bin/sh', '-c', 'exit 0'] }, { restartPolicy: 'Never' })
    await holds(() => expect(statusOf('job')?.phase).toBe('Succeeded'), 15_000)
    await holds(() => expect(containerOf('sick')?.restartCount).toBeGreaterThan(0), 15_000)
    expect(harness.events.map(({ reason }) => reason)).toEqual(
      expect.arrayContaining(['Unhealthy', 'Killing', 'Started']),
    )
    await removePod('sick')
    await removePod('job')
    // The object of a pod that is over goes at once; its container follows.
    await holds(() => expect(runtimeHost.remains()).toEqual([]))
  })
})
