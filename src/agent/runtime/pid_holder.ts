/**
 * A process namespace that a pod's containers share. Other namespaces live by a file alone; this one lives and dies with its
 * first process, so one is kept: a sleeper that ignores the ends of its children, by which the kernel takes them away
 * itself. It belongs to no agent and outlives it.
 *
 * Rejected: the first container's program as the first process, for all others would die whenever it is restarted.
 */
import { readdirSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { DroverError } from '../../base/errors.ts'
import { bindCall, kernelCalls } from '../../base/kernel_calls.ts'
import { startReporting } from '../../base/process.ts'
import { identify, type ProcessIdentity, signalProcess } from '../../base/process_table.ts'
import { readText } from '../../base/records.ts'

/** Says on descriptor 3 which process it is in the host's view, for /proc is still the host's; then sleeps. */
const SLEEPER =
  'read -r pid rest < /proc/self/stat; echo "$pid" >&3; exec 3>&- 2>&-; exec env --ignore-signal=CHLD,TERM sleep infinity'

/** By this variable of its environment it is found, even if the agent that started it died before it wrote anything down. */
const MARK = 'DROVER_PID_NAMESPACE'

/** Makes the namespace, pinned at an empty file; it belongs to the user namespace that a file holds, or to the host's. */
export async function startHolder(pin: string, users?: string): Promise<ProcessIdentity> {
  const env = { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', [MARK]: pin }
  const args = ['--pid', '--fork', 'sh', '-c', SLEEPER]
  const [program, programArgs] =
    users === undefined ? ['unshare', args] : ['nsenter', [`--user=${users}`, 'unshare', ...args]]
  const { report, said, failed, release } = await startReporting(program, programArgs, { cwd: '/', env })
  try {
    const pid = Number(await Promise.race([firstLine(report), failed]))
    const holder = pid > 0 ? identify(pid) : undefined
    if (holder === undefined) {
      throw new DroverError('internal', `no process namespace for ${pin}: ${said() || 'unshare said nothing'}`)
    }
    endParent(pid)
    await kernelCalls([bindCall(`/proc/${pid}/ns/pid`, pin)])
    return holder
  } finally {
    release()
  }
}

async function firstLine(report: Readable): Promise<string> {
  let text = ''
  for await (const chunk of report) {
    text += String(chunk)
    if (text.includes('\n')) break
  }
  return text
}

/** `unshare` only waits for it, and is no use to anyone. */
function endParent(pid: number): void {
  const parent = identify(Number(/^PPid:\s*(\d+)$/m.exec(readText(`/proc/${pid}/status`) ?? '')?.[1]))
  if (parent !== undefined && (readText(`/proc/${parent.pid}/comm`) ?? '').trim() === 'unshare') {
    signalProcess(parent, 'SIGKILL')
  }
}

export interface Holder extends ProcessIdentity {
  /** Where its namespace is pinned. */
  pin: string
}

/** Every process of a holder, also one that is still on its way to being one. */
export function listHolders(): Holder[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    const comm = (readText(`/proc/${name}/comm`) ?? '').trim()
    if (comm !== 'sleep' && comm !== 'sh' && comm !== 'env' && comm !== 'unshare') return []
    const variables = (readText(`/proc/${name}/environ`) ?? '').split('\0')
    const pin = variables.find((each) => each.startsWith(`${MARK}=`))?.slice(MARK.length + 1)
    const found = pin === undefined ? undefined : identify(Number(name))
    return pin === undefined || found === undefined ? [] : [{ ...found, pin }]
  })
}

/** Ends the namespace, and with it whatever still runs in it. */
export function endHolder(pin: string): void {
  for (const holder of listHolders()) if (holder.pin === pin) signalProcess(holder, 'SIGKILL')
}
