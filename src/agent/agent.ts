/**
 * One node's agent: keeps a session with a server, and brings the node to what the server wants. It can be killed and
 * started again at any time: containers run on, and everything it knows of them it reads from the drivers.
 */

import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import type { Taint } from '../api/node.ts'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { Counter, Gauge, type Registry } from '../base/metrics.ts'
import { parseBytes, parseCpuMillis } from '../base/quantity.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import type { NodeClient } from '../rpc/client.ts'
import { jsonBytes, type TableChanges, type TableName } from '../rpc/messages.ts'
import type { TlsFiles } from '../rpc/server.ts'
import type { ClusterConfig } from '../rpc/tables.ts'
import type { AgentContext, Drivers } from './context.ts'
import { Desired } from './desired.ts'
import type { Fencer } from './fence/fencer.ts'
import { FenceGuard } from './fence/guard.ts'
import { createHealthServer } from './http.ts'
import { ImageCollector, type ImageDisk } from './image_collector.ts'
import { PodManager } from './manager.ts'
import { NetworkSync } from './network_sync.ts'
import { NodeConditionReporter } from './node_conditions.ts'
import { observeNode, readBootId, wholeKib } from './node_facts.ts'
import { type NodeFiles, nodeFiles } from './node_files.ts'
import { NodeImageReporter } from './node_images.ts'
import { EventSender } from './pod_events.ts'
import { type Hello, Session } from './session.ts'
import { SharedList } from './shared_list.ts'
import { StatusReporter } from './status_reporter.ts'
import { StreamServer } from './streams.ts'
import { TableSaver } from './table_saver.ts'
import type { SavedTables, TableStore } from './table_store.ts'
import { TokenRequests } from './token_requests.ts'
import { createUpkeep, type Upkeep } from './upkeep.ts'
import { VolumeRemoval } from './volume_removal.ts'

export interface AgentOptions {
  nodeName: string
  /** `host:port` of one server or more. */
  server: { address: string | readonly string[] }
  /**
   * PEM texts; the certificate's name is `system:node:NAME`, its organization `system:nodes`. As a function it is asked
   * at each dialling.
   */
  tls: TlsFiles | (() => TlsFiles)
  /** Whether the cluster counts this node in: `false` when a server has said that it was removed. */
  onMembership?: (member: boolean) => void
  /** A server has told of others: all that may be called, to be remembered for the next start. */
  onServers?: (servers: readonly string[]) => void
  drivers: Drivers
  dataDir: string
  /** This node's address on the underlay. */
  nodeAddress: string
  labels?: Readonly<Record<string, string>>
  /** For the Node object, should it be made now. */
  taints?: readonly Taint[]
  /** Quantities that replace what was measured: cpu, memory, pods, ephemeral-storage. */
  capacity?: Readonly<Record<string, string>>
  clock: Clock
  random: Random
  log: Logger
  registry: Registry
  version: string
  /** Where /metrics, /healthz and /readyz are served; nowhere by default. Port 0 takes a free one. */
  http?: { host: string; port: number }
  /** Kernel parameters that pods may set besides the safe ones. */
  allowedSysctls?: readonly string[]
  /** Processes and threads that one container may have; without bound by default. */
  containerPidsLimit?: number
  /** What is done for the node besides; nothing by default: logs grow, and nobody is evicted. */
  upkeep?: Upkeep
  /** Where the tables are kept, so that a start without a server finds them; nowhere by default. */
  tables?: TableStore
  /** How servers are dialled; by gRPC unless said otherwise. */
  dial?: (address: string) => NodeClient
  /** The host's own unless said otherwise. */
  files?: NodeFiles
  /** When images that nothing uses are removed; never by themselves without it. */
  imageDisk?: ImageDisk
  /** What ends exclusive pods when no server has been heard for too long. Without it nothing does. */
  fencer?: Fencer
}

export interface AgentState {
  connected: boolean
  /** The server has said what this node is to run. */
  synced: boolean
  networkReady: boolean
  pods: number
  sessions: number
}

export interface Agent {
  service: Service
  state(): AgentState
  /** All that it may call. */
  servers(): readonly string[]
  /** Where health and metrics are served. Throws `unavailable` while they are not. */
  httpAddress(): { host: string; port: number }
}

const DEFAULT_DOMAIN = 'cluster.local'
const NO_ASSIGNMENTS: TableChanges = {
  type: 'changes',
  table: 'assignments',
  complete: true,
  baseSequence: 0,
  sequence: 0,
  changes: [],
  last: true,
}

export function createAgent(options: AgentOptions): Agent {
  const parts = assemble(options)
  const { session, manager, network, health } = parts
  return {
    service: {
      id: 'agent',
      run: (signal) => runAgent(options, parts, signal),
    },
    state: () => ({
      connected: session.connected,
      synced: manager.synced,
      networkReady: network.ready,
      pods: manager.podCount,
      sessions: session.sessions,
    }),
    servers: () => session.servers,
    httpAddress() {
      if (health === undefined) throw new DroverError('unavailable', 'this agent serves no HTTP')
      return health.address()
    },
  }
}

type Parts = ReturnType<typeof assemble>

function assemble(options: AgentOptions) {
  const { nodeName, nodeAddress, drivers, clock, random, log, dataDir, capacity = {}, tls, registry } = options
  const desired = new Desired()
  const files = options.files ?? nodeFiles
  const disk = { bytes: 0 }
  /** Before the first pod starts, and again when the node says it of itself. */
  const measureDisk = async (): Promise<void> => {
    const given = capacity['ephemeral-storage']
    disk.bytes = given === undefined ? wholeKib(await files.diskBytes(dataDir)) * 1024 : parseBytes(given)
  }
  /** Whoever reads the files again at each dialling need not read them for each pod. */
  const dialled: { ca?: string } = {}
  const dialTls = (): TlsFiles => {
    const files = typeof tls === 'function' ? tls() : tls
    dialled.ca = files.ca
    return files
  }
  let cluster: ClusterConfig | undefined
  const reporter = new StatusReporter(clock, (message) => session.send(message))
  const events = new EventSender(clock, (message) => session.send(message))
  const tokens = new TokenRequests(clock, (message) => session.send(message))
  const fence =
    options.fencer === undefined
      ? undefined
      : new FenceGuard({ fencer: options.fencer, clock, log, onChange: () => manager.wakeAll() })
  const context: AgentContext = {
    nodeName,
    nodeAddress,
    logsDir: join(dataDir, 'logs'),
    seccompDir: join(dataDir, 'seccomp'),
    allowedSysctls: options.allowedSysctls ?? [],
    containerPidsLimit: options.containerPidsLimit ?? 0,
    clusterDomain: () => cluster?.clusterDomain ?? DEFAULT_DOMAIN,
    nodeCpuMillis: capacity.cpu === undefined ? availableParallelism() * 1000 : parseCpuMillis(capacity.cpu),
    nodeMemoryBytes: capacity.memory === undefined ? totalmem() : parseBytes(capacity.memory),
    get nodeStorageBytes() {
      return disk.bytes
    },
    clock,
    random,
    log,
    drivers,
    files,
    containers: new SharedList(() => drivers.runtime.listContainers()),
    desired,
    reporter,
    events,
    ...(fence === undefined ? {} : { fence }),
    care: {
      get synced() {
        return manager.synced
      },
      uids: () => manager.uids(),
      takeDown: (uid) => manager.takeDown(uid),
    },
    imagesChanged() {
      images.changed()
      manager.imagesChanged()
    },
    requestToken: (wish) => tokens.request(wish),
    clusterCa: () => dialled.ca ?? dialTls().ca,
    networkReady: () => network.ready,
  }
  const images = new NodeImageReporter({ images: drivers.images, clock, log, send: (message) => session.send(message) })
  const conditions = new NodeConditionReporter(clock, (message) => session.send(message))
  const collector =
    options.imageDisk === undefined
      ? undefined
      : new ImageCollector({
          drivers,
          desired,
          disk: options.imageDisk,
          path: join(dataDir, 'image-use.json'),
          clock,
          log,
          onRemoved: () => images.changed(),
        })
  const manager = new PodManager(context)
  const reclaimDisk = async (untilOver: () => Promise<boolean>): Promise<void> => collector?.collect({ untilOver })
  const upkeep =
    options.upkeep === undefined
      ? []
      : createUpkeep(options.upkeep, { context, registry, manager, conditions, reclaimDisk })
  const removal = new VolumeRemoval({
    desired,
    volumes: drivers.volumes,
    clock,
    log,
    send: (message) => session.send(message),
  })
  const network = new NetworkSync({
    nodeName,
    nodeAddress,
    desired,
    network: drivers.network,
    dns: drivers.dns,
    clock,
    random,
    log,
    onReady: () => manager.wakeAll(),
    onProgrammed: () => session.beat(),
    onPeers: (problems) => conditions.setPeerProblems(problems),
  })
  const streams = new StreamServer(context)
  const saver =
    options.tables === undefined ? undefined : new TableSaver({ store: options.tables, desired, clock, random, log })
  const tableChanged = (table: TableName): void => {
    if (table === 'assignments') {
      network.podsChanged()
      manager.sync()
    } else if (table === 'policies') network.policiesChanged()
    else network.wake()
  }
  const restore = ({ cluster: saved, tables }: SavedTables): void => {
    cluster ??= saved
    for (const [table, rows] of tables) desired.restore(table, rows)
    saver?.loaded(saved, tables.keys())
    network.restore(saved)
    for (const table of tables.keys()) tableChanged(table)
    log.info({ pods: desired.pods().length, services: desired.services().length }, 'came back from the disk')
  }
  const session = new Session({
    servers: [options.server.address].flat(),
    tls: dialTls,
    ...(options.dial === undefined ? {} : { dial: options.dial }),
    clock,
    random,
    log,
    handlers: {
      async hello() {
        await measureDisk()
        return hello(options, images, conditions)
      },
      heartbeat: () => ({ ...network.programmed, ...(fence === undefined ? {} : { sentAtMs: fence.stamp() }) }),
      onGranted: (grantedMs) => fence?.granted(grantedMs),
      onServers(servers) {
        log.info({ servers }, 'the servers have changed')
        options.onServers?.(servers)
      },
      onWelcome(config, exclusiveLeaseMs) {
        cluster = config
        if (fence !== undefined) fence.leaseMs = exclusiveLeaseMs
        options.onMembership?.(true)
        desired.beginSession()
        removal.beginSession()
        tokens.beginSession()
        network.beginSession(config)
        saver?.clusterChanged(config)
        reporter.resendAll()
        events.flush()
      },
      onChanges(changes) {
        const applied = desired.apply(changes)
        if (applied === 'outOfSequence') session.send({ type: 'resync', table: changes.table })
        if (applied !== 'applied') return
        tableChanged(changes.table)
        if (changes.table === 'assignments') removal.wake()
        saver?.changed(changes.table)
      },
      onTokenAnswer: (answer) => tokens.answered(answer),
      onOpenStream: (request, client) => streams.open(request, client),
      onRemoved() {
        // Its pods run elsewhere by now, or are wanted no more: what still runs here would be a second copy.
        log.warn('this node was removed from the cluster: its pods are stopped; join again with a new token')
        options.onMembership?.(false)
        desired.apply(NO_ASSIGNMENTS)
        tableChanged('assignments')
        saver?.changed('assignments')
      },
    },
  })
  const health =
    options.http === undefined
      ? undefined
      : createHealthServer({ listen: options.http, registry, missing: () => missing(session, manager, network) })
  registerMetrics(registry, session, manager)
  return { session, manager, network, streams, health, saver, restore, fence, upkeep, collector, measureDisk }
}

async function hello(
  options: AgentOptions,
  images: NodeImageReporter,
  reporter: NodeConditionReporter,
): Promise<Hello> {
  const { nodeName, labels = {}, taints = [], capacity = {}, version, drivers, files = nodeFiles } = options
  const [runtimeVersion, handlers, nodeImages, bootId] = await Promise.all([
    drivers.runtime.version(),
    drivers.runtime.handlers(),
    images.list(),
    readBootId(files),
  ])
  const node = await observeNode({ ...options, labels, taints, capacity, files, runtimeVersion, handlers })
  const conditions = [...(node.status?.conditions ?? []), ...reporter.list()]
  const nodeJson = jsonBytes({ ...node, status: { ...node.status, conditions, images: nodeImages } })
  return { type: 'hello', nodeName, nodeJson, bootId, agentVersion: version }
}

/** What keeps the agent from being ready, in words. */
function missing(session: Session, manager: PodManager, network: NetworkSync): string[] {
  return [
    ...(session.connected ? [] : ['no session with a server']),
    ...(manager.synced ? [] : ['no assignments yet']),
    ...(network.ready ? [] : ['the overlay network is not set up']),
  ]
}

function registerMetrics(registry: Registry, session: Session, manager: PodManager): void {
  new Gauge({
    name: 'kubelet_running_pods',
    help: 'Pods that this node looks after',
    registers: [registry],
    collect() {
      this.set(manager.podCount)
    },
  })
  new Gauge({
    name: 'drover_agent_connected',
    help: 'Whether there is a session with a server',
    registers: [registry],
    collect() {
      this.set(session.connected ? 1 : 0)
    },
  })
  new Counter({
    name: 'drover_agent_sessions_total',
    help: 'Sessions with servers that have begun',
    registers: [registry],
    collect() {
      this.reset()
      this.inc(session.sessions)
    },
  })
}

async function runAgent({ drivers, tables }: AgentOptions, parts: Parts, signal: AbortSignal): Promise<void> {
  const { runtime, images, network, volumes, dns } = drivers
  const starting = [runtime, images, network, volumes, dns].map((driver) => driver.initialize())
  await Promise.all([...starting, parts.measureDisk()])
  const saved = await tables?.load()
  if (saved !== undefined) parts.restore(saved)
  const inner = new AbortController()
  const both = AbortSignal.any([signal, inner.signal])
  const running = [
    parts.manager.run(both),
    parts.network.run(both),
    parts.session.run(both),
    ...parts.upkeep.map((part) => part.run(both)),
    ...(parts.fence === undefined ? [] : [parts.fence.fencer.run(both)]),
    ...(parts.collector === undefined ? [] : [parts.collector.run(both)]),
    ...(parts.saver === undefined ? [] : [parts.saver.run(both)]),
    ...(parts.health === undefined ? [] : [parts.health.run(both)]),
  ]
  // One that fails takes the others with it; the runner starts all of them anew.
  for (const part of running) part.catch(() => inner.abort())
  try {
    await Promise.all(running)
  } finally {
    inner.abort()
    parts.streams.close()
    parts.fence?.dispose()
    await dns.close()
    await Promise.allSettled(running)
  }
}
