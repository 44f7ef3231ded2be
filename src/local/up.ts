/**
 * `drover up`: a cluster on this machine. Every step is "make it so", so that running it again changes nothing, and
 * running it after anything died mends it. The order: record → underlay → certificates → supervisor (server, agents)
 * → wait until all nodes are ready.
 */
import { X509Certificate } from 'node:crypto'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { ANNOTATION, JOIN_ID_PREFIX } from '../api/names.ts'
import { isNodeReady, type Node, nodeKind } from '../api/node.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { ensureSharedKeys } from '../base/cluster_keys.ts'
import { DroverError } from '../base/errors.ts'
import { readIfExists, writeFileAtomic } from '../base/files.ts'
import { silentLogger } from '../base/log.ts'
import { openPki } from '../base/pki_files.ts'
import { type Random, randomInt } from '../base/random.ts'
import { CliContext, type Io } from '../cli/context.ts'
import { IMAGES_PATH } from '../cli/image_transfer.ts'
import { type ObjectList, resourcePath } from '../cli/rest_client.ts'
import { Chaos } from './chaos.ts'
import {
  type ClusterRecord,
  checkClusterName,
  clusterPaths,
  type HostRecord,
  listClusters,
  loadCluster,
  saveCluster,
  serversOf,
} from './cluster.ts'
import { hostsNetwork } from './cluster_network.ts'
import type { HostsState } from './hosts_network.ts'
import { observeMachine } from './observe_machine.ts'
import { runningProcess, type Self, startRecorded, stopProcess } from './processes.ts'
import type { Progress } from './progress.ts'
import { findingLine, judge } from './requirements.ts'

export interface UpOptions {
  name: string
  nodes: number
  /** Servers on one etcd, which the first of them runs; as many as there are by default. */
  servers?: number
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
const MAX_SERVERS = 9
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

const portsOf = (record: ClusterRecord): number[] => [
  record.proxyPort,
  ...serversOf(record).flatMap(({ apiPort, nodePort }) => [apiPort, nodePort]),
]

/** Ports of servers beyond those that the record has. */
async function withServers(record: ClusterRecord, servers: number): Promise<ClusterRecord> {
  const taken = new Set([record, ...listClusters()].flatMap(portsOf))
  const take = async (from: number): Promise<number> => {
    const port = await freePort(from, taken)
    taken.add(port)
    return port
  }
  const moreServers = [...(record.moreServers ?? [])]
  while (moreServers.length < servers - 1) {
    moreServers.push({ apiPort: await take(record.apiPort + 1), nodePort: await take(record.nodePort + 1) })
  }
  return { ...record, moreServers }
}

async function createRecord(options: UpOptions, random: Random): Promise<ClusterRecord> {
  const others = listClusters()
  const taken = new Set(others.flatMap(portsOf))
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
  const { servers: wanted = 1 } = options
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > MAX_SERVERS) {
    throw new DroverError('invalid', `--servers takes a number from 1 to ${MAX_SERVERS}`)
  }
  const existing = loadCluster(options.name)
  if (existing === undefined) {
    const record = await withServers(await createRecord(options, random), options.servers ?? 1)
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
  const servers = serversOf(existing).length
  if ((options.servers ?? servers) < servers) {
    throw new DroverError(
      'invalid',
      `cluster "${options.name}" has ${servers} servers; to have fewer: drover down --purge --cluster ${options.name}`,
    )
  }
  if (options.nodes === existing.hosts.length && (options.servers ?? servers) === servers) {
    return { record: existing, grown: false }
  }
  const record = {
    ...(await withServers(existing, options.servers ?? servers)),
    hosts: [...existing.hosts, ...hostRecords(options.name, options).slice(existing.hosts.length)],
  }
  saveCluster(record)
  return { record, grown: true }
}

/** Ties a host's certificate to its Node. No secret: only the CA can put it into a certificate. */
const joinIdOf = (record: ClusterRecord, host: string): string => `local-${record.id}-${host}`

/** Whether the certificate on disk still serves; its agent renews it in time while it runs. */
function isUsable(pem: string | undefined, caPem: string, commonName: string, nowMs: number): boolean {
  if (pem === undefined) return false
  const certificate = new X509Certificate(pem)
  return (
    certificate.verify(new X509Certificate(caPem).publicKey) &&
    certificate.subject.split('\n').includes(`CN=${commonName}`) &&
    nowMs < Date.parse(certificate.validTo)
  )
}

/**
 * Certificates and secrets of the hosts' agents, as if they had joined; a real host gets its own by joining. Their Nodes
 * are made once the server answers, see `ensureNodes`.
 */
export async function ensureHostFiles(record: ClusterRecord, clock: Clock): Promise<void> {
  const paths = clusterPaths(record.name)
  const cluster = await openPki(join(paths.server, 'pki'), record.name, clock)
  const shared = ensureSharedKeys(join(paths.server, 'pki'))
  for (const { name } of serversOf(record).slice(1)) {
    const pki = join(paths.otherServer(name), 'pki')
    for (const [file, text] of Object.entries(shared)) {
      if (readIfExists(join(pki, file)) !== text) writeFileAtomic(join(pki, file), text, 0o600)
    }
    const { certPem, keyPem } = cluster.ca
    if (readIfExists(join(pki, 'ca.key')) !== keyPem) writeFileAtomic(join(pki, 'ca.key'), keyPem, 0o600)
    if (readIfExists(join(pki, 'ca.crt')) !== certPem) writeFileAtomic(join(pki, 'ca.crt'), certPem)
  }
  for (const { name } of record.hosts) {
    const pki = join(paths.host(name), 'pki')
    const commonName = `system:node:${name}`
    const caPem = cluster.ca.certPem
    if (readIfExists(join(pki, 'ca.crt')) !== caPem) writeFileAtomic(join(pki, 'ca.crt'), caPem)
    if (!isUsable(readIfExists(join(pki, 'node.pem')), caPem, commonName, clock.now())) {
      const leaf = await cluster.ensureLeaf({
        file: `node-${name}`,
        commonName,
        organizations: ['system:nodes'],
        organizationalUnits: [`${JOIN_ID_PREFIX}${joinIdOf(record, name)}`],
        usages: ['client'],
      })
      writeFileAtomic(join(pki, 'node.pem'), `${leaf.certPem}${leaf.keyPem}`, 0o600)
    }
    const secret = join(paths.host(name), 'proxy-secret')
    if (readIfExists(secret) !== record.proxySecret) writeFileAtomic(secret, record.proxySecret, 0o600)
  }
}

/** A Node for each host that has none, which lets its agent in: also one that was removed comes back by this. */
async function ensureNodes(record: ClusterRecord, tools: LocalTools, timeoutMs: number): Promise<void> {
  const context = new CliContext(tools.io, { cluster: record.name })
  const path = (name?: string): string => resourcePath(nodeKind, undefined, name)
  const ensure = async ({ name, labels }: HostRecord, existing: Node | undefined): Promise<void> => {
    const annotations = { [ANNOTATION.joinId]: joinIdOf(record, name) }
    const change = { metadata: { annotations } }
    if (existing === undefined) {
      const body: Node = { apiVersion: 'v1', kind: 'Node', metadata: { name, labels, annotations } }
      await context.client.call('POST', path(), { body })
    } else if (existing.metadata.annotations?.[ANNOTATION.joinId] !== annotations[ANNOTATION.joinId]) {
      const contentType = 'application/merge-patch+json'
      await context.client.call('PATCH', path(name), { body: change, contentType })
    }
  }
  try {
    await until(record, tools, { timeoutMs, what: () => 'the nodes cannot be registered' }, async () => {
      try {
        const { items } = await context.client.call<ObjectList<Node>>('GET', path())
        const byName = new Map(items.map((node) => [node.metadata.name, node]))
        await Promise.all(record.hosts.map((host) => ensure(host, byName.get(host.name))))
        return true
      } catch (error) {
        if (error instanceof DroverError && (error.temporary || error.code === 'alreadyExists')) return undefined
        throw error
      }
    })
  } finally {
    context.close()
  }
}

async function ensureNetwork(record: ClusterRecord, { clock, signal }: Io): Promise<HostsState> {
  const network = hostsNetwork(record, { clock, log: silentLogger, signal })
  const state = await network.ensure(record.hosts.map((host) => host.name))
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
    const state = await ensureNetwork(record, io)
    update(`on ${state.subnet}`)
    return state
  })
  const healed = await (await Chaos.open(record, io.clock)).healAll()
  if (healed.length > 0) await progress.step('faults healed', async (update) => update(healed.join('; ')))
  await ensureHostFiles(record, io.clock)
  await progress.step(serversOf(record).length > 1 ? 'etcd and servers' : 'etcd and server', async (update) => {
    await ensureSupervisor(record, { self, replace: grown, clock: io.clock })
    await waitForServer(record, tools, { timeoutMs: options.timeoutMs, update })
    await ensureNodes(record, tools, options.timeoutMs)
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

/** Nodes that answer now, by a question that goes to each. */
async function connectedNodes(context: CliContext): Promise<Set<string>> {
  try {
    const { items } = await context.client.call<{ items: { node: string }[] }>('GET', IMAGES_PATH)
    return new Set(items.map(({ node }) => node))
  } catch (error) {
    if (error instanceof DroverError && error.temporary) return new Set()
    throw error
  }
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
        const connected = await connectedNodes(context)
        // What is stored of a cluster that was down may be what was true before.
        ready = (list?.items ?? [])
          .filter(isNodeReady)
          .map((node) => node.metadata.name ?? '')
          .filter((name) => connected.has(name))
        update(`${wanted.filter((name) => ready.includes(name)).length}/${wanted.length} ready`)
        return wanted.every((name) => ready.includes(name)) ? true : undefined
      },
    )
  } finally {
    context.close()
  }
}
