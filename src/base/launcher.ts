/**
 * Starts programs through a small process of its own. Node 20 starts a program by fork(2), which stops the whole agent
 * while the kernel copies its page tables: measured 1 ms in a process of 45 MB, 4 ms in one of 150 MB, eight times a
 * pod. A process of a few megabytes does it in a quarter of a millisecond, and the agent's loop goes on meanwhile.
 *
 * The process is a page of Perl (launcher_script.ts; perl-base is essential on Debian, and attach needs it too). It ends
 * when we do, by the end of its input; what it started runs on, as it would without it.
 *
 *   to it    length, then fields split by NUL: run, id, flags, cwd, how many of each, env…, calls…, argv…, input |
 *            kill, id, signal | go, id | release, id
 *   from it  length, id, channel, data; channels: 1 stdout, 2 stderr, 3 what it reports on file descriptor 3 (empty at
 *            its end), 0 exit, 9 cannot be started
 *
 * Rejected: a native module for posix_spawn; a second Node, which holds 40 MB; one shell script a step, which would hide
 * which program failed.
 */

import type { ChildProcess } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { DroverError } from './errors.ts'
import { LAUNCHER_NUMBERS, LAUNCHER_SCRIPT } from './launcher_script.ts'

/** A pipe holds this much: the helper writes a program's input in one go. */
export const MAX_LAUNCH_INPUT_BYTES = 60_000
const MAX_FRAME_BYTES = 1 << 20

export interface LaunchOptions {
  /** What the new process does before it runs the program (see kernel_calls.ts); one that fails is its end. */
  calls?: readonly string[]
  /** No program is run: it tells what it has heard of its network namespace (see network_news.ts). */
  news?: boolean
  /** Where the program runs; calls without a program are done there. */
  cwd?: string
  env?: NodeJS.ProcessEnv
  input?: string | Uint8Array
  /** In a session of its own, so that signals to our group do not reach it. */
  detached?: boolean
  /** Its file descriptor 4 can be read from once `go` has been said; without it, it is killed when we end. */
  held?: boolean
  /** Standard output goes nowhere. */
  quiet?: boolean
  /** Called with what the program writes to its file descriptor 3, at last, once, with nothing; asking for it makes that pipe. */
  onReport?: (data: Buffer) => void
  onStdout?: (data: Buffer) => void
  onStderr?: (data: Buffer) => void
}

export interface LaunchEnd {
  code: number
  /** Number of the signal that ended it, or 0. */
  signal: number
}

export interface Launched {
  /** The program has ended and its output is complete. Rejects with a NodeJS.ErrnoException when it cannot be started. */
  ended: Promise<LaunchEnd>
  kill(signal: number): void
  /** To one that is held. */
  go(): void
  /** Hears no more of it: its pipes are closed here, `ended` may never settle. */
  release(): void
}

export interface Launcher {
  /** Without a program the process does its system calls and ends. */
  launch(argv: readonly string[], options: LaunchOptions): Launched
  /** Whether the helper runs. */
  readonly alive: boolean
  close(): void
}

interface Pending {
  options: LaunchOptions
  /** Nobody can report any more, and that has been told. */
  reported: boolean
  exited: boolean
  resolve(end: LaunchEnd): void
  reject(error: Error): void
}

const SYSTEM_ERRORS: Readonly<Record<number, string>> = { 2: 'ENOENT', 12: 'ENOMEM', 13: 'EACCES', 24: 'EMFILE' }

class HelperLauncher implements Launcher {
  readonly #child: ChildProcess
  readonly #pending = new Map<number, Pending>()
  #buffered: Buffer = Buffer.alloc(0)
  #nextId = 1
  #alive = true

  constructor(child: ChildProcess) {
    this.#child = child
    child.on('error', (error) => this.#end(error))
    child.on('close', () => this.#end(new Error('the process that starts programs has ended')))
    child.stdin?.on('error', () => undefined)
    const stdout = child.stdout as Readable
    stdout.on('data', (chunk: Buffer) => this.#take(chunk))
    // It must not keep us alive; a program that is awaited does.
    child.unref()
    this.#hold()
  }

  get alive(): boolean {
    return this.#alive
  }

  launch(argv: readonly string[], options: LaunchOptions): Launched {
    if (!this.#alive) throw new DroverError('unavailable', 'the process that starts programs has ended')
    const id = this.#nextId++
    const ended = new Promise<LaunchEnd>((resolve, reject) => {
      this.#pending.set(id, { options, reported: options.onReport === undefined, exited: false, resolve, reject })
    })
    this.#hold()
    this.#write(runRequest(id, argv, options))
    return {
      ended,
      kill: (signal) => this.#write(Buffer.from(`kill\0${id}\0${signal}`)),
      go: () => this.#write(Buffer.from(`go\0${id}`)),
      release: () => {
        this.#write(Buffer.from(`release\0${id}`))
        this.#settle(id, () => undefined)
      },
    }
  }

  close(): void {
    this.#child.stdin?.end()
  }

  #write(message: Buffer): void {
    const head = Buffer.alloc(4)
    head.writeUInt32BE(message.length)
    const stdin = this.#child.stdin as Writable
    stdin.write(Buffer.concat([head, message]))
  }

  /** The pipes keep our process alive exactly while something is awaited. */
  #hold(): void {
    for (const stream of [this.#child.stdin, this.#child.stdout] as { ref?(): void; unref?(): void }[]) {
      if (this.#pending.size > 0) stream.ref?.()
      else stream.unref?.()
    }
  }

  #take(chunk: Buffer): void {
    this.#buffered = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk])
    while (this.#buffered.length >= 9) {
      const size = this.#buffered.readUInt32BE(0)
      if (size > MAX_FRAME_BYTES) throw new DroverError('internal', `a launched program's frame of ${size} bytes`)
      if (this.#buffered.length < 4 + size) return
      const id = this.#buffered.readUInt32BE(4)
      const channel = this.#buffered[8]
      const data = this.#buffered.subarray(9, 4 + size)
      this.#buffered = this.#buffered.subarray(4 + size)
      this.#dispatch(id, channel ?? 0, data)
    }
  }

  #dispatch(id: number, channel: number, data: Buffer): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    const { options } = pending
    if (channel === 1) options.onStdout?.(data)
    else if (channel === 2) options.onStderr?.(data)
    else if (channel === 3 && data.length > 0) options.onReport?.(data)
    else if (channel === 9) {
      this.#settle(id, () => pending.reject(startError(data.toString('utf8'))))
      endReport(pending)
    } else {
      if (channel === 3) endReport(pending)
      else {
        const [code = 0, signal = 0] = data.toString('utf8').split(' ').map(Number)
        pending.exited = true
        pending.resolve({ code, signal })
      }
      // Its children may report after it has ended, and it may run on when it has closed its pipe.
      if (pending.exited && pending.reported) this.#settle(id, () => undefined)
    }
  }

  #settle(id: number, settle: () => void): void {
    this.#pending.delete(id)
    this.#hold()
    settle()
  }

  #end(error: Error): void {
    this.#alive = false
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    for (const each of pending) {
      each.reject(error)
      // What has ended before, and been told of, may still be waited for by who reads its reports.
      endReport(each)
    }
  }
}

function endReport(pending: Pending): void {
  if (pending.reported) return
  pending.reported = true
  pending.options.onReport?.(Buffer.alloc(0))
}

function runRequest(id: number, argv: readonly string[], options: LaunchOptions): Buffer {
  const { calls = [], news, cwd = '', env, input, detached, held, quiet, onReport } = options
  const flags = `${news ? 'n' : ''}${detached ? 'd' : ''}${quiet ? 'q' : ''}${onReport ? '3' : ''}${held ? '4' : ''}${input === undefined ? '' : 'i'}`
  const variables = Object.entries(env ?? {}).flatMap(([name, value]) =>
    value === undefined ? [] : `${name}=${value}`,
  )
  const counts = [env === undefined ? -1 : variables.length, calls.length, argv.length]
  const fields = ['run', id, flags, cwd, ...counts, ...variables, ...calls, ...argv]
  const texts = fields.map(String)
  if (texts.some((text) => text.includes('\0'))) {
    throw new DroverError('invalid', `${argv[0] ?? calls[0]}: arguments and variables must not hold a NUL byte`)
  }
  return Buffer.concat([Buffer.from(`${texts.join('\0')}\0`), Buffer.from(input ?? '')])
}

function startError(said: string): NodeJS.ErrnoException {
  const [number = '0', ...what] = said.split(' ')
  const code = SYSTEM_ERRORS[Number(number)] ?? `errno ${number}`
  return Object.assign(new Error(`${what.join(' ')}: ${code}`), {
    code: what[0] === 'exec' ? code : `${code} (${what})`,
  })
}

/** `start` is base/process.ts' own; it stands here as an argument so that the two do not import each other. */
export function createLauncher(
  start: (program: string, args: readonly string[], options: { stdio: ['pipe', 'pipe', 'inherit'] }) => ChildProcess,
): Launcher {
  const numbers = LAUNCHER_NUMBERS[process.arch]
  if (numbers === undefined) {
    throw new DroverError('unsupported', `the kernel's calls are not known for the processor "${process.arch}"`)
  }
  const args = ['-e', LAUNCHER_SCRIPT, '--', ...numbers.map(String)]
  return new HelperLauncher(start('perl', args, { stdio: ['pipe', 'pipe', 'inherit'] }))
}
