/**
 * How a container comes to be, up to the moment in which the runtime has created it and it waits to be started. One process does it:
 *
 *   .new-<id> with its directories and records ─► renamed to <id> ─► the bundle ─► the overlay ─► conmon, which waits, and creates it
 *
 * A directory without a dot in its name is complete; one with a dot is only good for removal.
 */
import { totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { type KernelCall, kernelCalls } from '../../base/kernel_calls.ts'
import { readText } from '../../base/records.ts'
import { enterDirectoryCall, makeDirectoryCall, makeFileCall, makePathCall, renameCall } from '../../base/tree_calls.ts'
import { boundingSet } from './capabilities.ts'
import type { Cgroups } from './cgroups.ts'
import { type Monitor, startMonitor } from './conmon.ts'
import { hostDevices } from './devices.ts'
import { has32BitLoader } from './loaders.ts'
import type { OciRuntime } from './oci_runtime.ts'
import { ociSpec } from './oci_spec.ts'
import { overlayOf } from './overlay.ts'
import type { ContainerPaths, RuntimePaths } from './paths.ts'
import { oomScoreAdjFloor } from './procfs.ts'
import type { ContainerRequest, Mount } from './runtime.ts'
import { shmPath } from './sandbox.ts'
import type { MetaRecord } from './state.ts'
import { checkForUsers, mountedAt, mountForUsers, userMountPaths } from './user_mounts.ts'

export interface MakeOptions {
  paths: RuntimePaths
  conmon: string
  cgroups: () => Cgroups
  cgroupPathOf: (podUid: string, containerId?: string) => string
}

export interface Making {
  request: ContainerRequest
  own: ContainerPaths
  runtime: OciRuntime
}

export interface PreparedContainer extends Monitor {
  meta: MetaRecord
}

export function unfinishedPath({ containers }: Pick<RuntimePaths, 'containers'>, id: string): string {
  return join(containers, `.new-${id}`)
}

/** A process makes it from now on; what becomes of that, `create` and `dismiss` tell. Whatever fails may leave some of it. */
export async function prepareContainer(options: MakeOptions, making: Making): Promise<PreparedContainer> {
  const { request, own, runtime } = making
  const { id, podUid, name, attempt, annotations, tty, stdin } = request
  const meta: MetaRecord = { id, podUid, name, attempt, annotations, tty, stdin, runtime: runtime.program }
  const seen = seenFromInside(options.paths, making)
  const calls = makingCalls(options, making, { seen, meta })
  // What is mounted there later needs it to be there.
  if (seen.mount !== undefined) await kernelCalls(calls)
  const monitor = await startMonitor({
    ...request,
    runtime,
    conmon: options.conmon,
    socketDirectory: options.paths.sockets,
    exitDirectory: options.paths.exits,
    bundle: own.bundle,
    conmonPidFile: own.conmonPid,
    initPidFile: own.initPid,
    stdinOnce: request.stdinOnce ?? false,
    cwd: own.directory,
    calls: seen.mount === undefined ? calls : [],
  })
  return { meta, ...withMount(monitor, seen) }
}

function makingCalls(
  options: MakeOptions,
  { request, own }: Making,
  { seen, meta }: { seen: Seen; meta: MetaRecord },
): KernelCall[] {
  const temporary = unfinishedPath(options.paths, request.id)
  const overlay = overlayOf(seen.layerDirectories)
  return [
    makePathCall(dirname(request.logPath), 0o755),
    makeDirectoryCall(temporary, 0o711),
    enterDirectoryCall(temporary),
    ...overlay.prepare,
    makeFileCall('meta.json', JSON.stringify(meta), 0o600),
    // Whoever the container runs as may write.
    ...(request.terminationMessagePath === undefined ? [] : [makeFileCall('termination-log', '', 0o666)]),
    renameCall(temporary, own.directory),
    makeDirectoryCall(own.bundle, 0o700),
    makeFileCall(own.config, JSON.stringify(specOf(options, seen)), 0o600),
    ...(seen.mount === undefined ? [overlay.mount] : []),
  ]
}

function withMount(monitor: Monitor, { mount }: Seen): Monitor {
  if (mount === undefined) return monitor
  return {
    ...monitor,
    async create(signal) {
      // Needs what the pod's containers share, of which the caller has waited for all.
      await mount().catch(async (error: unknown) => {
        await monitor.dismiss()
        throw error
      })
      return monitor.create(signal)
    },
  }
}

interface Seen extends Pick<Making, 'request'> {
  shm: string
  terminationLogPath: string
  rootPath: string
  /** Mounted as its root file system while it is made; lowest first. */
  layerDirectories: readonly string[]
  /** Of a pod with users of its own: before the container is created. */
  mount?(): Promise<void>
}

/** Where the container's program finds what it is given: as it lies on the host, or mounted with the pod's own ids. */
function seenFromInside({ userMounts, sandboxes }: RuntimePaths, { request, own }: Making): Seen {
  const { sandbox, layerDirectories, podUid, id } = request
  const { users } = sandbox
  const shm = shmPath(sandboxes, podUid)
  const { directory, rootfs, terminationLog: terminationLogPath } = own
  if (users === undefined) return { request, shm, terminationLogPath, rootPath: rootfs, layerDirectories }
  checkForUsers(request, users)
  const paths = userMountPaths(userMounts, id)
  const withLog = request.terminationMessagePath === undefined ? [shm] : [shm, terminationLogPath]
  const sources = [...withLog.map((hostPath) => ({ hostPath, readOnly: false })), ...request.mounts]
  const mounts = request.mounts.map(
    ({ containerPath }, i): Mount => ({
      containerPath,
      hostPath: mountedAt(paths, withLog.length + i),
      readOnly: false,
    }),
  )
  return {
    request: { ...request, mounts },
    shm: mountedAt(paths, 0),
    terminationLogPath: mountedAt(paths, 1),
    rootPath: paths.rootfs,
    layerDirectories: [],
    mount: () => mountForUsers({ paths, users, layerDirectories, sources, directory }),
  }
}

function specOf({ cgroups, cgroupPathOf }: MakeOptions, { request, shm, terminationLogPath, rootPath }: Seen) {
  return ociSpec(request, {
    hostname: request.sandbox.hostname,
    shmPath: shm,
    cgroupsPath: cgroupPathOf(request.podUid, request.id),
    swapAccounting: cgroups().swapAccounting,
    availableCapabilities: boundingSet(readText('/proc/self/status') ?? ''),
    hostDevices: request.privileged ? hostDevices() : [],
    oomScoreAdjFloor: oomScoreAdjFloor(),
    memoryCapacityBytes: totalmem(),
    terminationLogPath,
    rootPath,
    architecture: process.arch,
    compat32: has32BitLoader(request.layerDirectories, process.arch),
  })
}
