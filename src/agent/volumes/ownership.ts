/** Gives a volume that outlives pods to the pod's group. Source: Kubernetes "fsGroup", `fsGroupChangePolicy`. */

import type { Stats } from 'node:fs'
import { chmod, chown, lchown } from 'node:fs/promises'
import { type Found, walk } from './walk.ts'

export interface FsGroup {
  id: number
  /** Leave a volume alone whose root is right. */
  onRootMismatch: boolean
}

const SET_GROUP_ID = 0o2000
const FILE_BITS = 0o660
const DIRECTORY_BITS = 0o770 | SET_GROUP_ID

const bitsOf = (stats: Stats): number => (stats.isDirectory() ? DIRECTORY_BITS : FILE_BITS)

function isRight(stats: Stats, { id }: FsGroup): boolean {
  return stats.gid === id && (stats.mode & bitsOf(stats)) === bitsOf(stats)
}

export async function giveToGroup(directory: string, group: FsGroup): Promise<void> {
  // The root last: cut off half-way it must not look as if all below were right.
  let root: Found | undefined
  for await (const found of walk(directory)) {
    if (root === undefined) {
      if (group.onRootMismatch && isRight(found.stats, group)) return
      root = found
    } else await give(found, group)
  }
  if (root !== undefined) await give({ ...root, handlePath: directory }, group)
}

async function give({ handlePath, linkPath, stats }: Found, group: FsGroup): Promise<void> {
  if (stats.isSymbolicLink()) {
    await lchown(linkPath, stats.uid, group.id)
    return
  }
  if (isRight(stats, group)) return
  await chown(handlePath, stats.uid, group.id)
  await chmod(handlePath, (stats.mode & 0o7777) | bitsOf(stats))
}
