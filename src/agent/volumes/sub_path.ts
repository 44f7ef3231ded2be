/**
 * From a path that a user wrote to a file inside a volume, whatever links a container has put there. The walk goes by file
 * handles, one component at a time, never following a link that it has not read itself; so what is opened in the end is
 * inside, even if a container swaps directories for links meanwhile (CVE-2017-1002101, CVE-2021-25741).
 */
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readlink } from 'node:fs/promises'
import { DroverError } from '../../base/errors.ts'

const MAX_LINKS = 40
// Node does not name it, and it is the same on every architecture that Node runs on.
const O_PATH = 0o10000000

export interface OpenedPath {
  /** Holds the file, opened by path only. The caller closes it. */
  handle: FileHandle
  isDirectory: boolean
}

/** Missing directories are made. Rejects with `invalid` when the path leads out of the volume. */
export async function openInside(volume: string, subPath: string): Promise<OpenedPath> {
  if (subPath.startsWith('/') || subPath.split('/').includes('..') || subPath.includes('\0')) {
    throw new DroverError('invalid', `subPath ${JSON.stringify(subPath)} must be relative, without ".."`)
  }
  const leadsOut = () => new DroverError('invalid', `subPath ${JSON.stringify(subPath)} leads out of its volume`)
  // Handles of the directories from the volume's root to where we stand.
  const stack: FileHandle[] = [await open(volume, O_PATH | constants.O_DIRECTORY)]
  const left = parts(subPath).reverse()
  let links = 0
  try {
    for (let part = left.pop(); part !== undefined; part = left.pop()) {
      if (part === '..') {
        if (stack.length < 2) throw leadsOut()
        await stack.pop()?.close()
        continue
      }
      const next = await openChild(stack.at(-1) as FileHandle, part)
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

async function openChild(parent: FileHandle, name: string): Promise<FileHandle> {
  const path = `/proc/self/fd/${parent.fd}/${name}`
  const flags = O_PATH | constants.O_NOFOLLOW
  try {
    return await open(path, flags)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    await mkdir(path, 0o755).catch((made: NodeJS.ErrnoException) => {
      if (made.code !== 'EEXIST') throw made
    })
    return open(path, flags)
  }
}
