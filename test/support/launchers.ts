/** The small process through which another starts its programs (base/launcher.ts), found from outside. */
import { readdirSync, readFileSync } from 'node:fs'

/** The launcher among the children of this process; undefined while it has none. */
export function launcherOf(ownerPid: number): number | undefined {
  const threads = readdirSync(`/proc/${ownerPid}/task`)
  const children = threads.flatMap((thread) =>
    readFileSync(`/proc/${ownerPid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean),
  )
  return children.map(Number).find(isLauncher)
}

/** System calls in a process of their own, and attach, run scripts of Perl, too: only the launcher is given numbers. */
function isLauncher(pid: number): boolean {
  try {
    const [program, flag, , end, ...numbers] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    return program === 'perl' && flag === '-e' && end === '--' && /^(\d+ ){3}$/.test(numbers.join(' '))
  } catch {
    return false // It has ended meanwhile.
  }
}

/** Kills it, and says whether there was one. */
export function killLauncher(ownerPid: number): boolean {
  const pid = launcherOf(ownerPid)
  if (pid === undefined) return false
  try {
    return process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
