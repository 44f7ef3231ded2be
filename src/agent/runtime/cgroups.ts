/**
 * cgroups on v1, v2 and hybrid hosts. The OCI runtime makes and fills them; this file knows where they are, reads what
 * the runtime does not tell (OOM kills, members) and removes pods' parents. A path such as `/drover/c/h/<pod>/<id>` stands
 * for a directory below every mounted hierarchy.
 */
import { readdirSync, writeFileSync } from 'node:fs'
import { readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, sleep } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { kernelCalls, writeCall } from '../../base/kernel_calls.ts'
import { parseMountinfo } from '../../base/mountinfo.ts'
import { readText } from '../../base/records.ts'
import { sendSignal } from './procfs.ts'

export interface Hierarchy {
  version: 1 | 2
  mountPoint: string
  /** v1: controllers and `name=…`; v2: empty, they are read from cgroup.controllers. */
  controllers: readonly string[]
}

export interface Cgroups {
  mode: 'v1' | 'v2' | 'hybrid'
  hierarchies: readonly Hierarchy[]
  /** Whether a limit on memory and swap together can be set. */
  swapAccounting: boolean
}

/** Pure: hierarchies from the text of /proc/self/mountinfo. A hierarchy mounted twice counts once. */
export function parseHierarchies(mountinfo: string): Hierarchy[] {
  const found = new Map<string, Hierarchy>()
  for (const mount of parseMountinfo(mountinfo)) {
    if (mount.type === 'cgroup2') {
      if (!found.has('v2')) found.set('v2', { version: 2, mountPoint: mount.mountPoint, controllers: [] })
    } else if (mount.type === 'cgroup') {
      const flags = new Set(['rw', 'ro', 'xattr', 'clone_children', 'noprefix', 'cpuset_v2_mode'])
      const controllers = mount.superOptions.filter(
        (option) => !flags.has(option) && !/^(release_agent|size|mode)=/.test(option),
      )
      const key = controllers.join(',')
      if (!found.has(key)) found.set(key, { version: 1, mountPoint: mount.mountPoint, controllers })
    }
  }
  return [...found.values()]
}

export function detectCgroups(): Cgroups {
  const hierarchies = parseHierarchies(readText('/proc/self/mountinfo') ?? '')
  if (hierarchies.length === 0) {
    throw new DroverError(
      'unsupported',
      'no cgroup hierarchy is mounted; mount /sys/fs/cgroup (inside a network namespace, enter it with nsenter --net, which keeps it)',
    )
  }
  const v1 = hierarchies.some((hierarchy) => hierarchy.version === 1)
  const v2 = hierarchies.find((hierarchy) => hierarchy.version === 2)
  const memory = hierarchies.find((hierarchy) => hierarchy.controllers.includes('memory'))
  const swapAccounting = v1
    ? memory !== undefined && readText(join(memory.mountPoint, 'memory.memsw.limit_in_bytes')) !== undefined
    : readText('/proc/swaps') !== undefined
  return { mode: v1 ? (v2 === undefined ? 'v1' : 'hybrid') : 'v2', hierarchies, swapAccounting }
}

/** How many processes the kernel killed in the cgroup for want of memory; undefined when the cgroup is gone. */
export function oomKills(cgroups: Cgroups, path: string): number | undefined {
  for (const { version, mountPoint, controllers } of cgroups.hierarchies) {
    if (version === 1 && !controllers.includes('memory')) continue
    const text = readText(join(mountPoint, path, version === 1 ? 'memory.oom_control' : 'memory.events'))
    const count = /^oom_kill (\d+)$/m.exec(text ?? '')?.[1]
    if (count !== undefined) return Number(count)
  }
  return undefined
}

/** Process ids in the cgroup and below it, in any hierarchy: a process that is being made joins one after the other. */
export function cgroupProcesses(cgroups: Cgroups, path: string): number[] {
  const pids = new Set<number>()
  const visit = (directory: string): void => {
    const text = readText(join(directory, 'cgroup.procs'))
    if (text === undefined) return
    for (const line of text.split('\n')) if (line !== '' && line !== '0') pids.add(Number(line))
    for (const child of childDirectories(directory)) visit(join(directory, child))
  }
  for (const { mountPoint } of cgroups.hierarchies) visit(join(mountPoint, path))
  return [...pids]
}

function childDirectories(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
  } catch {
    return []
  }
}

/** Pure: our own cgroup's directory in one of the hierarchies, from the text of /proc/self/cgroup. */
export function ownCgroup(hierarchies: readonly Hierarchy[], selfCgroup: string): string | undefined {
  for (const line of selfCgroup.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? []
    const hierarchy = hierarchies.find((each) => each.controllers.join(',') === controllers)
    // A path through `..` is outside the cgroup namespace that we live in.
    if (hierarchy !== undefined && path !== undefined && !path.startsWith('/..'))
      return join(hierarchy.mountPoint, path)
  }
  return undefined
}

/**
 * Has the kernel get ready for processes to be moved between cgroups. The first move after a quiet while waits for an RCU
 * grace period (measured: 8 to 20 of the 28 ms that runc takes to create a container); those that follow within one do
 * not. A process that is moved to where it is changes nothing, and waits now, beside other work: one of the launcher's, since
 * files are written by the threads that it would hold here. A pod asks for it when it begins, and again just before its
 * containers are created. Source: kernel/rcu/sync.c; 0 is whoever writes it (kernel/cgroup/cgroup.c).
 */
export async function expectMoves({ hierarchies }: Cgroups): Promise<void> {
  const directory = ownCgroup(hierarchies, readText('/proc/self/cgroup') ?? '')
  if (directory === undefined) return
  const path = join(directory, 'cgroup.procs')
  // Where it is refused, containers start as they would have.
  await kernelCalls([writeCall(path, '0')]).catch(() => undefined)
}

/** A file of a cgroup, and what is or shall be in it. */
export interface CgroupFile {
  path: string
  value: string
}

/** What a cgroup weighs of which nobody has said it, in each version. */
const DEFAULT_WEIGHTS = [
  ['cpu.shares', 1024],
  ['cpu.weight', 100],
] as const

/** Has a cgroup weigh at least as much as one that asks for a processor; tells what was there, of those that were changed. */
export function raiseWeight({ hierarchies }: Pick<Cgroups, 'hierarchies'>, path: string): CgroupFile[] {
  return hierarchies.flatMap(({ mountPoint }) =>
    DEFAULT_WEIGHTS.flatMap(([name, weight]) => {
      const file = join(mountPoint, path, name)
      const value = readText(file)?.trim()
      const isLess = value !== undefined && Number(value) < weight
      return isLess && writeCgroupFile({ path: file, value: String(weight) }) ? [{ path: file, value }] : []
    }),
  )
}

/** Whether it could be: a cgroup may go at any time. */
export function writeCgroupFile({ path, value }: CgroupFile): boolean {
  try {
    writeFileSync(path, value, { flag: 'r+' })
    return true
  } catch {
    return false
  }
}

const REMOVE_TIMEOUT_MS = 10_000
const RETRY_MS = 5

/**
 * Removes the cgroup and those below it in every hierarchy, killing what still lives there. Fails with `unavailable` when
 * processes do not die in time. The last look is the removal itself: the kernel refuses it while a process is inside.
 */
export async function clearCgroup(cgroups: Cgroups, path: string, clock: Clock): Promise<void> {
  const deadlineMs = clock.monotonicMs() + REMOVE_TIMEOUT_MS
  while (true) {
    try {
      await Promise.all(cgroups.hierarchies.map(({ mountPoint }) => removeDirectories(join(mountPoint, path))))
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw DroverError.from(error)
      const pids = cgroupProcesses(cgroups, path)
      if (clock.monotonicMs() > deadlineMs) {
        throw new DroverError('unavailable', `cgroup ${path} still has processes ${pids.join(', ')}`, { cause: error })
      }
      raiseWeight(cgroups, path)
      for (const pid of pids) sendSignal(pid, 'SIGKILL')
      await sleep(clock, RETRY_MS)
    }
  }
}

async function removeDirectories(directory: string): Promise<void> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => [])
  for (const entry of entries) if (entry.isDirectory()) await removeDirectories(join(directory, entry.name))
  await rmdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
}
