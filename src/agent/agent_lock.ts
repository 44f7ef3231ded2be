/**
 * One agent a node: two on one data directory, run directory or cgroup would each take the other's containers for its own,
 * start them twice and remove them as orphans. Whoever works there, an agent or a reset, holds a lock on each of the
 * three from before it looks at anything until it has ended (base/file_lock.ts); a second one is refused.
 *
 * The order is fixed: the data directory first, since the run directory may have to be mounted before anything lies in it.
 */
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { type FileLock, holderWords, type LockHolder, lockFile } from '../base/file_lock.ts'

/** Of all agents of the machine, by the cgroup of their pods: cgroups themselves hold no files of ours. */
const CGROUP_LOCKS = '/run/drover-agents'

export interface AgentPlaces {
  dataDir: string
  runDir: string
  cgroupParent: string
}

export interface AgentLockOptions {
  role: 'agent' | 'reset'
  clock: Clock
  signal?: AbortSignal
  /** For tests. */
  cgroupLocks?: string
}

export interface AgentLock {
  /** When the run directory can be used: it lies in memory, and is mounted where it does not. */
  lockRunDirectory(): Promise<void>
  /** For a node that is reset: lets the run directory go, which could not be unmounted otherwise. */
  releaseRunDirectory(): void
  release(): void
}

/** Throws `alreadyExists` when somebody works there, in words that say who and what to do. */
export async function lockAgent(places: AgentPlaces, options: AgentLockOptions): Promise<AgentLock> {
  const { dataDir, runDir, cgroupParent } = places
  const { role, cgroupLocks = CGROUP_LOCKS } = options
  const cgroup = `/${cgroupParent.split('/').filter(Boolean).join('/')}`
  const take = async (path: string, place: string): Promise<FileLock> => {
    const outcome = await lockFile(path, options)
    if (outcome.lock !== undefined) return outcome.lock
    throw new DroverError('alreadyExists', refusal(place, role, outcome.heldBy))
  }
  const data = await take(join(dataDir, 'agent.lock'), `the data directory ${dataDir}`)
  let byCgroup: FileLock
  try {
    byCgroup = await take(join(cgroupLocks, `${encodeURIComponent(cgroup)}.lock`), `the cgroup ${cgroup}`)
  } catch (error) {
    data.release()
    throw error
  }
  let run: FileLock | undefined
  return {
    async lockRunDirectory() {
      // Named unlike the other: both directories may be one.
      run = await take(join(runDir, 'run.lock'), `the run directory ${runDir}`)
    },
    releaseRunDirectory() {
      run?.release()
      run = undefined
    },
    release() {
      run?.release()
      byCgroup.release()
      data.release()
    },
  }
}

/** Pure: who is there, why that does not go, and what to do. */
export function refusal(place: string, role: AgentLockOptions['role'], heldBy: LockHolder | undefined): string {
  const resets = heldBy?.role === 'reset'
  const who = `${resets ? 'a reset' : role === 'reset' ? 'an agent' : 'another agent'}${holderWords(heldBy)}`
  const end = resets
    ? 'wait until it has ended'
    : `end that one first (systemctl stop drover-agent${heldBy === undefined ? '' : `, or kill ${heldBy.pid}`})`
  if (role === 'reset') return `${who} works with ${place} and would make anew what this removes: ${end}`
  const apart = 'or give this one a --data-dir, a --run-dir and a --cgroup-parent of its own'
  return `${who} works with ${place}, and two would fight over the same containers: ${end}, ${apart}`
}
