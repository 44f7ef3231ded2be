/** The processes of a local cluster: how each is started, and the records by which they are found again. */
import { closeSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { readJsonIfExists, writeFileAtomic } from '../base/files.ts'
import { start } from '../base/process.ts'
import { identify, isAlive, type ProcessIdentity, signalProcess } from '../base/process_table.ts'
import {
  type ClusterPaths,
  type ClusterRecord,
  clusterPaths,
  type HostRecord,
  type ServerRecord,
  serversOf,
} from './cluster.ts'

export interface ProcessSpec {
  /** `server`, `agent-HOST`, `supervisor`: names its pid and log files. */
  name: string
  program: string
  args: readonly string[]
}

export interface HostPlacement {
  name: string
  namespacePath: string
  address: string
}

/** How this very program is started again. */
export interface Self {
  node: string
  script: string
}

export interface ServerPlacement {
  record: ClusterRecord
  server: ServerRecord
  gateway: string
  /** Port on loopback of the etcd that the first server runs; for the others. */
  etcdPort?: number
}

/** The first server runs etcd; the others use it with certificates of their own from the same CA. */
export function serverProcess(self: Self, { record, server, gateway, etcdPort }: ServerPlacement): ProcessSpec {
  const paths = clusterPaths(record.name)
  const first = server.name === 'server'
  const directory = first ? paths.server : paths.otherServer(server.name)
  const pki = (file: string): string => join(directory, 'pki', file)
  const etcd = [
    ...['--etcd', `https://localhost:${etcdPort}`],
    ...['--etcd-ca', pki('ca.crt'), '--etcd-cert', pki('etcd-client.crt'), '--etcd-key', pki('etcd-client.key')],
  ]
  const args = [
    ...NODE_FLAGS,
    self.script,
    'server',
    ...['--cluster-name', record.name],
    ...['--data-dir', directory],
    ...['--run-dir', join(paths.run, server.name)],
    ...['--listen', `127.0.0.1:${server.apiPort}`],
    ...['--listen', `${gateway}:${server.apiPort}`],
    ...['--node-listen', `${gateway}:${server.nodePort}`],
    ...['--cluster-cidr', record.clusterCidr],
    ...['--service-cidr', record.serviceCidr],
    ...(first ? ['--kubeconfig-out', paths.kubeconfig] : etcd),
    '--no-join-line',
  ]
  return { name: server.name, program: self.node, args }
}

/**
 * The young generation of V8's heap grows to 48 MB by itself, for speed that these processes have no use for. Measured
 * with 50 pods: 25 MB less in a server, 11 MB in an agent. The memory allocator's arenas add up likewise, one a thread.
 */
const NODE_FLAGS = ['--max-semi-space-size=2']
const SMALL_ALLOCATOR = { MALLOC_ARENA_MAX: '2' }

/** Arguments that both a running agent and its reset need. */
function agentArgs(self: Self, record: ClusterRecord, host: HostPlacement, gateway: string): string[] {
  const paths = clusterPaths(record.name)
  const directory = paths.host(host.name)
  return [
    `--net=${host.namespacePath}`,
    self.node,
    ...NODE_FLAGS,
    self.script,
    'agent',
    ...['--node-name', host.name],
    ...serversOf(record).flatMap(({ nodePort }) => ['--server', `${gateway}:${nodePort}`]),
    ...['--data-dir', directory],
    ...['--run-dir', paths.hostRun(host.name)],
    ...['--node-address', host.address],
    ...['--cgroup-parent', `/drover/${record.name}/${host.name}`],
    // The disk is shared by all hosts, and by whoever develops here: a share of it would be too much to ask.
    ...['--leave-disk', '100Mi'],
    ...['--registry-proxy', `http://${gateway}:${record.proxyPort}`],
    ...['--registry-proxy-secret-file', join(directory, 'proxy-secret')],
    '--manage-sysctls',
  ]
}

export interface AgentPlacement {
  record: ClusterRecord
  host: HostPlacement
  labels: HostRecord['labels']
  gateway: string
}

export function agentProcess(self: Self, { record, host, labels, gateway }: AgentPlacement): ProcessSpec {
  const extra = Object.entries(labels).flatMap(([key, value]) => ['--label', `${key}=${value}`])
  const args = [...agentArgs(self, record, host, gateway), ...extra]
  return { name: `agent-${host.name}`, program: 'nsenter', args }
}

/** Removes every container, interface and rule of the host. */
export function agentReset(self: Self, { record, host, gateway }: Omit<AgentPlacement, 'labels'>): ProcessSpec {
  const args = [...agentArgs(self, record, host, gateway), '--reset']
  return { name: `reset-${host.name}`, program: 'nsenter', args }
}

const pidFile = (paths: ClusterPaths, name: string): string => join(paths.pids, `${name}.json`)

/** The recorded process if it lives. */
export function runningProcess(paths: ClusterPaths, name: string): ProcessIdentity | undefined {
  const identity = readJsonIfExists<ProcessIdentity>(pidFile(paths, name))
  return identity !== undefined && isAlive(identity) ? identity : undefined
}

export function recordedProcesses(paths: ClusterPaths): { name: string; identity: ProcessIdentity }[] {
  let files: string[]
  try {
    files = readdirSync(paths.pids).filter((file) => file.endsWith('.json'))
  } catch {
    return []
  }
  return files.flatMap((file) => {
    const name = file.slice(0, -'.json'.length)
    const identity = runningProcess(paths, name)
    return identity === undefined ? [] : [{ name, identity }]
  })
}

/** Starts a process that outlives this one, its output going to its log file, and records it. */
export function startRecorded(
  paths: ClusterPaths,
  spec: ProcessSpec,
): { identity: ProcessIdentity; exited: Promise<string> } {
  mkdirSync(paths.logs, { recursive: true })
  const log = openSync(join(paths.logs, `${spec.name}.log`), 'a', 0o600)
  try {
    const child = start(spec.program, spec.args, {
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, ...SMALL_ALLOCATOR },
    })
    const exited = new Promise<string>((resolve) => {
      child.on('error', (error) => resolve(`cannot start: ${error.message}`))
      child.on('exit', (code, signal) => resolve(signal === null ? `exit code ${code}` : signal))
    })
    if (child.pid === undefined) throw new DroverError('internal', `cannot start ${spec.program} for ${spec.name}`)
    child.unref()
    const identity = identify(child.pid) ?? { pid: child.pid, startTicks: '' }
    writeFileAtomic(pidFile(paths, spec.name), JSON.stringify(identity))
    return { identity, exited }
  } finally {
    closeSync(log)
  }
}

export function forgetProcess(paths: ClusterPaths, name: string): void {
  rmSync(pidFile(paths, name), { force: true })
}

const POLL_MS = 50

/** Waits until the process has ended; false when it has not within the time. */
export async function waitForExit(clock: Clock, identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadline = clock.monotonicMs() + timeoutMs
  while (isAlive(identity)) {
    if (clock.monotonicMs() > deadline) return false
    await new Promise<void>((resolve) => clock.schedule(POLL_MS, resolve))
  }
  return true
}

/** SIGTERM, and SIGKILL when that was not heard. */
export async function stopProcess(clock: Clock, identity: ProcessIdentity, graceMs: number): Promise<void> {
  signalProcess(identity, 'SIGTERM')
  if (await waitForExit(clock, identity, graceMs)) return
  signalProcess(identity, 'SIGKILL')
  if (!(await waitForExit(clock, identity, 10_000))) {
    throw new DroverError('internal', `process ${identity.pid} does not end, not even by SIGKILL`)
  }
}
