/** What a directory takes of its disk, counted as `du` does: blocks, and a file with several names once. */
import { walk } from './walk.ts'

const BLOCK_BYTES = 512

/** Stops counting once it is beyond `enoughBytes`. */
export async function bytesUsed(directory: string, enoughBytes: number): Promise<number> {
  const seen = new Set<number>()
  let bytes = 0
  for await (const { stats } of walk(directory)) {
    if (stats.nlink > 1 && !stats.isDirectory()) {
      if (seen.has(stats.ino)) continue
      seen.add(stats.ino)
    }
    bytes += stats.blocks * BLOCK_BYTES
    if (bytes > enoughBytes) break
  }
  return bytes
}
