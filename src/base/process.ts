/**
 * The only door to other programs. Arguments are arrays: nothing here goes through a shell.
 * Rejected: child_process in each driver, which had each of them bound output and time in its own way.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { DroverError } from './errors.ts'

export interface RunOptions {
  /** Written to the program's standard input, which is then closed. */
  input?: string | Uint8Array
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** The program is killed when this much time has passed. Default 30 s. */
  timeoutMs?: number
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
}

const DEFAULT_TIMEOUT_MS = 30_000
const DEFAULT_MAX_OUTPUT_BYTES = 4 << 20
const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 }

/** Runs a program to its end. Rejects only when it cannot be started, runs out of time or is cancelled. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { input, cwd, env, timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options
  const limit = options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES
  return new Promise((resolve, reject) => {
    const spawnOptions: SpawnOptions = {
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      ...(cwd === undefined ? {} : { cwd }),
      ...(env === undefined ? {} : { env }),
      ...(signal === undefined ? {} : { signal }),
    }
    const child = spawn(program, args, spawnOptions)
    const stdout = collect(child.stdout, limit)
    const stderr = collect(child.stderr, limit)
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.name === 'AbortError')
        reject(new DroverError('cancelled', `${program} was cancelled`, { cause: error }))
      else if (error.code === 'ENOENT')
        reject(new DroverError('unsupported', `program ${program} not found`, { cause: error }))
      else reject(new DroverError('internal', `cannot run ${program}: ${error.message}`, { cause: error }))
    })
    child.on('close', (code, killSignal) => {
      if (killSignal === 'SIGKILL' && child.killed && !signal?.aborted) {
        reject(new DroverError('timeout', `${program} ${args.join(' ')} did not finish within ${timeoutMs} ms`))
        return
      }
      resolve({
        exitCode: code ?? 128 + (SIGNAL_NUMBERS[killSignal ?? ''] ?? 0),
        stdout: stdout.text(),
        stderr: stderr.text(),
        truncated: stdout.truncated() || stderr.truncated(),
      })
    })
    if (input !== undefined && child.stdin !== null) {
      // A program that ends before it has read its input is judged by its exit code, not by EPIPE.
      child.stdin.on('error', () => undefined)
      child.stdin.end(input)
    }
  })
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

function collect(stream: NodeJS.ReadableStream | null, limit: number): { text(): string; truncated(): boolean } {
  const chunks: Buffer[] = []
  let size = 0
  let truncated = false
  stream?.on('data', (chunk: Buffer) => {
    if (size >= limit) truncated = true
    else chunks.push(chunk)
    size += chunk.length
  })
  return { text: () => Buffer.concat(chunks).toString('utf8'), truncated: () => truncated }
}
