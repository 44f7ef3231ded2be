/**
 * Containers, from making to removal. Order is what makes it safe to be killed at any point:
 *
 *   start:   make_container.ts → started.json → runtime start
 *   no program to start:  processes killed → exit.json; what else is there goes with its removal, as of any that has ended
 *   remove:  processes killed → exit seen → runtime delete, overlay unmounted → cgroup → exit file, bundle → directory
 *
 * The directory is the first thing to appear and the last to go, so whatever is left is found by it.
 */

import { readdirSync, rmSync, statSync } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, throwIfAborted } from '../../base/clock.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { identify, isAlive, isTaken } from '../../base/process_table.ts'
import { readRecord, readText, removeTree, writeRecord, writeRecordInMemory } from '../../base/records.ts'
import { type Cgroups, cgroupProcesses, clearCgroup, oomKills } from './cgroups.ts'
import { listMonitors, type Monitor } from './conmon.ts'
import type { ExitWatcher } from './exits.ts'
import type { Handlers } from './handlers.ts'
import { beginContainer, describeContainer, type Making, metaOf, unfinishedPath } from './make_container.ts'
import { type OciRuntime, unlessFaulty } from './oci_runtime.ts'
import { unmountOverlay } from './overlay.ts'
import { type ContainerPaths, checkId, containerPaths, isId, type RuntimePaths } from './paths.ts'
import type { Hastened } from './pod_cgroup.ts'
import { bootId, sendSignal } from './procfs.ts'
import type { BegunContainer, ContainerHead, ContainerRequest, ContainerState, Sandbox } from './runtime.ts'
import { startByFifo } from './start_fifo.ts'
import {
  containerState,
  type ExitRecord,
  exitRecord,
  judge,
  LOST_EXIT_CODE,
  type MetaRecord,
  type StartedRecord,
  startErrorRecord,
} from './state.ts'
import { unmountForUsers, userMountPaths } from './user_mounts.ts'

export interface ContainersOptions {
  paths: RuntimePaths
  handlers: Handlers
  conmon: string
  cgroups: () => Cgroups
  /** Has the kernel get ready to move processes between cgroups (see cgroups.ts). */
  expectMoves: () => void
  /** Gives the pod's cgroup, which is there, what the pod may take as a whole. */
  applyPodResources: (sandbox: Sandbox) => void
  /** A container that is killed shall be gone soon, and its pod weigh again what it does when it has ended. */
  hastened: Hastened
  cgroupPathOf: (podUid: string, containerId?: string) => string
  exits: ExitWatcher
  clock: Clock
  log: Logger
}

/** One that is being made, from its beginning to its start. */
interface Begun extends Making {
  monitor: Promise<Monitor>
}

const STARVED = 'the container was killed for want of memory before it was started: its memory limit is too low'

/** How long a killed container may take to be gone. */
const KILL_TIMEOUT_MS = 10_000

interface Seen {
  state: ContainerState
  meta: MetaRecord
  started: StartedRecord | undefined
}

export class Containers {
  readonly #options: ContainersOptions
  readonly #bootId = bootId()
  /** Records never change once written, so each is read once. Bounded by the containers that exist. */
  readonly #metas = new Map<string, MetaRecord>()
  readonly #starteds = new Map<string, StartedRecord>()
  readonly #ends = new Map<string, ExitRecord>()
  /** Records on their way to the disk, by container. */
  readonly #writes = new Map<string, Promise<void>>()
  /** Those that the disk has not taken, to be tried again at the next look at all. */
  readonly #owed = new Map<string, () => void>()
  readonly #removing = new Set<string>()
  readonly #paths = new Map<string, ContainerPaths>()
  readonly #begun = new Set<string>()
  /** Every container that was here before us has been seen. */
  #listed = false
  /** Containers known to have passed `start`. */
  readonly #running = new Set<string>()

  constructor(options: ContainersOptions) {
    this.#options = options
  }

  pathsOf(id: string): ContainerPaths {
    const paths = this.#paths.get(id) ?? containerPaths(this.#options.paths, id)
    if (this.#metas.has(id)) this.#paths.set(id, paths)
    return paths
  }

  /** Removes what was never completed, of an agent that died while making it. */
  async sweep(): Promise<void> {
    const { paths, log } = this.#options
    const names = await readdir(paths.containers)
    for (const name of readdirSync(paths.bundles).filter((bundle) => !names.includes(bundle))) {
      rmSync(join(paths.bundles, name), { recursive: true, force: true })
    }
    for (const name of names) {
      const unreadable = isId(name) && this.meta(name) === undefined
      if (!name.startsWith('.') && !unreadable) continue
      log.warn({ container: name }, 'removing a container directory that was never completed')
      if (unreadable) await this.remove(name)
      else await removeTree(join(paths.containers, name))
    }
  }

  async start(request: ContainerRequest, signal: AbortSignal): Promise<ContainerState> {
    throwIfAborted(signal)
    return this.#complete(this.#begin(request, request.sandbox.users !== undefined), request, signal)
  }

  begin(head: ContainerHead): BegunContainer {
    const begun = this.#begin(head, false)
    return {
      start: (request, signal) => this.#complete(begun, request, signal),
      dismiss: async () => {
        await begun.monitor.then((monitor) => monitor.dismiss()).catch(() => undefined)
        this.#begun.delete(head.id)
        await this.remove(head.id)
      },
    }
  }

  #begin(head: ContainerHead, ownUsers: boolean): Begun {
    const { id, handler } = head
    checkId(id, 'container id')
    const own = this.pathsOf(id)
    if (this.#begun.has(id) || fileTimeMs(own.directory) !== undefined) {
      throw new DroverError('alreadyExists', `container ${id} already exists`)
    }
    const making = { head, own, runtime: this.#options.handlers.find(handler), ownUsers }
    this.#begun.add(id)
    this.#metas.set(id, metaOf(making))
    rmSync(own.exitFile, { force: true })
    const monitor = beginContainer(this.#options, making)
    monitor.catch(() => undefined)
    // Of a restart nobody has asked for it yet.
    this.#options.expectMoves()
    return { ...making, monitor }
  }

  async #complete(begun: Begun, request: ContainerRequest, signal: AbortSignal): Promise<ContainerState> {
    const { id } = request
    try {
      const fault = await this.#startUnlessFaulty(begun, request, signal)
      if (fault !== undefined) await this.#endUnstarted(begun, fault)
      this.#begun.delete(id)
    } catch (thrown) {
      this.#begun.delete(id)
      await this.remove(id).catch((left: unknown) => {
        this.#options.log.error({ err: left, container: id }, 'a container that failed to start left remains')
      })
      throw DroverError.from(thrown)
    }
    const seen = this.observe(id, this.#options.exits.present())
    if (seen === undefined) throw new DroverError('internal', `container ${id} vanished while it was started`)
    return seen.state
  }

  /** Resolves with what the runtime has against the container's program, if it has: then it does not run. */
  async #startUnlessFaulty(begun: Begun, request: ContainerRequest, signal: AbortSignal): Promise<string | undefined> {
    const { cgroups, cgroupPathOf } = this.#options
    const monitor = await begun.monitor
    try {
      const mount = describeContainer(this.#options, { request, own: begun.own })
      await request.prerequisites
      throwIfAborted(signal)
      await mount?.()
    } catch (error) {
      await monitor.dismiss()
      throw error
    }
    this.#options.expectMoves()
    try {
      return await this.#run(begun, { monitor, request, signal })
    } catch (error) {
      // Until it is started what makes it lives in its cgroup, within its limit.
      const starved = (oomKills(cgroups(), cgroupPathOf(request.podUid, request.id)) ?? 0) > 0
      if (starved && request.resources.memoryLimitBytes > 0 && isCode(error, 'internal')) return STARVED
      throw error
    }
  }

  async #run(
    { own, runtime }: Begun,
    { monitor, request, signal }: { monitor: Monitor; request: ContainerRequest; signal: AbortSignal },
  ): Promise<string | undefined> {
    const created = await unlessFaulty(monitor.create(signal))
    if ('fault' in created) return created.fault
    throwIfAborted(signal)
    const started = this.#identify(own, created.value)
    writeRecordInMemory(own.started, started)
    this.#options.applyPodResources(request.sandbox)
    await request.ready
    if (!(await startByFifo(own.execFifo, started.init, this.#options.clock))) {
      const asked = await unlessFaulty(runtime.start(request.id))
      if ('fault' in asked) return asked.fault
    }
    this.#keep(request.id, own.startedOnce, started)
    this.#starteds.set(request.id, started)
    this.#running.add(request.id)
    return undefined
  }

  /** It has ended without having run. */
  async #endUnstarted({ head, own }: Begun, fault: string): Promise<void> {
    const { id, podUid } = head
    const { cgroupPathOf, clock } = this.#options
    await this.#kill(id, own, cgroupPathOf(podUid, id))
    this.#options.hastened.settle(podUid, id)
    const exit = startErrorRecord(fault, clock.now())
    this.#ends.set(id, exit)
    this.#keep(id, own.exit, exit)
    await this.#writes.get(id)
  }

  #identify(own: ContainerPaths, pid: number): StartedRecord {
    const init = identify(pid)
    if (init === undefined) throw new DroverError('internal', 'the container died before it was started')
    const conmon = identify(Number(readText(own.conmonPid)))
    return { bootId: this.#bootId, init, conmon, startedAtMs: this.#options.clock.now() }
  }

  /**
   * Of one pod the others' are not looked at: each is some files and processes to ask for. Once all have been seen, which are a
   * pod's is known, for nobody else makes any here; whether they are there still is looked at.
   *
   * `closely`: of what is known to run it is looked at whether its process is still the same one. Else it has that pid until
   * the next close look, which comes every 10 s: an end leaves a file, but for one whose monitor was killed first.
   */
  async list({ podUid, closely }: { podUid?: string | undefined; closely: boolean }): Promise<ContainerState[]> {
    if (podUid === undefined && closely) this.#settleOwed()
    const names = podUid !== undefined && this.#listed ? this.#idsOf(podUid) : await this.#ids()
    const exits = this.#options.exits.present()
    const states: ContainerState[] = []
    for (const id of names) {
      if (podUid !== undefined && (this.meta(id)?.podUid !== podUid || this.#begun.has(id))) continue
      const state = (closely ? undefined : this.#stillRuns(id, exits)) ?? this.observe(id, exits)?.state
      if (state !== undefined) states.push(state)
    }
    return states
  }

  async #ids(): Promise<string[]> {
    const names = (await readdir(this.#options.paths.containers)).filter(isId)
    for (const id of names) this.meta(id)
    this.#listed = true
    // Of what was begun the directory may be on its way.
    return [...new Set([...names, ...this.#begun])]
  }

  #settleOwed(): void {
    const owed = [...this.#owed.values()]
    this.#owed.clear()
    for (const again of owed) again()
  }

  #idsOf(podUid: string): string[] {
    const own = [...this.#metas].filter(([, meta]) => meta.podUid === podUid)
    return own.flatMap(([id]) => (fileTimeMs(this.pathsOf(id).directory) === undefined ? [] : [id]))
  }

  #stillRuns(id: string, exits: ReadonlySet<string>): ContainerState | undefined {
    const [meta, started] = [this.#metas.get(id), this.#starteds.get(id)]
    if (meta === undefined || started === undefined || !this.#running.has(id) || exits.has(id)) return undefined
    return isTaken(started.init.pid) ? containerState(meta, 'running', started, undefined) : undefined
  }

  /** Looks at one container; undefined when it has no directory. */
  observe(id: string, exits: ReadonlySet<string>): Seen | undefined {
    const meta = this.meta(id)
    if (meta === undefined) return undefined
    const own = this.pathsOf(id)
    const started = this.#started(id, own)
    const sameBoot = started?.bootId === this.#bootId
    const ended = this.#end(id, own)
    const judgement =
      ended !== undefined
        ? 'exited'
        : judge({
            started: started !== undefined,
            initAlive: sameBoot && started !== undefined && isAlive(started.init),
            conmonAlive: sameBoot && started?.conmon !== undefined && isAlive(started.conmon),
            exitFile: exits.has(id),
            waitsForStart: !this.#running.has(id) && fileTimeMs(own.execFifo) !== undefined,
          })
    if (judgement === 'running') this.#running.add(id)
    if (judgement === 'exited' || judgement === 'lost') {
      const exit = ended ?? this.#recordExit(meta, own)
      return { state: containerState(meta, 'exited', started, exit), meta, started }
    }
    return { state: containerState(meta, judgement, started, undefined), meta, started }
  }

  meta(id: string): MetaRecord | undefined {
    const meta = this.#metas.get(id) ?? readRecord<MetaRecord>(this.pathsOf(id).meta)
    if (meta !== undefined) this.#metas.set(id, meta)
    return meta
  }

  #started(id: string, own: ContainerPaths): StartedRecord | undefined {
    const known = this.#starteds.get(id)
    if (known !== undefined) return known
    const lasting = readRecord<StartedRecord>(own.startedOnce)
    const started = lasting ?? readRecord<StartedRecord>(own.started)
    if (started === undefined) return undefined
    this.#starteds.set(id, started)
    if (lasting === undefined) this.#keep(id, own.startedOnce, started)
    return started
  }

  /** Writes a record that must outlive a reboot, but not the container. */
  #keep(id: string, path: string, record: StartedRecord | ExitRecord): void {
    if (this.#removing.has(id)) return
    const written = Promise.resolve(this.#writes.get(id))
      .then(() => writeRecord(path, record))
      .catch((error: unknown) => {
        this.#options.log.warn({ err: error, path }, 'a record of a container could not be written; will try again')
        this.#owed.set(path, () => this.#keep(id, path, record))
      })
      .finally(() => {
        if (this.#writes.get(id) === written) this.#writes.delete(id)
      })
    this.#writes.set(id, written)
  }

  #end(id: string, own: ContainerPaths): ExitRecord | undefined {
    const known = this.#ends.get(id)
    // Most run, and have none: to fail to read it costs more than to ask.
    if (known === undefined && fileTimeMs(own.exit) === undefined) return undefined
    const exit = known ?? readRecord<ExitRecord>(own.exit)
    if (exit !== undefined) this.#ends.set(id, exit)
    return exit
  }

  /** Keeps how it ended beside the container: the exit file and the cgroup do not outlive a reboot. */
  #recordExit(meta: MetaRecord, own: ContainerPaths): ExitRecord {
    const { cgroups, cgroupPathOf, clock } = this.#options
    // Where it shares its processes' namespace, what its program has left behind runs on: the kernel ends only namespaces.
    for (const pid of cgroupProcesses(cgroups(), cgroupPathOf(meta.podUid, meta.id))) sendSignal(pid, 'SIGKILL')
    // conmon may have written the file between our looks, so look once more before calling the container lost.
    const finishedAtMs = fileTimeMs(own.exitFile)
    const code = finishedAtMs === undefined ? LOST_EXIT_CODE : Number(readText(own.exitFile))
    const kills = oomKills(cgroups(), cgroupPathOf(meta.podUid, meta.id))
    this.#options.hastened.settle(meta.podUid, meta.id)
    const exit = exitRecord(Number.isInteger(code) ? code : LOST_EXIT_CODE, kills, finishedAtMs ?? clock.now())
    this.#ends.set(meta.id, exit)
    this.#keep(meta.id, own.exit, exit)
    return exit
  }

  signal(id: string, signal: NodeJS.Signals, all: boolean): void {
    const { exits, cgroups, cgroupPathOf } = this.#options
    const seen = this.observe(id, exits.present())
    if (seen?.state.phase !== 'running' || seen.started === undefined) return
    if (signal === 'SIGKILL') this.#options.hastened.hasten(seen.meta.podUid, id)
    const pids = all ? cgroupProcesses(cgroups(), cgroupPathOf(seen.meta.podUid, id)) : []
    if (pids.length === 0) pids.push(seen.started.init.pid)
    for (const pid of pids) sendSignal(pid, signal)
  }

  async remove(id: string): Promise<void> {
    checkId(id, 'container id')
    this.#removing.add(id)
    try {
      await this.#remove(id)
    } finally {
      this.#removing.delete(id)
    }
  }

  async #remove(id: string): Promise<void> {
    const { paths, cgroups, cgroupPathOf, clock } = this.#options
    const own = this.pathsOf(id)
    const meta = this.meta(id)
    if (fileTimeMs(own.directory) !== undefined) {
      const podUid = meta?.podUid ?? cgroupOwner(own)
      const cgroup = podUid === undefined ? undefined : cgroupPathOf(podUid, id)
      await this.#kill(id, own, cgroup)
      await Promise.all([
        this.#delete(id, meta),
        unmountOverlay(own.directory),
        unmountForUsers(userMountPaths(paths.userMounts, id), own.directory),
      ])
      if (cgroup !== undefined) await clearCgroup(cgroups(), cgroup, clock)
      if (podUid !== undefined) this.#options.hastened.settle(podUid, id)
    }
    // A monitor that was killed while it wrote the exit file leaves a draft beside it (GLib: the name and six letters).
    const drafts = readdirSync(paths.exits).filter((name) => name.startsWith(`${id}.`))
    for (const path of [own.exitFile, own.bundle, ...drafts.map((name) => join(paths.exits, name))]) {
      rmSync(path, { recursive: true, force: true })
    }
    await this.#writes.get(id)
    await removeTree(own.directory)
    await removeTree(unfinishedPath(paths, id))
    this.#forget(id)
  }

  /**
   * What a dead container has written goes; how it ended stays. First its mounts: a file that an overlay has shown keeps its
   * place on the disk until that is unmounted.
   */
  async emptyLayer(id: string): Promise<void> {
    const own = this.pathsOf(id)
    const { userMounts } = this.#options.paths
    await Promise.all([unmountOverlay(own.directory), unmountForUsers(userMountPaths(userMounts, id), own.directory)])
    const layer = join(own.directory, 'upper')
    const names = await readdir(layer).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    for (const name of names) await removeTree(join(layer, name))
  }

  /** Of a container whose records are torn it is not known who made it: all are asked. */
  async #delete(id: string, meta: MetaRecord | undefined): Promise<void> {
    const { handlers } = this.#options
    for (const runtime of meta === undefined ? handlers.all() : [handlers.made(meta.runtime)]) await runtime.delete(id)
  }

  /** The program that the container was made by. */
  runtimeOf(id: string): OciRuntime {
    return this.#options.handlers.made(this.meta(id)?.runtime)
  }

  /** Ends all of the container's processes and waits until they are gone. */
  async #kill(id: string, own: ContainerPaths, cgroup: string | undefined): Promise<void> {
    const { exits, cgroups, clock } = this.#options
    const pids = (): number[] => (cgroup === undefined ? [] : cgroupProcesses(cgroups(), cgroup))
    const conmon = this.#conmonOf(id, own)
    if (conmon === undefined && pids().length === 0) return
    const podUid = this.meta(id)?.podUid
    if (podUid !== undefined) this.#options.hastened.hasten(podUid, id)
    const deadlineMs = clock.monotonicMs() + KILL_TIMEOUT_MS
    // A conmon without a container is still making one: it must go first, or what it makes is missed.
    if (conmon !== undefined && pids().length === 0 && !exits.present().has(id)) sendSignal(conmon, 'SIGKILL')
    while (true) {
      const left = pids()
      for (const pid of left) sendSignal(pid, 'SIGKILL')
      const monitor = this.#conmonOf(id, own)
      if (left.length === 0 && monitor === undefined) return
      if (clock.monotonicMs() > deadlineMs) {
        throw new DroverError('timeout', `container ${id} still has processes ${left.join(', ')} after SIGKILL`)
      }
      await exits.waitFor(id, 5)
      // Its work is done once the exit file is there; what is left of its life has no effect.
      if (pids().length === 0 && exits.present().has(id)) return
      if (pids().length === 0 && monitor !== undefined && this.#started(id, own) === undefined) {
        sendSignal(monitor, 'SIGKILL')
      }
    }
  }

  /** The pid of the container's monitor if it lives; its command line names the container. */
  #conmonOf(id: string, own: ContainerPaths): number | undefined {
    const text = readText(own.conmonPid)
    // Cut off in between, it has become a daemon without having said so.
    if (text === undefined && this.#started(id, own) === undefined) {
      return listMonitors(this.#options.paths.exits).find((monitor) => monitor.id === id)?.pid
    }
    const pid = Number(text ?? '')
    if (!(pid > 0) || identify(pid) === undefined) return undefined
    return (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').includes(`--cid=${id}`) ? pid : undefined
  }

  #forget(id: string): void {
    const { startedOnce, exit } = this.pathsOf(id)
    for (const path of [startedOnce, exit]) this.#owed.delete(path)
    for (const map of [this.#metas, this.#starteds, this.#ends, this.#paths]) map.delete(id)
    this.#running.delete(id)
  }

  /** At most one Kubernetes' bound of 4 KiB; the file is the container's to fill. */
  async terminationMessage(id: string): Promise<string> {
    checkId(id, 'container id')
    const MAX_BYTES = 4096
    const file = await open(this.pathsOf(id).terminationLog, 'r').catch(() => undefined)
    if (file === undefined) return ''
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_BYTES), 0, MAX_BYTES, 0)
      return buffer.toString('utf8', 0, bytesRead)
    } finally {
      await file.close()
    }
  }
}

/** Modification time, or undefined when there is no such file. */
function fileTimeMs(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs
}

/** The pod of a container whose meta.json was torn by a power cut, from its configuration. */
function cgroupOwner(own: ContainerPaths): string | undefined {
  return readRecord<{ linux?: { cgroupsPath?: string } }>(own.config)?.linux?.cgroupsPath?.split('/').at(-2)
}
