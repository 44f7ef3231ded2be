/** The host's files that the agent itself touches: an argument, so that a simulated host can have its own. */
import { mkdir, open, readdir, rm, statfs } from 'node:fs/promises'
import { readText } from '../base/records.ts'

export interface NodeFiles {
  /** A file's text; empty when it cannot be read. */
  read(path: string): Promise<string>
  /** The last bytes of a file; empty when it cannot be read. */
  end(path: string, maxBytes: number): Promise<Buffer>
  makeDirectory(path: string): Promise<void>
  /** A file, or a directory with all below it; one that is gone is no error. */
  remove(path: string): Promise<void>
  /** Names in a directory; none when it cannot be read. */
  list(directory: string): Promise<string[]>
  /** Size of the file system that holds the directory; 0 when unknown. */
  diskBytes(directory: string): Promise<number>
}

export const nodeFiles: NodeFiles = {
  // Small, and asked for at every pod's start: where the kernel has them, no thread is.
  read: async (path) => readText(path) ?? '',
  end: (path, maxBytes) => readEnd(path, maxBytes).catch(() => Buffer.alloc(0)),
  async makeDirectory(path) {
    await mkdir(path, { recursive: true })
  },
  remove: (path) => rm(path, { recursive: true, force: true }),
  list: (directory) => readdir(directory).catch(() => []),
  diskBytes: (directory) =>
    statfs(directory).then(
      ({ blocks, bsize }) => blocks * bsize,
      () => 0,
    ),
}

async function readEnd(path: string, maxBytes: number): Promise<Buffer> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const length = Math.min(size, maxBytes)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}
