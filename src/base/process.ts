/**
 * The only door to other programs. Arguments are arrays: nothing here goes through a shell.
 * Rejected: child_process in each driver, which had each of them bound output and time in its own way.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { PassThrough, type Readable, type Writable } from 'node:stream'
import { CALLS_SCRIPT } from './calls_script.ts'
import type { Clock } from './clock.ts'
import { DroverError } from './errors.ts'
import { createLauncher, type Launcher, type LaunchOptions, MAX_LAUNCH_INPUT_BYTES } from './launcher.ts'
import type { Logger } from './log.ts'
import { type NetworkNews, parseNews } from './network_news.ts'
import { repeat, type Service } from './service.ts'

export interface RunOptions {
  /** Written to the program's standard input, which is then closed. */
  input?: string | Uint8Array
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** The program is killed when this much time has passed. Default 30 s. */
  timeoutMs?: number
  /** That is then no failure: what it has written by then is the result, which says `timedOut`. */
  keepOnTimeout?: boolean
  signal?: AbortSignal
  /** Output beyond this many bytes a stream is dropped and `truncated` set. Default 4 MiB. */
  maxOutputBytes?: number
}

export interface RunResult {
  /** The exit code, or 128 + the signal's number as a shell counts. */
  exitCode: number
  stdout: string
  stderr: string
  truncated: boolean
  timedOut?: true
}

const DEFAULT_TIMEOUT_MS = 30_000
const DEFAULT_MAX_OUTPUT_BYTES = 4 << 20
const SIGKILL = 9
const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 }

/**
 * How this process starts programs, a property of the process like its limits: chosen once, by the agent's composition
 * root. Rejected: an argument of every driver and helper that runs a program, for which only speed would differ.
 */
const chosen: { launcher: Launcher | undefined } = { launcher: undefined }

/** From now on programs are started through a small helper; without Perl all stays as it was, and this says false. */
export async function useLauncher(): Promise<boolean> {
  return chooseLauncher().then(
    () => true,
    () => false,
  )
}

async function chooseLauncher(): Promise<void> {
  const launcher = createLauncher((program, args, options) => spawn(program, args, options))
  try {
    await launcher.launch(['true'], {}).ended
    chosen.launcher = launcher
  } catch (error) {
    launcher.close()
    throw error
  }
}

/** Puts another helper in the place of one that has died: until then programs are started without, and pods slower. */
export function launcherService(options: { clock: Clock; log: Logger; everyMs?: number }): Service {
  const { clock, log, everyMs = 10_000 } = options
  let missed = false
  const look = async (): Promise<void> => {
    if (chosen.launcher === undefined || chosen.launcher.alive) return
    try {
      await chooseLauncher()
      missed = false
      log.warn('the process that starts programs had died and was replaced')
    } catch (error) {
      // Tried at every look, and said once.
      if (!missed)
        log.warn(
          { err: error },
          'the process that starts programs has died and could not be replaced: pods start slower',
        )
      missed = true
    }
  }
  const failure = 'the process that starts programs cannot be looked after'
  return { id: 'launcher', run: (signal) => repeat(look, { clock, log, everyMs, failure, waits: true }, signal) }
}

/**
 * Runs a program to its end. Rejects only when it cannot be started, is cancelled, or runs out of time and what it has written
 * is not to be kept.
 */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { launcher } = chosen
  const fits = Buffer.byteLength(options.input ?? '') <= MAX_LAUNCH_INPUT_BYTES
  return launcher?.alive && fits
    ? runLaunched(launcher, [program, ...args], options)
    : runSpawned(program, args, options)
}

/** Does system calls in a process of their own; see kernel_calls.ts, which words them. */
export function runCalls(calls: readonly string[], options: { cwd?: string } = {}): Promise<RunResult> {
  const { launcher } = chosen
  if (launcher?.alive) return runLaunched(launcher, [], { ...options, calls })
  return runSpawned('perl', ['-e', CALLS_SCRIPT], { ...options, input: calls.join('\0') })
}

/** Throws `internal` with what is said of the first that fails. */
export async function callsOk(calls: readonly string[], options: { cwd?: string } = {}): Promise<void> {
  const { exitCode, stderr } = await runCalls(calls, options)
  if (exitCode !== 0) throw new DroverError('internal', stderr.trim() || `system calls ended with ${exitCode}`)
}

/** What the launcher has heard of our network namespace since it was asked last. */
export async function networkNews(): Promise<NetworkNews | undefined> {
  const { launcher } = chosen
  if (!launcher?.alive) return undefined
  return parseNews((await runLaunched(launcher, [], { news: true })).stdout)
}

function runSpawned(program: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const { input, cwd, env, timeoutMs = DEFAULT_TIMEOUT_MS, keepOnTimeout = false, signal } = options
  const limit = options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES
  return new Promise((resolve, reject) => {
    const spawnOptions: SpawnOptions = {
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      killSignal: 'SIGKILL',
      ...(cwd === undefined ? {} : { cwd }),
      ...(env === undefined ? {} : { env }),
      ...(signal === undefined ? {} : { signal }),
    }
    const child = spawn(program, args, spawnOptions)
    const stdout = collect(child.stdout, limit)
    const stderr = collect(child.stderr, limit)
    // Not Node's own `timeout`: that one goes on when the program cannot be started, and holds the process up for as long.
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
    child.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      const cancelled = error.name === 'AbortError'
      reject(
        cancelled
          ? new DroverError('cancelled', `${program} was cancelled`, { cause: error })
          : startFailure(program, error),
      )
    })
    child.on('close', (code, killSignal) => {
      clearTimeout(timer)
      const timedOut = killSignal === 'SIGKILL' && child.killed && !signal?.aborted
      if (timedOut && !keepOnTimeout) {
        reject(new DroverError('timeout', `${program} ${args.join(' ')} did not finish within ${timeoutMs} ms`))
        return
      }
      resolve({
        exitCode: code ?? 128 + (SIGNAL_NUMBERS[killSignal ?? ''] ?? 0),
        stdout: stdout.text(),
        stderr: stderr.text(),
        truncated: stdout.truncated || stderr.truncated,
        ...(timedOut ? { timedOut } : {}),
      })
    })
    if (input !== undefined && child.stdin !== null) {
      // A program that ends before it has read its input is judged by its exit code, not by EPIPE.
      child.stdin.on('error', () => undefined)
      child.stdin.end(input)
    }
  })
}

function runLaunched(
  launcher: Launcher,
  argv: readonly string[],
  options: RunOptions & Pick<LaunchOptions, 'calls' | 'news'>,
): Promise<RunResult> {
  const { calls = [], news = false, cwd, env, input, signal, timeoutMs = DEFAULT_TIMEOUT_MS } = options
  const [program = 'system calls'] = argv
  const limit = options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES
  const [stdout, stderr] = [new Collected(limit), new Collected(limit)]
  return new Promise((resolve, reject) => {
    if (signal?.aborted) throw new DroverError('cancelled', `${program} was cancelled`, { cause: signal.reason })
    const launched = launcher.launch(argv, {
      calls,
      news,
      onStdout: (data) => stdout.add(data),
      onStderr: (data) => stderr.add(data),
      ...(cwd === undefined ? {} : { cwd }),
      ...(env === undefined ? {} : { env }),
      ...(input === undefined ? {} : { input }),
    })
    const kill = (error: DroverError): void => {
      launched.kill(SIGKILL)
      reject(error)
    }
    const onAbort = (): void =>
      kill(new DroverError('cancelled', `${program} was cancelled`, { cause: signal?.reason }))
    const result = (exitCode: number): RunResult => ({
      exitCode,
      stdout: stdout.text(),
      stderr: stderr.text(),
      truncated: stdout.truncated || stderr.truncated,
    })
    const onTimeout = (): void => {
      if (options.keepOnTimeout === true) resolve({ ...result(128 + SIGKILL), timedOut: true })
      kill(new DroverError('timeout', `${argv.join(' ') || program} did not finish within ${timeoutMs} ms`))
    }
    const timer = setTimeout(onTimeout, timeoutMs)
    signal?.addEventListener('abort', onAbort, { once: true })
    const over = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    launched.ended.then(
      (end) => {
        over()
        resolve(result(end.signal > 0 ? 128 + end.signal : end.code))
      },
      (error: NodeJS.ErrnoException) => {
        over()
        reject(startFailure(program, error))
      },
    )
  })
}

function startFailure(program: string, error: NodeJS.ErrnoException): DroverError {
  if (error.code === 'ENOENT') return new DroverError('unsupported', `program ${program} not found`, { cause: error })
  return new DroverError('internal', `cannot run ${program}: ${error.message}`, { cause: error })
}

/** Runs a program and throws `internal` with its standard error unless it ends with 0. */
export async function runOk(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(program, args, options)
  if (result.exitCode !== 0) {
    const said = result.stderr.trim() || result.stdout.trim() || 'no output'
    throw new DroverError('internal', `${program} ${args.join(' ')} ended with ${result.exitCode}: ${said}`)
  }
  return result.stdout
}

/** Starts a program whose lifetime the caller manages. */
export function start(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  return spawn(program, args, options)
}

/** A program that reports on its file descriptor 3 and may leave children behind that do so in its stead. */
export interface Reporting {
  /** What it reports; ends when nobody is left who could. */
  report: Readable
  /** What it has said on standard error, to a bound. */
  said(): string
  /** Rejects when it cannot be started. */
  failed: Promise<never>
  /** Lets one that is held begin. */
  go(): void
  /** Ends it, whether it is held or not. */
  kill(): void
  /** The program that was started has ended; what it has left behind may run on. Never rejects. */
  ended: Promise<void>
  /** Closes its pipes on our side; it runs on. Until then one may wait for its end. */
  release(): void
}

export interface ReportingOptions {
  /** The calls may make it. */
  cwd: string
  env: NodeJS.ProcessEnv
  /** To be done first, by the program's own process before it becomes the program. */
  calls?: readonly string[]
  /** Its file descriptor 4 can be read from once `go` has been called. */
  held?: boolean
}

const MAX_SAID_BYTES = 64 << 10

/** Starts a program in a session of its own, without input, its output going nowhere. */
export async function startReporting(
  program: string,
  args: readonly string[],
  options: ReportingOptions,
): Promise<Reporting> {
  const { launcher } = chosen
  if (launcher?.alive) return reportingLaunched(launcher, [program, ...args], options)
  const { calls = [] } = options
  if (calls.length > 0) await callsOk(calls)
  return reportingSpawned(program, args, options)
}

function reportingLaunched(
  launcher: Launcher,
  argv: readonly string[],
  { calls = [], ...options }: ReportingOptions,
): Reporting {
  const [program = ''] = argv
  const said = new Collected(MAX_SAID_BYTES)
  const report = new PassThrough()
  const launched = launcher.launch(argv, {
    ...options,
    calls,
    detached: true,
    quiet: true,
    onReport: (data) => (data.length === 0 ? report.end() : report.write(data)),
    onStderr: (data) => said.add(data),
  })
  const failed = new Promise<never>((_, reject) => {
    launched.ended.catch((error: NodeJS.ErrnoException) => reject(startFailure(program, error)))
  })
  failed.catch(() => undefined)
  const ended = launched.ended.then(
    () => undefined,
    () => undefined,
  )
  const release = (): void => {
    launched.release()
    report.destroy()
  }
  const kill = (): void => launched.kill(SIGKILL)
  return { report, said: () => said.text(), failed, ended, go: launched.go, kill, release }
}

function reportingSpawned(
  program: string,
  args: readonly string[],
  { cwd, env, held = false }: ReportingOptions,
): Reporting {
  const said = new Collected(MAX_SAID_BYTES)
  const child = spawn(program, args, {
    cwd,
    env,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', ...(held ? (['pipe'] as const) : [])],
    detached: true,
  })
  child.stderr?.on('data', (chunk: Buffer) => said.add(chunk))
  const report = child.stdio[3] as Readable
  const start = held ? (child.stdio[4] as Writable) : undefined
  start?.on('error', () => undefined)
  const failed = new Promise<never>((_, reject) => {
    child.on('error', (error) => reject(startFailure(program, error)))
  })
  failed.catch(() => undefined)
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()).on('error', () => resolve()))
  const release = (): void => {
    report.destroy()
    child.stderr?.destroy()
  }
  const go = (): void => void start?.end('x')
  return { report, said: () => said.text(), failed, ended, go, kill: () => void child.kill('SIGKILL'), release }
}

class Collected {
  readonly #limit: number
  readonly #chunks: Buffer[] = []
  #size = 0
  truncated = false

  constructor(limit: number) {
    this.#limit = limit
  }

  add(chunk: Buffer): void {
    if (this.#size >= this.#limit) this.truncated = true
    else this.#chunks.push(chunk)
    this.#size += chunk.length
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString('utf8')
  }
}

function collect(stream: NodeJS.ReadableStream | null, limit: number): Collected {
  const collected = new Collected(limit)
  stream?.on('data', (chunk: Buffer) => collected.add(chunk))
  return collected
}
