/**
 * Processes by pid and start time: a pid alone may name a stranger after the first owner has died. Reads are
 * synchronous: a file of /proc costs 20 µs, a trip through the thread pool several times that.
 */
import { readdirSync } from 'node:fs'
import { readText } from './files.ts'

export interface ProcessIdentity {
  pid: number
  /** Clock ticks after boot, field 22 of /proc/<pid>/stat. */
  startTicks: number
}

/** Undefined when there is no such process, or when it is a zombie. */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  const stat = readText(`/proc/${pid}/stat`)
  if (stat === undefined) return undefined
  // The command name, in parentheses, may hold spaces and parentheses of its own.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, startTicks] = [fields[0], Number(fields[19])]
  return state === 'Z' || state === 'X' || !Number.isFinite(startTicks) ? undefined : { pid, startTicks }
}

export function isAlive(identity: ProcessIdentity): boolean {
  return processIdentity(identity.pid)?.startTicks === identity.startTicks
}

/** Sends a signal; a process that is gone is no error. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Kills a process and all that it has started. Each is stopped before its children are read, so that none is missed. */
export function killTree(pid: number): void {
  sendSignal(pid, 'SIGSTOP')
  const children = childrenOf(pid)
  sendSignal(pid, 'SIGKILL')
  for (const child of children) killTree(child)
}

function childrenOf(pid: number): number[] {
  let threads: string[] = []
  try {
    threads = readdirSync(`/proc/${pid}/task`)
  } catch {
    // The process is gone.
  }
  const text = threads.map((thread) => readText(`/proc/${pid}/task/${thread}/children`) ?? '').join(' ')
  return text.split(/\s+/).filter(Boolean).map(Number)
}

export function bootId(): string {
  return (readText('/proc/sys/kernel/random/boot_id') ?? '').trim()
}

/** This process's own badness; without CAP_SYS_RESOURCE nothing it starts can go below it. */
export function oomScoreAdjFloor(): number {
  const status = readText('/proc/self/status') ?? ''
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  const SYS_RESOURCE = 24n
  if ((effective >> SYS_RESOURCE) & 1n) return -1000
  return Number(readText('/proc/self/oom_score_adj') ?? 0)
}
