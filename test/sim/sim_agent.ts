/** One simulated node: a host, and the real agent over it. */
import { createAgent } from '../../src/agent/agent.ts'
import type { Drivers } from '../../src/agent/context.ts'
import { Registry } from '../../src/base/metrics.ts'
import { runServices } from '../../src/base/service.ts'
import { simDrivers } from './sim_drivers.ts'
import { simFencer } from './sim_fencer.ts'
import type { SimHost } from './sim_host.ts'
import { simLogger } from './sim_log.ts'
import { SimProcess } from './sim_process.ts'
import type { World } from './world.ts'

export class SimAgent {
  readonly host: SimHost
  readonly #world: World
  #process: SimProcess | undefined
  #starts = 0
  #skewMs = 0
  /** Since when nothing has been wrong with it or its links. */
  healthySinceMs = 0

  constructor(host: SimHost, world: World) {
    this.host = host
    this.#world = world
  }

  get name(): string {
    return this.host.name
  }

  get running(): boolean {
    return this.#process?.alive === true
  }

  get process(): SimProcess | undefined {
    return this.#process
  }

  set skewMs(value: number) {
    this.#skewMs = value
    if (this.#process !== undefined) this.#process.skewMs = value
  }

  start(): void {
    const { host } = this
    const world = this.#world
    if (host.down || this.running) return
    const process = new SimProcess(`${host.name}/agent`, world.time, host.options.rate)
    process.skewMs = this.#skewMs
    this.#process = process
    host.agent = process
    this.#starts++
    const random = world.random(`${host.name}/${this.#starts}`)
    const { files, ...drivers } = simDrivers(host, process, world.random(`${host.name}/drivers/${this.#starts}`))
    const fencer = simFencer(host, process)
    const log = simLogger({ who: host.name, trace: world.trace, onDefect: (text) => world.fail('defect', text) })
    const agent = createAgent({
      nodeName: host.name,
      server: { address: world.servers.map(({ name }) => name) },
      tls: { ca: '', cert: '', key: '' },
      drivers: world.seams.drivers?.(drivers, host) ?? (drivers as Drivers),
      files,
      fencer: world.seams.fencer?.(fencer) ?? fencer,
      dataDir: '/data',
      nodeAddress: host.options.address,
      capacity: { cpu: host.options.cpu, memory: host.options.memory, pods: '30' },
      clock: process,
      random,
      log,
      registry: new Registry(),
      version: '0',
      dial: (address) => {
        const client = world.network.client({ process, node: host.name }, address)
        return world.seams.dial?.(client) ?? client
      },
    })
    void runServices([agent.service], { clock: process, random, log }, new AbortController().signal)
  }

  /** SIGKILL: containers run on. */
  crash(): void {
    const process = this.#process
    if (process === undefined || !process.alive) return
    process.kill()
    this.#world.network.processDied(process, true)
  }

  /** The whole machine. */
  crashHost(): void {
    const process = this.#process
    process?.kill()
    this.host.crash()
    if (process !== undefined) this.#world.network.processDied(process, false)
  }

  boot(): void {
    this.host.down = false
    this.start()
  }
}
