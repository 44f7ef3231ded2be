/**
 * A server and agents as on machines of their own: started by the command lines of the systemd units, in the root
 * namespace and in hosts made by hand on one bridge, and joined by tokens.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import {
  createHostsNetwork,
  type HostInterface,
  type HostsNetwork,
  type HostsState,
} from '../../src/local/hosts_network.ts'
import { removeCgroup, unmountBelow } from '../../src/local/remove.ts'
import { freePort } from './etcd.ts'
import { eventually } from './eventually.ts'
import { DROVER, type Outcome, output, ROOT, type RunProgramOptions, runProgram } from './local_cluster.ts'

/** `ExecStart` of a unit, with its arguments in place and the program that was built. */
export function execStart(unit: string, args: readonly string[]): string[] {
  const text = readFileSync(join(ROOT, 'deploy', 'systemd', `${unit}.service`), 'utf8')
  const line = /^ExecStart=(.*)$/m.exec(text)?.[1] ?? ''
  return line.split(' ').flatMap((word) => {
    if (word === '/usr/local/bin/drover') return [process.execPath, DROVER]
    return word.startsWith('$') ? args : [word]
  })
}

export interface RunningProcess {
  child: ChildProcess
  log: string
  exited: Promise<number>
}

export class JoinedCluster {
  readonly name = `drvt-${randomBytes(3).toString('hex')}`
  readonly directory = mkdtempSync(join(tmpdir(), 'drvj-'))
  readonly #network: HostsNetwork
  readonly #processes = new Map<string, RunningProcess>()
  #state: HostsState | undefined
  #nodePort = 0
  #apiPort = 0

  constructor() {
    this.#network = createHostsNetwork({
      clusterName: this.name,
      id: randomBytes(2).toString('hex'),
      avoid: ['10.244.0.0/16', '10.96.0.0/16'],
      clock: systemClock,
    })
  }

  async open(hosts: readonly string[]): Promise<void> {
    this.#state = await this.#network.ensure(hosts)
    this.#nodePort = await freePort()
    this.#apiPort = await freePort()
  }

  get nodeAddress(): string {
    return `${this.#state?.gatewayAddress}:${this.#nodePort}`
  }

  get kubeconfig(): string {
    return join(this.directory, 'server', 'kubeconfig')
  }

  host(name: string): HostInterface {
    const found = this.#state?.hosts.find((host) => host.name === name)
    if (found === undefined) throw new Error(`no host ${name}`)
    return found
  }

  /** `drover server`, until it is ready; what it prints goes to `server.log`. */
  async startServer(...more: string[]): Promise<RunningProcess> {
    const args = [
      ...['--data-dir', join(this.directory, 'server'), '--run-dir', join(this.directory, 'run-server')],
      ...['--listen', `127.0.0.1:${this.#apiPort}`, '--node-listen', this.nodeAddress],
      ...more,
    ]
    const line = execStart('drover-server', args).filter(
      (word) => !more.includes('--join-line') || word !== '--no-join-line',
    )
    const running = this.#start(
      'server',
      line.filter((word) => word !== '--join-line'),
    )
    await eventually(async () => (await this.drover('get', 'namespaces')).code === 0, { timeoutMs: 30_000 })
    return running
  }

  agentArgs(name: string): string[] {
    const host = this.host(name)
    return [
      ...['--data-dir', join(this.directory, name), '--run-dir', join(this.directory, `r-${name}`)],
      ...['--cgroup-parent', `/drover/${this.name}/${host.name}`, '--manage-sysctls'],
    ]
  }

  /** `drover agent` in the host's network namespace. */
  startAgent(name: string, ...more: string[]): RunningProcess {
    const line = execStart('drover-agent', [...this.agentArgs(name), ...more])
    return this.#start(name, ['nsenter', `--net=${this.host(name).namespacePath}`, ...line])
  }

  /** Runs an agent that is expected to refuse; resolves when it has ended. */
  async refusedAgent(name: string, ...more: string[]): Promise<Outcome> {
    const line = execStart('drover-agent', [...this.agentArgs(name), ...more])
    return runProgram('nsenter', [`--net=${this.host(name).namespacePath}`, ...line], { timeoutMs: 30_000 })
  }

  drover(...args: string[]): Promise<Outcome> {
    return runProgram(process.execPath, [DROVER, '--kubeconfig', this.kubeconfig, ...args])
  }

  ask(args: readonly string[], options: RunProgramOptions = {}): Promise<string> {
    return output(process.execPath, [DROVER, '--kubeconfig', this.kubeconfig, ...args], options)
  }

  async stop(name: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const running = this.#processes.get(name)
    if (running === undefined) return
    running.child.kill(signal)
    await running.exited
    this.#processes.delete(name)
  }

  logs(): string {
    return [...new Set([...this.#logs])].map((path) => readFileSync(path, 'utf8')).join('')
  }

  async close(): Promise<void> {
    const hosts = (this.#state?.hosts ?? []).map(({ name }) => name)
    for (const name of hosts) await this.stop(name)
    for (const name of hosts) {
      const reset = [process.execPath, DROVER, 'agent', ...this.agentArgs(name), '--reset']
      await output('nsenter', [`--net=${this.host(name).namespacePath}`, ...reset], { timeoutMs: 60_000 })
    }
    await this.stop('server')
    for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
      const [, mountPoint = '', type] = line.split(' ')
      if (type === 'cgroup' || type === 'cgroup2') {
        await removeCgroup(join(mountPoint, 'drover', this.name))
        try {
          rmdirSync(join(mountPoint, 'drover'))
        } catch {
          // Another cluster's.
        }
      }
    }
    await this.#network.remove()
    await unmountBelow([this.directory])
    rmSync(this.directory, { recursive: true, force: true })
  }

  readonly #logs: string[] = []

  #start(name: string, [program = '', ...args]: readonly string[]): RunningProcess {
    mkdirSync(this.directory, { recursive: true })
    const path = join(this.directory, `${name}.log`)
    this.#logs.push(path)
    const out = openSync(`${path}.out`, 'a')
    const log = openSync(path, 'a')
    const child = spawn(program, args, { stdio: ['ignore', out, log] })
    closeSync(out)
    closeSync(log)
    const exited = new Promise<number>((resolve) => child.on('exit', (code) => resolve(code ?? 255)))
    const running = { child, log: path, exited }
    this.#processes.set(name, running)
    return running
  }
}
