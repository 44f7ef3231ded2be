/**
 * Everything below a directory that containers may be writing to. The walk goes by file handles and follows no link, so
 * whatever is swapped meanwhile, nothing outside is reached; other file systems below are left out.
 */
import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, opendir } from 'node:fs/promises'

// Node does not name it, and it is the same on every architecture that Node runs on.
const O_PATH = 0o10000000
/** Each level holds a handle. */
const MAX_DEPTH = 256

export interface Found {
  /** Leads to the very file, for as long as the caller looks at it. */
  handlePath: string
  /** The name in its directory: of a link, the way to the link itself. */
  linkPath: string
  stats: Stats
}

export async function* walk(directory: string): AsyncGenerator<Found> {
  const root = await open(directory, constants.O_DIRECTORY | O_PATH)
  try {
    const stats = await root.stat()
    yield { handlePath: pathOf(root), linkPath: directory, stats }
    yield* below(root, stats.dev, 0)
  } finally {
    await root.close()
  }
}

const pathOf = ({ fd }: FileHandle): string => `/proc/self/fd/${fd}`

async function* below(directory: FileHandle, device: number, depth: number): AsyncGenerator<Found> {
  for await (const { name } of await opendir(pathOf(directory))) {
    const linkPath = `${pathOf(directory)}/${name}`
    const child = await open(linkPath, O_PATH | constants.O_NOFOLLOW).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (child === undefined) continue
    try {
      const stats = await child.stat()
      if (stats.dev !== device) continue
      yield { handlePath: pathOf(child), linkPath, stats }
      if (stats.isDirectory() && depth < MAX_DEPTH) yield* below(child, device, depth + 1)
    } finally {
      await child.close()
    }
  }
}
