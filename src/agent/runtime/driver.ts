/**
 * The runtime driver: containers under conmon, sandboxes as pinned namespaces. It holds no state that matters: what it
 * keeps in memory are records that never change on disk.
 */
import { mkdir, rmdir } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import { type Cgroups, clearCgroup, detectCgroups, expectMoves } from './cgroups.ts'
import { Containers } from './containers.ts'
import { createExecutor } from './exec.ts'
import { createExitWatcher } from './exits.ts'
import { findRuntimeDamage } from './fsck.ts'
import { createHandlers, findProgram } from './handlers.ts'
import { hasContainerEscape } from './oci_runtime.ts'
import { checkId, runtimePaths } from './paths.ts'
import { applyPodResources, Hastened } from './pod_cgroup.ts'
import type { RuntimeDriver, Sandbox } from './runtime.ts'
import { createSpares, ensureSandbox, listSandboxes, removeSandboxFiles } from './sandbox.ts'
import { reopenLog } from './stream_pump.ts'
import { cgroupCpuSeconds, cgroupDetails, cgroupUsage } from './usage.ts'

export interface RuntimeDriverOptions {
  /** An OCI runtime: a path, or a name on the PATH (`runc`, `crun`). */
  runtime: string
  /** Programs that runtime classes choose, by handler; absent: runc and crun by their names. */
  handlers?: Readonly<Record<string, string>>
  conmon: string
  /** What survives a reboot. */
  dataDir: string
  /** What need not. */
  runDir: string
  /** For pods with users of their own; one for all agents of the machine, and open to traverse. */
  usersDir?: string
  /** Absolute path below each cgroup hierarchy, such as `/drover/<cluster>/<host>`. */
  cgroupParent: string
  clock: Clock
  random: Random
  log: Logger
}

const USERS_DIR = '/run/drover-users'
const BUILTIN_HANDLERS = { runc: 'runc', crun: 'crun' }

export function createRuntimeDriver(options: RuntimeDriverOptions): RuntimeDriver {
  const { cgroupParent, clock, random, log } = options
  const { dataDir, runDir, usersDir = USERS_DIR } = options
  const name = cgroupParent.split('/').filter(Boolean).join('_')
  const paths = runtimePaths({ dataDir, runDir, usersDir, name })
  const conmon = findProgram(options.conmon) ?? options.conmon
  let detected: Cgroups | undefined
  const cgroups = (): Cgroups => {
    detected ??= detectCgroups()
    return detected
  }
  const others = { ...BUILTIN_HANDLERS, ...options.handlers }
  const handlers = createHandlers({ main: options.runtime, others, ociRoot: paths.ociRoot, cgroups })
  const cgroupPathOf = (podUid: string, containerId?: string): string =>
    join(cgroupParent, podUid, ...(containerId === undefined ? [] : [containerId]))

  let alive = new Set<string>()
  let expecting = false
  const exits = createExitWatcher({ directory: paths.exits, clock, log, onRescan: () => void announceLost() })
  /** One for all pods that begin at once: it holds a thread while it waits. */
  const expect = (): void => {
    if (expecting) return
    expecting = true
    void expectMoves(cgroups()).finally(() => {
      expecting = false
    })
  }

  const spares = createSpares(paths, { clock, log })
  const shared = { paths, handlers, conmon, clock, log }
  const applyResources = ({ podUid, resources }: Pick<Sandbox, 'podUid' | 'resources'>): void => {
    if (resources !== undefined) applyPodResources(cgroups(), cgroupPathOf(podUid), resources, log)
  }
  const hastened = new Hastened(cgroups, cgroupPathOf)
  const ofCgroups = { cgroups, cgroupPathOf, expectMoves: expect, applyPodResources: applyResources, hastened }
  const containers = new Containers({ ...shared, ...ofCgroups, exits })
  const executor = createExecutor({ ...shared, containers, random, exited: () => exits.present() })

  /** A container whose conmon was killed leaves no exit file: it is found by looking. */
  async function announceLost(): Promise<void> {
    try {
      const states = await containers.list({ closely: true })
      const files = exits.present()
      const lost = states.filter(({ id, phase }) => phase === 'exited' && alive.has(id) && !files.has(id))
      alive = new Set(states.filter((state) => state.phase === 'running').map((state) => state.id))
      for (const { id } of lost) exits.announce(id)
    } catch (error) {
      log.warn({ err: error }, 'looking for lost containers failed; will look again')
    }
  }

  async function initialize(): Promise<void> {
    if (!isAbsolute(cgroupParent)) throw new DroverError('invalid', `cgroup parent ${cgroupParent} must be absolute`)
    requireProgram(handlers.main.program, 'an OCI runtime (Debian: apt-get install runc)')
    requireProgram(conmon, 'the container monitor (Debian: apt-get install conmon)')
    cgroups()
    const { userRanges: _ids, userMounts: _mounts, ...ownPaths } = paths
    for (const path of Object.values(ownPaths)) await mkdir(path, { recursive: true, mode: 0o711 })
    const { name, version } = await handlers.main.version()
    if (hasContainerEscape(name, version)) {
      log.warn(
        { runtime: name, version },
        'known container escapes (CVE-2025-31133, -52565, -52881): use runc 1.2.8, 1.3.3 or newer',
      )
    }
    await containers.sweep()
  }

  return {
    initialize,
    async version() {
      const { name, version } = await handlers.main.version()
      return `${name}://${version}`
    },
    handlers: () => handlers.observe(),
    ensureSandbox(request, onKnown) {
      checkId(request.podUid, 'pod uid')
      expect()
      applyResources(request)
      return ensureSandbox({ paths, spares }, request, onKnown)
    },
    listSandboxes: () => listSandboxes(paths.sandboxes),
    async keepSpares(count, signal) {
      // It need not wait for `initialize`.
      await mkdir(paths.sandboxes, { recursive: true, mode: 0o711 })
      await spares.keep(count, signal)
    },
    removeSpares: () => spares.removeAll(),
    async removeSandbox(podUid) {
      checkId(podUid, 'pod uid')
      const cgroup = clearCgroup(cgroups(), cgroupPathOf(podUid), clock)
      await Promise.all([removeSandboxFiles(paths, podUid), cgroup])
      // Goes with the last container that has mounts there; most nodes never have one.
      await rmdir(paths.userMounts).catch(() => undefined)
    },
    startContainer: (request, signal) => containers.start(request, signal),
    beginContainer: (head) => containers.begin(head),
    listContainers: (podUid) => containers.list({ podUid, closely: podUid !== undefined }),
    podOf: (id) => containers.meta(id)?.podUid,
    async signalContainer(id, signal, all = false) {
      checkId(id, 'container id')
      containers.signal(id, signal, all)
    },
    removeContainer: (id) => containers.remove(id),
    onExit(listener) {
      const stop = exits.subscribe(listener)
      void announceLost()
      return stop
    },
    execSync: (id, args, timeoutMs) => executor.execSync(id, args, timeoutMs),
    exec: (id, execOptions, stream) => executor.exec(id, execOptions, stream),
    attach: (id, stream) => executor.attach(id, stream),
    terminationMessage: (id) => containers.terminationMessage(id),
    reopenLog: (id) => reopenLog(containers.pathsOf(id).control),
    writableLayerOf: (id) => join(containers.pathsOf(id).directory, 'upper'),
    emptyLayer: (id) => containers.emptyLayer(id),
    usage: (podUid, containerId, details) =>
      (details ? cgroupDetails : cgroupUsage)(cgroups(), cgroupPathOf(podUid, containerId)),
    cpuSeconds: (podUid, containerId) => cgroupCpuSeconds(cgroups(), cgroupPathOf(podUid, containerId)),
    cgroupPathOf,
    findDamage: () =>
      findRuntimeDamage({
        paths,
        runtimes: handlers.all(),
        cgroups: cgroups(),
        cgroupParent,
        clock,
        containers: () => containers.list({ closely: true }),
        sandboxes: () => listSandboxes(paths.sandboxes),
      }),
  }
}

function requireProgram(program: string, what: string): void {
  if (findProgram(program) === undefined) {
    throw new DroverError('unsupported', `${program} not found: ${what} is needed`)
  }
}
