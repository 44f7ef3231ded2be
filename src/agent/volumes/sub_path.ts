/**
 * From a path that a user wrote to a file inside a volume, whatever links a container has put there. The walk goes by file
 * handles, one component at a time, never following a link that it has not read itself; so what is opened in the end is
 * inside, even if a container swaps directories for links meanwhile (CVE-2017-1002101, CVE-2021-25741).
 */
import { constants } from 'node:fs'
import { chmod, type FileHandle, mkdir, open, readFile, readlink, writeFile } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { DroverError } from '../../base/errors.ts'

const MAX_LINKS = 40
/** Of the root's mode, for directories that are made below it: permissions, and that they hand on their group. */
const INHERITED = 0o2777
// Node does not name it, and it is the same on every architecture that Node runs on.
const O_PATH = 0o10000000

export interface OpenedPath {
  /** Holds the file, opened by path only. The caller closes it. */
  handle: FileHandle
  isDirectory: boolean
}

/**
 * Missing directories are made, with the mode of the volume's root, so that whoever may write there may write in them, too;
 * the group comes from a root that hands it on. Rejects with `invalid` when the path leads out of the volume.
 * Source: Kubernetes pkg/volume/util/subpath, `SafeMakeDir`.
 */
export function openInside(volume: string, subPath: string): Promise<OpenedPath> {
  return walkInside(volume, subPath, true)
}

/** The text of a file of the volume. Rejects also when it is not there. */
export async function readInside(volume: string, path: string): Promise<string> {
  const { handle } = await walkInside(volume, path, false)
  try {
    return await readFile(`/proc/self/fd/${handle.fd}`, 'utf8')
  } finally {
    await handle.close()
  }
}

/** A directory, or a file and the directories that it is in; what is there stays. */
export async function makeInside(volume: string, path: string, isDirectory: boolean): Promise<void> {
  const { handle } = await openInside(volume, isDirectory ? path : dirname(path))
  try {
    if (isDirectory) return
    // Exclusive: it follows no link.
    await writeFile(`/proc/self/fd/${handle.fd}/${basename(path)}`, '', { flag: 'wx', mode: 0o644 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    await handle.close()
  }
}

async function walkInside(volume: string, subPath: string, makeMissing: boolean): Promise<OpenedPath> {
  if (subPath.startsWith('/') || subPath.split('/').includes('..') || subPath.includes('\0')) {
    throw new DroverError('invalid', `subPath ${JSON.stringify(subPath)} must be relative, without ".."`)
  }
  const leadsOut = () => new DroverError('invalid', `subPath ${JSON.stringify(subPath)} leads out of its volume`)
  // Handles of the directories from the volume's root to where we stand.
  const root = await open(volume, O_PATH | constants.O_DIRECTORY)
  const stack: FileHandle[] = [root]
  const left = parts(subPath).reverse()
  let links = 0
  try {
    const newMode = makeMissing ? (await root.stat()).mode & INHERITED : undefined
    for (let part = left.pop(); part !== undefined; part = left.pop()) {
      if (part === '..') {
        if (stack.length < 2) throw leadsOut()
        await stack.pop()?.close()
        continue
      }
      const next = await openChild(stack.at(-1) as FileHandle, part, newMode)
      const stats = await next.stat()
      if (!stats.isSymbolicLink()) {
        stack.push(next)
        if (left.length > 0 && !stats.isDirectory()) {
          throw new DroverError('invalid', `subPath ${JSON.stringify(subPath)}: ${part} is not a directory`)
        }
        continue
      }
      await next.close()
      // Should it have become something else since, reading it as a link fails, and the whole walk with it.
      const text = await readlink(`/proc/self/fd/${(stack.at(-1) as FileHandle).fd}/${part}`)
      if (text.startsWith('/') || ++links > MAX_LINKS) throw leadsOut()
      left.push(...parts(text).reverse())
    }
    const handle = stack.pop() as FileHandle
    return { handle, isDirectory: (await handle.stat()).isDirectory() }
  } finally {
    for (const handle of stack) await handle.close()
  }
}

function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.')
}

/** One that is missing is made with `newMode`, if that is given. */
async function openChild(parent: FileHandle, name: string, newMode: number | undefined): Promise<FileHandle> {
  const path = `/proc/self/fd/${parent.fd}/${name}`
  const flags = O_PATH | constants.O_NOFOLLOW
  try {
    return await open(path, flags)
  } catch (error) {
    if (newMode === undefined || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    const made = await mkdir(path, newMode).then(
      () => true,
      (failed: NodeJS.ErrnoException) => {
        if (failed.code !== 'EEXIST') throw failed
        return false
      },
    )
    const child = await open(path, flags)
    // Not through mkdir's mode: the umask would take its share.
    if (made && (await child.stat()).isDirectory()) await chmod(`/proc/self/fd/${child.fd}`, newMode)
    return child
  }
}
