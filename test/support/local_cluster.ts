/** A local cluster from the built program, for end-to-end tests: started, asked, and always taken down. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { localKubeconfig, localStateDir } from '../../src/base/paths.ts'

export const ROOT = resolve(import.meta.dirname, '../..')
/** The built program; benchmarks have a build of their own. */
export const DROVER = process.env.DROVER_PROGRAM ?? join(ROOT, 'dist/drover.js')

export interface Outcome {
  code: number
  stdout: string
  stderr: string
}

export interface RunProgramOptions {
  input?: string
  env?: NodeJS.ProcessEnv
  timeoutMs?: number
}

/** Runs a program to its end; never rejects for its exit code. */
export function runProgram(
  program: string,
  args: readonly string[],
  options: RunProgramOptions = {},
): Promise<Outcome> {
  const { input, env = {}, timeoutMs = 120_000 } = options
  return new Promise((done) => {
    const settings = { env: { ...process.env, ...env }, timeout: timeoutMs, maxBuffer: 64 << 20 }
    const child = execFile(program, [...args], settings, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 255
      done({ code, stdout, stderr })
    })
    // A program that ends before it has read its input is judged by its exit code, not by EPIPE.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input ?? '')
  })
}

/** Runs a program and returns its output; throws with all that it said when it fails. */
export async function output(
  program: string,
  args: readonly string[],
  options: RunProgramOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await runProgram(program, args, options)
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}\n${stdout}${stderr}`)
  return stdout
}

export interface ClusterRecord {
  subnet: string
  apiPort: number
  hosts: { name: string }[]
}

export class LocalCluster {
  readonly name: string

  constructor(name = `drvt-${randomBytes(3).toString('hex')}`) {
    this.name = name
  }

  up(...flags: string[]): Promise<Outcome> {
    return runProgram(process.execPath, [DROVER, 'up', '--cluster', this.name, ...flags])
  }

  /** Starts it or throws with what was printed and the ends of the logs. */
  async start(...flags: string[]): Promise<Outcome> {
    const outcome = await this.up(...flags)
    if (outcome.code === 0) return outcome
    const logs = await runProgram('sh', ['-c', 'tail -n 20 "$0"/logs/*.log', localStateDir(this.name)])
    throw new Error(`drover up ended with ${outcome.code}\n${outcome.stdout}${outcome.stderr}\n${logs.stdout}`)
  }

  down(...flags: string[]): Promise<Outcome> {
    return runProgram(process.execPath, [DROVER, 'down', '--cluster', this.name, ...flags])
  }

  /** Removes everything, also after a test that failed half-way. */
  async remove(): Promise<void> {
    const { code, stderr } = await this.down('--purge')
    if (code !== 0 && !stderr.includes('there is no local cluster')) throw new Error(`down --purge failed: ${stderr}`)
  }

  /** Breaks or heals the cluster on purpose, e.g. `chaos('partition', '2', '--from', 'server')`. */
  chaos(...args: string[]): Promise<string> {
    return this.ask('chaos', ...args)
  }

  /** What is broken on purpose now. */
  async chaosFacts(): Promise<{ target: string; fault: string; detail: string }[]> {
    return JSON.parse(await this.ask('chaos', 'ls', '-o', 'json')) as {
      target: string
      fault: string
      detail: string
    }[]
  }

  drover(args: readonly string[], options: RunProgramOptions = {}): Promise<Outcome> {
    return runProgram(process.execPath, [DROVER, '--cluster', this.name, ...args], options)
  }

  /** Output of a drover command that must succeed. */
  ask(...args: string[]): Promise<string> {
    return output(process.execPath, [DROVER, '--cluster', this.name, ...args])
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.ask(...args, '-o', 'json')) as T
  }

  async apply(manifest: object | object[]): Promise<string> {
    const text = [manifest]
      .flat()
      .map((item) => JSON.stringify(item))
      .join('\n---\n')
    return output(process.execPath, [DROVER, '--cluster', this.name, 'apply', '-f', '-'], { input: text })
  }

  kubectl(...args: string[]): Promise<string> {
    const cache = join(localStateDir(this.name), 'kubectl-cache')
    return output('kubectl', ['--kubeconfig', localKubeconfig(this.name), '--cache-dir', cache, ...args])
  }

  record(): ClusterRecord {
    return JSON.parse(readFileSync(join(localStateDir(this.name), 'cluster.json'), 'utf8')) as ClusterRecord
  }

  /** Address of host number `index`, from 1, on the underlay. */
  hostAddress(index: number): string {
    return this.record().subnet.replace(/0\/24$/, String(index + 1))
  }

  /** Process id of a supervised process: `server`, `agent-HOST`, `supervisor`. */
  pid(name: string): number {
    const text = readFileSync(join('/run/drover', this.name, 'pids', `${name}.json`), 'utf8')
    return (JSON.parse(text) as { pid: number }).pid
  }
}
