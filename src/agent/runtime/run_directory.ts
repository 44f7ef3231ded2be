/**
 * The run directory lies in memory. It usually does, /run being a tmpfs; where it is not, one is mounted. runc writes its
 * pid file with O_SYNC and replaces its state several times: on a disk that others use, a container's start waits for
 * that disk (measured: 25 to 100 ms of it), and what it holds means nothing after a boot anyway.
 */
import { mkdir, readdir, stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { kernelCalls, MOUNT, mountCall, tryUnmount } from '../../base/kernel_calls.ts'

const TMPFS_MAGIC = 0x01021994
const RAMFS_MAGIC = 0x858458f6
/** Some 50 kB a container, and its environment; pods' shared memory is not in it. */
const DATA = 'size=256m,mode=0700'

async function isInMemory(path: string): Promise<boolean> {
  const { type } = await statfs(path)
  return type === TMPFS_MAGIC || type === RAMFS_MAGIC
}

/** Idempotent. A directory that holds something stays where it is: namespaces may be pinned in it. */
export async function ensureRunDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  if ((await isInMemory(path)) || (await readdir(path)).length > 0) return
  const flags = MOUNT.nosuid | MOUNT.nodev | MOUNT.noexec
  await kernelCalls([mountCall({ source: 'drover-run', target: path, type: 'tmpfs', flags, data: DATA })])
}

/** Undoes it, once nothing there is needed any more. Idempotent; a tmpfs that somebody else mounted around it stays. */
export async function releaseRunDirectory(path: string): Promise<void> {
  const [inner, outer] = await Promise.all([stat(path), stat(dirname(path))]).catch(() => [])
  if (inner === undefined || outer === undefined || inner.dev === outer.dev) return
  await tryUnmount([path])
}
