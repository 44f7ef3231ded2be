/**
 * Programs run in a container by request. Without a terminal, `runc exec` in the foreground: its pipes are ours, its exit
 * code is the program's, and killing it with what it has started ends the program. With a terminal, conmon holds the
 * terminal's master end (see exec_terminal.ts).
 *
 * The program is handed over as a file, the container's own process with other arguments, so it has the container's user,
 * capabilities and environment, and nothing is quoted.
 */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { type Clock, sleep } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { start } from '../../base/process.ts'
import type { Random } from '../../base/random.ts'
import { readRecord } from '../../base/records.ts'
import { CHANNEL, type FrameStream } from '../../base/stream.ts'
import { connectAttach } from './attach_client.ts'
import { watchStderr } from './conmon.ts'
import type { Containers } from './containers.ts'
import { execInTerminal } from './exec_terminal.ts'
import { refused } from './oci_runtime.ts'
import type { OciSpec } from './oci_types.ts'
import { checkId, type RuntimePaths } from './paths.ts'
import { killTree } from './procfs.ts'
import type { ExecOptions } from './runtime.ts'
import { pumpInput, resizeTerminal } from './stream_pump.ts'

export interface ExecutorOptions {
  paths: RuntimePaths
  conmon: string
  containers: Containers
  clock: Clock
  random: Random
  log: Logger
  /** Ids that have an exit file now. */
  exited: () => Set<string>
}

export interface Executor {
  execSync(id: string, args: readonly string[], timeoutMs: number): Promise<{ exitCode: number; output: string }>
  exec(id: string, options: ExecOptions, stream: FrameStream): Promise<{ exitCode: number }>
  attach(id: string, stream: FrameStream): Promise<void>
}

/** A probe's or hook's output beyond this is dropped. */
const MAX_SYNC_OUTPUT_BYTES = 64 << 10
/**
 * A child that the program leaves behind may hold its output open for ever, where the runtime hands its own on (crun does; runc copies,
 * and ends with the last that holds it). The kubelet's runtimes can bound the wait, too (containerd: drain_exec_sync_io_timeout).
 */
const DRAIN_MS = 500
/** Held back at most, while it is not clear whether the runtime or the program speaks. */
const MAX_HELD_BYTES = 64 << 10

/** One run: its own directory for the files it needs, and the runtime's child process. */
interface Session {
  directory: string
  processFile: string
  pidFile: string
}

export function createExecutor(options: ExecutorOptions): Executor {
  const { containers, clock, random } = options

  function requireRunning(id: string): void {
    checkId(id, 'container id')
    const phase = containers.observe(id, options.exited())?.state.phase
    if (phase === 'running') return
    throw new DroverError('notFound', phase === undefined ? `no container ${id}` : `container ${id} is not running`)
  }

  async function prepare(id: string, execOptions: ExecOptions): Promise<Session> {
    requireRunning(id)
    if (execOptions.args.length === 0) throw new DroverError('invalid', 'exec needs a command')
    const own = containers.pathsOf(id)
    const spec = readRecord<OciSpec>(own.config)
    if (spec === undefined) throw new DroverError('notFound', `no container ${id}`)
    const directory = join(own.bundle, 'exec', random.uuid().slice(0, 13))
    const session = { directory, processFile: join(directory, 'process.json'), pidFile: join(directory, 'pid') }
    const env = [...spec.process.env, ...(execOptions.env ?? [])]
    if (execOptions.tty && !env.some((entry) => entry.startsWith('TERM='))) env.push('TERM=xterm')
    const process = { ...spec.process, args: execOptions.args, env, terminal: execOptions.tty }
    // At once: they lie in memory.
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    writeFileSync(session.processFile, JSON.stringify(process), { mode: 0o600 })
    return session
  }

  function launch(id: string, session: Session, stdin: 'ignore' | 'pipe'): ChildProcess {
    const runtime = containers.runtimeOf(id)
    const args = ['exec', `--pid-file=${session.pidFile}`, `--process=${session.processFile}`, id]
    return start(runtime.program, [...runtime.globals, ...args], { stdio: [stdin, 'pipe', 'pipe'] })
  }

  async function execSync(id: string, args: readonly string[], timeoutMs: number) {
    const session = await prepare(id, { args, tty: false })
    try {
      const child = launch(id, session, 'ignore')
      const chunks: Buffer[] = []
      let size = 0
      const keep = (chunk: Buffer): void => {
        if (size < MAX_SYNC_OUTPUT_BYTES) chunks.push(chunk.subarray(0, MAX_SYNC_OUTPUT_BYTES - size))
        size += chunk.length
      }
      child.stdout?.on('data', keep)
      child.stderr?.on('data', keep)
      const code = await exitOf(child, timeoutMs).finally(() => kill(child))
      if (code === undefined) {
        throw new DroverError('timeout', `${args[0]} in container ${id} did not finish within ${timeoutMs} ms`)
      }
      const output = Buffer.concat(chunks).toString('utf8')
      if (existsSync(session.pidFile)) return { exitCode: code, output }
      return refused(output)
    } finally {
      await discard(session)
    }
  }

  /** Its exit code once its output is over, or has been drained for a while; undefined when it has run too long. */
  async function exitOf(child: ChildProcess, timeoutMs: number): Promise<number | undefined> {
    const stop = new AbortController()
    const { signal } = stop
    const closed = ended(child)
    const exited = once(child, 'exit', { signal })
    const pause = async (delayMs: number): Promise<void> => {
      await sleep(clock, delayMs, signal)
      // Where we stood still for as long, timers come before what has happened meanwhile.
      await sleep(clock, 0, signal)
    }
    const late = pause(timeoutMs).then(() => undefined)
    for (const each of [closed, exited, late]) each.catch(() => undefined)
    try {
      if ((await Promise.race([closed, exited, late])) === undefined) return undefined
      const drained = pause(DRAIN_MS)
      drained.catch(() => undefined)
      await Promise.race([closed, drained])
      return codeOf(child.exitCode)
    } finally {
      stop.abort()
    }
  }

  /** A monitor may still be writing its last file; what is left goes with the container. */
  async function discard(session: Session): Promise<void> {
    await rm(session.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 }).catch(
      (error: unknown) => {
        options.log.debug({ err: error, directory: session.directory }, 'files of an exec session stay for now')
      },
    )
  }

  async function exec(id: string, execOptions: ExecOptions, stream: FrameStream): Promise<{ exitCode: number }> {
    const session = await prepare(id, execOptions)
    try {
      if (execOptions.tty) {
        const terminal = { ...options, runtime: containers.runtimeOf(id), socketDirectory: options.paths.sockets }
        return await execInTerminal(terminal, { id, ...session }, stream)
      }
      return await execWithPipes(launch(id, session, 'pipe'), session, stream)
    } finally {
      await discard(session)
    }
  }

  async function execWithPipes(child: ChildProcess, session: Session, stream: FrameStream) {
    const stdin = child.stdin as Writable
    stdin.on('error', () => undefined)
    const input = pumpInput(stream, stdin, async () => undefined)
    const broken = new Promise<never>((_, reject) => {
      input.done.catch(reject)
    })
    broken.catch(() => undefined)
    let held = ''
    let early = ''
    const outputs = Promise.all([
      forward(child.stdout as Readable, CHANNEL.stdout, stream),
      forward(child.stderr as Readable, CHANNEL.stderr, stream, (text) => {
        if (existsSync(session.pidFile)) return false
        if (early.length < MAX_HELD_BYTES) early += text
        if (!runtimeSpeaks(text)) return false
        if (held.length < MAX_HELD_BYTES) held += text
        return true
      }),
    ])
    try {
      const [code] = await Promise.race([Promise.all([ended(child), outputs]), broken])
      if (existsSync(session.pidFile)) {
        if (held !== '') await stream.send({ channel: CHANNEL.stderr, data: Buffer.from(held) })
        return { exitCode: code }
      }
      const { exitCode, output } = refused(early)
      if (held !== '') await stream.send({ channel: CHANNEL.stderr, data: Buffer.from(`${output}\n`) })
      return { exitCode }
    } catch (error) {
      kill(child)
      throw error
    } finally {
      input.stop()
    }
  }

  async function attach(id: string, stream: FrameStream): Promise<void> {
    requireRunning(id)
    const own = containers.pathsOf(id)
    const { tty, stdin } = containers.meta(id) ?? { tty: false, stdin: false }
    const client = await connectAttach(own.bundle)
    const resize = (width: number, height: number) =>
      tty ? resizeTerminal(own.control, width, height) : Promise.resolve()
    const input = pumpInput(stream, stdin ? client.input : undefined, resize)
    const broken = new Promise<never>((_, reject) => {
      input.done.catch(reject)
    })
    broken.catch(() => undefined)
    try {
      const output = (async () => {
        for await (const frame of client.output) await stream.send(frame)
      })()
      await Promise.race([output, broken])
    } finally {
      input.stop()
      client.close()
    }
  }

  return { execSync, exec, attach }
}

/** Kills the runtime's process with the program, which is its child, and closes its output, which others may hold. */
function kill(child: ChildProcess): void {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) killTree(child.pid)
  child.stdout?.destroy()
  child.stderr?.destroy()
}

async function ended(child: ChildProcess): Promise<number> {
  const stderr = watchStderr(child)
  const [code] = (await Promise.race([once(child, 'close'), stderr.failed])) as [number | null]
  return codeOf(code)
}

const codeOf = (code: number | null): number => code ?? 128 + 9

async function forward(
  source: Readable,
  channel: number,
  stream: FrameStream,
  hold: (text: string) => boolean = () => false,
): Promise<void> {
  for await (const chunk of source as AsyncIterable<Buffer>) {
    if (hold(chunk.toString('utf8'))) continue
    await stream.send({ channel, data: chunk })
  }
}

function runtimeSpeaks(text: string): boolean {
  return /^(time="[^"]*" level=(error|fatal|warning)|exec failed|\S*crun?:)/.test(text)
}
