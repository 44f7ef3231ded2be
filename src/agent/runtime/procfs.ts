/** Processes and what they may do, from /proc. Who a process is, base/process_table.ts knows. */
import { readdirSync } from 'node:fs'
import { readText } from '../../base/records.ts'

/** Sends a signal; a process that is gone is no error. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, realTimeNumber(signal) ?? signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Signals that Node knows no names for: `SIGRTMIN+3` asks systemd in a container to stop. */
function realTimeNumber(signal: string): number | undefined {
  const [, end, offset = '0'] = /^SIGRT(MIN|MAX)([+-]\d+)?$/.exec(signal) ?? []
  if (end === undefined) return undefined
  const [first, last] = [34, 64]
  return Math.min(last, Math.max(first, (end === 'MIN' ? first : last) + Number(offset)))
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
