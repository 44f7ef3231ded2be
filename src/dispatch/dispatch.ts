/**
 * The server's end of node sessions: takes agents in, gives them what they shall run and route, and writes what they
 * report. Every server runs one; nothing here needs to lead. All state is in memory and rebuilt from stored objects
 * and from what agents say when they connect.
 */
import { EXCLUSIVE_LEASE_MS } from '../api/exclusive.ts'
import type { KubeObject } from '../api/meta.ts'
import { type Node, nodeKind } from '../api/node.ts'
import { podKind } from '../api/pod_kind.ts'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { Logger } from '../base/log.ts'
import { Counter, Gauge, type Registry } from '../base/metrics.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import type { NodeGateway } from '../base/stream.ts'
import type { EventRecorder, Resources } from '../resources/resources.ts'
import type { MessageStream } from '../rpc/message_stream.ts'
import { type AgentMessage, jsonBytes, type NodeEvent, parseJson, type ServerMessage } from '../rpc/messages.ts'
import { readPeerRequest } from '../rpc/peer_client.ts'
import { createNodeServer, type NodeCaller, type NodeServer, type TlsFiles } from '../rpc/server.ts'
import type { ClusterConfig } from '../rpc/tables.ts'
import { Assignments } from './assignments.ts'

import { Barrier } from './barrier.ts'
import { createGateway, type Gateway } from './gateway.ts'

import { checkMember, createJoinDesk, type JoinAuthority } from './join.ts'
import type { ReportedNode } from './node_object.ts'
import { Nodes } from './nodes.ts'
import { createPeerGateway, type Peers, servePeer } from './peers.ts'
import { PodReports } from './pod_reports.ts'
import { PolicyTables } from './policy_tables.ts'
import { NodeSession } from './session.ts'
import { SharedTables } from './shared_tables.ts'
import { answerTokenRequest, type IssueToken } from './tokens.ts'

export interface DispatchOptions {
  resources: Resources
  events: EventRecorder
  clock: Clock
  random: Random
  log: Logger
  registry: Registry
  /** Port 0 takes a free one; see `address`. */
  listen: { host: string; port: number }
  /** PEM texts. */
  tls: TlsFiles
  cluster: ClusterConfig
  /** Names this server; the same after a restart. */
  serverId: string
  heartbeatIntervalMs?: number
  notReadyAfterMs?: number
  /** With several servers: whether the one of this id lives. A lone server leaves it out. */
  isServerAlive?: (serverId: string) => boolean
  /** Counts up whenever the other servers come to know this one; undefined while they may hold it for dead. */
  presenceTerm?: () => number | undefined
  /** The other servers: nodes that they hold can be reached through them. A lone server leaves it out. */
  peers?: Peers
  /** Lets machines join and certificates be renewed; without it both are refused. */
  join?: JoinAuthority
  /** Signs tokens for the pods of nodes; without it service accounts have none. */
  issueToken?: IssueToken
  /** How agents call in; by gRPC unless said otherwise. */
  createServer?: typeof createNodeServer
}

export interface Dispatch {
  service: Service
  gateway: NodeGateway
  /** Where it listens, while the service runs. Throws `unavailable` before that. */
  address(): { host: string; port: number }
  /** Takes a renewed certificate for new connections; open sessions go on. */
  setTls(tls: TlsFiles): void
}

const DEFAULT_HEARTBEAT_MS = 1_000
const DEFAULT_NOT_READY_MS = 4_000
/** How long the cache may take to show all that was acknowledged before a session began. */
const BARRIER_TIMEOUT_MS = 10_000
/** An agent that says nothing after it has dialled. */
const HELLO_TIMEOUT_MS = 10_000
/** A local cluster's agents may call a moment before their Nodes are made. */
const NODE_WAIT_MS = 2_000

export function createDispatch(options: DispatchOptions): Dispatch {
  const { listen, registry, clock, random } = options
  const sessions = new Map<string, NodeSession>()
  const own = createGateway(sessions, clock, random)
  const { peers } = options
  const gateway = peers === undefined ? own : createPeerGateway({ ...options, local: own, peers })
  const metrics = {
    sessions: new Gauge({
      name: 'drover_dispatch_sessions',
      help: 'Agents with a live session',
      registers: [registry],
      collect() {
        this.set(sessions.size)
      },
    }),
    reports: new Counter({
      name: 'drover_dispatch_pod_reports_total',
      help: 'Pod status reports taken from agents',
      registers: [registry],
    }),
    resyncs: new Counter({
      name: 'drover_dispatch_resyncs_total',
      help: 'Times an agent asked for a whole table again',
      labelNames: ['table'],
      registers: [registry],
    }),
  }
  let port: number | undefined
  let tls = options.tls
  let server: NodeServer | undefined
  const service: Service = {
    id: 'dispatch',
    async run(signal) {
      const running = new RunningDispatch({ ...options, tls }, sessions, metrics)
      await running.run(signal, own, (bound, listening) => {
        port = bound
        server = listening
        server.setTls(tls)
      })
    },
  }
  return {
    service,
    gateway,
    address() {
      if (port === undefined) throw new DroverError('unavailable', 'dispatch does not listen yet')
      return { host: listen.host, port }
    },
    setTls(renewed) {
      tls = renewed
      server?.setTls(renewed)
    },
  }
}

interface Metrics {
  reports: Counter
  resyncs: Counter
}

type AgentStream = MessageStream<AgentMessage, ServerMessage>

/** One run of the service: everything that must not outlive it. */
class RunningDispatch {
  readonly #options: DispatchOptions
  readonly #sessions: Map<string, NodeSession>
  readonly #metrics: Metrics
  readonly #assignments: Assignments
  readonly #policies: PolicyTables
  readonly #shared: SharedTables
  readonly #nodes: Nodes
  readonly #reports: PodReports
  readonly #barrier: Barrier

  constructor(options: DispatchOptions, sessions: Map<string, NodeSession>, metrics: Metrics) {
    this.#options = options
    this.#sessions = sessions
    this.#metrics = metrics
    const { resources, clock } = options
    this.#assignments = new Assignments(resources, {
      needsDrain: (pod) => this.#barrier.needsDrain(pod),
      signsTokens: options.issueToken !== undefined,
    })
    this.#policies = new PolicyTables(resources)
    this.#shared = new SharedTables(resources, clock, () => {
      for (const session of sessions.values()) session.pump()
    })
    this.#nodes = new Nodes({
      ...options,
      notReadyAfterMs: options.notReadyAfterMs ?? DEFAULT_NOT_READY_MS,
      isServerAlive: options.isServerAlive ?? (() => false),
      onRemoved: (nodeName) => this.#removed(nodeName),
      onMoved: (nodeName) => this.#moved(nodeName),
    })
    const isServerAlive = options.isServerAlive ?? (() => false)
    this.#barrier = new Barrier({ ...options, isServerAlive, tables: this.#shared, sessions })
    this.#reports = new PodReports({ ...options, needsRoute: (pod) => this.#barrier.needsRoute(pod) })
  }

  async run(
    signal: AbortSignal,
    gateway: Gateway,
    onListening: (port: number, server: NodeServer) => void,
  ): Promise<void> {
    const { resources, tls, listen, createServer = createNodeServer } = this.#options
    await resources.ready()
    const desk = this.#joinDesk()
    const stops = [
      this.#barrier.subscribe(),
      this.#reports.subscribe(),
      this.#policies.subscribe(),
      this.#assignments.subscribe(),
      this.#shared.subscribe(),
    ]
    const server = createServer(tls, {
      onConnect: (caller, stream) => this.#accept(caller, stream),
      onStream: gateway.onStream,
      onForward: (stream) => {
        readPeerRequest(stream)
          .then((request) => servePeer(gateway, stream, request))
          .catch((error: unknown) => stream.end(error))
      },
      onJoin: async (request, source) => desk().join(request, source),
      onRenew: async (caller, request) => desk().renew(caller, request),
    })
    const inner = new AbortController()
    const both = AbortSignal.any([signal, inner.signal])
    try {
      const working = Promise.all([this.#nodes.run(both), this.#reports.run(both), this.#barrier.run(both)])
      working.catch(() => inner.abort())
      onListening(await server.listen(listen.host, listen.port), server)
      await working
    } finally {
      inner.abort()
      for (const session of this.#sessions.values()) {
        session.stream.close(new DroverError('unavailable', 'the server is stopping'))
      }
      this.#sessions.clear()
      await server.close()
      for (const stop of stops) stop()
    }
  }

  #joinDesk() {
    const { join: authority } = this.#options
    const desk = authority === undefined ? undefined : createJoinDesk({ ...this.#options, authority })
    return () => {
      if (desk === undefined) throw new DroverError('unsupported', 'this server lets no machine join')
      return desk
    }
  }

  /** The Node of a session that may not make its own is gone. */
  #removed(nodeName: string): void {
    this.#sessions
      .get(nodeName)
      ?.stream.close(
        new DroverError('gone', `node ${nodeName} was removed from the cluster; join again with a new token`),
      )
  }

  /** What its agent still says in the session here was sent before it went on to another server. */
  #moved(nodeName: string): void {
    this.#sessions
      .get(nodeName)
      ?.stream.close(new DroverError('conflict', `another session of node ${nodeName} has begun, at another server`))
  }

  #accept(caller: NodeCaller, stream: AgentStream): void {
    const { nodeName } = caller
    const { clock, log } = this.#options
    let session: NodeSession | undefined
    const refuse = (error: unknown): void => {
      const coded = DroverError.from(error)
      log.warn({ node: nodeName, err: coded }, 'node session refused')
      stream.close(coded)
    }
    const timer = clock.schedule(HELLO_TIMEOUT_MS, () =>
      refuse(new DroverError('timeout', 'the agent did not say Hello')),
    )
    let greeted = false
    stream.onMessage((message) => {
      try {
        if (greeted) {
          this.#onMessage(nodeName, session, message)
        } else {
          greeted = true
          timer.cancel()
          this.#greet(caller, stream, message).then((started) => {
            session = started
          }, refuse)
        }
      } catch (error) {
        refuse(error)
      }
    })
    stream.onEnd(() => stream.end())
    stream.onClose((error) => {
      timer.cancel()
      if (session !== undefined) this.#left(session, error)
    })
  }

  async #greet(caller: NodeCaller, stream: AgentStream, hello: AgentMessage): Promise<NodeSession | undefined> {
    const { nodeName } = caller
    const { resources, cluster, serverId, log } = this.#options
    if (hello.type !== 'hello') throw new DroverError('invalid', 'the first message must be Hello')
    if (hello.nodeName !== nodeName) {
      throw new DroverError('forbidden', `the certificate is for node ${nodeName}, not for ${hello.nodeName}`)
    }
    const reported = reportedNode(parseJson(hello.nodeJson, 'the node in Hello'))
    let open = true
    stream.onClose(() => {
      open = false
    })
    await this.#checkMember(caller)
    if (!open) return undefined
    // Its Welcome may have to wait for the store: that it called is a sign of life.
    this.#nodes.heard(nodeName)
    // An agent removes what COMPLETE does not name: it must show all that was ever acknowledged, by any server. So too what the
    // agent reports once it is welcome is about pods that are known here: it would not say again what was dropped.
    await resources.waitForRevision(await resources.currentRevision(), BARRIER_TIMEOUT_MS)
    if (!open) return undefined
    // Looked at again: the node may have been removed while this waited.
    checkMember(resources, caller)
    stream.write({
      type: 'welcome',
      heartbeatIntervalMs: this.#options.heartbeatIntervalMs ?? DEFAULT_HEARTBEAT_MS,
      clusterConfigJson: jsonBytes(cluster),
      serverId,
      exclusiveLeaseMs: EXCLUSIVE_LEASE_MS,
    })
    const replaced = this.#sessions.get(nodeName)
    const pump = () => this.#sessions.get(nodeName)?.pump()
    const policies = this.#policies.open(nodeName, pump)
    const table = this.#assignments.open(nodeName, pump)
    this.#shared.flush()
    const session = new NodeSession({
      nodeName,
      bootId: hello.bootId,
      stream,
      tables: [
        ['peers', this.#shared.peers],
        // Before the pods that they bind: an agent isolates a pod before it starts it.
        ['policies', policies],
        ['assignments', table],
        ['services', this.#shared.services],
      ],
    })
    this.#sessions.set(nodeName, session)
    stream.onClose(() => {
      this.#policies.close(nodeName, policies)
      this.#assignments.close(nodeName, table)
    })
    this.#nodes.connected(nodeName, reported, caller.joinId === undefined)
    replaced?.stream.close(new DroverError('conflict', `another session of node ${nodeName} has begun`))
    log.info({ node: nodeName, boot: hello.bootId, version: hello.agentVersion }, 'node session began')
    session.pump()
    return session
  }

  /** Throws `gone` for a certificate whose node was removed, after the cache shows all that is stored. */
  async #checkMember(caller: NodeCaller): Promise<void> {
    const { resources, clock } = this.#options
    try {
      checkMember(resources, caller)
      return
    } catch {
      await resources.waitForRevision(await resources.currentRevision(), BARRIER_TIMEOUT_MS)
    }
    if (resources.get(nodeKind, '', caller.nodeName) === undefined) await this.#nodeAppears(caller.nodeName, clock)
    checkMember(resources, caller)
  }

  #nodeAppears(nodeName: string, clock: Clock): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel()
        stop()
        resolve()
      }
      const timer = clock.schedule(NODE_WAIT_MS, done)
      const stop = this.#options.resources.subscribe(nodeKind, ({ type, object }) => {
        if (type !== 'DELETED' && object.metadata.name === nodeName) done()
      })
    })
  }

  #onMessage(nodeName: string, session: NodeSession | undefined, message: AgentMessage): void {
    // A session that another has replaced no longer speaks for the node.
    if (session !== undefined && this.#sessions.get(nodeName) !== session) return
    this.#nodes.heard(nodeName)
    switch (message.type) {
      case 'hello':
        throw new DroverError('invalid', 'Hello may be sent once')
      case 'heartbeat':
        if (session === undefined) return
        session.programmedRevision = message.programmedRevision
        session.peersRevision = message.peersRevision
        this.#barrier.wake()
        session.stream.write({
          type: 'heartbeatAck',
          grantedMs: this.#granted(nodeName, session, message.sentAtMs),
          servers: session.serversToTell(this.#options.peers?.servers.nodeAddresses() ?? []),
        })
        return
      case 'podStatuses':
        this.#metrics.reports.inc(message.reports.length)
        this.#reports.take(nodeName, message.reports)
        return
      case 'nodeStatus': {
        const status = parseJson(message.statusJson, 'the node status')
        if (isObject(status)) this.#nodes.reported(nodeName, status)
        return
      }
      case 'events':
        for (const event of message.events) this.#record(nodeName, event)
        return
      case 'tokenRequest':
        void answerTokenRequest(this.#options, nodeName, message).then((answer) => session?.stream.write(answer))
        return
      case 'resync':
        this.#metrics.resyncs.inc({ table: message.table })
        session?.resync(message.table)
        return
    }
  }

  /** Which heartbeat the node may count its right to run exclusive pods from; 0: this one gives none. */
  #granted(nodeName: string, session: NodeSession, sentAtMs = 0): number {
    // What it must not run any more has to reach it before its right to run does.
    session.pump()
    return this.#nodes.mayGrant(nodeName) && session.isCurrent('assignments') ? sentAtMs : 0
  }

  /** A node speaks of itself and of its own pods, also of one that has just gone. */
  #record(nodeName: string, { kind, namespace, name, uid, type, reason, message }: NodeEvent): void {
    const pod = kind === 'Pod' ? this.#options.resources.get(podKind, namespace, name) : undefined
    const isOwn = kind === 'Pod' ? (pod?.spec.nodeName ?? nodeName) === nodeName : kind === 'Node' && name === nodeName
    if (!isOwn) {
      this.#options.log.warn(
        { node: nodeName, kind, namespace, name },
        'an event about what is not its own was dropped',
      )
      return
    }
    const metadata = { name, uid, ...(namespace === '' ? {} : { namespace }) }
    const about: KubeObject = { apiVersion: 'v1', kind, metadata }
    this.#options.events.record(about, type === 'Warning' ? 'Warning' : 'Normal', reason, message)
  }

  #left(session: NodeSession, error: DroverError | undefined): void {
    const { nodeName } = session
    if (this.#sessions.get(nodeName) !== session) return
    this.#sessions.delete(nodeName)
    this.#nodes.disconnected(nodeName)
    this.#reports.forget(nodeName)
    this.#options.log.info({ node: nodeName, reason: error?.message ?? 'ended' }, 'node session ended')
  }
}

/** Reads the agent's own view of its node; the schema is checked when it is written. */
function reportedNode(json: unknown): ReportedNode {
  if (!isObject(json)) throw new DroverError('invalid', 'the node in Hello is not an object')
  const { metadata, spec, status } = json as unknown as Partial<Node>
  return { labels: metadata?.labels ?? {}, taints: spec?.taints ?? [], status: status ?? {} }
}
