/** hostPath volumes: a path of the node, checked or made as its type says. Source: Kubernetes v1 HostPathVolumeSource. */
import type { Stats } from 'node:fs'
import { mkdir, open, stat } from 'node:fs/promises'
import { DroverError } from '../../base/errors.ts'

const CHECKS: Readonly<Record<string, { is: (stats: Stats) => boolean; noun: string }>> = {
  Directory: { is: (stats) => stats.isDirectory(), noun: 'a directory' },
  DirectoryOrCreate: { is: (stats) => stats.isDirectory(), noun: 'a directory' },
  File: { is: (stats) => stats.isFile(), noun: 'a file' },
  FileOrCreate: { is: (stats) => stats.isFile(), noun: 'a file' },
  Socket: { is: (stats) => stats.isSocket(), noun: 'a socket' },
  CharDevice: { is: (stats) => stats.isCharacterDevice(), noun: 'a character device' },
  BlockDevice: { is: (stats) => stats.isBlockDevice(), noun: 'a block device' },
}

export async function ensureHostPath(volumeName: string, source: { path: string; type?: string }): Promise<string> {
  const { path, type = '' } = source
  if (!path.startsWith('/') || path.split('/').includes('..')) {
    throw new DroverError('invalid', `volume ${volumeName}: hostPath ${path} must be absolute, without ".."`)
  }
  let stats = await statOf(path)
  if (stats === undefined) {
    // Without a type nothing is checked, but a mount needs something to mount.
    if (type === 'DirectoryOrCreate' || type === '') await mkdir(path, { recursive: true, mode: 0o755 })
    else if (type === 'FileOrCreate') await createFile(volumeName, path)
    else
      throw new DroverError('notFound', `volume ${volumeName}: hostPath ${path} (${type}) does not exist on the node`)
    stats = await statOf(path)
  }
  const check = CHECKS[type]
  if (check !== undefined && (stats === undefined || !check.is(stats))) {
    throw new DroverError('invalid', `volume ${volumeName}: hostPath ${path} is not ${check.noun}`)
  }
  return path
}

async function createFile(volumeName: string, path: string): Promise<void> {
  try {
    await (await open(path, 'a', 0o644)).close()
  } catch (error) {
    throw new DroverError(
      'notFound',
      `volume ${volumeName}: hostPath ${path} cannot be made; does its directory exist?`,
      {
        cause: error,
      },
    )
  }
}

async function statOf(path: string): Promise<Stats | undefined> {
  return stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw error
  })
}
