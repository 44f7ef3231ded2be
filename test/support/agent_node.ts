/**
 * One node whose agent is a process that can be killed, upgraded and started again: real runc, volumes and images, the
 * network in a namespace that plays the host; the server's end of sessions runs in the test.
 */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { build } from 'esbuild'
import { createImageDriver } from '../../src/agent/images/driver.ts'
import type { Container, Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { mountsBelow } from '../../src/base/mountinfo.ts'
import { run, runOk, start } from '../../src/base/process.ts'
import { systemRandom } from '../../src/base/random.ts'
import type { Dispatch } from '../../src/dispatch/dispatch.ts'
import { SAMPLE_IMAGE, sampleRootfs } from '../../src/local/sample_image.ts'
import type { TlsFiles } from '../../src/rpc/server.ts'
import { eventually } from './eventually.ts'
import { createNamespace, type TestNamespace } from './netns.ts'
import { addressOf, SessionHarness } from './node_session.ts'

export interface AgentProcessConfig {
  directory: string
  nodeName: string
  server: string
  tls: TlsFiles
  cgroupParent: string
  namespacePath: string
  nodeAddress: string
  version: string
  runtime?: string
  /** Serves health and metrics there, and looks after the node besides running pods. */
  httpPort?: number
  /** The agent kills itself at the beginning or end of this call that changes the host, counted from 1. */
  killAtMoment?: number
  killAfterMs?: number
}

export interface AgentProcess {
  child: ChildProcess
  exited: Promise<unknown>
  kill(signal?: NodeJS.Signals): Promise<void>
}

export type AgentChoices = Partial<
  Pick<AgentProcessConfig, 'version' | 'killAtMoment' | 'killAfterMs' | 'runtime' | 'httpPort'>
> & {
  /** Put before the program: `unshare …`. */
  enter?: readonly string[]
}

/** Waits, does nothing, and ends at once when told to. */
export const IDLE = ['sh', '-c', 'trap "exit 0" TERM; sleep 1000000 & wait']
/** As agents are started everywhere. */
const NODE_FLAGS = ['--max-semi-space-size=2']
const NODE = 'n1'
const NODE_ADDRESS = '192.0.2.1'

export class AgentNode {
  readonly directory: string
  readonly cgroupParent: string
  readonly harness = new SessionHarness()
  #namespace: TestNamespace | undefined
  #dispatch: Dispatch | undefined
  #agents: AgentProcess[] = []

  private constructor(directory: string) {
    this.directory = directory
    this.cgroupParent = `/${basename(directory)}`
  }

  static async create(): Promise<AgentNode> {
    const node = new AgentNode(await mkdtemp(join(tmpdir(), 'drvt-n')))
    try {
      await mkdir(join(node.directory, 'run'))
      await node.makeNamespace()
      await node.#importImage()
      await node.harness.open()
      node.#dispatch = await node.harness.startDispatch()
      await build({
        entryPoints: [join(import.meta.dirname, 'agent_victim.ts')],
        bundle: true,
        platform: 'node',
        format: 'esm',
        outfile: join(node.directory, 'agent.mjs'),
        logLevel: 'error',
        banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
      })
    } catch (error) {
      await node.remove()
      throw error
    }
    return node
  }

  get namespace(): TestNamespace {
    if (this.#namespace === undefined) throw new Error('the node has no network namespace')
    return this.#namespace
  }

  get dispatch(): Dispatch {
    if (this.#dispatch === undefined) throw new Error('the node has no server')
    return this.#dispatch
  }

  /** The host's network, as after a boot: an underlay and nothing of ours. */
  async makeNamespace(): Promise<void> {
    await this.#namespace?.remove()
    const namespace = await createNamespace(basename(this.directory))
    this.#namespace = namespace
    const commands = ['link set lo up', 'link add under type bridge', `addr add ${NODE_ADDRESS}/24 dev under`]
    await runOk('ip', ['-n', basename(this.directory), '-batch', '-'], {
      input: `${[...commands, 'link set under up'].join('\n')}\n`,
    })
  }

  /** Starts an agent; the first call also gives the node its range of addresses, as the controller would. */
  async startAgent(choices: AgentChoices = {}): Promise<AgentProcess> {
    const { enter = [], version = 'v1', ...rest } = choices
    const config: AgentProcessConfig = {
      directory: this.directory,
      nodeName: NODE,
      server: addressOf(this.dispatch),
      tls: await this.harness.nodeCertificate(NODE),
      cgroupParent: this.cgroupParent,
      namespacePath: this.namespace.path,
      nodeAddress: NODE_ADDRESS,
      version,
      ...rest,
    }
    const path = join(this.directory, 'agent.json')
    writeFileSync(path, JSON.stringify(config))
    const log = openSync(join(this.directory, 'agent.log'), 'a')
    const command = [...enter, process.execPath, ...NODE_FLAGS, join(this.directory, 'agent.mjs'), path]
    const env = { ...process.env, MALLOC_ARENA_MAX: '2' }
    const child = start(command[0] ?? '', command.slice(1), { stdio: ['ignore', log, log], env })
    closeSync(log)
    const exited = once(child, 'exit')
    const agent: AgentProcess = {
      child,
      exited,
      async kill(signal = 'SIGKILL') {
        if (child.exitCode === null && child.signalCode === null) child.kill(signal)
        await exited
      },
    }
    this.#agents.push(agent)
    await this.harness.giveCidr(NODE)
    return agent
  }

  /** Whatever the agents have said, for a test that fails. */
  log(): string {
    return readFileSync(join(this.directory, 'agent.log'), 'utf8')
  }

  async createPod(name: string, spec: Partial<Pod['spec']> & { container?: Partial<Container> } = {}): Promise<void> {
    const { container, ...more } = spec
    const main: Container = { name: 'main', image: SAMPLE_IMAGE, command: IDLE, ...container }
    const pod: Pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default' },
      spec: { containers: [main], ...more },
    }
    await this.harness.resources.create(podKind, pod)
    await this.harness.resources.modify<Pod>(podKind, 'default', name, 'all', (object) => ({
      ...object,
      spec: { ...object.spec, nodeName: NODE },
    }))
  }

  pod(name: string): Pod | undefined {
    return this.harness.resources.get<Pod>(podKind, 'default', name)
  }

  isReady(name: string): boolean {
    return this.pod(name)?.status?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True'
  }

  async ready(name: string, timeoutMs = 30_000): Promise<Pod> {
    return eventually(() => (this.isReady(name) ? this.pod(name) : undefined), { timeoutMs })
  }

  async deletePod(name: string): Promise<void> {
    await this.harness.resources.delete(podKind, 'default', name, { gracePeriodSeconds: 5 })
  }

  async gone(name: string, timeoutMs = 30_000): Promise<void> {
    await eventually(() => this.pod(name) === undefined, { timeoutMs })
  }

  /** What there is of the node on the machine, as sorted lines, so that before and after can be compared. */
  async inventory(): Promise<string[]> {
    const list = (name: string): string[] => {
      try {
        return readdirSync(join(this.directory, name)).map((entry) => `${name}/${entry}`)
      } catch {
        return []
      }
    }
    const mounts = mountsBelow(readFileSync('/proc/self/mountinfo', 'utf8'), this.directory)
    const files = ['data/c', 'data/v', 'run/s', 'run/exits', 'run/oci', 'run/pids', 'data/logs'].flatMap(list)
    const links = (await this.namespace.exec(['ip', '-br', 'link'])).stdout.split('\n')
    const rules = (await this.namespace.exec(['nft', 'list', 'ruleset'])).stdout.split('\n')
    const held = JSON.parse(readFileSync(join(this.directory, 'data/network/addresses.json'), 'utf8')) as {
      held: Record<string, string>
    }
    return [
      ...mounts.map((point) => `mount ${point}`),
      ...this.cgroups().map((path) => `cgroup ${path}`),
      ...this.monitors().map((id) => `monitor of ${id}`),
      ...files,
      ...links.map((line) => `link ${line.split(/[\s@]/)[0]}`),
      ...rules.map((line) => `rule ${line.trim()}`),
      ...Object.entries(held.held).map(([uid, address]) => `address ${address} of ${uid}`),
    ].sort()
  }

  /** Container ids of the monitors that live, each as often as there are. */
  monitors(): string[] {
    const mark = `--exit-dir=${join(this.directory, 'run')}`
    return commandLines().flatMap(({ args }) =>
      args.some((arg) => arg.startsWith(mark)) ? args.flatMap((arg) => /^--cid=(.*)$/.exec(arg)?.[1] ?? []) : [],
    )
  }

  /** Directories below the node's own cgroup, in every hierarchy. */
  cgroups(): string[] {
    return cgroupRoots(this.cgroupParent).flatMap((root) => below(root))
  }

  async remove(): Promise<void> {
    for (const agent of this.#agents) await agent.kill()
    await this.harness.close()
    await this.killContainers()
    const mounts = mountsBelow(readFileSync('/proc/self/mountinfo', 'utf8'), this.directory)
    if (mounts.length > 0) await run('umount', ['-l', ...mounts])
    await this.#namespace?.remove()
    await rm(this.directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }

  /** As a power cut does: monitors, containers and their cgroups are gone. */
  async killContainers(): Promise<void> {
    const mark = `--exit-dir=${join(this.directory, 'run')}`
    await eventually(
      () => {
        const monitors = commandLines().filter(({ args }) => args.some((arg) => arg.startsWith(mark)))
        const inside = cgroupRoots(this.cgroupParent)
          .flatMap((root) => [root, ...below(root)])
          .flatMap(processesIn)
        for (const pid of [...monitors.map(({ pid }) => pid), ...inside]) killQuietly(pid)
        return monitors.length === 0 && inside.length === 0
      },
      { timeoutMs: 20_000 },
    )
    for (const root of cgroupRoots(this.cgroupParent)) {
      for (const directory of [...below(root).reverse(), root]) await run('rmdir', [directory])
    }
  }

  async #importImage(): Promise<void> {
    const dataDir = join(this.directory, 'data/images')
    await mkdir(dataDir, { recursive: true })
    const environment = { clock: systemClock, random: systemRandom, log: silentLogger }
    const images = createImageDriver({ ...environment, dataDir, insecureRegistries: [] })
    await images.initialize()
    const archive: AsyncIterable<Uint8Array> = Readable.from(await sampleRootfs())
    await images.importRootfs(archive, SAMPLE_IMAGE, new AbortController().signal)
  }
}

export function commandLines(): { pid: number; args: string[] }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [{ pid: Number(pid), args: readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0') }]
      } catch {
        return []
      }
    })
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended meanwhile.
  }
}

function processesIn(directory: string): number[] {
  try {
    return readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number)
  } catch {
    return []
  }
}

function cgroupRoots(parent: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => join(line.split(' ')[4] ?? '', parent))
    .filter((path, index, all) => all.indexOf(path) === index && below(path) !== NOTHING)
}

const NOTHING: string[] = []

/** Directories below one, parents first; `NOTHING` itself when it is not there. */
function below(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .flatMap(({ name }) => [join(directory, name), ...below(join(directory, name))])
  } catch {
    return NOTHING
  }
}

/** Removes what a boot does not keep: the run directory's content. */
export function emptyRunDirectory(node: AgentNode): void {
  rmSync(join(node.directory, 'run'), { recursive: true, force: true })
}
