/** Calls of the OCI runtime (runc, crun): the few commands that do not go through conmon. */
import { DroverError } from '../../base/errors.ts'
import { run } from '../../base/process.ts'

export interface OciRuntime {
  program: string
  /** Arguments before any command. */
  globals: readonly string[]
  /** Rejects with `invalid` where the program cannot be started. */
  start(id: string): Promise<void>
  /** Removes a stopped container; a container that the runtime does not know is no error. */
  delete(id: string): Promise<void>
  version(): Promise<{ name: string; version: string }>
}

const CALL_TIMEOUT_MS = 30_000

export function createOciRuntime(program: string, ociRoot: string): OciRuntime {
  const globals = [`--root=${ociRoot}`]

  async function call(args: readonly string[]): Promise<string> {
    const result = await run(program, [...globals, ...args], { timeoutMs: CALL_TIMEOUT_MS })
    if (result.exitCode === 0) return result.stdout
    throw runtimeError(result.stderr.trim() || result.stdout.trim() || `exit code ${result.exitCode}`)
  }

  return {
    program,
    globals,
    async start(id) {
      await call(['start', id])
    },
    async delete(id) {
      try {
        await call(['delete', id])
      } catch (error) {
        if (isUnknown(error)) return
        // Not stopped in the runtime's eyes, or half made.
        await call(['delete', '--force', id]).catch((forced: unknown) => {
          if (!isUnknown(forced)) throw forced
        })
      }
    },
    async version() {
      const { stdout } = await run(program, ['--version'], { timeoutMs: CALL_TIMEOUT_MS })
      const match = /^(\S+) version v?(\d[\w.]*)/m.exec(stdout)
      if (match === null) {
        throw new DroverError(
          'unsupported',
          `${program} --version says ${JSON.stringify(stdout.slice(0, 100))}: no OCI runtime?`,
        )
      }
      return { name: match[1] ?? '', version: match[2] ?? '' }
    },
  }
}

function isUnknown(error: unknown): boolean {
  return error instanceof DroverError && /does not exist|no such container/i.test(error.message)
}

/** Why the kernel would not make a file the program, or enter a directory: what is wrong lies in the image or the pod, and stays wrong. */
const WRONG_FILE =
  'executable file not found in \\$PATH|cannot run executable found relative to current directory|no such file or directory|permission denied|operation not permitted|not a directory|is a directory|file exists|read-only file system|too many levels of symbolic links|file name too long|exec format error'

/**
 * How runc (`libcontainer/{standard_init,init,rootfs,process}_linux.go`) and crun (`src/libcrun/{container,utils}.c`) say that the
 * program cannot be started. Each has to fit to the message's end: the same errors of mounts, devices and cgroups are the machine's.
 */
const PROGRAM_FAULTS: readonly RegExp[] = [
  // runc, which looks the program up before it waits; and what it makes of a working directory.
  new RegExp(`: exec: ".*": (?:[a-z]+ .*: )?(?:${WRONG_FILE})$`, 's'),
  new RegExp(`: chdir to cwd \\(".*"\\) set in config\\.json failed: (?:${WRONG_FILE})$`, 's'),
  new RegExp(`: error during container init: mkdir /.*: (?:${WRONG_FILE})$`, 's'),
  /: container init was OOM-killed \(memory limit too low\?\)/,
  /: unable to set memory limit to \d+ \(current usage: \d+, peak usage: \d+\)$/,
  // crun up to 1.20, and newer.
  new RegExp(`^open executable: (?:${WRONG_FILE})$`, 'is'),
  /^executable file `.*` not found(?: in \$PATH)?: No such file or directory$/s,
  /^cannot find `.*` in \$PATH: No such file or directory$/s,
  /^the path `.*` (?:exists but it is not executable|is not a regular file): Operation not permitted$/s,
  new RegExp(`^chdir (?:to )?\`.*\`: (?:${WRONG_FILE})$`, 'is'),
  /^OOM: the memory limit could be too low\b/,
]

/**
 * What the runtime said when it did not create or start a container. `invalid`: it blames the container's program, and would say the
 * same the next time; all else may pass.
 */
export function runtimeError(said: string): DroverError {
  const message = plainMessage(said)
  const isPrograms = PROGRAM_FAULTS.some((fault) => fault.test(message))
  return new DroverError(isPrograms ? 'invalid' : 'internal', message)
}

/** What the runtime was asked for, or what it has against the container's program. */
export async function unlessFaulty<T>(asked: Promise<T>): Promise<{ value: T } | { fault: string }> {
  try {
    return { value: await asked }
  } catch (error) {
    if (error instanceof DroverError && error.code === 'invalid') return { fault: error.message }
    throw error
  }
}

/** runc logs `time=… level=error msg="…"` on stderr; only the message is of interest, and the last says most. */
export function plainMessage(said: string): string {
  const messages = [...said.matchAll(/level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"/g)].map((match) => match[1] ?? '')
  const last = messages.at(-1) ?? said.split('\n').filter(Boolean).at(-1) ?? said
  return last.replace(/\\(["\\])/g, '$1').trim()
}

/** Releases before the fixes of CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881 (1.2.8, 1.3.3, 1.4). */
export function hasContainerEscape(name: string, version: string): boolean {
  if (name !== 'runc') return false
  const [major = 0, minor = 0, patch = 0] = version.split('.').map((part) => Number.parseInt(part, 10))
  if (major !== 1) return major < 1
  if (minor === 2) return patch < 8
  if (minor === 3) return patch < 3
  return minor < 2
}

/** The program was never run: the codes that a shell would give, and what the runtime says. */
export function refused(said: string): { exitCode: number; output: string } {
  const output = plainMessage(said)
  if (/executable file .*not found|no such file or directory/i.test(output)) return { exitCode: 127, output }
  if (/permission denied|open executable|exec format error|is a directory|not a directory|cwd|chdir/i.test(output)) {
    return { exitCode: 126, output }
  }
  throw new DroverError('internal', output === '' ? 'the OCI runtime failed to exec and did not say why' : output)
}
