/**
 * A whole cluster in one process: servers and agents as the product makes them, joined by a simulated store, network
 * and machines, under one virtual clock and one seed.
 */
import type { Drivers } from '../../src/agent/context.ts'
import type { Fencer } from '../../src/agent/fence/fencer.ts'
import { CLOCK_RATE_ERROR } from '../../src/api/exclusive.ts'
import type { Random } from '../../src/base/random.ts'
import type { NodeClient } from '../../src/rpc/client.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { checkTraffic } from './invariants.ts'
import { randomOf } from './latency.ts'
import { Links } from './links.ts'
import { SimNetwork } from './network.ts'
import { SimAgent } from './sim_agent.ts'
import { HOST, SimHost } from './sim_host.ts'
import { SimProcess } from './sim_process.ts'
import { type ServerSeams, SimServer } from './sim_server.ts'
import { Trace } from './trace.ts'
import { VirtualTime } from './virtual_time.ts'
import { Watcher } from './watcher.ts'

export interface WorldSettings {
  servers: number
  hosts: number
  /** The slowest answer of the store and message of the network. */
  storeLatencyMs: number
  networkLatencyMs: number
}

/** Where bugs are planted on purpose. */
export interface Seams extends ServerSeams {
  drivers?(drivers: Drivers, host: SimHost): Drivers
  fencer?(fencer: Fencer): Fencer
  dial?(client: NodeClient): NodeClient
}

export interface Violation {
  invariant: string
  message: string
  atMs: number
  step: number
}

export interface WorldOptions {
  seed: number
  settings: WorldSettings
  seams?: Seams
  print?: ((line: string) => void) | undefined
}

/** More would be a loop that waits for nothing. */
const MOST_STEPS_A_MOMENT = 20_000

export class World {
  readonly seed: number
  readonly settings: WorldSettings
  readonly seams: Seams
  readonly time = new VirtualTime()
  readonly trace: Trace
  readonly links = new Links()
  readonly network: SimNetwork
  readonly store: Store
  readonly servers: SimServer[]
  readonly agents: SimAgent[]
  readonly watcher: Watcher
  /** Since when no fault has been at work anywhere. */
  calmSinceMs = 0
  #violation: Violation | undefined

  constructor({ seed, settings, seams = {}, print }: WorldOptions) {
    this.seed = seed
    this.settings = settings
    this.seams = seams
    const { time, links } = this
    this.trace = new Trace(time, print)
    this.store = createMemoryStore({ clock: new SimProcess('store', time) })
    this.network = new SimNetwork({
      time,
      links,
      random: this.random('network'),
      mostLatencyMs: settings.networkLatencyMs,
    })
    this.servers = Array.from({ length: settings.servers }, (_, index) => new SimServer(`server-${index + 1}`, this))
    this.agents = Array.from({ length: settings.hosts }, (_, index) => new SimAgent(this.#newHost(index), this))
    this.watcher = new Watcher(this)
  }

  random(purpose: string): Random {
    return randomOf(this.seed, purpose)
  }

  /** Of a machine's clock: no two differ by more than fences allow for. */
  clockRate(machine: string): number {
    return 1 + (this.random(`clock/${machine}`).next() - 0.5) * 0.99 * CLOCK_RATE_ERROR
  }

  get violation(): Violation | undefined {
    return this.#violation
  }

  /** The first counts: what follows may be its consequence. */
  fail(invariant: string, message: string): void {
    if (this.#violation !== undefined) return
    this.trace.add(`VIOLATION ${invariant}: ${message}`)
    this.#violation = { invariant, message, atMs: this.time.nowMs, step: this.time.steps }
  }

  start(): void {
    this.time.rememberForeignWork()
    this.watcher.start()
    for (const server of this.servers) server.start()
    for (const agent of this.agents) agent.start()
  }

  /** Lets time pass until then or the first violation. */
  async runUntil(untilMs: number, isDone: () => boolean = () => false): Promise<void> {
    let reached = false
    this.time.schedule(untilMs - this.time.nowMs, () => {
      reached = true
    })
    let lastMs = this.time.nowMs
    let still = 0
    while (!reached && this.#violation === undefined && !isDone()) {
      if (!(await this.time.step())) return
      still = this.time.nowMs > lastMs ? 0 : still + 1
      lastMs = this.time.nowMs
      if (still > MOST_STEPS_A_MOMENT) this.fail('time goes on', `${still} events in one moment`)
    }
  }

  #newHost(index: number): SimHost {
    return new SimHost({
      name: `node-${index + 1}`,
      address: `192.0.2.${index + 1}`,
      ...HOST,
      time: this.time,
      rate: this.clockRate(`node-${index + 1}`),
      random: this.random(`host-${index + 1}`),
      hooks: {
        started: (host, container) => this.watcher.containerStarted(host, container),
        signalled: (host, container) => checkTraffic(this, host, container),
        ended: (host, container) => this.watcher.containerEnded(host, container),
        thawed: (host) => this.watcher.exclusives.thawed(host),
      },
    })
  }
}
