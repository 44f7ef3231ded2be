/**
 * `drover up`: a cluster on this machine. Every step is "make it so", so that running it again changes nothing, and
 * running it after anything died mends it. The order: record → underlay → certificates → supervisor (server, agents)
 * → wait until all nodes are ready.
 */
import { createServer } from 'node:net'
import { join } from 'node:path'
import { isNodeReady, type Node, nodeKind } from '../api/node.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { readIfExists, writeFileAtomic } from '../base/files.ts'
import { type Logger, silentLogger } from '../base/log.ts'
import { openPki } from '../base/pki_files.ts'
import { type Random, randomInt } from '../base/random.ts'
import { CliContext, type Io } from '../cli/context.ts'
import { type ObjectList, resourcePath } from '../cli/rest_client.ts'
import {
  type ClusterRecord,
  checkClusterName,
  clusterPaths,
  type HostRecord,
  listClusters,
  loadCluster,
  saveCluster,
} from './cluster.ts'
import { createHostsNetwork, type HostsNetwork, type HostsState } from './hosts_network.ts'
import { observeMachine } from './observe_machine.ts'
import { runningProcess, type Self, startRecorded, stopProcess } from './processes.ts'
import type { Progress } from './progress.ts'
import { findingLine, judge } from './requirements.ts'

export interface UpOptions {
  name: string
  nodes: number
  /** Labels of hosts by their number from 1, beyond what nodes say of themselves. */
  labels(index: number): Record<string, string>
  apiPort?: number
  timeoutMs: number
}

export interface LocalTools {
  io: Io
  random: Random
  self: Self
  progress: Progress
}

const FIRST_API_PORT = 6443
const PORT_TRIES = 200
const POLL_MS = 50
const MAX_NODES = 100
const SUPERVISOR_GRACE_MS = 10_000

/** Refuses in the words of `drover check` when the machine cannot do it. */
export async function refuseUnfit(): Promise<void> {
  const failed = judge(await observeMachine()).filter((finding) => finding.level === 'fail')
  if (failed.length === 0) return
  const lines = failed.map(findingLine).join('\n')
  throw new DroverError('unsupported', `this machine cannot run a cluster yet:\n${lines}\nSee: drover check`)
}

function portIsFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '0.0.0.0', () => server.close(() => resolve(true)))
  })
}

async function freePort(from: number, taken: ReadonlySet<number>): Promise<number> {
  for (let port = from; port < from + PORT_TRIES; port++) {
    if (!taken.has(port) && (await portIsFree(port))) return port
  }
  throw new DroverError(
    'unavailable',
    `no free port from ${from} to ${from + PORT_TRIES - 1}; choose one with --api-port`,
  )
}

function hostRecords(name: string, options: UpOptions): HostRecord[] {
  return Array.from({ length: options.nodes }, (_, i) => ({ name: `${name}-${i + 1}`, labels: options.labels(i + 1) }))
}

async function createRecord(options: UpOptions, random: Random): Promise<ClusterRecord> {
  const others = listClusters()
  const taken = new Set(others.flatMap((other) => [other.apiPort, other.nodePort, other.proxyPort]))
  if (options.apiPort !== undefined && !(await portIsFree(options.apiPort))) {
    throw new DroverError(
      'invalid',
      `port ${options.apiPort} is in use; choose another with --api-port, or leave it out`,
    )
  }
  const take = async (from: number): Promise<number> => {
    const port = await freePort(from, taken)
    taken.add(port)
    return port
  }
  const apiPort = options.apiPort ?? (await take(FIRST_API_PORT))
  taken.add(apiPort)
  const ids = new Set(others.map((other) => other.id))
  let id: string
  do id = randomInt(random, 0x100000).toString(16).padStart(5, '0')
  while (ids.has(id))
  return {
    name: options.name,
    id,
    hosts: hostRecords(options.name, options),
    apiPort,
    nodePort: await take(apiPort + 1000),
    proxyPort: await take(apiPort + 2000),
    proxySecret: random.uuid(),
    clusterCidr: '10.244.0.0/16',
    serviceCidr: '10.96.0.0/16',
  }
}

/** The record, and whether it now has more hosts than a running supervisor can know of. */
async function ensureRecord(options: UpOptions, random: Random): Promise<{ record: ClusterRecord; grown: boolean }> {
  checkClusterName(options.name)
  if (!Number.isInteger(options.nodes) || options.nodes < 1 || options.nodes > MAX_NODES) {
    throw new DroverError('invalid', `--nodes takes a number from 1 to ${MAX_NODES}`)
  }
  const existing = loadCluster(options.name)
  if (existing === undefined) {
    const record = await createRecord(options, random)
    saveCluster(record)
    return { record, grown: false }
  }
  if (options.apiPort !== undefined && options.apiPort !== existing.apiPort) {
    throw new DroverError(
      'invalid',
      `cluster "${options.name}" has port ${existing.apiPort}; --api-port is for its first start`,
    )
  }
  if (options.nodes < existing.hosts.length) {
    throw new DroverError(
      'invalid',
      `cluster "${options.name}" has ${existing.hosts.length} hosts; to make it smaller: drover down --purge --cluster ${options.name}`,
    )
  }
  if (options.nodes === existing.hosts.length) return { record: existing, grown: false }
  const record = {
    ...existing,
    hosts: [...existing.hosts, ...hostRecords(options.name, options).slice(existing.hosts.length)],
  }
  saveCluster(record)
  return { record, grown: true }
}

/** Certificates and secrets of the hosts' agents; a real host gets its own by joining. */
export async function ensureHostFiles(record: ClusterRecord, clock: Clock): Promise<void> {
  const paths = clusterPaths(record.name)
  const cluster = await openPki(join(paths.server, 'pki'), record.name, clock)
  for (const { name } of record.hosts) {
    const leaf = await cluster.ensureLeaf({
      file: `node-${name}`,
      commonName: `system:node:${name}`,
      organizations: ['system:nodes'],
      usages: ['client'],
    })
    const target = join(paths.host(name), 'pki')
    const files = { 'ca.crt': cluster.ca.certPem, 'node.key': leaf.keyPem, 'node.crt': leaf.certPem }
    for (const [file, content] of Object.entries(files)) {
      if (readIfExists(join(target, file)) !== content) writeFileAtomic(join(target, file), content, 0o600)
    }
    const secret = join(paths.host(name), 'proxy-secret')
    if (readIfExists(secret) !== record.proxySecret) writeFileAtomic(secret, record.proxySecret, 0o600)
  }
}

export function hostsNetwork(record: ClusterRecord, log: Logger): HostsNetwork {
  const { name, id, subnet, clusterCidr, serviceCidr } = record
  const avoid = [clusterCidr, serviceCidr]
  return createHostsNetwork({ clusterName: name, id, avoid, log, ...(subnet === undefined ? {} : { subnet }) })
}

async function ensureNetwork(record: ClusterRecord): Promise<HostsState> {
  const state = await hostsNetwork(record, silentLogger).ensure(record.hosts.map((host) => host.name))
  if (record.subnet === undefined) saveCluster({ ...record, subnet: state.subnet })
  return state
}

/** Brings the cluster up and returns where its hosts are. */
export async function up(
  options: UpOptions,
  tools: LocalTools,
): Promise<{ record: ClusterRecord; network: HostsState }> {
  const { io, random, progress, self } = tools
  await refuseUnfit()
  const { record, grown } = await ensureRecord(options, random)
  const network = await progress.step(`${record.hosts.length} hosts`, async (update) => {
    const state = await ensureNetwork(record)
    update(`on ${state.subnet}`)
    return state
  })
  await ensureHostFiles(record, io.clock)
  await progress.step('etcd and server', async (update) => {
    await ensureSupervisor(record, { self, replace: grown, clock: io.clock })
    await waitForServer(record, tools, { timeoutMs: options.timeoutMs, update })
  })
  await progress.step('nodes', (update) => waitForNodes(record, tools, { timeoutMs: options.timeoutMs, update }))
  return { record, network }
}

async function ensureSupervisor(
  record: ClusterRecord,
  { self, replace, clock }: { self: Self; replace: boolean; clock: Clock },
): Promise<void> {
  const paths = clusterPaths(record.name)
  const running = runningProcess(paths, 'supervisor')
  if (running !== undefined && !replace) return
  if (running !== undefined) await stopProcess(clock, running, SUPERVISOR_GRACE_MS)
  const args = [self.script, 'supervise', '--cluster', record.name]
  startRecorded(paths, { name: 'supervisor', program: self.node, args })
}

function supervisorGone(record: ClusterRecord): DroverError {
  const log = join(clusterPaths(record.name).logs, 'supervisor.log')
  const tail = (readIfExists(log) ?? '').trimEnd().split('\n').slice(-5).join('\n')
  return new DroverError('internal', `the supervisor ended; the end of ${log}:\n${tail}`)
}

interface Wait {
  timeoutMs: number
  update: (detail: string) => void
}

/** Calls `attempt` until it returns a value. Starting processes give no event to wait for, so this looks often. */
async function until<T>(
  record: ClusterRecord,
  { io }: LocalTools,
  { timeoutMs, what }: { timeoutMs: number; what: () => string },
  attempt: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = io.clock.monotonicMs() + timeoutMs
  for (;;) {
    const value = await attempt()
    if (value !== undefined) return value
    if (runningProcess(clusterPaths(record.name), 'supervisor') === undefined) throw supervisorGone(record)
    if (io.clock.monotonicMs() > deadline) {
      const logs = clusterPaths(record.name).logs
      throw new DroverError('timeout', `${what()} after ${timeoutMs / 1000} s; the processes' logs are in ${logs}`)
    }
    await sleep(io.clock, POLL_MS, io.signal)
  }
}

async function waitForServer(record: ClusterRecord, tools: LocalTools, { timeoutMs, update }: Wait): Promise<void> {
  let last = 'not started'
  await until(record, tools, { timeoutMs, what: () => `the server is not ready (${last})` }, async () => {
    if (readIfExists(clusterPaths(record.name).kubeconfig) === undefined) return undefined
    const context = new CliContext(tools.io, { cluster: record.name })
    try {
      const answer = await context.client.open('GET', '/readyz', { accept: '*/*', timeoutMs: 2000 })
      answer.resume()
      return true
    } catch (error) {
      last = DroverError.from(error).message
      return undefined
    } finally {
      context.close()
    }
  })
  update(`https://127.0.0.1:${record.apiPort}`)
}

async function waitForNodes(record: ClusterRecord, tools: LocalTools, { timeoutMs, update }: Wait): Promise<void> {
  const context = new CliContext(tools.io, { cluster: record.name })
  const wanted = record.hosts.map((host) => host.name)
  let ready: string[] = []
  const missing = (): string => wanted.filter((name) => !ready.includes(name)).join(', ')
  try {
    await until(
      record,
      tools,
      { timeoutMs, what: () => `not all nodes are ready (missing: ${missing()})` },
      async () => {
        const list = await context.client
          .call<ObjectList<Node>>('GET', resourcePath(nodeKind, undefined))
          .catch((error: unknown) => {
            if (error instanceof DroverError && error.temporary) return undefined
            throw error
          })
        ready = (list?.items ?? []).filter(isNodeReady).map((node) => node.metadata.name ?? '')
        update(`${wanted.filter((name) => ready.includes(name)).length}/${wanted.length} ready`)
        return wanted.every((name) => ready.includes(name)) ? true : undefined
      },
    )
  } finally {
    context.close()
  }
}
