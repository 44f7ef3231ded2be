/** What runs a pod, and with whose ids: runtime classes and `hostUsers: false`, from the API object to the process. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findProgram } from '../../src/agent/runtime/handlers.ts'
import { configMapKind } from '../../src/api/configmap.ts'
import type { Container, Pod } from '../../src/api/pod.ts'
import { builtinClass, runtimeClassKind } from '../../src/api/runtimeclass.ts'
import { secretKind } from '../../src/api/secret.ts'
import { AgentPods } from '../support/agent_pods.ts'
import { letCrunRun } from '../support/crun.ts'
import { addressOf } from '../support/node_session.ts'
import { createRuntimeHost, type RuntimeHost } from '../support/runtime_host.ts'

let runtimeHost: RuntimeHost
let pods: AgentPods
let opened: Awaited<ReturnType<AgentPods['open']>>

beforeAll(async () => {
  runtimeHost = await createRuntimeHost()
  pods = new AgentPods(runtimeHost)
  opened = await pods.open()
  await pods.harness.giveCidr('n1')
})
afterAll(async () => {
  await pods.close()
  await runtimeHost.destroy()
})

const stopping: Partial<Container> = { lifecycle: { stopSignal: 'SIGKILL' } }

/** A runtime class of any node, by the name of its handler; made where no test has made it yet. */
async function classOf(handler: string): Promise<string> {
  const { resources } = pods.harness
  if (resources.get(runtimeClassKind, '', handler) === undefined) {
    await resources.create(runtimeClassKind, { ...builtinClass(handler), scheduling: {} })
  }
  return handler
}

/** Programs by which the monitors of the node's containers call the runtime. */
function runtimesInUse(): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
        if (!args.some((arg) => arg.startsWith(`--exit-dir=${runtimeHost.directory}/`))) return []
        return args.flatMap((arg) => (arg.startsWith('--runtime=') ? [arg.split('/').at(-1) ?? ''] : []))
      } catch {
        return []
      }
    })
}

describe('a pod that names a runtime class', () => {
  test.skipIf(findProgram('crun') === undefined)(
    'crun: is run by it beside pods of runc, found again by another agent, and leaves nothing',
    async () => {
      const release = await letCrunRun()
      try {
        await pods.run('fast', stopping, { runtimeClassName: await classOf('crun') })
        await pods.run('plain', stopping)
        await pods.ready('fast')
        await pods.ready('plain')
        expect(runtimesInUse().sort()).toEqual(['crun', 'runc'])
        expect(await pods.exec('fast', ['/bin/echo', 'hello'])).toBe('hello')
        const before = pods.container('fast')
        await opened.agent.stop()
        opened.agent = await pods.startAgent(addressOf(opened.dispatch))
        await pods.ready('fast')
        expect(pods.container('fast')).toMatchObject({ containerID: before?.containerID, restartCount: 0 })
        expect(await pods.exec('fast', ['/bin/echo', 'again'])).toBe('again')
        await pods.remove('fast')
        await pods.remove('plain')
        await pods.holds(() => expect(runtimeHost.remains()).toEqual([]))
      } finally {
        await release()
      }
    },
  )

  test('that the node does not have: says so in its status and an event, and what would help', async () => {
    await pods.harness.resources.create(runtimeClassKind, {
      ...builtinClass('gvisor'),
      handler: 'runsc',
      scheduling: {},
    })
    await pods.run('sandboxed', stopping, { runtimeClassName: 'gvisor' })
    const message =
      'RuntimeClass "gvisor" wants the handler "runsc", which this node cannot use: it was given no such handler (drover agent --runtime-handler)'
    await pods.holds(() => {
      expect(pods.container('sandboxed')?.state?.waiting).toEqual({ reason: 'ContainerCreating', message })
      expect(pods.harness.events).toContainEqual(
        expect.objectContaining({ name: 'sandboxed', reason: 'FailedCreatePodSandBox', message }),
      )
    })
    await pods.remove('sandboxed')
  })
})

describe('a container whose program cannot be started', () => {
  test.each(['runc', 'crun'])('%s: fails its pod or is started again, and leaves nothing', async (runtime) => {
    if (findProgram(runtime) === undefined) return
    const release = runtime === 'crun' ? await letCrunRun() : async () => undefined
    try {
      const spec: Partial<Pod['spec']> = { runtimeClassName: await classOf(runtime) }
      const faulty: Partial<Container> = { command: ['sleeps'], terminationMessagePolicy: 'FallbackToLogsOnError' }
      const terminated = {
        exitCode: 128,
        reason: 'StartError',
        message: expect.stringMatching(/executable file .*sleeps.* not found|"sleeps": executable file not found/),
      }
      await pods.run('once', faulty, { ...spec, restartPolicy: 'Never' })
      await pods.run('again', faulty, spec)
      await pods.run('before', stopping, {
        ...spec,
        restartPolicy: 'Never',
        initContainers: [{ ...faulty, name: 'init', image: 'busybox:1' }],
      })
      await pods.holds(() => {
        expect(pods.status('once')).toMatchObject({ phase: 'Failed' })
        expect(pods.container('once')).toMatchObject({ restartCount: 0, state: { terminated } })
        expect(pods.status('before')).toMatchObject({ phase: 'Failed' })
        expect(pods.container('before', 'init')).toMatchObject({ state: { terminated } })
      })
      const backsOff = () =>
        pods.holds(() =>
          expect(pods.container('again')).toMatchObject({
            restartCount: expect.toSatisfy((count: number) => count > 0),
            state: { waiting: { reason: 'CrashLoopBackOff' } },
            lastState: { terminated },
          }),
        )
      await backsOff()
      expect(pods.harness.events).toContainEqual(
        expect.objectContaining({
          name: 'once',
          reason: 'Failed',
          message: expect.stringMatching(/^Error: failed to start container app: .*sleeps/),
        }),
      )
      const restarts = pods.container('again')?.restartCount ?? 0
      await opened.agent.stop()
      opened.agent = await pods.startAgent(addressOf(opened.dispatch))
      expect(await runtimeHost.driver.findDamage?.()).toEqual([])
      // The next try is this agent's, which counts on.
      await pods.holds(() => expect(pods.container('again')?.restartCount).toBeGreaterThan(restarts))
      await backsOff()
      expect(pods.container('once')).toMatchObject({ restartCount: 0, state: { terminated } })
      for (const name of ['once', 'again', 'before']) await pods.remove(name)
      await pods.holds(() => expect(runtimeHost.remains()).toEqual([]))
    } finally {
      await release()
    }
  })
})

describe('a pod with hostUsers: false', () => {
  test('reads what it is given, writes where it may, and is nobody on the node', async () => {
    const { resources } = pods.harness
    const metadata = { namespace: 'default' }
    await resources.create(configMapKind, {
      ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { ...metadata, name: 'settings' }, data: { a: 'one' } },
    })
    const data = { key: Buffer.from('hush').toString('base64') }
    await resources.create(secretKind, {
      ...{ apiVersion: 'v1', kind: 'Secret', metadata: { ...metadata, name: 'key' }, data },
    })
    const mount = (name: string) => ({ name, mountPath: `/${name}` })
    await pods.run(
      'own',
      {
        ...stopping,
        command: ['/bin/sh', '-c', 'echo ready; exec sleep 1000'],
        securityContext: { runAsUser: 0 },
        volumeMounts: [
          ...['disk', 'memory', 'config'].map(mount),
          // runc 1.1 cannot make what lies on a tmpfs read-only in a user namespace.
          { ...mount('secret'), readOnly: true },
          { name: 'disk', mountPath: '/sub', subPath: 'deep/er' },
        ],
      },
      {
        hostNetwork: false,
        hostUsers: false,
        securityContext: { fsGroup: 2_000 },
        volumes: [
          { name: 'disk', emptyDir: {} },
          { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
          { name: 'config', configMap: { name: 'settings' } },
          { name: 'secret', secret: { secretName: 'key', defaultMode: 0o400 } },
        ],
      },
    )
    await pods.ready('own')
    expect(await pods.exec('own', ['/bin/cat', '/config/a', '/secret/key'])).toBe('onehush')
    expect(await pods.exec('own', ['/bin/touch', '/secret/f'])).toContain('Read-only file system')
    const script =
      'echo x > /disk/f; echo x > /memory/f; echo x > /sub/f; stat -c %u:%g /disk/f /memory/f /etc/hosts; id -G'
    expect(await pods.exec('own', ['/bin/sh', '-c', script])).toBe('0:2000\n0:2000\n0:0\n0 2000')
    const { containerID = '' } = pods.container('own') ?? {}
    const [state] = (await runtimeHost.driver.listContainers()).filter(({ id }) => containerID.endsWith(id))
    const { uid } = statSync(`/proc/${state?.pid}`)
    expect(uid).toBeGreaterThanOrEqual(0x7000_0000)
    // On the node's disk the numbers are those that the pod gave.
    const podUid = state?.podUid ?? ''
    const onDisk = statSync(join(runtimeHost.directory, 'data/v', podUid, 'volumes/disk/f'))
    expect([onDisk.uid, onDisk.gid]).toEqual([0, 2_000])
    await resources.modify(configMapKind, 'default', 'settings', 'all', (map) => ({ ...map, data: { a: 'two' } }))
    await pods.holds(async () => expect(await pods.exec('own', ['/bin/cat', '/config/a'])).toBe('two'))
    await pods.remove('own')
    await pods.holds(() => expect(runtimeHost.remains()).toEqual([]))
  })
})
