/** The host's files that the agent itself touches: an argument, so that a simulated host can have its own. */
import { mkdir, readdir, readFile, rm, statfs } from 'node:fs/promises'

export interface NodeFiles {
  /** A file's text; empty when it cannot be read. */
  read(path: string): Promise<string>
  makeDirectory(path: string): Promise<void>
  /** A file, or a directory with all below it; one that is gone is no error. */
  remove(path: string): Promise<void>
  /** Names in a directory; none when it cannot be read. */
  list(directory: string): Promise<string[]>
  /** Size of the file system that holds the directory; 0 when unknown. */
  diskBytes(directory: string): Promise<number>
}

export const nodeFiles: NodeFiles = {
  read: (path) => readFile(path, 'utf8').catch(() => ''),
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
