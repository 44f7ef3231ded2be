/**
 * conmon: the small monitor that stays with each container, holds its standard streams, writes its log and leaves its
 * exit code in a file. It tells the caller once, on a pipe, that the container is made (its pid) or why it is not.
 * Source: containers/conmon, src/conmon.c and src/parent_pipe_fd.c.
 */
import type { ChildProcess } from 'node:child_process'
import { readdirSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import type { KernelCall } from '../../base/kernel_calls.ts'
import { type Reporting, startReporting } from '../../base/process.ts'
import { readText } from '../../base/records.ts'
import { type OciRuntime, runtimeError } from './oci_runtime.ts'

export interface ConmonCommon {
  conmon: string
  runtime: OciRuntime
  socketDirectory: string
  exitDirectory: string
}

export interface CreateOptions extends ConmonCommon {
  id: string
  bundle: string
  conmonPidFile: string
  initPidFile: string
  logPath: string
  tty: boolean
  stdin: boolean
  stdinOnce: boolean
  /** At an OOM kill conmon leaves a file `oom` there. */
  cwd: string
  /** Done by conmon's process before it becomes conmon: they make what it needs. */
  calls: readonly KernelCall[]
}

/** What conmon says on its pipe. Negative: it failed, and the message says why. */
export interface ConmonReport {
  data: number
  message: string
}

/** Beyond this, what conmon says is cut off. */
const MAX_REPORT_BYTES = 64 << 10

export function commonArgs(options: ConmonCommon, id: string, bundle: string): string[] {
  return [
    '--api-version=1',
    `--cid=${id}`,
    `--cuuid=${id}`,
    `--name=${id}`,
    `--bundle=${bundle}`,
    `--runtime=${options.runtime.program}`,
    ...options.runtime.globals.map((argument) => `--runtime-arg=${argument}`),
    `--exit-dir=${options.exitDirectory}`,
    `--socket-dir-path=${options.socketDirectory}`,
    '--full-attach',
    '--no-sync-log',
  ]
}

/** A monitor that comes up and waits: what it takes to start a program is over before the container may be created. */
export interface Monitor {
  /**
   * Has it create the container. Resolves with the pid of the container's init, which waits to be started. Rejects with `invalid`
   * where the runtime says that its program cannot be started. Once it has rejected, its calls are over and done with; a monitor
   * may run on. The exception is a launcher that has died: its child may still be at them, here and after `dismiss`.
   */
  create(signal: AbortSignal): Promise<number>
  /** Instead of `create`: it ends and leaves nothing but what its calls have made. */
  dismiss(): Promise<void>
}

/** Starts conmon, which waits on its start pipe before it does anything but open the log. */
export async function startMonitor(options: CreateOptions): Promise<Monitor> {
  const args = [
    ...commonArgs(options, options.id, options.bundle),
    `--conmon-pidfile=${options.conmonPidFile}`,
    `--container-pidfile=${options.initPidFile}`,
    `--log-path=k8s-file:${options.logPath}`,
    ...(options.tty ? ['--terminal'] : []),
    ...(options.stdin ? ['--stdin'] : []),
    ...(options.stdin && !options.stdinOnce ? ['--leave-stdin-open'] : []),
  ]
  const started = await startReporting(options.conmon, args, {
    calls: options.calls.flat(),
    env: conmonEnvironment({ _OCI_SYNCPIPE: '3', _OCI_STARTPIPE: '4' }),
    cwd: options.cwd,
    held: true,
  })
  return {
    async create(signal) {
      started.go()
      const report = await firstReport(options.id, started, signal)
      if (report.data < 0) throw runtimeError(report.message || 'the OCI runtime failed and did not say why')
      return report.data
    },
    async dismiss() {
      const { report, failed, kill, release } = started
      kill()
      // Until it is gone it may still make what its calls make.
      await Promise.race([finished(report.resume()), failed]).catch(() => undefined)
      release()
    },
  }
}

/** Those that live, by their command lines. */
export function listMonitors(exitDirectory: string): { id: string; pid: number }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const args = (readText(`/proc/${pid}/cmdline`) ?? '').split('\0')
      // The monitors of terminals that exec opens carry a pid file's name of their own and end with their program.
      if (!args.includes(`--exit-dir=${exitDirectory}`) || args.includes('--exec')) return []
      const id = args.find((arg) => arg.startsWith('--cid='))?.slice('--cid='.length)
      return id === undefined ? [] : [{ id, pid: Number(pid) }]
    })
}

/** conmon and the runtime need no more of our environment. */
export function conmonEnvironment(extra: Record<string, string>): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', ...extra }
}

/** Lines of JSON from one of conmon's pipes. The pipe is closed when the caller stops reading. */
export async function* reports(pipe: Readable): AsyncGenerator<ConmonReport> {
  let text = ''
  for await (const chunk of pipe) {
    text += String(chunk)
    if (text.length > MAX_REPORT_BYTES) throw new DroverError('internal', 'conmon sent too long a report')
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      yield parseReport(text.slice(0, end))
      text = text.slice(end + 1)
    }
  }
}

export function parseReport(line: string): ConmonReport {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new DroverError('internal', `conmon sent ${JSON.stringify(line.slice(0, 200))}`, { cause: error })
  }
  if (!isObject(value) || typeof value.data !== 'number') {
    throw new DroverError('internal', `conmon sent ${JSON.stringify(line.slice(0, 200))}`)
  }
  return { data: value.data, message: typeof value.message === 'string' ? value.message.trim() : '' }
}

/** Collects what a child says on stderr, and turns a failed spawn into an error. */
export function watchStderr(child: ChildProcess): { failed: Promise<never>; text(): string } {
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    if (said.length < MAX_REPORT_BYTES) said += chunk.toString('utf8')
  })
  const failed = new Promise<never>((_, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) => {
      const code = error.code === 'ENOENT' ? 'unsupported' : 'internal'
      reject(new DroverError(code, `cannot run ${child.spawnfile}: ${error.message}`, { cause: error }))
    })
  })
  failed.catch(() => undefined)
  return { failed, text: () => said.trim() }
}

async function firstReport(id: string, started: Reporting, signal: AbortSignal): Promise<ConmonReport> {
  const { report, said, failed, ended, kill, release } = started
  const onAbort = (): void => {
    // Past the fork that makes it a daemon this reaches nobody.
    kill()
    void ended.then(() => report.destroy())
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([readFirst(report, id, said), failed])
  } catch (error) {
    throw signal.aborted ? new DroverError('cancelled', 'cancelled', { cause: signal.reason }) : error
  } finally {
    signal.removeEventListener('abort', onAbort)
    release()
  }
}

async function readFirst(pipe: Readable, id: string, said: () => string): Promise<ConmonReport> {
  for await (const report of reports(pipe)) return report
  throw new DroverError('internal', `container ${id} was not made: ${said() || 'its monitor ended without a word'}`)
}
