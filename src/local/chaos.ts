/**
 * Faults on a local cluster, made and undone: partitions, dead and frozen hosts and servers. Nothing of it is remembered but
 * in the kernel and by marks in the run directory (held.ts), so it ends with the cluster or the machine, and `drover
 * down` and `drover up` undo what they find.
 *
 *   partition   frames dropped on the bridge between the hosts          chaos_partition.ts
 *   kill        SIGKILL; the supervisor holds back what was killed       held.ts
 *   freeze      freezer cgroup for containers, SIGSTOP for the rest      host_processes.ts
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { silentLogger } from '../base/log.ts'
import { run } from '../base/process.ts'
import { identify, isAlive, type ProcessIdentity, signalProcess } from '../base/process_table.ts'
import { type CutRequest, EVERYTHING, Partitions } from './chaos_partition.ts'
import { type ClusterRecord, clusterPaths, type ServerRecord, serversOf } from './cluster.ts'
import { hostsNetwork } from './cluster_network.ts'
import { heldProcesses, hold, release } from './held.ts'
import { cgroupDirectories, freeze, type HostPlace, isFrozen, killAll, thaw } from './host_processes.ts'
import type { HostInterface, HostsState } from './hosts_network.ts'
import { ipBatch, ipJson, observeLinks } from './net_namespaces.ts'
import { runningProcess, waitForExit } from './processes.ts'
import { removeCgroup, unmountBelow } from './remove.ts'

export type ChaosTarget =
  | { type: 'host'; host: HostInterface }
  | { type: 'server'; server: ServerRecord }
  | { type: 'etcd' }

/** One thing that is wrong on purpose. */
export interface ChaosFact {
  target: string
  fault: 'partitioned' | 'killed' | 'frozen'
  detail: string
}

const EXIT_MS = 10_000
const START_MS = 10_000
/** A killed host's own links; what is joined to them goes with them. */
const UNDERLAY = new Set(['lo', 'eth0'])

export class Chaos {
  readonly #record: ClusterRecord
  readonly #clock: Clock
  readonly #network: HostsState
  readonly #partitions: Partitions

  private constructor(record: ClusterRecord, clock: Clock, network: HostsState) {
    this.#record = record
    this.#clock = clock
    this.#network = network
    this.#partitions = new Partitions(network.switchNamespacePath)
  }

  static async open(record: ClusterRecord, clock: Clock): Promise<Chaos> {
    return new Chaos(record, clock, await hostsNetwork(record, { clock, log: silentLogger }).observe())
  }

  /** A host by name or number, `server` (the first), `server-N`, or `etcd`. */
  target(text: string): ChaosTarget {
    if (text === 'etcd') return { type: 'etcd' }
    const server = serversOf(this.#record).find(
      ({ name }) => name === text || (text === 'server-1' && name === 'server'),
    )
    if (server !== undefined) return { type: 'server', server }
    return { type: 'host', host: this.host(text) }
  }

  host(text: string): HostInterface {
    const name = /^\d+$/.test(text) ? `${this.#record.name}-${text}` : text
    const host = this.#network.hosts.find((one) => one.name === name)
    if (host !== undefined) return host
    const known = this.#record.hosts.map((one) => one.name).join(', ')
    if (this.#record.hosts.some((one) => one.name === name)) {
      throw new DroverError(
        'unavailable',
        `host ${name} does not run; start it with: drover up --cluster ${this.#record.name}`,
      )
    }
    throw new DroverError('notFound', `cluster "${this.#record.name}" has no host "${text}"; it has: ${known}`)
  }

  async partition(host: HostInterface, from: readonly string[]): Promise<string> {
    const requests =
      from.length === 0 ? [this.#cutFrom(host, EVERYTHING)] : from.map((peer) => this.#cutFrom(host, peer))
    await this.#partitions.cut(requests)
    return requests.map(({ peer }) => peer).join(', ')
  }

  #cutFrom({ name, link }: HostInterface, peer: string): CutRequest {
    if (peer === EVERYTHING) return { host: name, peer, link, to: { type: 'everything' } }
    const servers = serversOf(this.#record)
    const address = this.#network.gatewayAddress
    const meant =
      peer === 'server' || peer === 'servers'
        ? servers
        : servers.filter((one) => one.name === peer || (peer === 'server-1' && one.name === 'server'))
    if (meant.length > 0) {
      const ports = meant.flatMap(({ apiPort, nodePort }) => [apiPort, nodePort])
      return {
        host: name,
        peer: meant.length === servers.length ? 'server' : peer,
        link,
        to: { type: 'server', address, ports },
      }
    }
    const other = this.host(peer)
    if (other.name === name) throw new DroverError('invalid', `--from ${peer}: a host cannot be cut off from itself`)
    return { host: name, peer: other.name, link, to: { type: 'host', link: other.link } }
  }

  async freeze(target: ChaosTarget): Promise<string> {
    if (target.type === 'host') return `${await freeze(this.#place(target.host), this.#clock)} processes`
    const processes = this.#processesOf(target)
    if (processes.length === 0) throw new DroverError('unavailable', `${nameOf(target)} does not run`)
    for (const one of processes) signalProcess(one, 'SIGSTOP')
    return processes.map(({ pid }) => `process ${pid}`).join(', ')
  }

  thaw(target: ChaosTarget): void {
    if (target.type === 'host') thaw(this.#place(target.host))
    else for (const one of this.#processesOf(target)) signalProcess(one, 'SIGCONT')
  }

  /** `once`: the supervisor starts it again, as after a crash. etcd is always started again, by its server. */
  async kill(target: ChaosTarget, once: boolean): Promise<string> {
    const { type } = target
    if (type === 'host') throw new DroverError('internal', 'hosts have killAgent and killHost')
    const paths = clusterPaths(this.#record.name)
    if (type === 'server' && !once) hold(paths, target.server.name, 'server')
    const processes = this.#processesOf(target)
    if (processes.length === 0 && (type === 'etcd' || once))
      throw new DroverError('unavailable', `${nameOf(target)} does not run`)
    for (const one of processes) signalProcess(one, 'SIGKILL')
    await this.#untilEnded(processes)
    return processes.map(({ pid }) => `process ${pid}`).join(', ') || 'it did not run'
  }

  async killAgent({ name }: HostInterface, once: boolean): Promise<string> {
    const paths = clusterPaths(this.#record.name)
    const agent = `agent-${name}`
    if (!once) hold(paths, agent, 'agent')
    const running = runningProcess(paths, agent)
    if (running === undefined) return 'it did not run'
    signalProcess(running, 'SIGKILL')
    await this.#untilEnded([running])
    return `process ${running.pid}`
  }

  /** As when its power is cut: silence at once, then nothing is left but its disk. */
  async killHost(host: HostInterface): Promise<string> {
    const paths = clusterPaths(this.#record.name)
    const place = this.#place(host)
    hold(paths, `agent-${host.name}`, 'all')
    // First: processes that die close their connections, and a dead machine says no goodbye.
    await ipBatch(this.#network.switchNamespacePath, [`link set dev ${host.link} down`])
    const killed = await killAll(place, this.#clock)
    await unmountBelow([paths.hostRun(host.name), paths.host(host.name)])
    rmSync(paths.hostRun(host.name), { recursive: true, force: true })
    for (const { directory } of cgroupDirectories(place.cgroup)) await removeCgroup(directory)
    await clearNamespace(host.namespacePath)
    return `${killed} processes`
  }

  /** Undoes all that was done to the target; says what that was. */
  async heal(target: ChaosTarget): Promise<string[]> {
    const healed = (await this.facts()).filter(
      (fact) =>
        fact.target === nameOf(target) || (target.type === 'host' && fact.detail.endsWith(` ${target.host.name}`)),
    )
    this.thaw(target)
    if (target.type === 'host') {
      const { host } = target
      await this.#partitions.heal(host.name)
      await ipBatch(this.#network.switchNamespacePath, [`link set dev ${host.link} up`])
      await this.#start(`agent-${host.name}`)
    } else if (target.type === 'server') await this.#start(target.server.name)
    return healed.map(({ target: name, fault, detail }) => `${name} was ${fault}${detail === '' ? '' : ` ${detail}`}`)
  }

  async healAll(): Promise<string[]> {
    const targets: ChaosTarget[] = [
      ...serversOf(this.#record).map((server) => ({ type: 'server', server }) as const),
      { type: 'etcd' },
      ...this.#network.hosts.map((host) => ({ type: 'host', host }) as const),
    ]
    const broken = new Set((await this.facts()).map((fact) => fact.target))
    const healed: string[] = []
    for (const target of targets) if (broken.has(nameOf(target))) healed.push(...(await this.heal(target)))
    return healed
  }

  /** What is wrong on purpose, now. */
  async facts(): Promise<ChaosFact[]> {
    const held = heldProcesses(clusterPaths(this.#record.name))
    const cuts = await this.#partitions.observe()
    const facts: ChaosFact[] = []
    const look = (target: string, process: string, frozen: boolean): void => {
      const why = held.get(process)
      if (why !== undefined) facts.push({ target, fault: 'killed', detail: why === 'server' ? '' : `(${why})` })
      if (frozen) facts.push({ target, fault: 'frozen', detail: '' })
    }
    for (const server of serversOf(this.#record))
      look(server.name, server.name, this.#isStopped({ type: 'server', server }))
    look('etcd', 'etcd', this.#isStopped({ type: 'etcd' }))
    for (const host of this.#network.hosts) {
      for (const cut of cuts)
        if (cut.host === host.name) facts.push({ target: host.name, fault: 'partitioned', detail: `from ${cut.peer}` })
      look(host.name, `agent-${host.name}`, isFrozen(this.#place(host)))
    }
    return facts
  }

  #isStopped(target: ChaosTarget): boolean {
    return this.#processesOf(target).some(({ pid }) => {
      try {
        return /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
      } catch {
        return false
      }
    })
  }

  #place(host: HostInterface): HostPlace {
    return { cgroup: `/drover/${this.#record.name}/${host.name}`, namespacePath: host.namespacePath }
  }

  #processesOf(target: ChaosTarget): ProcessIdentity[] {
    if (target.type === 'etcd') return etcdProcesses(this.#record)
    const running =
      target.type === 'server' ? runningProcess(clusterPaths(this.#record.name), target.server.name) : undefined
    return running === undefined ? [] : [running]
  }

  async #untilEnded(processes: readonly ProcessIdentity[]): Promise<void> {
    for (const one of processes) {
      if (!(await waitForExit(this.#clock, one, EXIT_MS)))
        throw new DroverError('internal', `process ${one.pid} does not end`)
    }
  }

  /** Lets the supervisor start the process again, and waits until it has. */
  async #start(process: string): Promise<void> {
    const paths = clusterPaths(this.#record.name)
    if (!heldProcesses(paths).has(process)) return
    release(paths, process)
    const deadlineMs = this.#clock.monotonicMs() + START_MS
    while (runningProcess(paths, 'supervisor') !== undefined && runningProcess(paths, process) === undefined) {
      if (this.#clock.monotonicMs() > deadlineMs)
        throw new DroverError('timeout', `the supervisor does not start ${process}; see ${paths.logs}/supervisor.log`)
      await new Promise<void>((resolve) => this.#clock.schedule(20, resolve))
    }
  }
}

export function nameOf(target: ChaosTarget): string {
  if (target.type === 'host') return target.host.name
  return target.type === 'server' ? target.server.name : 'etcd'
}

/** Interfaces, rules and routes that the dead host's agent had made. */
async function clearNamespace(path: string): Promise<void> {
  const links = await observeLinks(path)
  for (const { name } of links) {
    // The other end of a pair that has gone already is gone too.
    if (!UNDERLAY.has(name)) await ipBatch(path, [`link del ${name}`]).catch(() => undefined)
  }
  const routes = await ipJson(path, ['route', 'show'])
  const made = (Array.isArray(routes) ? routes : []).filter(
    (route: { dst?: string; protocol?: string }) => route.dst !== 'default' && route.protocol !== 'kernel',
  )
  await ipBatch(
    path,
    made.map((route: { dst?: string }) => `route del ${route.dst}`),
  )
  const flushed = await run('nsenter', [`--net=${path}`, 'nft', 'flush', 'ruleset'])
  if (flushed.exitCode !== 0) throw new DroverError('internal', `nft: ${flushed.stderr.trim()}`)
}

/** An etcd is known by its data directory: its server may be dead. */
export function etcdProcesses(record: ClusterRecord): ProcessIdentity[] {
  const directory = clusterPaths(record.name).server
  return readdirSync('/proc').flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return []
    let args: string[]
    try {
      args = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0')
    } catch {
      return []
    }
    const isOurs =
      args[0]?.endsWith('etcd') && args.some((arg) => arg.startsWith(`${directory}/`) || arg.includes(`=${directory}/`))
    const identity = isOurs ? identify(Number(entry)) : undefined
    return identity !== undefined && isAlive(identity) ? [identity] : []
  })
}
