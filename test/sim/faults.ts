/** What goes wrong: each fault strikes, lasts a while and heals. One at a time for each part of the world. */
import type { Random } from '../../src/base/random.ts'
import { between, pick } from './latency.ts'
import { STORE } from './server_store.ts'
import type { SimAgent } from './sim_agent.ts'
import type { SimServer } from './sim_server.ts'
import type { World } from './world.ts'

interface Fault {
  /** What it is at work on. */
  target: string
  /** Seconds that it may last. */
  lasts: readonly [number, number]
  heal(): void
}

type Strike = (random: Random) => Fault | undefined

/** Never faulty by itself. */
const INSTANT = [0, 0] as const

export class Faults {
  readonly #world: World
  readonly #active = new Map<string, () => void>()
  readonly counts: Record<string, number> = {}
  /** Machines that never come back. */
  readonly lost = new Set<string>()

  constructor(world: World) {
    this.#world = world
  }

  strike(random: Random): void {
    const kinds: readonly (readonly [number, string, Strike])[] = [
      [2, 'agent killed', (r) => this.#agentKilled(r)],
      [3, 'host crashed', (r) => this.#hostCrashed(r)],
      [1.5, 'agent stopped', (r) => this.#agentStopped(r)],
      [1.5, 'host frozen', (r) => this.#hostFrozen(r)],
      [1, 'fencer killed', (r) => this.#fencerKilled(r)],
      [1.5, 'host slow', (r) => this.#hostSlow(r)],
      [1.5, 'disk errors', (r) => this.#diskErrors(r)],
      [1, 'pull failures', (r) => this.#pullFailures(r)],
      [3, 'container killed', (r) => this.#containerKilled(r)],
      [1, 'clock off', (r) => this.#clockOff(r)],
      [3, 'agent partitioned', (r) => this.#agentPartitioned(r)],
      [2, 'server killed', (r) => this.#serverKilled(r)],
      [1, 'server stopped in order', (r) => this.#serverEnded(r)],
      [1.5, 'server frozen', (r) => this.#serverFrozen(r)],
      [1.5, 'server cut from the store', (r) => this.#serverCut(r)],
      [1, 'election key removed', () => this.#leadershipTaken()],
      [0.3, 'history compacted', () => this.#compacted()],
    ]
    let at = random.next() * kinds.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, name, strike] of kinds) {
      at -= weight
      if (at > 0) continue
      const fault = strike(random)
      if (fault !== undefined) this.#begin(name, fault, random)
      return
    }
  }

  /** Everything works again; what is lost for good stays lost. */
  healAll(): void {
    for (const heal of [...this.#active.values()]) heal()
  }

  #begin(name: string, { target, lasts, heal }: Fault, random: Random): void {
    const { time, trace } = this.#world
    this.counts[name] = (this.counts[name] ?? 0) + 1
    const durationMs = between(random, lasts[0] * 1000, lasts[1] * 1000)
    trace.add(`FAULT ${name}: ${target}${durationMs === 0 ? '' : ` for ${durationMs / 1000} s`}`)
    if (durationMs === 0) return
    const agent = this.#agentOf(target)
    if (agent !== undefined) agent.healthySinceMs = Number.POSITIVE_INFINITY
    else this.#world.calmSinceMs = Number.POSITIVE_INFINITY
    const end = (): void => {
      if (this.#active.get(target) !== end) return
      this.#active.delete(target)
      trace.add(`HEALED ${name}: ${target}`)
      heal()
      if (agent !== undefined) agent.healthySinceMs = time.nowMs
      // Another server may still be ill.
      else if (![...this.#active.keys()].some((each) => this.#agentOf(each) === undefined))
        this.#world.calmSinceMs = time.nowMs
    }
    this.#active.set(target, end)
    time.schedule(durationMs, end)
  }

  #agentOf(target: string): SimAgent | undefined {
    return this.#world.agents.find(({ name }) => name === target)
  }

  #agent(random: Random): SimAgent | undefined {
    const free = this.#world.agents.filter(({ name, running }) => !this.#active.has(name) && running)
    return pick(random, free)
  }

  #server(random: Random): SimServer | undefined {
    const free = this.#world.servers.filter(({ name, running }) => !this.#active.has(name) && running)
    return pick(random, free)
  }

  #agentKilled(random: Random): Fault | undefined {
    const agent = this.#agent(random)
    agent?.crash()
    return agent && { target: agent.name, lasts: [0.3, 15], heal: () => agent.start() }
  }

  #hostCrashed(random: Random): Fault | undefined {
    const agent = this.#agent(random)
    if (agent === undefined) return undefined
    agent.crashHost()
    const forGood = this.#world.agents.length >= 4 && this.lost.size === 0 && random.next() < 0.35
    if (forGood) this.lost.add(agent.name)
    const heal = (): void => {
      if (!this.lost.has(agent.name)) agent.boot()
    }
    return { target: agent.name, lasts: [1, 50], heal }
  }

  #agentStopped(random: Random): Fault | undefined {
    const agent = this.#agent(random)
    agent?.process?.freeze()
    return agent && { target: agent.name, lasts: [0.5, 25], heal: () => agent.process?.thaw() }
  }

  #hostFrozen(random: Random): Fault | undefined {
    const agent = this.#agent(random)
    agent?.host.freeze()
    return agent && { target: agent.name, lasts: [0.5, 60], heal: () => agent.host.thaw() }
  }

  /** Its agent, which nothing else befalls meanwhile, starts another. */
  #fencerKilled(random: Random): Fault | undefined {
    const agent = this.#agent(random)
    agent?.host.fencer.die()
    return agent && { target: agent.name, lasts: [2, 2], heal: () => undefined }
  }

  #hostSlow(random: Random): Fault | undefined {
    const agent = this.#agent(random)
    if (agent === undefined) return undefined
    const { host, process } = agent
    host.slowness = between(random, 3, 30)
    if (process !== undefined) process.lagMs = between(random, 5, 150)
    const heal = (): void => {
      host.slowness = 1
      if (process !== undefined) process.lagMs = 0
    }
    return { target: agent.name, lasts: [3, 40], heal }
  }

  #diskErrors(random: Random): Fault | undefined {
    const agent = this.#agent(random)
    if (agent === undefined) return undefined
    agent.host.failureRate = 0.1 + random.next() * 0.6
    return { target: agent.name, lasts: [2, 25], heal: () => (agent.host.failureRate = 0) }
  }

  #pullFailures(random: Random): Fault | undefined {
    const agent = this.#agent(random)
    if (agent === undefined) return undefined
    agent.host.pullFailureRate = 0.8
    return { target: agent.name, lasts: [5, 30], heal: () => (agent.host.pullFailureRate = 0) }
  }

  #containerKilled(random: Random): Fault | undefined {
    const running = this.#world.agents.flatMap(({ host }) =>
      host.frozen ? [] : host.running.map((container) => ({ host, container })),
    )
    const chosen = pick(random, running)
    if (chosen === undefined) return undefined
    chosen.host.end(chosen.container, pick(random, [0, 1, 137]) ?? 1)
    return { target: chosen.container.state.id, lasts: INSTANT, heal: () => undefined }
  }

  #clockOff(random: Random): Fault | undefined {
    const agent = this.#agent(random)
    if (agent === undefined) return undefined
    agent.skewMs = between(random, -8_000, 8_000)
    return { target: agent.name, lasts: [5, 60], heal: () => (agent.skewMs = 0) }
  }

  #agentPartitioned(random: Random): Fault | undefined {
    const agent = this.#agent(random)
    if (agent === undefined) return undefined
    const { links, network, servers } = this.#world
    const all = random.next() < 0.6
    const one = pick(random, servers)
    const cut = servers.filter((server) => all || server === one)
    for (const { name } of cut) {
      links.cut(agent.name, name)
      network.linkCut(agent.name, name)
    }
    const heal = (): void => {
      for (const { name } of cut) links.heal(agent.name, name)
    }
    return { target: agent.name, lasts: [0.5, 45], heal }
  }

  #serverKilled(random: Random): Fault | undefined {
    const server = this.#server(random)
    server?.crash(random.next() < 0.4)
    return server && { target: server.name, lasts: [0.5, 20], heal: () => server.start() }
  }

  #serverEnded(random: Random): Fault | undefined {
    const server = this.#server(random)
    server?.stop()
    const heal = (): void => {
      // One that has not managed to end is killed by who supervises it.
      if (server?.running) server.crash(false)
      server?.start()
    }
    return server && { target: server.name, lasts: [2, 20], heal }
  }

  #serverFrozen(random: Random): Fault | undefined {
    const server = this.#server(random)
    server?.process?.freeze()
    return server && { target: server.name, lasts: [0.2, 20], heal: () => server.process?.thaw() }
  }

  #serverCut(random: Random): Fault | undefined {
    const server = this.#server(random)
    if (server === undefined) return undefined
    this.#world.links.cut(server.name, STORE)
    return { target: server.name, lasts: [0.2, 15], heal: () => this.#world.links.heal(server.name, STORE) }
  }

  #leadershipTaken(): Fault {
    const { store } = this.#world
    const take = async (): Promise<void> => {
      const { items } = await store.list('/drover-meta/leader/', { limit: 1 })
      for (const { key } of items) await store.write({ type: 'delete', key })
    }
    take().catch((error: unknown) => this.#world.fail('world', String(error)))
    return { target: 'the election', lasts: INSTANT, heal: () => undefined }
  }

  #compacted(): Fault {
    const { store } = this.#world
    const compact = async (): Promise<void> => {
      const { revision } = await store.health()
      await store.compact(revision)
    }
    compact().catch((error: unknown) => this.#world.fail('world', String(error)))
    return { target: 'the store', lasts: INSTANT, heal: () => undefined }
  }
}
