/** Small records on disk, written so that a reader sees all or nothing, and directories removed with care. */
import { readFileSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { runOk } from './process.ts'

/** The text of a small file, or undefined when it cannot be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

export async function writeRecord(path: string, value: unknown): Promise<void> {
  const temporary = `${path}.new`
  await writeFile(temporary, JSON.stringify(value), { mode: 0o600 })
  await rename(temporary, path)
}

/** Undefined when the file is missing or, after a power cut, empty or torn. */
export function readRecord<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T
  } catch {
    return undefined
  }
}

/**
 * Removes a tree without following links. A container can nest directories deeper than a path may be long; only a
 * program that walks by directory handles, as rm does, can remove those.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3, retryDelay: 20 })
  } catch {
    await runOk('rm', ['-rf', '--one-file-system', '--', path])
  }
}
