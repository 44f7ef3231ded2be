/**
 * cgroups on v1, v2 and hybrid hosts. The OCI runtime makes and fills them; this file knows where they are, reads what
 * the runtime does not tell (OOM kills, members) and removes pods' parents. A path such as `/drover/c/h/<pod>/<id>` stands
 * for a directory below every mounted hierarchy.
 */
import { readdirSync } from 'node:fs'
import { readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../base/errors.ts'
import { parseMountinfo } from '../../base/mountinfo.ts'
import { readText } from '../../base/records.ts'

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

/**
 * Process ids in the cgroup and below it. On v1 a container's processes are members in every hierarchy, so one is asked:
 * this is called in loops, and each hierarchy costs system calls.
 */
export function cgroupProcesses(cgroups: Cgroups, path: string): number[] {
  const pids = new Set<number>()
  const visit = (directory: string): void => {
    const text = readText(join(directory, 'cgroup.procs'))
    if (text === undefined) return
    for (const line of text.split('\n')) if (line !== '' && line !== '0') pids.add(Number(line))
    for (const child of childDirectories(directory)) visit(join(directory, child))
  }
  const { hierarchies } = cgroups
  const asked = hierarchies.find(({ controllers }) => controllers.includes('pids')) ?? hierarchies[0]
  if (asked !== undefined) visit(join(asked.mountPoint, path))
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

/** Removes the cgroup and those below it in every hierarchy. Fails with `unavailable` while processes live there. */
export async function removeCgroup(cgroups: Cgroups, path: string): Promise<void> {
  await Promise.all(cgroups.hierarchies.map(({ mountPoint }) => removeTree(join(mountPoint, path))))
}

async function removeTree(directory: string): Promise<void> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => [])
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(directory, entry.name))
  await rmdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return
    if (error.code === 'EBUSY') {
      throw new DroverError('unavailable', `cgroup ${directory} still has processes`, { cause: error })
    }
    throw new DroverError('internal', `cannot remove cgroup ${directory}: ${error.message}`, { cause: error })
  })
}
