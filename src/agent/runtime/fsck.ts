/** Looks at the host for strays.ts, and mends what it found. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Damage } from '../../base/damage.ts'
import { bindCall, kernelCalls, tryUnmount, unmountCall } from '../../base/kernel_calls.ts'
import { parseMountinfo } from '../../base/mountinfo.ts'
import { signalProcess } from '../../base/process_table.ts'
import { removeTree } from '../../base/records.ts'
import { type Cgroups, clearCgroup } from './cgroups.ts'
import { listMonitors } from './conmon.ts'
import type { OciRuntime } from './oci_runtime.ts'
import { isId, type RuntimePaths } from './paths.ts'
import { type Holder, listHolders } from './pid_holder.ts'
import { killTree } from './procfs.ts'
import type { ContainerState, Sandbox } from './runtime.ts'
import { mountShm, pinsOf, sandboxRecord, shmPath } from './sandbox.ts'
import { findStrays, type HostView, type SandboxView, type Stray } from './strays.ts'
import { unmountForUsers, userMountPaths } from './user_mounts.ts'
import { listRanges } from './user_ranges.ts'

export interface FsckOptions {
  paths: RuntimePaths
  runtimes: readonly OciRuntime[]
  cgroups: Cgroups
  cgroupParent: string
  clock: Clock
  containers(): Promise<ContainerState[]>
  sandboxes(): Promise<Sandbox[]>
}

export async function findRuntimeDamage(options: FsckOptions): Promise<Damage[]> {
  const strays = findStrays(await viewHost(options))
  return strays.map((stray) => ({
    part: stray.part,
    subject: stray.subject,
    problem: stray.problem,
    mend: () => mend(stray, options),
  }))
}

async function viewHost(options: FsckOptions): Promise<HostView> {
  const { paths } = options
  // What is made or removed while we look must not seem to lack an owner: owners are listed last.
  const monitors = listMonitors(paths.exits)
  const holders = listHolders()
  const cgroups = listCgroups(options)
  const mounts = listMounts(paths.containers)
  const files = await listFiles(paths)
  const userMounts = directoriesIn(paths.userMounts).map((id) => ({ id, path: join(paths.userMounts, id) }))
  const ranges = await listRanges(paths.userRanges)
  const names = await readdir(paths.containers)
  const [containers, sandboxes] = await Promise.all([options.containers(), options.sandboxes()])
  const known = new Set(containers.map(({ id }) => id))
  return {
    containers: containers.map(({ id, podUid, pid }) => ({ id, podUid, pid })),
    unreadable: names.filter((name) => !known.has(name)),
    sandboxes: sandboxes.map(({ podUid }) => viewSandbox(paths, podUid, containers)),
    monitors,
    holders: viewHolders(paths, holders),
    cgroups,
    mounts,
    userMounts,
    userRanges: ranges.flatMap(({ path, owner }) =>
      dirname(owner) === paths.sandboxes ? [{ podUid: basename(owner), path }] : [],
    ),
    files,
  }
}

function viewHolders({ sandboxes }: RuntimePaths, holders: readonly Holder[]): HostView['holders'] {
  return holders.flatMap(({ pin, pid, startTicks }) => {
    const directory = dirname(pin)
    // Another node of this machine has its own.
    if (dirname(directory) !== sandboxes) return []
    const podUid = basename(directory)
    const own = sandboxRecord(sandboxes, podUid)?.holder
    return [{ podUid, pid, startTicks, isOwn: own?.pid === pid && own.startTicks === startTicks }]
  })
}

function directoriesIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && isId(entry.name))
      .map(({ name }) => name)
  } catch {
    return []
  }
}

function listCgroups({ cgroups, cgroupParent }: FsckOptions): HostView['cgroups'] {
  const pods = new Map<string, Set<string>>()
  for (const { mountPoint } of cgroups.hierarchies) {
    for (const podUid of directoriesIn(join(mountPoint, cgroupParent))) {
      const ids = pods.get(podUid) ?? new Set()
      pods.set(podUid, ids)
      for (const id of directoriesIn(join(mountPoint, cgroupParent, podUid))) ids.add(id)
    }
  }
  return [...pods].map(([podUid, ids]) => ({ podUid, containerIds: [...ids] }))
}

function listMounts(containers: string): HostView['mounts'] {
  const prefix = `${containers}/`
  return parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8')).flatMap(({ mountPoint }) => {
    if (!mountPoint.startsWith(prefix)) return []
    return [{ id: mountPoint.slice(prefix.length).split('/')[0] ?? '', path: mountPoint }]
  })
}

async function listFiles({ exits, bundles, ociRoot }: RuntimePaths): Promise<HostView['files']> {
  const list = async (directory: string, pattern: RegExp) =>
    (await readdir(directory).catch(() => [])).flatMap((name) => {
      const id = pattern.exec(name)?.[1]
      return id === undefined ? [] : [{ id, path: join(directory, name) }]
    })
  return [
    ...(await list(exits, /^([A-Za-z0-9_-]+)$/)),
    ...(await list(bundles, /^([A-Za-z0-9_-]+)$/)),
    ...(await list(ociRoot, /^([A-Za-z0-9_-]+)$/)),
  ]
}

const inodeOf = (path: string): number | undefined => statSync(path, { throwIfNoEntry: false })?.ino

function viewSandbox(paths: RuntimePaths, podUid: string, containers: readonly ContainerState[]): SandboxView {
  const directory = join(paths.sandboxes, podUid)
  const record = sandboxRecord(paths.sandboxes, podUid)
  const held = record?.holder === undefined ? [] : (['pid'] as const)
  const namespaces = record === undefined ? [] : [...pinsOf(record), ...held]
  const outer = statSync(directory, { throwIfNoEntry: false })?.dev
  const isPin = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.dev !== outer
  const pins = namespaces.map((name) => {
    const path = join(directory, name)
    return [name, isPin(path) ? inodeOf(path) : undefined] as const
  })
  const pid = containers.find((container) => container.podUid === podUid && container.pid !== undefined)?.pid
  const lived = namespaces.flatMap((name) => {
    const inode = pid === undefined ? undefined : inodeOf(`/proc/${pid}/ns/${name}`)
    if (inode === undefined) return []
    // A pod that shares the host's lives in none of ours: its pin, if it has one, is as it should be.
    const shared = inode === inodeOf(`/proc/self/ns/${name}`)
    return [[name, shared ? (pins.find(([pinned]) => pinned === name)?.[1] ?? inode) : inode] as const]
  })
  const shm = statSync(shmPath(paths.sandboxes, podUid), { throwIfNoEntry: false })?.dev
  return {
    podUid,
    pins: Object.fromEntries(pins),
    hasShm: record === undefined || (shm !== undefined && shm !== outer),
    lived: lived.length === namespaces.length ? Object.fromEntries(lived) : undefined,
  }
}

async function mend(stray: Stray, { paths, runtimes, cgroups, cgroupParent, clock }: FsckOptions): Promise<void> {
  switch (stray.type) {
    case 'monitor':
      killTree(stray.pid)
      return
    case 'holder':
      signalProcess(stray.holder, 'SIGKILL')
      return
    case 'mount':
      await tryUnmount([stray.path], true)
      return
    case 'userMounts':
      await unmountForUsers(userMountPaths(paths.userMounts, stray.id), join(paths.containers, stray.id))
      return
    case 'cgroup':
      await clearCgroup(cgroups, join(cgroupParent, stray.podUid, stray.containerId ?? ''), clock)
      return
    case 'pin':
      await pin(join(paths.sandboxes, stray.podUid, stray.namespace), `/proc/${stray.pid}/ns/${stray.namespace}`)
      return
    case 'shm':
      await mkdir(shmPath(paths.sandboxes, stray.podUid), { recursive: true, mode: 0o700 })
      await mountShm(join(paths.sandboxes, stray.podUid))
      return
    case 'file':
      if (stray.path.startsWith(`${paths.ociRoot}/`)) {
        for (const runtime of runtimes) await runtime.delete(stray.path.slice(paths.ociRoot.length + 1))
      }
      await rm(stray.path, { recursive: true, force: true })
      return
    case 'directory':
      await removeTree(join(paths.containers, stray.name))
  }
}

/** Holds a namespace by a file again, from a process that lives in it. */
async function pin(path: string, namespace: string): Promise<void> {
  const found = await stat(path).catch(() => undefined)
  const own = await stat(join(path, '..'))
  if (found === undefined) await writeFile(path, '')
  const stale = found !== undefined && found.dev !== own.dev
  await kernelCalls([...(stale ? [unmountCall(path, true)] : []), bindCall(namespace, path)])
}
