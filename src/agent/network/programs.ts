/**
 * The programs that the network driver runs: `ip`, `bridge`, `nft`, `conntrack`, `sysctl`, always with many commands to
 * one process. `enter` is put before each (`nsenter --net=FILE`), so that one process can serve several hosts.
 *
 * What happens for each pod is said by messages instead (netlink.ts). Rejected for all else: `ip -batch` is there, stable, and can
 * be repeated by hand by whoever looks for a fault.
 */
import { DroverError } from '../../base/errors.ts'
import { enterNetworkCall, type KernelCall, kernelCalls } from '../../base/kernel_calls.ts'
import { type RunResult, run } from '../../base/process.ts'
import { readText } from '../../base/records.ts'

export interface Programs {
  /** Runs `ip -batch -`; nothing at all for no commands. */
  ip(commands: readonly string[]): Promise<void>
  /** The same in the network namespace of a file. */
  ipIn(netNamespacePath: string, commands: readonly string[]): Promise<void>
  /** Does the kernel's calls in the host's namespace. */
  calls(calls: readonly KernelCall[]): Promise<void>
  bridge(commands: readonly string[]): Promise<void>
  /** One atomic transaction. */
  nft(script: string): Promise<void>
  /** The same, as a message. */
  transact(call: KernelCall): Promise<void>
  /** Runs any program in the host's namespace and leaves the verdict to the caller. */
  run(program: string, args: readonly string[], input?: string): Promise<RunResult>
  /** Runs a program that prints JSON, and parses it; no output is an empty array. */
  json(program: string, args: readonly string[]): Promise<unknown>
  /** Several listings of `ip` by one process, with details, of IPv4. */
  ipJson(commands: readonly string[]): Promise<unknown[]>
  /** Values of kernel settings; empty for one that there is not. */
  settings(names: readonly string[]): Promise<string[]>
  jsonIn(netNamespacePath: string, program: string, args: readonly string[]): Promise<unknown>
}

/** Listings of a node with thousands of services are some megabytes. */
const MAX_OUTPUT_BYTES = 128 << 20
const MISSING_PROGRAM = 127

export function entering(namespacePath: string | undefined): readonly string[] {
  return namespacePath === undefined ? [] : ['nsenter', `--net=${namespacePath}`]
}

export function failure(what: string, result: RunResult): DroverError {
  const said = result.stderr.trim() || result.stdout.trim() || 'no output'
  if (/operation not permitted|permission denied/i.test(said)) {
    return new DroverError('forbidden', `${what}: ${said}; the agent needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN)`)
  }
  if (result.exitCode === MISSING_PROGRAM) return new DroverError('unsupported', `${what}: ${said}`)
  return new DroverError('internal', `${what} ended with ${result.exitCode}: ${said}`)
}

/** `namespacePath`: the host's network namespace; absent: our own. `enter`: what is put before each program, else what goes in there. */
export function createPrograms(namespacePath: string | undefined, enter = entering(namespacePath)): Programs {
  const exec = (prefix: readonly string[], program: string, args: readonly string[], input?: string) => {
    const [first = program, ...rest] = [...prefix, program, ...args]
    const options = { maxOutputBytes: MAX_OUTPUT_BYTES, ...(input === undefined ? {} : { input }) }
    return run(first, rest, options)
  }
  const batch = async (prefix: readonly string[], program: string, commands: readonly string[]) => {
    if (commands.length === 0) return
    const result = await exec(prefix, program, ['-batch', '-'], `${commands.join('\n')}\n`)
    if (result.exitCode !== 0) throw failure(`${program} -batch (${commands.length} commands)`, result)
  }
  const json = async (prefix: readonly string[], program: string, args: readonly string[]): Promise<unknown> => {
    const result = await exec(prefix, program, args)
    if (result.exitCode !== 0) throw failure(`${program} ${args.join(' ')}`, result)
    return result.stdout.trim() === '' ? [] : JSON.parse(result.stdout)
  }
  const calls = (given: readonly KernelCall[]): Promise<void> =>
    kernelCalls(namespacePath === undefined ? given : [enterNetworkCall(namespacePath), ...given])
  return {
    ip: (commands) => batch(enter, 'ip', commands),
    ipIn: (path, commands) => batch(entering(path), 'ip', commands),
    calls,
    transact: (call) => calls([call]),
    bridge: (commands) => batch(enter, 'bridge', commands),
    async nft(script) {
      const result = await exec(enter, 'nft', ['-f', '-'], script)
      if (result.exitCode !== 0) throw failure('nft', result)
    },
    run: (program, args, input) => exec(enter, program, args, input),
    json: (program, args) => json(enter, program, args),
    async ipJson(commands) {
      const result = await exec(enter, 'ip', ['-j', '-d', '-4', '-batch', '-'], `${commands.join('\n')}\n`)
      if (result.exitCode !== 0) throw failure(`ip -batch (${commands.join(', ')})`, result)
      const lines = result.stdout.trim().split('\n')
      if (lines.length === commands.length) return lines.map((line) => JSON.parse(line) as unknown)
      throw new DroverError('internal', `ip -batch printed ${lines.length} lists for ${commands.length} commands`)
    },
    settings: (names) => Promise.all(names.map((name) => setting(enter, exec, name))),
    jsonIn: (path, program, args) => json(entering(path), program, args),
  }
}

type Exec = (prefix: readonly string[], program: string, args: readonly string[]) => Promise<RunResult>

/** The file shows the reader's own namespace: no program is needed for that one. */
async function setting(enter: readonly string[], exec: Exec, name: string): Promise<string> {
  const path = `/proc/sys/${name.replaceAll('.', '/')}`
  const text = enter.length === 0 ? (readText(path) ?? '') : (await exec(enter, 'cat', [path])).stdout
  return text.trim()
}

/** Runs pieces of work one after the other, whatever becomes of each. */
export function createSerial(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const next = last.then(work, work)
    last = next.catch(() => undefined)
    return next
  }
}
