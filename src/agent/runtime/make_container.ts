/**
 * How a container comes to be, up to the moment in which the runtime has created it and it waits to be started. One process does it,
 * begun before all of the container is known:
 *
 *   .new-<id> with its directories and record ─► renamed to <id> ─► the overlay ─► conmon, which waits ─┬─► creates it
 *   meanwhile, when the rest is known: the bundle, in memory ───────────────────────────────────────────┘
 *
 * A directory without a dot in its name is complete; one with a dot is only good for removal.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { DroverError } from '../../base/errors.ts'
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
import type { ContainerHead, ContainerRequest, Mount } from './runtime.ts'
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
  head: ContainerHead
  own: ContainerPaths
  runtime: OciRuntime
  /** Its root file system and all that is mounted are the pod's own users': that waits for the sandbox. */
  ownUsers: boolean
}

export function unfinishedPath({ containers }: Pick<RuntimePaths, 'containers'>, id: string): string {
  return join(containers, `.new-${id}`)
}

export function metaOf({ head, runtime }: Making): MetaRecord {
  const { id, podUid, name, attempt, annotations, tty, stdin } = head
  return { id, podUid, name, attempt, annotations, tty, stdin, runtime: runtime.program }
}

/** A process makes it from now on; what becomes of that, `create` and `dismiss` tell. Whatever fails may leave some of it. */
export async function beginContainer({ paths, conmon }: MakeOptions, making: Making): Promise<Monitor> {
  const { head, own, runtime, ownUsers } = making
  const calls = makingCalls(paths, making)
  // What is mounted there later needs it to be there.
  if (ownUsers) await kernelCalls(calls)
  return startMonitor({
    ...head,
    runtime,
    conmon,
    socketDirectory: paths.sockets,
    exitDirectory: paths.exits,
    bundle: own.bundle,
    conmonPidFile: own.conmonPid,
    initPidFile: own.initPid,
    stdinOnce: head.stdinOnce ?? false,
    cwd: own.directory,
    calls: ownUsers ? [] : calls,
  })
}

function makingCalls(paths: RuntimePaths, making: Making): KernelCall[] {
  const { head, own, ownUsers } = making
  const temporary = unfinishedPath(paths, head.id)
  const { prepare, mount } = overlayOf(ownUsers ? [] : head.layerDirectories)
  return [
    makePathCall(dirname(head.logPath), 0o755),
    makeDirectoryCall(temporary, 0o711),
    enterDirectoryCall(temporary),
    ...prepare,
    makeFileCall('meta.json', JSON.stringify(metaOf(making)), 0o600),
    // Whoever the container runs as may write.
    ...(head.terminationMessagePath === undefined ? [] : [makeFileCall('termination-log', '', 0o666)]),
    renameCall(temporary, own.directory),
    ...(ownUsers ? [] : [mount]),
  ]
}

/** Writes what the runtime reads, at once, for it lies in memory; what is left to do before it may is returned, if anything. */
export function describeContainer(
  options: MakeOptions,
  { request, own }: { request: ContainerRequest; own: ContainerPaths },
): (() => Promise<void>) | undefined {
  checkArguments(request)
  const seen = seenFromInside(options.paths, request, own)
  const config = JSON.stringify(specOf(options, seen))
  mkdirSync(own.bundle, { mode: 0o700 })
  writeFileSync(own.config, config, { mode: 0o600 })
  return seen.mount
}

/** What execve(2) takes with the usual stack: a quarter of 8 MiB in all, 128 KiB a string. */
const MAX_ARGUMENT_BYTES = 2 << 20
const MAX_STRING_BYTES = 128 << 10

/** What could never be run is not written either: the bundle lies in memory that others need. */
function checkArguments({ args, env }: ContainerRequest): void {
  let total = 0
  for (const text of [...args, ...env]) {
    const bytes = Buffer.byteLength(text) + 1
    total += bytes
    if (bytes > MAX_STRING_BYTES) {
      const what = env.includes(text) ? `variable ${text.slice(0, text.indexOf('=')).slice(0, 64)}` : 'an argument'
      throw new DroverError('invalid', `${what} takes ${bytes} bytes; the kernel takes at most ${MAX_STRING_BYTES}`)
    }
  }
  if (total <= MAX_ARGUMENT_BYTES) return
  const message = `command and environment take ${total} bytes; the kernel takes at most ${MAX_ARGUMENT_BYTES}`
  throw new DroverError('invalid', message)
}

interface Seen {
  request: ContainerRequest
  shm: string
  terminationLogPath: string
  rootPath: string
  /** Of a pod with users of its own: before the container is created, when all that its pod shares is there. */
  mount?: () => Promise<void>
}

/** Where the container's program finds what it is given: as it lies on the host, or mounted with the pod's own ids. */
function seenFromInside({ userMounts, sandboxes }: RuntimePaths, request: ContainerRequest, own: ContainerPaths): Seen {
  const { sandbox, layerDirectories, podUid, id } = request
  const { users } = sandbox
  const shm = shmPath(sandboxes, podUid)
  const { directory, rootfs, terminationLog: terminationLogPath } = own
  if (users === undefined) return { request, shm, terminationLogPath, rootPath: rootfs }
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
