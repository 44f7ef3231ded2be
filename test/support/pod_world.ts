/** A pod's worker over a host in memory; it can be killed after any driver call and is then made anew. */
import { expect } from 'vitest'
import type { AgentContext, Drivers } from '../../src/agent/context.ts'
import { Desired } from '../../src/agent/desired.ts'
import type { NodeFiles } from '../../src/agent/node_files.ts'
import { PodWorker } from '../../src/agent/pod/worker.ts'
import { SharedList } from '../../src/agent/shared_list.ts'
import { StatusReporter } from '../../src/agent/status_reporter.ts'
import type { Pod, PodStatus } from '../../src/api/pod.ts'
import { DroverError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { type AgentMessage, jsonBytes, type PodStatusReport } from '../../src/rpc/messages.ts'
import { FakeHost, fakeDrivers } from './fake_drivers.ts'
import { createManualClock, type ManualClock } from './manual_clock.ts'

class Killed extends DroverError {
  constructor() {
    super('internal', 'the agent was killed here')
  }
}

/** Counts driver calls and throws after the one that is to be the last. */
class Fuse {
  left = Number.POSITIVE_INFINITY
  calls = 0
  readonly #host: FakeHost

  constructor(host: FakeHost) {
    this.#host = host
  }

  burn(): void {
    this.calls++
    if (--this.left >= 0) return
    if (this.left === -1) this.#host.kills++
    throw new Killed()
  }
}

function fused<T extends object>(driver: T, fuse: Fuse): T {
  return new Proxy(driver, {
    get(target, name, receiver) {
      const method = Reflect.get(target, name, receiver)
      if (typeof method !== 'function' || name === 'onExit') return method
      return (...args: unknown[]) => {
        const result: unknown = method.apply(target, args)
        if (name === 'beginContainer') return fused(result as object, fuse)
        if (!(result instanceof Promise)) return result
        return result.then((value) => {
          fuse.burn()
          return value
        })
      }
    },
  })
}

/** Directories alone, which outlive an agent. */
function memoryFiles(): NodeFiles {
  const paths = new Set<string>()
  return {
    read: async () => '',
    end: async () => Buffer.alloc(0),
    makeDirectory: async (path) => {
      paths.add(path)
    },
    remove: async (path) => {
      for (const each of paths) if (each === path || each.startsWith(`${path}/`)) paths.delete(each)
    },
    list: async (directory) =>
      [...paths]
        .filter((path) => path.startsWith(`${directory}/`))
        .map((path) => path.slice(directory.length + 1).split('/')[0] ?? ''),
    diskBytes: async () => 0,
  }
}

export class World {
  readonly clock: ManualClock = createManualClock()
  readonly host = new FakeHost()
  readonly fuse = new Fuse(this.host)
  reports: PodStatusReport[] = []
  readonly events: string[] = []
  worker: PodWorker
  configs: Record<string, Record<string, string>> = {}
  #desired = new Desired()
  readonly #files = memoryFiles()
  /** How the server answers requests for tokens. */
  giveToken: AgentContext['requestToken'] = async () => {
    throw new DroverError('unavailable', 'no server here')
  }
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
      seccompDir: '/nonexistent-drvt-seccomp',
      allowedSysctls: [],
      containerPidsLimit: 0,
      clusterDomain: () => 'cluster.local',
      nodeCpuMillis: 2000,
      nodeMemoryBytes: 2 ** 30,
      nodeStorageBytes: 2 ** 36,
      clock,
      random: seededRandom(1),
      log: silentLogger,
      drivers,
      files: this.#files,
      containers: new SharedList(() => drivers.runtime.listContainers()),
      desired: this.#desired,
      reporter: new StatusReporter(clock, send),
      events: { record: (_pod, _type, reason) => this.events.push(reason) },
      imagesChanged: () => undefined,
      requestToken: (wish) => this.giveToken(wish),
      clusterCa: () => 'the CA',
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

  change(to: (pod: Pod) => Pod): void {
    this.#pod = to(this.#pod)
    this.worker.setPod(this.#pod)
  }

  /** `lateMs`: how far the server's clock is behind this node's. */
  delete(graceSeconds: number, lateMs = 0): void {
    const deletionTimestamp = new Date(this.clock.now() + graceSeconds * 1000 - lateMs).toISOString()
    const metadata = { ...this.#pod.metadata, deletionTimestamp, deletionGracePeriodSeconds: graceSeconds }
    this.change((pod) => ({ ...pod, metadata }))
  }

  /** Calls the worker as its queue would, a second of time passing between; an agent that is killed is made anew. */
  async run(rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      try {
        await this.worker.reconcile(new AbortController().signal)
      } catch (error) {
        if (!this.#isKill(error)) throw error
        void this.worker.dispose()
        this.fuse.left = Number.POSITIVE_INFINITY
        this.worker = this.#newWorker(true)
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
    void this.worker.dispose()
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

export function podOf(spec: Partial<Pod['spec']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default', uid: 'u1' },
    spec: { containers: [{ name: 'app', image: 'app:1' }], restartPolicy: 'Always', ...spec },
  }
}
