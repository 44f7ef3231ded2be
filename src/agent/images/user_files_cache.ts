/** Users and groups of the images used last. Layers never change, so each image's are read once, not at every start of a container. */
import { readUserFiles, type UserFiles } from './users.ts'

const MAX_IMAGES = 64
/** An image's files are a few kilobytes; what is larger is read each time. */
const MAX_CHARACTERS = 32 << 10

export class UserFilesCache {
  /** By image id; what was asked for last comes last. */
  readonly #known = new Map<string, UserFiles>()

  async of({ id, layerDirectories }: { id: string; layerDirectories: readonly string[] }): Promise<UserFiles> {
    const known = this.#known.get(id)
    const files = known ?? (await readUserFiles(layerDirectories))
    this.#known.delete(id)
    if (files.passwd.length + files.group.length > MAX_CHARACTERS) return files
    this.#known.set(id, files)
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_IMAGES) break
      this.#known.delete(oldest)
    }
    return files
  }
}
