#!/usr/bin/env node
/** The program: the client's commands, local clusters, and the two roles, which are loaded only when they run. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Command, CommanderError } from 'commander'
import { systemClock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { Io } from '../cli/context.ts'
import { ExitCode, exitCodeFor } from '../cli/exit_code.ts'
import { createProgram } from '../cli/root.ts'
import { runLean } from './lean.ts'
import { registerRoles } from './roles.ts'

const script = fileURLToPath(import.meta.url)
const root = dirname(dirname(script))

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  return version
}

/** The first SIGINT or SIGTERM asks for a clean end; the second ends at once. */
function interruption(): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(130)
      controller.abort(new DroverError('cancelled', `stopped by ${signal}`))
    })
  }
  return controller.signal
}

const ROLES = new Set(['server', 'agent'])
const LOCAL = new Set(['up', 'down', 'check', 'kubeconfig', 'clusters', 'supervise', 'chaos', 'help'])

async function createFullProgram(io: Io, version: string): Promise<Command> {
  const program = createProgram(version)
  const words = process.argv.slice(2)
  // A role runs for months: it does not hold the client's commands in memory.
  if (ROLES.has(words[0] ?? '')) {
    if (words[0] === 'agent') runLean()
    registerRoles(program, io, version)
    return program
  }
  // Local clusters are a good part of the program: loaded when named, or to be listed in the help.
  if (words.some((word) => LOCAL.has(word)) || words.every((word) => word.startsWith('-'))) {
    const { registerLocalCommands } = await import('../local/commands.ts')
    const self = { node: process.execPath, script }
    registerLocalCommands(program, { io, self, examples: join(root, 'deploy', 'examples') })
  }
  const { registerClientCommands } = await import('../cli/program.ts')
  registerClientCommands(program, io, version)
  if (words.includes('etcd')) {
    const { registerEtcdRestore } = await import('./etcd_restore.ts')
    registerEtcdRestore(program, io)
  }
  registerRoles(program, io, version)
  return program
}

async function main(): Promise<number> {
  const io: Io = {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    clock: systemClock,
    signal: interruption(),
  }
  // A reader that has seen enough (`drover logs | head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
  try {
    const program = await createFullProgram(io, packageVersion())
    exitByException(program)
    await program.parseAsync(process.argv)
    return 0
  } catch (thrown) {
    if (thrown instanceof ExitCode) return thrown.code
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2
    const error = DroverError.from(thrown)
    if (io.signal.aborted) return 130
    process.stderr.write(`Error: ${error.message}\n`)
    if (error.code === 'internal' && process.env.DROVER_DEBUG !== undefined) process.stderr.write(`${error.stack}\n`)
    return exitCodeFor(error.code)
  }
}

/** Wrong usage comes back as an exception at every level, so that it can have its own exit code. */
function exitByException(command: Command): void {
  command.exitOverride()
  for (const child of command.commands) exitByException(child)
}

process.exitCode = await main()
