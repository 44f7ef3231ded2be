/**
 * Processes that chaos keeps from running. A file in the run directory says so; the supervisor starts nothing that is
 * held, and a reboot or `drover down` forgets it together with the processes.
 */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, sleep } from '../base/clock.ts'
import { readIfExists, writeFileAtomic } from '../base/files.ts'
import type { ClusterPaths } from './cluster.ts'

const POLL_MS = 50

const directory = (paths: ClusterPaths): string => join(paths.run, 'held')

/** `why` is for people: what was done to it. */
export function hold(paths: ClusterPaths, process: string, why: string): void {
  writeFileAtomic(join(directory(paths), process), why)
}

export function release(paths: ClusterPaths, process: string): void {
  rmSync(join(directory(paths), process), { force: true })
}

export function whyHeld(paths: ClusterPaths, process: string): string | undefined {
  return readIfExists(join(directory(paths), process))
}

/** Names of held processes, and why each is. */
export function heldProcesses(paths: ClusterPaths): Map<string, string> {
  let names: string[] = []
  try {
    names = readdirSync(directory(paths)).filter((name) => !name.startsWith('.'))
  } catch {
    // Nothing was ever held.
  }
  return new Map(names.sort().map((name) => [name, whyHeld(paths, name) ?? '']))
}

export async function untilReleased(
  paths: ClusterPaths,
  process: string,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<void> {
  while (!signal.aborted && whyHeld(paths, process) !== undefined) {
    await sleep(clock, POLL_MS, signal).catch(() => undefined)
  }
}
