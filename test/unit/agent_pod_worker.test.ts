/**
 * A pod's worker over a host in memory, killed after any driver call and made anew: whatever the moment, it comes to
 * the same end, starts nothing twice, and leaves nothing behind.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Pod } from '../../src/api/pod.ts'
import { DroverError } from '../../src/base/errors.ts'
import { eventually } from '../support/eventually.ts'
import type { FakeHost } from '../support/fake_drivers.ts'
import { podOf, World } from '../support/pod_world.ts'

const full = (): Pod =>
  podOf({
    initContainers: [{ name: 'init', image: 'init:1' }],
    containers: [
      { name: 'app', image: 'app:1' },
      { name: 'side', image: 'app:2' },
    ],
  })

const emptyHost = (host: FakeHost): number[] => [
  host.containers.size,
  host.sandboxes.size,
  host.interfaces.size,
  host.volumes.size,
]

describe('a worker', () => {
  test('runs a pod through init to Running, with true status', async () => {
    const world = new World(full())
    world.host.exitsAtOnce.set('init', 0)
    await world.run(3)
    expect(world.host.started).toHaveLength(3)
    expect(world.last?.status).toMatchObject({
      phase: 'Running',
      podIP: '10.244.0.2',
      initContainerStatuses: [{ name: 'init', ready: true, state: { terminated: { exitCode: 0 } } }],
      containerStatuses: [{ ready: true }, { ready: true }],
    })
  })

  test.each(['sandboxGate', 'interfaceGate'] as const)(
    'starts nothing before sandbox and interface are there; one that fails leaves no container and is made again: %s',
    async (gate) => {
      const world = new World(podOf())
      let outcome: (error?: Error) => void = () => undefined
      world.host[gate] = () =>
        new Promise((resolve, reject) => {
          outcome = (error) => (error === undefined ? resolve() : reject(error))
        })
      const round = () => world.worker.reconcile(new AbortController().signal)
      const first = round()
      await eventually(() => world.host.created.length === 1, { timeoutMs: 5_000 })
      expect(world.host.started).toEqual([])
      outcome(new DroverError('unavailable', 'the bridge is gone'))
      await first
      expect(world.host.started).toEqual([])
      expect(world.events).toEqual(['FailedCreatePodSandBox'])
      await world.clock.advance(1_000)
      const second = round()
      await eventually(() => world.host.created.length === 2, { timeoutMs: 5_000 })
      expect(world.host.started).toEqual([])
      outcome()
      await second
      await world.clock.advance(1_000)
      expect(world.host.started).toHaveLength(1)
      expect(world.last?.status).toMatchObject({ phase: 'Running' })
      expect(world.events).toEqual(['FailedCreatePodSandBox', 'Started'])
    },
  )

  test('what a failed preparation had under way leaves nothing behind when the pod goes', async () => {
    const world = new World(podOf({ volumes: [{ name: 'settings', configMap: { name: 'missing' } }] }))
    let made: () => void = () => undefined
    world.host.interfaceGate = () =>
      new Promise((resolve) => {
        made = resolve
      })
    const preparing = world.run(1)
    await eventually(() => world.host.log.includes('ensureVolumes u1'), { timeoutMs: 5_000 })
    world.delete(1)
    const removal = preparing.then(() => world.run(4))
    // Whoever does not wait for the interface has cleaned up by now.
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    made()
    await removal
    expect(world.last?.removed).toBe(true)
    expect([...world.host.interfaces.keys(), ...world.host.sandboxes.keys()]).toEqual([])
  })

  test('restarts at once, then backs off, and says so', async () => {
    const world = new World(podOf())
    world.host.exitsAtOnce.set('app', 3)
    await world.run(4)
    expect(world.host.started).toHaveLength(2)
    expect(world.last?.status.containerStatuses?.[0]).toMatchObject({
      restartCount: 1,
      state: { waiting: { reason: 'CrashLoopBackOff' } },
      lastState: { terminated: { exitCode: 3, reason: 'Error' } },
    })
    await world.run(10)
    expect(world.host.started).toHaveLength(3)
    expect(world.events.filter((reason) => reason === 'BackOff')).toHaveLength(2)
  })

  test('a Never pod ends as Failed, with its dead container kept for its logs', async () => {
    const world = new World(podOf({ restartPolicy: 'Never' }))
    world.host.exitsAtOnce.set('app', 1)
    await world.run(3)
    expect(world.last?.status.phase).toBe('Failed')
    expect(world.host.containers.size).toBe(1)
  })

  describe('a container whose program cannot be started', () => {
    const said = 'exec: "sleeps": executable file not found in $PATH'
    const terminated = { exitCode: 128, reason: 'StartError', message: said }

    test.each(['Never', 'OnFailure'] as const)('fails its pod, or is started again: %s', async (restartPolicy) => {
      const world = new World(podOf({ restartPolicy }))
      world.host.cannotStart.set('app', said)
      await world.run(3)
      const status =
        restartPolicy === 'Never'
          ? { phase: 'Failed', containerStatuses: [{ restartCount: 0, state: { terminated } }] }
          : { phase: 'Running', containerStatuses: [{ restartCount: 1, lastState: { terminated } }] }
      expect(world.last?.status).toMatchObject(status)
      expect(world.events[0]).toBe('Failed')
      expect(world.events).not.toContain('Started')
      world.delete(1)
      await world.run(3)
      expect(emptyHost(world.host)).toEqual([0, 0, 0, 0])
    })

    test('waits for its back-off, which an agent made anew counts on', async () => {
      const world = new World(podOf())
      world.host.cannotStart.set('app', said)
      await world.run(2)
      expect(world.host.created).toHaveLength(2)
      expect(world.events).toEqual(['Failed', 'Failed', 'BackOff'])
      world.restartAgent()
      await world.run(2)
      expect(world.last?.status.containerStatuses?.[0]).toMatchObject({
        restartCount: 1,
        state: { waiting: { reason: 'CrashLoopBackOff', message: expect.stringContaining('back-off 10s') } },
        lastState: { terminated },
      })
      world.host.cannotStart.clear()
      await world.run(10)
      expect(world.last?.status.containerStatuses?.[0]).toMatchObject({ restartCount: 2, state: { running: {} } })
    })

    test('is one attempt, whenever the agent is killed', async () => {
      for (let calls = 0; calls < 12; calls++) {
        const world = new World(podOf({ restartPolicy: 'Never' }))
        world.host.cannotStart.set('app', said)
        world.fuse.left = calls
        await world.run(5)
        expect(world.last?.status, `killed after ${calls} calls`).toMatchObject({
          phase: 'Failed',
          containerStatuses: [{ restartCount: 0, state: { terminated } }],
        })
        expect([...world.host.containers.values()].map(({ state }) => state.attempt)).toEqual([0])
      }
    })

    test('fails its pod as an init container, and is started again as a sidecar', async () => {
      const init = { name: 'init', image: 'init:1' }
      const failed = new World(podOf({ restartPolicy: 'Never', initContainers: [init] }))
      failed.host.cannotStart.set('init', said)
      await failed.run(3)
      expect(failed.last?.status).toMatchObject({
        phase: 'Failed',
        initContainerStatuses: [{ state: { terminated } }],
      })
      expect(failed.host.created).toHaveLength(1)
      const again = new World(podOf({ restartPolicy: 'Never', initContainers: [{ ...init, restartPolicy: 'Always' }] }))
      again.host.cannotStart.set('init', said)
      await again.run(3)
      expect(again.last?.status).toMatchObject({
        phase: 'Pending',
        initContainerStatuses: [{ restartCount: 1, lastState: { terminated } }],
      })
      again.host.cannotStart.clear()
      await again.run(12)
      expect(again.last?.status).toMatchObject({ phase: 'Running', containerStatuses: [{ ready: true }] })
    })
  })

  test('an image that is nowhere: ErrImagePull, then ImagePullBackOff, then it comes', async () => {
    const world = new World(podOf({ containers: [{ name: 'app', image: 'far:1' }] }))
    await world.run(2)
    const reason = () => world.last?.status.containerStatuses?.[0]?.state?.waiting?.reason
    expect(reason()).toBe('ErrImagePull')
    await world.run(3)
    expect(reason()).toBe('ImagePullBackOff')
    world.host.registry.add('far:1')
    await world.run(10)
    expect(world.last?.status.phase).toBe('Running')
  })

  test('an image that is brought while its pull backs off is used at once', async () => {
    const world = new World(podOf({ containers: [{ name: 'app', image: 'gone:1' }] }))
    await world.run(3)
    await world.worker.imagesChanged()
    await world.run(2)
    expect(world.host.started).toHaveLength(0)
    world.host.images.add('gone:1')
    await world.worker.imagesChanged()
    await world.run(2)
    expect(world.host.started).toHaveLength(1)
  })

  test('a pull policy of Never names its own reason', async () => {
    const world = new World(podOf({ containers: [{ name: 'app', image: 'far:1', imagePullPolicy: 'Never' }] }))
    await world.run(2)
    expect(world.last?.status.containerStatuses?.[0]?.state?.waiting?.reason).toBe('ErrImageNeverPull')
  })

  test('a missing ConfigMap is named, and its coming starts the container', async () => {
    const env = [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'settings', key: 'a' } } }]
    const world = new World(podOf({ containers: [{ name: 'app', image: 'app:1', env }] }))
    await world.run(2)
    expect(world.last?.status.containerStatuses?.[0]?.state?.waiting).toEqual({
      reason: 'CreateContainerConfigError',
      message: 'configmap "settings" not found',
    })
    world.setConfig('settings', { a: '7' })
    await world.run(1)
    expect(world.host.running('app')[0]?.request.env).toContain('A=7')
  })

  test('a stubborn container is killed when its grace has passed', async () => {
    const world = new World(podOf())
    world.host.ignoresTerm.add('app')
    await world.run(2)
    world.delete(5)
    await world.run(4)
    expect(world.host.running()).toHaveLength(1)
    await world.run(4)
    expect(emptyHost(world.host)).toEqual([0, 0, 0, 0])
    expect(world.last?.removed).toBe(true)
  })

  test.each([3_600_000, -3_600_000])(
    'a wall clock that is set by %d ms takes no grace and gives none',
    async (jumpMs) => {
      const world = new World(podOf())
      world.host.ignoresTerm.add('app')
      await world.run(2)
      world.delete(5)
      await world.run(2)
      world.clock.jump(jumpMs)
      await world.run(2)
      expect(world.host.running()).toHaveLength(1)
      await world.run(4)
      expect(emptyHost(world.host)).toEqual([0, 0, 0, 0])
    },
  )

  test.each([3_600_000, -3_600_000])(
    'a wall clock that is set by %d ms leaves back-offs as they are',
    async (jumpMs) => {
      const world = new World(
        podOf({
          containers: [
            { name: 'app', image: 'app:1' },
            { name: 'far', image: 'far:1' },
          ],
        }),
      )
      world.host.exitsAtOnce.set('app', 3)
      await world.run(4)
      expect(world.host.started).toHaveLength(2)
      world.host.registry.add('far:1')
      world.clock.jump(jumpMs)
      await world.run(3)
      expect(world.host.started).toHaveLength(2)
      await world.run(10)
      expect(world.host.started).toHaveLength(4)
      expect(world.host.running('far')).toHaveLength(1)
    },
  )

  test('a pod that an earlier agent started keeps its grace, whatever the server believes the time to be', async () => {
    const world = new World(podOf())
    world.host.ignoresTerm.add('app')
    await world.run(2)
    world.restartAgent()
    await world.run(2)
    world.delete(5, 60_000)
    await world.run(3)
    expect(world.host.running()).toHaveLength(1)
    await world.run(5)
    expect(emptyHost(world.host)).toEqual([0, 0, 0, 0])
  })

  test('after a boot a pod is said not to serve before any address is given anew', async () => {
    const world = new World(podOf())
    await world.run(2)
    expect(world.last?.status.phase).toBe('Running')
    world.reboot()
    // Killed at its first act: what was said came before it.
    world.host.before = (call) => {
      if (call.startsWith('ensureSandbox')) world.fuse.left = 0
    }
    await world.run(1)
    expect(world.host.kills).toBe(1)
    expect(world.last?.status.containerStatuses?.[0]?.ready).toBe(false)
    world.host.before = () => undefined
    await world.run(3)
    expect(world.last?.status.containerStatuses?.[0]).toMatchObject({ ready: true, restartCount: 1 })
  })

  /** With what takes time of its own: a sidecar, and hooks. */
  const lingering = (): Pod => {
    const pod = full()
    const [app] = pod.spec.containers
    if (app !== undefined) app.lifecycle = { postStart: { sleep: { seconds: 1 } }, preStop: { sleep: { seconds: 1 } } }
    pod.spec.initContainers?.push({ name: 'proxy', image: 'app:2', restartPolicy: 'Always' })
    return pod
  }

  test.each([
    ['', full],
    ['with a sidecar and hooks ', lingering],
  ])('%skilled after any driver call, on the way up and down, it comes to the same end', async (_what, podOf) => {
    let kills = 0
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 40 }), async (up, down) => {
        const world = new World(podOf())
        world.host.exitsAtOnce.set('init', 0)
        world.fuse.left = up
        // A step that fails half-way is tried again after a delay.
        await world.run(10)
        expect(world.host.running('app')).toHaveLength(1)
        expect(world.host.running('side')).toHaveLength(1)
        expect(new Set(world.host.started).size).toBe(world.host.started.length)
        expect(world.last?.status).toMatchObject({ phase: 'Running' })
        const restarts = world.last?.status.containerStatuses?.map(({ restartCount }) => restartCount)
        expect(restarts).toEqual([0, 0])
        world.delete(2)
        world.fuse.left = down
        await world.run(10)
        expect(emptyHost(world.host)).toEqual([0, 0, 0, 0])
        expect(world.last?.removed).toBe(true)
        kills += world.host.kills
      }),
      { numRuns: 60 },
    )
    expect(kills).toBeGreaterThan(30)
  })
})
