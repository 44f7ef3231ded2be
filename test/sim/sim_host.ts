/**
 * The truth of one simulated machine: what runs on it, whatever any agent believes. It outlives agents; a crash of the
 * machine leaves what is on disk (images, records of containers, addresses, volumes) and ends everything else.
 */
import { type Allocations, adopt, allocate, release } from '../../src/agent/network/addresses.ts'
import type { NodeNetworkConfig } from '../../src/agent/network/network.ts'
import type { ContainerHead, ContainerRequest, ContainerState, Sandbox } from '../../src/agent/runtime/runtime.ts'
import { containerState, LOST_EXIT_CODE } from '../../src/agent/runtime/state.ts'
import { DroverError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import type { PeerRow, PolicyTableRow, ServiceRow } from '../../src/rpc/tables.ts'
import { between } from './latency.ts'
import { SimFencer } from './sim_fencer.ts'
import type { SimProcess } from './sim_process.ts'
import type { VirtualTime } from './virtual_time.ts'

export interface SimContainer {
  state: ContainerState
  image: string
  startedMs: number
}

export interface HostHooks {
  /** Every change of the truth, for the trace and the invariants. */
  started(host: SimHost, container: SimContainer): void
  ended(host: SimHost, container: SimContainer): void
  /** It is asked to stop. */
  signalled(host: SimHost, container: SimContainer): void
  /** It goes on after it stood still. */
  thawed(host: SimHost): void
}

/** What every machine has. */
export const HOST = { cpu: '2', memory: '3Gi' }

export interface SimHostOptions {
  name: string
  address: string
  cpu: string
  memory: string
  time: VirtualTime
  /** Of its clock, to real time. */
  rate: number
  random: Random
  hooks: HostHooks
}

/** What images of this simulation do, by the word before the colon. */
export type Behaviour = 'app' | 'slow' | 'stubborn' | 'crash' | 'broken' | 'missing' | 'task' | 'flaky'

export function behaviourOf(image: string): Behaviour {
  return (image.split(':')[0] ?? 'app') as Behaviour
}

export class SimHost {
  readonly options: SimHostOptions
  readonly containers = new Map<string, SimContainer>()
  readonly sandboxes = new Map<string, Sandbox>()
  /** Pods with an interface in the kernel. */
  readonly interfaces = new Map<string, string>()
  readonly volumes = new Map<string, Record<string, string>>()
  readonly images = new Set<string>()
  readonly files = new Set<string>()
  addresses: Allocations | undefined
  network: NodeNetworkConfig | undefined
  peers: readonly PeerRow[] = []
  services: readonly ServiceRow[] = []
  policies: readonly PolicyTableRow[] = []
  /** How often it was booted; work of an earlier boot is void. */
  boots = 1
  down = false
  downSinceMs = 0
  frozen = false
  /** Driver calls take this many times as long. */
  slowness = 1
  /** Share of driver calls that fail for reasons of the machine. */
  failureRate = 0
  /** Share of pulls that fail. */
  pullFailureRate = 0
  /** The agent's process, while one runs. */
  agent: SimProcess | undefined
  #exitListener: ((id: string) => void) | undefined
  #stopped: (() => void)[] = []

  readonly fencer: SimFencer
  /** When it last went on after it stood still. */
  thawedMs = Number.NEGATIVE_INFINITY

  constructor(options: SimHostOptions) {
    this.options = options
    this.fencer = new SimFencer(this, options.random)
  }

  /** As /proc/uptime has it, in steps of 10 ms; it counts while the machine stands still. */
  get uptimeMs(): number {
    return Math.floor((this.options.time.nowMs * this.options.rate) / 10) * 10
  }

  get name(): string {
    return this.options.name
  }

  onExit(listener: (id: string) => void): () => void {
    this.#exitListener = listener
    return () => {
      if (this.#exitListener === listener) this.#exitListener = undefined
    }
  }

  /** Its directory is there; nothing runs of it. */
  begin(head: ContainerHead, image: string): void {
    const { id } = head
    if (this.containers.has(id)) throw new DroverError('alreadyExists', `container ${id} exists already`)
    const state = containerState(head, 'created', undefined, undefined)
    this.containers.set(id, { state, image, startedMs: this.options.time.nowMs })
  }

  start(request: ContainerRequest, image: string): ContainerState {
    if (this.containers.has(request.id)) {
      throw new DroverError('alreadyExists', `container ${request.id} exists already`)
    }
    if (!this.sandboxes.has(request.podUid)) throw new DroverError('unavailable', 'the sandbox is not there')
    const { id, podUid, name, attempt, annotations } = request
    if (this.fencer.kills(podUid)) throw new DroverError('unavailable', 'it was killed while it was made')
    const { time, random, hooks } = this.options
    const state: ContainerState = {
      id,
      podUid,
      name,
      attempt,
      annotations,
      phase: 'running',
      pid: 1,
      startedAtMs: this.nowMs,
    }
    const container: SimContainer = { state, image, startedMs: time.nowMs }
    this.containers.set(id, container)
    hooks.started(this, container)
    this.fencer.lookSoon()
    const behaviour = behaviourOf(image)
    if (behaviour === 'crash') this.#endLater(container, between(random, 200, 4_000), 1)
    if (behaviour === 'task') this.#endLater(container, between(random, 200, 6_000), 0)
    if (behaviour === 'flaky') this.#endLater(container, between(random, 200, 4_000), random.next() < 0.3 ? 1 : 0)
    return state
  }

  signal(id: string, signal: string): void {
    const container = this.containers.get(id)
    if (container === undefined || container.state.phase !== 'running') return
    this.options.hooks.signalled(this, container)
    if (signal === 'SIGKILL') this.end(container, 137)
    else if (behaviourOf(container.image) !== 'stubborn')
      this.#endLater(container, between(this.options.random, 5, 900), 0)
  }

  /** The container's own program ends, or somebody ends it. */
  end(container: SimContainer, code: number): void {
    const { id } = container.state
    if (this.containers.get(id) !== container || container.state.phase !== 'running') return
    const { pid: _pid, ...state } = container.state
    container.state = { ...state, phase: 'exited', exit: { code, oomKilled: false, finishedAtMs: this.nowMs } }
    this.options.hooks.ended(this, container)
    const listener = this.#exitListener
    if (listener !== undefined) this.agent?.enter(() => listener(id))
  }

  #endLater(container: SimContainer, delayMs: number, code: number): void {
    const boot = this.boots
    this.options.time.schedule(delayMs, () =>
      this.whenGoing(() => {
        if (this.boots === boot) this.end(container, code)
      }),
    )
  }

  /** Now, or when the machine goes on. */
  whenGoing(work: () => void): void {
    if (this.frozen) this.#stopped.push(work)
    else work()
  }

  freeze(): void {
    this.frozen = true
    this.agent?.freeze()
  }

  thaw(): void {
    this.frozen = false
    this.thawedMs = this.options.time.nowMs
    this.agent?.thaw()
    for (const work of this.#stopped.splice(0)) this.options.time.schedule(0, work)
    this.fencer.lookSoon()
    this.options.hooks.thawed(this)
  }

  /** Power is gone. What had not reached the disk is lost with it. */
  crash(): void {
    this.down = true
    this.downSinceMs = this.options.time.nowMs
    this.frozen = false
    this.boots++
    this.#exitListener = undefined
    this.#stopped = []
    this.fencer.forget()
    for (const container of this.containers.values()) {
      if (container.state.phase !== 'running') continue
      const { pid: _pid, ...state } = container.state
      const exit = { code: LOST_EXIT_CODE, oomKilled: false, finishedAtMs: this.nowMs }
      container.state = { ...state, phase: 'exited', exit }
      this.options.hooks.ended(this, container)
    }
    this.sandboxes.clear()
    this.interfaces.clear()
    this.network = undefined
    this.peers = []
    this.services = []
    this.policies = []
  }

  /** As the network driver does it when it is given the node's range. */
  setUpNetwork(config: NodeNetworkConfig): void {
    this.network = config
    const interfaces = [...this.interfaces].map(([podUid, address]) => ({ podUid, address }))
    this.addresses = adopt(this.addresses, config.podCidr, interfaces)
  }

  addressOf(podUid: string): string {
    if (this.addresses === undefined) throw new DroverError('internal', 'no range of addresses')
    const taken = allocate(this.addresses, podUid)
    this.addresses = taken.allocations
    this.interfaces.set(podUid, taken.address)
    return taken.address
  }

  freeAddress(podUid: string): void {
    this.interfaces.delete(podUid)
    if (this.addresses !== undefined) this.addresses = release(this.addresses, podUid)
  }

  get running(): SimContainer[] {
    return [...this.containers.values()].filter(({ state }) => state.phase === 'running')
  }

  /** By the machine's own wall clock. */
  get nowMs(): number {
    return this.agent?.now() ?? Date.parse('2026-01-01T00:00:00Z') + Math.floor(this.options.time.nowMs)
  }
}
