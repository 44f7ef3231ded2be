/** One simulated server: what `bin/server.ts` joins, without etcd's child process and the HTTP side. */
import { Gauge, Registry } from '../../src/base/metrics.ts'
import { runServices, type Service } from '../../src/base/service.ts'
import { createLeader } from '../../src/bin/leader.ts'
import { createPresence } from '../../src/bin/presence.ts'
import { type ControllersOptions, createControllers } from '../../src/controllers/manager.ts'
import { createDispatch } from '../../src/dispatch/dispatch.ts'
import { createAllocationRepair } from '../../src/resources/allocations.ts'
import { ensureBuiltins } from '../../src/resources/builtins.ts'
import { createResources } from '../../src/resources/create.ts'
import { createEventRecorder, createEventSweeper } from '../../src/resources/events.ts'
import type { Resources } from '../../src/resources/resources.ts'
import { createScheduler } from '../../src/scheduler/loop.ts'
import { createCompactor } from '../../src/store/compactor.ts'
import type { Fence, Store } from '../../src/store/store.ts'
import { ServerStore } from './server_store.ts'
import { simLogger } from './sim_log.ts'
import { SimProcess } from './sim_process.ts'
import type { World } from './world.ts'

export const CLUSTER = {
  clusterName: 'sim',
  clusterCidr: '10.244.0.0/16',
  serviceCidr: '10.96.0.0/16',
  nodePortRange: { from: 30_000, to: 32_767 },
  clusterDomain: 'cluster.local',
}
/** As in src/bin/server.ts. */
const CATCH_UP_MS = 5_000
const NO_TLS = { ca: '', cert: '', key: '' }

type Part = 'controllers' | 'scheduler' | 'dispatch' | 'api'

/** Where planted bugs get at a server's parts. */
export interface ServerSeams {
  resources?(resources: Resources, part: Part): Resources
  controllers?(options: ControllersOptions): Service[]
  /** What a server takes for the store. */
  store?(store: Store): Store
}

export class SimServer {
  readonly name: string
  readonly #world: World
  #process: SimProcess | undefined
  #store: ServerStore | undefined
  #resources: (Resources & Service) | undefined
  #api: Resources | undefined
  #ready = false
  #starts = 0
  #stop: AbortController | undefined

  constructor(name: string, world: World) {
    this.name = name
    this.#world = world
  }

  get process(): SimProcess | undefined {
    return this.#process
  }

  /** What a user's client can talk to: undefined while there is nobody. */
  get api(): Resources | undefined {
    return this.#ready && this.#process?.alive ? this.#api : undefined
  }

  get running(): boolean {
    return this.#process?.alive === true
  }

  start(): void {
    const { world, name } = { world: this.#world, name: this.name }
    const process = new SimProcess(name, world.time, world.clockRate(name))
    this.#process = process
    this.#starts++
    const random = world.random(`${name}/${this.#starts}`)
    const store = new ServerStore({
      inner: world.seams.store?.(world.store) ?? world.store,
      process,
      time: world.time,
      random: world.random(`${name}/store/${this.#starts}`),
      links: world.links,
      mostLatencyMs: world.settings.storeLatencyMs,
      onUnfenced: ({ key }) => world.fail('fences hold', `${name} wrote ${key} though it leads no more`),
    })
    this.#store = store
    this.#ready = false
    const log = simLogger({ who: name, trace: world.trace, onDefect: (text) => world.fail('defect', text) })
    const environment = { clock: process, random, log }
    const stop = new AbortController()
    this.#stop = stop
    this.#run(process, store, environment, stop.signal).catch((error: unknown) => {
      world.fail('defect', `${name} could not start: ${error instanceof Error ? error.stack : String(error)}`)
    })
  }

  async #run(
    process: SimProcess,
    store: ServerStore,
    environment: { clock: SimProcess; random: ReturnType<World['random']>; log: ReturnType<typeof simLogger> },
    signal: AbortSignal,
  ): Promise<void> {
    const { seams, network } = this.#world
    const registry = new Registry()
    const { clusterCidr, serviceCidr, nodePortRange } = CLUSTER
    const resources = createResources({ ...environment, store, serviceCidr, nodePortRange })
    const seen = (part: Part) => seams.resources?.(resources, part) ?? resources
    this.#resources = resources
    this.#api = seen('api')
    const recorder = (component: string) => createEventRecorder({ ...environment, resources, component })
    const events = {
      dispatch: recorder('drover-agent'),
      scheduler: recorder('drover-scheduler'),
      controllers: recorder('drover-controllers'),
    }
    const presence = createPresence({
      ...environment,
      store,
      serverId: this.name,
      nodeAddresses: [this.name],
      registry,
    })
    const dispatch = createDispatch({
      ...environment,
      resources: seen('dispatch'),
      events: events.dispatch,
      registry,
      listen: { host: this.name, port: 1 },
      tls: NO_TLS,
      cluster: CLUSTER,
      serverId: this.name,
      isServerAlive: presence.servers.isAlive,
      presenceTerm: presence.term,
      createServer: network.serverAt(this.name, process),
    })
    const makeControllers = seams.controllers ?? createControllers
    const leaderServices = (fence: Fence): Service[] => {
      this.#world.trace.add(`${this.name} leads`)
      const leading = { ...environment, resources, fence }
      const scheduler = createScheduler({ ...leading, resources: seen('scheduler'), events: events.scheduler })
      return [
        ...makeControllers({
          ...leading,
          desk: scheduler.desk,
          resources: seen('controllers'),
          events: events.controllers,
          clusterCidr,
          nodeCidrPrefixLength: 24,
        }),
        scheduler,
        createAllocationRepair({ ...leading, store }),
        createEventSweeper(leading),
        createCompactor({ ...environment, store }),
      ]
    }
    const isLeader = new Gauge({ name: 'leader_election_master_status', help: 'leads', registers: [registry] })
    const first = runServices([resources], environment, signal)
    await resources.ready()
    await ensureBuiltins(resources)
    this.#ready = true
    const leader = createLeader({
      ...environment,
      store,
      serverId: this.name,
      isLeader,
      services: leaderServices,
      caughtUp: async () => resources.waitForRevision(await resources.currentRevision(), CATCH_UP_MS),
    })
    const services = [...Object.values(events), ...presence.services, dispatch.service, leader]
    await runServices(services, environment, signal)
    await first
    process.kill()
    store.disconnect()
    this.#world.network.processDied(process, true)
  }

  /** SIGKILL, or with `silently` the loss of its machine. */
  crash(silently: boolean): void {
    const process = this.#process
    if (process === undefined) return
    process.kill()
    this.#store?.disconnect()
    this.#world.network.processDied(process, !silently)
  }

  /** SIGTERM: it ends by itself. */
  stop(): void {
    this.#stop?.abort()
  }

  cache(): (Resources & Service) | undefined {
    return this.#resources
  }

  get store(): Store | undefined {
    return this.#store
  }
}
