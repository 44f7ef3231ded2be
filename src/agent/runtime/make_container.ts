/**
 * How a container comes to be, up to the moment in which the runtime has created it and it waits to be started.
 *
 *   .new-<id> with its directories ─┬─► one process mounts the overlay there, becomes conmon, and waits
 *                                   └─► records and configuration ─► renamed to <id> ─► conmon is told to create it
 *
 * Both ways take about as long, so conmon costs a start nothing but what it does itself. A directory without a dot in its
 * name is complete; one with a dot may hold the mount, and is only good for removal.
 */
import { chmod, type FileHandle, mkdir, open, rename, rm, writeFile } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { DroverError } from '../../base/errors.ts'
import type { KernelCall } from '../../base/kernel_calls.ts'
import { readText, removeTree } from '../../base/records.ts'
import { boundingSet } from './capabilities.ts'
import type { Cgroups } from './cgroups.ts'
import { type Monitor, startMonitor } from './conmon.ts'
import { hostDevices } from './devices.ts'
import { has32BitLoader } from './loaders.ts'
import type { OciRuntime } from './oci_runtime.ts'
import { ociSpec } from './oci_spec.ts'
import { overlayCall, prepareOverlay, unmountOverlay } from './overlay.ts'
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

export async function removeUnfinished(directory: string): Promise<void> {
  await unmountOverlay(directory)
  await removeTree(directory)
}

/** Its directory is there, whole, and a monitor waits to create it. Whatever fails before leaves nothing. */
export async function prepareContainer(options: MakeOptions, making: Making): Promise<PreparedContainer> {
  const { request: given, own, runtime } = making
  const { paths } = options
  const seen = seenFromInside(paths, making)
  const { id, podUid, name, attempt, annotations, tty, stdin } = given
  const spec = specOf(options, seen)
  const meta: MetaRecord = { id, podUid, name, attempt, annotations, tty, stdin, runtime: runtime.program }
  const temporary = unfinishedPath(paths, id)
  await makeNew(temporary)
  let monitor: Monitor | undefined
  let standing: FileHandle | undefined
  try {
    const [lowerDirectories] = await Promise.all([
      prepareOverlay(temporary, given.sandbox.users === undefined ? given.layerDirectories : []),
      mkdir(dirname(given.logPath), { recursive: true }),
      rm(own.exitFile, { force: true }),
    ])
    // By its handle: it may have its new name before the monitor goes there.
    standing = await open(temporary, 'r')
    monitor = await startMonitor({
      ...given,
      runtime,
      conmon: options.conmon,
      socketDirectory: paths.sockets,
      exitDirectory: paths.exits,
      bundle: own.directory,
      conmonPidFile: own.conmonPid,
      initPidFile: own.initPid,
      stdinOnce: given.stdinOnce ?? false,
      cwd: `/proc/${process.pid}/fd/${standing.fd}`,
      calls: seen.calls(lowerDirectories),
    })
    await Promise.all([
      writeFile(join(temporary, 'meta.json'), JSON.stringify(meta), { mode: 0o600 }),
      writeFile(join(temporary, 'config.json'), JSON.stringify(spec), { mode: 0o600 }),
      given.terminationMessagePath === undefined ? undefined : makeWritable(join(temporary, 'termination-log')),
    ])
    await rename(temporary, own.directory).catch((error: unknown) => {
      throw new DroverError('alreadyExists', `container ${id} already exists`, { cause: error })
    })
  } catch (error) {
    await monitor?.dismiss()
    await standing?.close()
    await removeUnfinished(temporary)
    throw error
  }
  return { meta, ...whole(monitor, standing, seen) }
}

/** Hardly ever is anything there: what an attempt before left, whose end could not be removed. */
async function makeNew(directory: string): Promise<void> {
  const make = () => mkdir(directory, { mode: 0o711 })
  await make().catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
    await removeUnfinished(directory)
    await make()
  })
}

/** With what has to be done before and after. */
function whole(monitor: Monitor, standing: FileHandle, { mount }: Seen): Monitor {
  const dismiss = (): Promise<void> => monitor.dismiss().finally(() => standing.close())
  return {
    dismiss,
    async create(signal) {
      // Needs what the pod's containers share, of which the caller has waited for all.
      await mount?.().catch(async (error: unknown) => {
        await dismiss()
        throw error
      })
      return monitor.create(signal).finally(() => standing.close())
    },
  }
}

interface Seen extends Pick<Making, 'request'> {
  shm: string
  terminationLogPath: string
  rootPath: string
  /** What conmon's process does first, in the container's directory. */
  calls(lowerDirectories: string): readonly KernelCall[]
  /** Of a pod with users of its own: before the container is created. */
  mount?(): Promise<void>
}

/** Where the container's program finds what it is given: as it lies on the host, or mounted with the pod's own ids. */
function seenFromInside({ userMounts, sandboxes }: RuntimePaths, { request, own }: Making): Seen {
  const { sandbox, layerDirectories, podUid, id } = request
  const { users } = sandbox
  const shm = shmPath(sandboxes, podUid)
  const { directory, terminationLog: terminationLogPath } = own
  if (users === undefined) {
    return { request, shm, terminationLogPath, rootPath: 'rootfs', calls: (lower) => [overlayCall(lower)] }
  }
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
    calls: () => [],
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

async function makeWritable(path: string): Promise<void> {
  await writeFile(path, '')
  // Whoever the container runs as may write; the umask would say no.
  await chmod(path, 0o666)
}
