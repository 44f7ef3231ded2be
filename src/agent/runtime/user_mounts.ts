/**
 * What a container of a pod with its own user namespace sees of the host: each layer, volume and file is mounted once more
 * with the pod's ids, so that what belongs to root there belongs to root in the container, and the numbers on disk stay
 * what they are for everybody else. No runtime need know how: to it they are directories.
 *
 *   <root>/<id>            the container's, traversed by its root and the host's alone; all that leads there is open, for
 *                          the runtime resolves paths with the rights of the container
 *   <root>/<id>/rootfs     overlay over the layers
 *   <root>/<id>/m/<n>      the n-th of what is mounted
 *
 * Source: Kubernetes KEP-127; mount_setattr(2), MOUNT_ATTR_IDMAP.
 */
import { chown, mkdir, readdir, rmdir, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../base/errors.ts'
import { idmapCall, type KernelCall, kernelCalls, mountCall, tryUnmount, unmountCall } from '../../base/kernel_calls.ts'
import { mountsBelow } from '../../base/mountinfo.ts'
import { readText } from '../../base/records.ts'
import type { ContainerRequest, Mount, SandboxUsers } from './runtime.ts'

export interface UserMountPaths {
  directory: string
  rootfs: string
}

export function userMountPaths(root: string, id: string): UserMountPaths {
  const directory = join(root, id)
  return { directory, rootfs: join(directory, 'rootfs') }
}

export const mountedAt = ({ directory }: UserMountPaths, index: number): string => join(directory, 'm', String(index))

/** What asks for more than a pod with its own users can have. */
export function checkForUsers({ mounts, user }: ContainerRequest, { size }: SandboxUsers): void {
  const shared = mounts.find(({ propagation }) => propagation !== undefined)
  if (shared !== undefined) {
    const message = `${shared.containerPath}: mountPropagation ${shared.propagation} does not go with hostUsers: false`
    throw new DroverError('invalid', message)
  }
  const beyond = [user.uid, user.gid, ...user.additionalGids].find((id) => id >= size)
  if (beyond !== undefined) {
    throw new DroverError(
      'invalid',
      `user or group ${beyond}: with hostUsers: false a pod has the ids 0 to ${size - 1}`,
    )
  }
}

/**
 * What is read-only is so before the runtime sees it: runc 1.1 remounts without the flags that the mount has from the host
 * (nosuid and the like), which the kernel lets nobody in a user namespace take away.
 */
export type UserMountSource = Pick<Mount, 'hostPath' | 'readOnly' | 'recursiveReadOnly'>

export interface UserMounts {
  paths: UserMountPaths
  users: SandboxUsers
  /** Lowest first. */
  layerDirectories: readonly string[]
  /** In the order of `mountedAt`. */
  sources: readonly UserMountSource[]
  /** The container's own, where `upper` and `work` are. */
  directory: string
}

/** Mounts all of it. */
export async function mountForUsers({ paths, users, layerDirectories, sources, directory }: UserMounts): Promise<void> {
  const { namespacePath, firstId } = users
  await mkdir(join(paths.directory, 'm'), { recursive: true, mode: 0o711 })
  await mkdir(join(directory, 'l'))
  await Promise.all([
    chown(paths.directory, firstId, firstId),
    // The root of the merged tree belongs to whom the upper directory does.
    chown(join(directory, 'upper'), firstId, firstId),
    mkdir(paths.rootfs),
    ...layerDirectories.map((_, i) => mkdir(join(directory, 'l', String(i)))),
    ...sources.map(({ hostPath }, i) => makeTarget(hostPath, mountedAt(paths, i))),
  ])
  const idmap = ({ hostPath, readOnly, recursiveReadOnly }: UserMountSource, target: string): KernelCall =>
    idmapCall({
      source: hostPath,
      target,
      users: namespacePath,
      ...(readOnly ? { readOnly: recursiveReadOnly === true ? 'all' : 'top' } : {}),
    })
  const lower = layerDirectories.map((_, i) => `l/${i}`).reverse()
  const data = `lowerdir=${lower.join(':')},upperdir=upper,workdir=work`
  const calls = [
    ...layerDirectories.map((hostPath, i) => idmap({ hostPath, readOnly: false }, `l/${i}`)),
    mountCall({ source: 'overlay', target: paths.rootfs, type: 'overlay', data }),
    // The overlay holds its layers itself.
    ...lower.map((name) => unmountCall(name, true)),
    ...sources.map((source, i) => idmap(source, mountedAt(paths, i))),
  ]
  await kernelCalls(calls, { cwd: directory }).catch((error: unknown) => {
    const { message } = DroverError.from(error)
    if (!/ids of a user namespace: (Invalid argument|Operation not permitted)/.test(message)) throw error
    const needs = 'on Linux 5.19 or newer, and of file systems that can be mounted so: ext4, xfs, btrfs, tmpfs from 6.3'
    throw new DroverError('unsupported', `${message}; hostUsers: false needs that, ${needs}`, { cause: error })
  })
}

async function makeTarget(source: string, target: string): Promise<void> {
  if ((await stat(source)).isDirectory()) await mkdir(target, { recursive: true, mode: 0o711 })
  else await writeFile(target, '')
}

/** Idempotent. Fails rather than leave a mount where a tree is about to be removed. */
export async function unmountForUsers({ directory }: UserMountPaths, own: string): Promise<void> {
  if ((await stat(directory).catch(() => undefined)) === undefined) return
  const mounted = (): string[] => {
    const text = readText('/proc/self/mountinfo') ?? ''
    return [...mountsBelow(text, directory), ...mountsBelow(text, join(own, 'l'))]
  }
  for (const lazily of [false, true]) {
    const points = mounted()
    if (points.length > 0) await tryUnmount(points, lazily)
  }
  const left = mounted()
  if (left.length > 0) throw new DroverError('unavailable', `${left.join(', ')} cannot be unmounted`)
  await removeTargets(join(directory, 'm'))
  await removeTargets(directory)
}

/** Empty directories and files that were mounted on; what is mounted still cannot be removed so. */
async function removeTargets(directory: string): Promise<void> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => [])
  for (const entry of entries) {
    const path = join(directory, entry.name)
    await (entry.isDirectory() ? rmdir(path) : unlink(path))
  }
  await rmdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
}
