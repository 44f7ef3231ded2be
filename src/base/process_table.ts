/**
 * Looking at processes through /proc. A process is known by its pid and its start time together: a pid alone may by now
 * be another program's. Source: proc(5), /proc/pid/stat.
 */
import { readFileSync } from 'node:fs'
import { DroverError } from './errors.ts'

export interface ProcessIdentity {
  pid: number
  /** Field 22 of /proc/pid/stat, in clock ticks since boot. */
  startTicks: string
}

/** Who has this pid now, or undefined when nobody (a zombie counts as nobody). */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The program's name stands in parentheses and may hold spaces and parentheses itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return { pid, startTicks: fields[19] ?? '' }
  } catch {
    return undefined
  }
}

export function isAlive({ pid, startTicks }: ProcessIdentity): boolean {
  return identify(pid)?.startTicks === startTicks
}

/** Whether anybody has this pid: a fiftieth of what `isAlive` takes, and as much less certain. */
export function isTaken(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Sends a signal to that very process; one that has ended is no error. */
export function signalProcess(process_: ProcessIdentity, signal: NodeJS.Signals): void {
  if (!isAlive(process_)) return
  try {
    process.kill(process_.pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return
    throw new DroverError('forbidden', `cannot signal process ${process_.pid}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}
