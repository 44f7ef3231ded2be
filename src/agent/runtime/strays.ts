/**
 * What is on the host that no container or sandbox explains, and what a sandbox lacks while containers run in it. The
 * finding is pure: what was seen goes in, data comes out. A container's directory is the first thing of it to appear and
 * the last to go, so whatever has none is nobody's.
 */
import type { DamagePart } from '../../base/damage.ts'
import type { ProcessIdentity } from '../../base/process_table.ts'

export interface HostView {
  /** Containers that have a directory, with their pods; a running one with its init. */
  containers: readonly { id: string; podUid: string; pid?: number | undefined }[]
  /** Names in the directory of containers that are no container: half made, or with records that cannot be read. */
  unreadable: readonly string[]
  sandboxes: readonly SandboxView[]
  monitors: readonly { id: string; pid: number }[]
  /** Processes that keep a pod's shared process namespace; `isOwn`: the one that its sandbox is known by. */
  holders: readonly { podUid: string; pid: number; startTicks: string; isOwn: boolean }[]
  /** Below our cgroup, the same in any hierarchy: pods, and what is in them. */
  cgroups: readonly { podUid: string; containerIds: readonly string[] }[]
  /** Mount points in containers' directories, by the directory's name. */
  mounts: readonly { id: string; path: string }[]
  /** Directories in which what containers with own users see is mounted, by the container. */
  userMounts: readonly { id: string; path: string }[]
  /** Ranges of user ids that a sandbox of ours has taken. */
  userRanges: readonly { podUid: string; path: string }[]
  /** Files that are named after a container. */
  files: readonly { id: string; path: string }[]
}

export interface SandboxView {
  podUid: string
  /** Inode of the namespace that each pin holds; undefined where there is none. */
  pins: Readonly<Record<string, number | undefined>>
  hasShm: boolean
  /** Inodes of the namespaces that a running container of it lives in. */
  lived: Readonly<Record<string, number>> | undefined
}

export type Stray = { part: DamagePart; subject: string; problem: string } & (
  | { type: 'monitor'; pid: number }
  | { type: 'holder'; holder: ProcessIdentity }
  | { type: 'mount'; path: string }
  | { type: 'userMounts'; id: string }
  | { type: 'cgroup'; podUid: string; containerId: string | undefined }
  | { type: 'pin'; podUid: string; namespace: string; pid: number }
  | { type: 'shm'; podUid: string }
  | { type: 'file'; path: string }
  | { type: 'directory'; name: string }
)

export function findStrays(view: HostView): Stray[] {
  const ids = new Set(view.containers.map(({ id }) => id))
  return [
    ...view.monitors.flatMap(({ id, pid }): Stray[] => {
      if (ids.has(id)) return []
      return [
        {
          type: 'monitor',
          part: 'processes',
          subject: `${pid}`,
          problem: `monitors ${id}, of which nothing is known`,
          pid,
        },
      ]
    }),
    ...doubleMonitors(view),
    ...view.holders.flatMap(({ podUid, isOwn, pid, startTicks }): Stray[] => {
      if (isOwn) return []
      const problem = `holds a process namespace for pod ${podUid}, which does not live in it`
      return [{ type: 'holder', part: 'processes', subject: `${pid}`, problem, holder: { pid, startTicks } }]
    }),
    ...view.mounts.flatMap(({ id, path }): Stray[] => {
      if (ids.has(id)) return []
      return [{ type: 'mount', part: 'mounts', subject: path, problem: 'belongs to no container', path }]
    }),
    ...view.userMounts.flatMap(({ id, path }): Stray[] => {
      if (ids.has(id)) return []
      return [{ type: 'userMounts', part: 'mounts', subject: path, problem: 'belongs to no container', id }]
    }),
    ...view.userRanges.flatMap(({ podUid, path }): Stray[] => {
      if (view.sandboxes.some((sandbox) => sandbox.podUid === podUid)) return []
      return [{ type: 'file', part: 'files', subject: path, problem: `user ids of pod ${podUid}, which is gone`, path }]
    }),
    // After the mounts: what is mounted in one keeps it.
    ...view.unreadable.map(
      (name): Stray => ({
        type: 'directory',
        part: 'containers',
        subject: name,
        problem: 'was never completed, or its records cannot be read',
        name,
      }),
    ),
    ...strayCgroups(view, ids),
    ...view.sandboxes.flatMap((sandbox) => brokenSandbox(view, sandbox)),
    ...view.files.flatMap(({ id, path }): Stray[] => {
      if (ids.has(id)) return []
      return [{ type: 'file', part: 'files', subject: path, problem: 'belongs to no container', path }]
    }),
  ]
}

/** Of two monitors of one container the later is the copy. */
function doubleMonitors({ monitors, containers }: HostView): Stray[] {
  return containers.flatMap(({ id }) => {
    const [, ...more] = monitors.filter((monitor) => monitor.id === id).sort((a, b) => a.pid - b.pid)
    return more.map(
      ({ pid }): Stray => ({
        type: 'monitor',
        part: 'processes',
        subject: `${pid}`,
        problem: `a second monitor of ${id}`,
        pid,
      }),
    )
  })
}

function strayCgroups({ cgroups, containers, sandboxes }: HostView, ids: ReadonlySet<string>): Stray[] {
  const pods = new Set([...containers, ...sandboxes].map(({ podUid }) => podUid))
  return cgroups.flatMap(({ podUid, containerIds }): Stray[] => {
    const stray = { type: 'cgroup', part: 'cgroups', podUid } as const
    if (!pods.has(podUid)) {
      return [{ ...stray, subject: podUid, problem: 'belongs to no pod on this node', containerId: undefined }]
    }
    return containerIds
      .filter((id) => !ids.has(id))
      .map((id) => ({ ...stray, subject: `${podUid}/${id}`, problem: 'belongs to no container', containerId: id }))
  })
}

function brokenSandbox({ containers }: HostView, { podUid, pins, hasShm, lived }: SandboxView): Stray[] {
  const pid = containers.find((container) => container.podUid === podUid && container.pid !== undefined)?.pid
  // Without a running container the next start makes it whole; nothing is lost.
  if (pid === undefined || lived === undefined) return []
  const broken: Stray[] = []
  for (const [namespace, inode] of Object.entries(pins)) {
    if (inode === lived[namespace]) continue
    const problem =
      inode === undefined
        ? 'is pinned no more, though containers live in it'
        : 'pins another than its containers live in'
    broken.push({
      type: 'pin',
      part: 'namespaces',
      subject: `${namespace} of pod ${podUid}`,
      problem,
      podUid,
      namespace,
      pid,
    })
  }
  if (!hasShm) {
    broken.push({
      type: 'shm',
      part: 'mounts',
      subject: `shared memory of pod ${podUid}`,
      problem: 'is not mounted',
      podUid,
    })
  }
  return broken
}
