/** The client's commands in this process, against any API server that a kubeconfig names. */
import { Readable, Writable } from 'node:stream'
import { systemClock } from '../../src/base/clock.ts'
import type { Io } from '../../src/cli/context.ts'
import { registerClientCommands } from '../../src/cli/program.ts'
import { createProgram } from '../../src/cli/root.ts'

export interface CliRun {
  /** All of it so far, byte by byte. */
  stdout(): Buffer
  stderr(): string
  /** As the first Ctrl-C does. */
  interrupt(): void
  /** Rejects with what the command failed by. */
  ended: Promise<void>
}

class Sink extends Writable {
  readonly chunks: Buffer[] = []

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.chunks.push(chunk)
    done()
  }
}

export function runCli(kubeconfig: string, args: readonly string[]): CliRun {
  const [stdout, stderr] = [new Sink(), new Sink()]
  const stop = new AbortController()
  const io = {
    stdin: Readable.from([]),
    stdout,
    stderr,
    env: { KUBECONFIG: kubeconfig },
    clock: systemClock,
    signal: stop.signal,
  } as unknown as Io
  const program = createProgram('0.0.0')
  registerClientCommands(program, io, '0.0.0')
  const ended = program.parseAsync([...args], { from: 'user' }).then(() => undefined)
  // Whoever does not wait for its end does not mind how it failed.
  ended.catch(() => undefined)
  return {
    stdout: () => Buffer.concat(stdout.chunks),
    stderr: () => Buffer.concat(stderr.chunks).toString(),
    interrupt: () => stop.abort(),
    ended,
  }
}
