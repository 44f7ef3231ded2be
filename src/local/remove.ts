/** What a host of a local cluster leaves on the machine, taken away: mounts and cgroups. */
import { readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { DroverError } from '../base/errors.ts'
import { run } from '../base/process.ts'

/** The directories' own mounts and those below them, deepest first, are let go. */
export async function unmountBelow(directories: readonly string[]): Promise<void> {
  const points = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => (line.split(' ')[1] ?? '').replace(/\\040/g, ' '))
    .filter((point) => directories.some((directory) => point === directory || point.startsWith(`${directory}/`)))
    .reverse()
  for (const point of points) {
    const result = await run('umount', ['-l', point])
    if (result.exitCode !== 0) throw new DroverError('internal', `cannot unmount ${point}: ${result.stderr.trim()}`)
  }
}

const CGROUP_TRIES = 100

/** Ends every process in the cgroup and below it, and removes them. */
export async function removeCgroup(directory: string): Promise<void> {
  let children: string[]
  try {
    children = readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
  } catch {
    return
  }
  for (const child of children) await removeCgroup(join(directory, child))
  for (let attempt = 0; attempt < CGROUP_TRIES; attempt++) {
    for (const pid of readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n')) {
      if (pid !== '') await run('kill', ['-KILL', pid])
    }
    try {
      rmdirSync(directory)
      return
    } catch {
      // Killed processes leave their cgroup a moment later.
    }
  }
  throw new DroverError('internal', `cgroup ${directory} cannot be removed: processes in it do not end`)
}

export function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch {
    // Another cluster's.
  }
}
