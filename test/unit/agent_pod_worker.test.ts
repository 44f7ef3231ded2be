/**
 * A pod's worker over a host in memory, killed after any driver call and made anew: whatever the moment, it comes to
 * the same end, starts nothing twice, and leaves nothing behind.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { AgentContext, Drivers } from '../../src/agent/context.ts'
import { Desired } from '../../src/agent/desired.ts'
import { nodeFiles } from '../../src/agent/node_files.ts'
import { PodWorker } from '../../src/agent/pod/worker.ts'
import { SharedList } from '../../src/agent/shared_list.ts'
import { StatusReporter } from '../../src/agent/status_reporter.ts'
import type { Pod, PodStatus } from '../../src/api/pod.ts'
import { DroverError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { type AgentMessage, jsonBytes, type PodStatusReport } from '../../src/rpc/messages.ts'
import { eventually } from '../support/eventually.ts'
import { FakeHost, fakeDrivers } from '../support/fake_drivers.ts'
import { createManualClock, type ManualClock } from '../support/manual_clock.ts'

class Killed extends DroverError {
  constructor() {
    super('internal', 'the agent was killed here')
  }
}

/** Counts driver calls and throws after the one that is to be the last. */
class Fuse {
  left = Number.POSITIVE_INFINITY
  calls = 0

  burn(): void {
    this.calls++
    if (--this.left < 0) throw new Killed()
  }
}

function fused<T extends object>(driver: T, fuse: Fuse): T {
  return new Proxy(driver, {
    get(target, name, receiver) {
      const method = Reflect.get(target, name, receiver)
      if (typeof method !== 'function' || name === 'onExit') return method
      return (...args: unknown[]) => {
        const result: unknown = method.apply(target, args)
        if (!(result instanceof Promise)) return result
        return result.then((value) => {
          fuse.burn()
          return value
        })
      }
    },
  })
}

class World {
  readonly clock: ManualClock = createManualClock()
  readonly host = new FakeHost()
  readonly fuse = new Fuse()
  reports: PodStatusReport[] = []
  readonly events: string[] = []
  worker: PodWorker
  configs: Record<string, Record<string, string>> = {}
  #desired = new Desired()
  kills = 0
  #pod: Pod

  constructor(pod: Pod) {
    this.#pod = pod
    this.host.now = () => this.clock.now()
    this.worker = this.#newWorker(false)
  }

  #newWorker(adopted: boolean): PodWorker {
    const { clock, host, fuse } = this
    const plain = fakeDrivers(host)
    const drivers: Drivers = {
      runtime: fused(plain.runtime, fuse),
      images: fused(plain.images, fuse),
      network: fused(plain.network, fuse),
      volumes: fused(plain.volumes, fuse),
      dns: plain.dns,
    }
    const send = (message: AgentMessage): boolean => {
      if (message.type === 'podStatuses') this.reports.push(...message.reports)
      return true
    }
    this.#desired = new Desired()
    this.#give()
    const agent: AgentContext = {
      nodeName: 'n1',
      nodeAddress: '192.0.2.1',
      logsDir: '/nonexistent-drvt-logs',
      clusterDomain: () => 'cluster.local',
      nodeCpuMillis: 2000,
      nodeMemoryBytes: 2 ** 30,
      clock,
      random: seededRandom(1),
      log: silentLogger,
      drivers,
      files: nodeFiles,
      containers: new SharedList(() => drivers.runtime.listContainers()),
      desired: this.#desired,
      reporter: new StatusReporter(clock, send),
      events: { record: (_pod, _type, reason) => this.events.push(reason) },
      imagesChanged: () => undefined,
      networkReady: () => true,
    }
    const worker = new PodWorker({ agent, uid: 'u1', wake: () => undefined, adopted })
    worker.setPod(this.#pod)
    return worker
  }

  #give(): void {
    const changes = Object.entries(this.configs).map(([name, data]) => ({
      key: `configmap/default/${name}`,
      json: jsonBytes({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default' }, data }),
    }))
    const base = {
      type: 'changes',
      table: 'assignments',
      complete: true,
      baseSequence: 0,
      sequence: 1,
      last: true,
    } as const
    this.#desired.apply({ ...base, changes })
  }

  setConfig(name: string, data: Record<string, string>): void {
    this.configs[name] = data
    this.#give()
    this.worker.configChanged()
  }

  /** `lateMs`: how far the server's clock is behind this node's. */
  delete(graceSeconds: number, lateMs = 0): void {
    const deletionTimestamp = new Date(this.clock.now() + graceSeconds * 1000 - lateMs).toISOString()
    const metadata = { ...this.#pod.metadata, deletionTimestamp, deletionGracePeriodSeconds: graceSeconds }
    this.#pod = { ...this.#pod, metadata }
    this.worker.setPod(this.#pod)
  }

  /** Calls the worker as its queue would, a second of time passing between; an agent that is killed is made anew. */
  async run(rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      try {
        await this.worker.reconcile(new AbortController().signal)
      } catch (error) {
        if (!this.#isKill(error)) throw error
        this.worker.dispose()
        this.fuse.left = Number.POSITIVE_INFINITY
        this.worker = this.#newWorker(true)
        this.kills++
      }
      expect(this.host.running('app').length).toBeLessThanOrEqual(1)
      await this.clock.advance(1_000)
    }
  }

  /** The machine is booted: what ran has ended, interfaces and namespaces are gone; a new agent finds the rest. */
  reboot(): void {
    for (const id of this.host.containers.keys()) this.host.exit(id, 137)
    this.host.interfaces.clear()
    this.host.sandboxes.clear()
    this.restartAgent()
  }

  restartAgent(): void {
    this.reports = []
    this.worker.dispose()
    this.worker = this.#newWorker(true)
  }

  #isKill(error: unknown): boolean {
    return error instanceof Killed
  }

  get last(): { status: PodStatus; removed: boolean } | undefined {
    const report = this.reports.at(-1)
    if (report === undefined) return undefined
    const text = Buffer.from(report.statusJson).toString()
    return { status: text === '' ? {} : (JSON.parse(text) as PodStatus), removed: report.removed }
  }
}

function podOf(spec: Partial<Pod['spec']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default', uid: 'u1' },
    spec: { containers: [{ name: 'app', image: 'app:1' }], restartPolicy: 'Always', ...spec },
  }
}

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

  test('starts nothing before its interface is there; one that fails leaves no container and is made again', async () => {
    const world = new World(podOf())
    let outcome: (error?: Error) => void = () => undefined
    world.host.interfaceGate = () =>
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
  })

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
    expect(world.kills).toBe(1)
    expect(world.last?.status.containerStatuses?.[0]?.ready).toBe(false)
    world.host.before = () => undefined
    await world.run(3)
    expect(world.last?.status.containerStatuses?.[0]).toMatchObject({ ready: true, restartCount: 1 })
  })

  test('killed after any driver call, on the way up and down, it comes to the same end', async () => {
    let kills = 0
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 40 }), async (up, down) => {
        const world = new World(full())
        world.host.exitsAtOnce.set('init', 0)
        world.fuse.left = up
        // A step that fails half-way is tried again after a delay.
        await world.run(8)
        expect(world.host.running('app')).toHaveLength(1)
        expect(world.host.running('side')).toHaveLength(1)
        expect(new Set(world.host.started).size).toBe(world.host.started.length)
        expect(world.last?.status).toMatchObject({ phase: 'Running' })
        const restarts = world.last?.status.containerStatuses?.map(({ restartCount }) => restartCount)
        expect(restarts).toEqual([0, 0])
        world.delete(2)
        world.fuse.left = down
        await world.run(8)
        expect(emptyHost(world.host)).toEqual([0, 0, 0, 0])
        expect(world.last?.removed).toBe(true)
        kills += world.kills
      }),
      { numRuns: 60 },
    )
    expect(kills).toBeGreaterThan(30)
  })
})
