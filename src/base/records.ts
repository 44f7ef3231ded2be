/** Small records on disk, written so that a reader sees all or nothing, and directories removed with care. */
import { lstatSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
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

/** The same at once: where files lie in memory, asking a thread for each takes five times as long. Never for a disk, which may stand still. */
export function writeRecordInMemory(path: string, value: unknown): void {
  const temporary = `${path}.new`
  writeFileSync(temporary, JSON.stringify(value), { mode: 0o600 })
  renameSync(temporary, path)
}

/** Undefined when the file is missing or, after a power cut, empty or torn. */
export function readRecord<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T
  } catch {
    return undefined
  }
}

/** A disk full of small files takes its time. */
const REMOVE_TIMEOUT_MS = 600_000

/**
 * Removes a tree without following links, and never what is mounted in it. The program rm does it: it walks by directory
 * handles, so it can remove what a hostile container nested deeper than a path may be long, and it is several times
 * faster than Node's own walk through the thread pool.
 */
export async function removeTree(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return
  await runOk('rm', ['-rf', '--one-file-system', '--', path], { timeoutMs: REMOVE_TIMEOUT_MS })
}
