/**
 * A lock on a file that one process holds and that ends with it, whatever it dies of: flock(2), which the kernel keeps with
 * the open file and gives up when the last that has it open is gone. Node has no such call, but the lock belongs to the open
 * file and not to who locked it: flock(1) inherits our descriptor, locks it and ends, and the lock stays with us. Programs
 * that we start do not inherit it (O_CLOEXEC).
 *
 * The file says who holds it, for people; that is a note and no lock, and may be an older holder's.
 *
 * Rejected: an abstract socket, which needs no helper, but whose name holds only within one network namespace, and hosts of
 * one machine have many; a file with pid and start time, which two that start at the same moment both find without an
 * owner, and which names another's process where the pid namespaces differ.
 */
import { once } from 'node:events'
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Clock, sleep } from './clock.ts'
import { DroverError } from './errors.ts'
import { start } from './process.ts'
import { identify, isAlive, type ProcessIdentity } from './process_table.ts'
import { readRecord } from './records.ts'

export interface LockHolder extends ProcessIdentity {
  /** What it does: "agent". */
  role: string
  /** RFC 3339. */
  since: string
}

export interface FileLock {
  /** Gives it up. The file goes first, so that only a kill leaves one. */
  release(): void
}

/** `heldBy` is undefined where its note could not be read. */
export type LockOutcome = { lock: FileLock } | { lock: undefined; heldBy: LockHolder | undefined }

export interface LockOptions {
  role: string
  clock: Clock
  /** How long a holder that lives is waited for. Default: not at all. */
  patienceMs?: number
  signal?: AbortSignal
}

/**
 * A killed process's descriptors close some milliseconds after it can be seen no more: its threads end one by one, and a
 * program that it was just starting has them until its exec. Its successor waits that long.
 */
const DYING_MS = 5_000
/** Each look starts a program: often for the moment that a holder takes to be gone, seldom while it lives on. */
const DYING_RETRY_MS = 20
const LIVING_RETRY_MS = 200
/** Those who end remove the file: it may be another one by the time that it is locked. */
const MAX_REMOVALS = 100
const HELD = 1

/** Pure: after how many milliseconds a lock that another holds is tried again, or that it is not. */
export function nextStep(holderLives: boolean, waitedMs: number, patienceMs: number): number | 'refuse' {
  if (waitedMs >= (holderLives ? patienceMs : Math.max(DYING_MS, patienceMs))) return 'refuse'
  return holderLives ? LIVING_RETRY_MS : DYING_RETRY_MS
}

/** Who holds a lock, in parentheses and with a space before them; nothing where that is not known. Pure. */
export function holderWords(heldBy: LockHolder | undefined): string {
  return heldBy === undefined ? '' : ` (process ${heldBy.pid}, since ${heldBy.since})`
}

/** Locks the file, which is made where it is missing. Waits for a holder that is just ending, and with `patienceMs` for any. */
export async function lockFile(path: string, options: LockOptions): Promise<LockOutcome> {
  const { role, clock, patienceMs = 0, signal } = options
  const startedMs = clock.monotonicMs()
  for (;;) {
    const lock = await attempt(path, { role, since: new Date(clock.now()).toISOString() })
    if (lock !== undefined) return { lock }
    const heldBy = readRecord<LockHolder>(path)
    const lives = heldBy !== undefined && isAlive(heldBy)
    const step = nextStep(lives, clock.monotonicMs() - startedMs, patienceMs)
    if (step === 'refuse') return { lock: undefined, heldBy }
    await sleep(clock, step, signal)
  }
}

async function attempt(path: string, note: Pick<LockHolder, 'role' | 'since'>): Promise<FileLock | undefined> {
  for (let removals = 0; removals < MAX_REMOVALS; removals++) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600)
    let kept = false
    try {
      if (!(await takeLock(fd, path))) return undefined
      // Whoever held it may have removed the file meanwhile: the next to come would lock another one.
      if (!isSameFile(fd, path)) continue
      ftruncateSync(fd)
      writeSync(fd, JSON.stringify({ ...identify(process.pid), ...note }), 0)
      kept = true
    } finally {
      if (!kept) closeSync(fd)
    }
    return {
      release() {
        rmSync(path, { force: true })
        closeSync(fd)
      },
    }
  }
  throw new DroverError('internal', `${path} is removed by somebody as often as it is locked`)
}

function isSameFile(fd: number, path: string): boolean {
  const [own, there] = [fstatSync(fd), statSync(path, { throwIfNoEntry: false })]
  return there !== undefined && own.ino === there.ino && own.dev === there.dev
}

/** Options that util-linux and busybox have alike. */
async function takeLock(fd: number, path: string): Promise<boolean> {
  const child = start('flock', ['-x', '-n', '3'], { stdio: ['ignore', 'ignore', 'pipe', fd] })
  const said = child.stderr === null ? '' : text(child.stderr)
  const [code] = await once(child, 'close').catch((error: NodeJS.ErrnoException) => {
    const words = error.code === 'ENOENT' ? 'there is no flock (Debian: apt-get install util-linux)' : error.message
    throw new DroverError('unsupported', `${path} cannot be locked: ${words}`, { cause: error })
  })
  if (code === 0 || code === HELD) return code === 0
  throw new DroverError('unsupported', `${path} cannot be locked: ${(await said).trim() || `flock ended with ${code}`}`)
}
