/** Files that must be whole or absent: written beside, synced, renamed. */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DroverError } from './errors.ts'

/** Replaces the file in one step; readers see the old content or the new, also after a power cut. */
export function writeFileAtomic(path: string, content: string | Uint8Array, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true })
  const temporary = join(dirname(path), `.${process.pid}.${path.split('/').at(-1)}.tmp`)
  const fd = openSync(temporary, 'w', mode)
  try {
    writeSync(fd, typeof content === 'string' ? Buffer.from(content, 'utf8') : content)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(temporary, path)
}

/** Of /proc and cgroups, the last two: what the file was of has gone between its opening and its reading. */
const GONE: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ESRCH', 'ENODEV'])

/** The file's text, or undefined when there is none. */
export function readIfExists(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (GONE.has((error as NodeJS.ErrnoException).code)) return undefined
    throw error
  }
}

export function readJsonIfExists<T>(path: string): T | undefined {
  const text = readIfExists(path)
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as T
  } catch (error) {
    throw new DroverError('internal', `${path} is damaged: ${(error as Error).message}`, { cause: error })
  }
}
