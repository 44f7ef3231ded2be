/**
 * Which nodes are alive, and their Node objects. Heartbeats stay in memory; only a change of state is written, by a
 * queue that derives the object from what is known now.
 *
 * A node is lost when nothing was heard of it for `notReadyAfterMs` on the monotonic clock, whether its session broke
 * or merely fell silent. Time in which this process itself stood still counts for nobody: what nodes said meanwhile
 * waits in the socket.
 *
 * A node's right to run exclusive pods is renewed (`mayGrant`) only while the store names this server as the holder of its
 * session, by a write made in this session and in the present term of this server's own presence.
 *
 * An agent has one session at a time. So once the store names another living server after it named us, what still comes in
 * our session was sent before: it must not take the node back, and the session is ended.
 */
import { keyOf } from '../api/kind.ts'
import { NODE_CONDITION } from '../api/names.ts'
import { isNodeReady, type Node, nodeCondition, nodeKind } from '../api/node.ts'
import { type Clock, type Timer, timestamp } from '../base/clock.ts'
import { isCode } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import type { Logger } from '../base/log.ts'
import { type ReconcileResult, WorkQueue } from '../base/queue.ts'
import type { Random } from '../base/random.ts'
import type { Resources } from '../resources/resources.ts'
import { desiredNode, type Liveness, type ReportedNode, SESSION_ANNOTATION, withReport } from './node_object.ts'

export interface NodesOptions {
  resources: Resources
  clock: Clock
  random: Random
  log: Logger
  serverId: string
  notReadyAfterMs: number
  /** Whether another server lives and so judges its own nodes. A lone server judges all. */
  isServerAlive: (serverId: string) => boolean
  /** Counts up whenever this server becomes known to the others; undefined while they may hold it for dead. */
  presenceTerm?: () => number | undefined
  /** The Node of a live session that may not register itself has been deleted. */
  onRemoved?: (nodeName: string) => void
  /** The node has a session at another server now: the one that it had here is of the past. */
  onMoved?: (nodeName: string) => void
}

interface Known {
  lastHeardMs: number
  connected: boolean
  lost: boolean
  /** Beats are missing, and that was written. */
  late: boolean
  reported: ReportedNode | undefined
  /** Whether the node makes its own Node object; one that joined has it from its joining, and is out without it. */
  registers: boolean
  /** The term in which the store was seen to hold the node as live and ours; since then it was never lost. */
  claimedTerm: number | undefined
  /** A write of this session has named this server, in whatever term. */
  claimed: boolean
  /** Counts its losses: a write that began before one claims nothing. */
  losses: number
}

const WRITES_AT_ONCE = 32
const MAX_TICK_MS = 250
const MIN_TICK_MS = 10
/** Silence after which a node is called late, as a part of that after which it is lost. */
const LATE_PART = 0.4
/** A tick this much late means that we stood still, not the nodes. */
const STALL_MS = 100
/** Without a tick for this long, timers have not run: what they would have said is not known. */
const BLIND_MS = 1_000
const CACHE_WAIT_MS = 10_000
const ONLY_TERM = 1

export class Nodes {
  readonly #options: NodesOptions
  readonly #known = new Map<string, Known>()
  readonly #queue: WorkQueue
  #tickedMs = Number.NEGATIVE_INFINITY

  constructor(options: NodesOptions) {
    this.#options = options
    const { clock, random, log } = options
    this.#queue = new WorkQueue({ name: 'nodes', clock, random, log, concurrency: WRITES_AT_ONCE }, (name) =>
      this.#reconcile(name),
    )
  }

  /** Judges until the signal is raised. Nodes that were Ready at the start have as long to come back as any other. */
  async run(signal: AbortSignal): Promise<void> {
    const { resources, clock } = this.#options
    // One that never was Ready cannot be lost: its agent has yet to call.
    for (const node of resources.list(nodeKind)) if (isNodeReady(node) && this.#isOurs(node)) this.#await(keyOf(node))
    const stop = resources.subscribe(nodeKind, (event) => {
      const { type, object } = event
      const name = keyOf(object)
      const known = this.#known.get(name)
      if (type === 'DELETED' && known !== undefined && !known.registers) {
        this.#known.delete(name)
        if (known.connected) this.#options.onRemoved?.(name)
        return
      }
      if (type !== 'DELETED' && known?.connected && known.claimed && !this.#isOurs(object)) {
        this.#moved(name, known)
        return
      }
      // Deleted or overwritten under a live session: put back what is true. Its range says how many pods it takes.
      const hasNewRange = type === 'MODIFIED' && event.old.spec?.podCIDR !== object.spec?.podCIDR
      const isCalledLate = nodeCondition(object, NODE_CONDITION.late)?.status === 'True' && known?.late === false
      const stale = type === 'DELETED' || !isNodeReady(object) || isCalledLate || hasNewRange
      if (!known?.connected || known.lost || !stale) return
      known.claimedTerm = undefined
      this.#queue.add(name)
    })
    const tick = this.#startTicking(clock.monotonicMs())
    try {
      await this.#queue.run(signal)
    } finally {
      tick()
      stop()
    }
  }

  /** A session has begun. `registers`: its Node object is made when there is none. */
  connected(nodeName: string, reported: ReportedNode, registers = true): void {
    this.#known.set(nodeName, {
      lastHeardMs: this.#options.clock.monotonicMs(),
      connected: true,
      lost: false,
      late: false,
      reported,
      registers,
      claimedTerm: undefined,
      claimed: false,
      losses: 0,
    })
    this.#queue.add(nodeName)
  }

  /** Whether a heartbeat that came now may renew the node's right to run exclusive pods. */
  mayGrant(nodeName: string): boolean {
    const known = this.#known.get(nodeName)
    if (known === undefined || !known.connected || known.lost || known.claimedTerm === undefined) return false
    // After a stall, what came through the socket may run before the timers that say what was lost meanwhile.
    if (this.#options.clock.monotonicMs() - this.#tickedMs > BLIND_MS) return false
    return known.claimedTerm === this.#term()
  }

  #term(): number | undefined {
    const { presenceTerm } = this.#options
    return presenceTerm === undefined ? ONLY_TERM : presenceTerm()
  }

  /** Claims of an earlier term are made anew: others may have held us for dead and taken the node. */
  #reclaim(): void {
    const term = this.#term()
    if (term === undefined) return
    for (const [name, known] of this.#known) {
      if (known.connected && !known.lost && known.claimedTerm !== term) this.#queue.add(name)
    }
  }

  disconnected(nodeName: string): void {
    const known = this.#known.get(nodeName)
    if (known !== undefined) known.connected = false
  }

  heard(nodeName: string): void {
    const known = this.#known.get(nodeName)
    if (known === undefined) return
    known.lastHeardMs = this.#options.clock.monotonicMs()
    if (!known.lost && !known.late) return
    known.lost = false
    known.late = false
    this.#queue.add(nodeName)
  }

  reported(nodeName: string, status: ReportedNode['status']): void {
    const known = this.#known.get(nodeName)
    if (known?.reported === undefined) return
    known.reported = { ...known.reported, status: withReport(known.reported.status, status) }
    this.#queue.add(nodeName)
  }

  #isOurs(node: Node): boolean {
    const holder = node.metadata.annotations?.[SESSION_ANNOTATION]
    const { serverId, isServerAlive } = this.#options
    return holder === undefined || holder === serverId || !isServerAlive(holder)
  }

  /** Whether another server has taken the node up, which then judges it. */
  #isElsewhere(nodeName: string): boolean {
    const node = this.#options.resources.get(nodeKind, '', nodeName)
    return node !== undefined && !this.#isOurs(node)
  }

  /** Whether what this session says is still the node's word: it stands, and no later one has been claimed elsewhere. */
  #speaks(nodeName: string, known: Known, node: Node): boolean {
    if (!known.connected || this.#known.get(nodeName) !== known) return false
    return !known.claimed || this.#isOurs(node)
  }

  #moved(nodeName: string, known: Known): void {
    if (this.#known.get(nodeName) !== known) return
    this.#known.delete(nodeName)
    this.#options.onMoved?.(nodeName)
  }

  #await(nodeName: string): void {
    if (this.#known.has(nodeName)) return
    const lastHeardMs = this.#options.clock.monotonicMs()
    this.#known.set(nodeName, {
      lastHeardMs,
      connected: false,
      lost: false,
      late: false,
      reported: undefined,
      registers: true,
      claimedTerm: undefined,
      claimed: false,
      losses: 0,
    })
  }

  /** Nodes of a server that has died: they call another, or nobody hears of them and we say so. */
  #takeOver(): void {
    const { resources, serverId } = this.#options
    for (const node of resources.list(nodeKind)) {
      const holder = node.metadata.annotations?.[SESSION_ANNOTATION]
      if (holder === undefined || holder === serverId || !isNodeReady(node)) continue
      if (!this.#options.isServerAlive(holder)) this.#await(keyOf(node))
    }
  }

  #startTicking(startedMs: number): () => void {
    const { clock, notReadyAfterMs } = this.#options
    const periodMs = Math.min(MAX_TICK_MS, notReadyAfterMs / 4)
    let lastMs = startedMs
    this.#tickedMs = startedMs
    const next = (delayMs: number): Timer =>
      clock.schedule(
        delayMs,
        () => {
          const nowMs = clock.monotonicMs()
          const lateMs = nowMs - lastMs - delayMs
          lastMs = nowMs
          this.#tickedMs = nowMs
          this.#reclaim()
          this.#takeOver()
          this.#judge(nowMs, lateMs > STALL_MS ? lateMs : 0)
          timer = next(Math.min(periodMs, this.#untilNextMs(nowMs)))
        },
        true,
      )
    let timer = next(periodMs)
    return () => timer.cancel()
  }

  /** Until a node that stays silent is to be called late or lost: a tick then, not up to a period after it. */
  #untilNextMs(nowMs: number): number {
    const { notReadyAfterMs } = this.#options
    let untilMs = Number.POSITIVE_INFINITY
    for (const { lost, late, lastHeardMs } of this.#known.values()) {
      if (!lost) untilMs = Math.min(untilMs, lastHeardMs + notReadyAfterMs * (late ? 1 : LATE_PART) - nowMs)
    }
    return Math.max(MIN_TICK_MS, Math.ceil(untilMs))
  }

  #judge(nowMs: number, stalledMs: number): void {
    for (const [name, known] of this.#known) {
      known.lastHeardMs = Math.min(nowMs, known.lastHeardMs + stalledMs)
      const silentMs = nowMs - known.lastHeardMs
      const { notReadyAfterMs } = this.#options
      if (known.lost || silentMs < notReadyAfterMs * LATE_PART) continue
      if (!known.connected && this.#isElsewhere(name)) {
        this.#known.delete(name)
        continue
      }
      if (silentMs < notReadyAfterMs) {
        if (known.late) continue
        known.late = true
        this.#queue.add(name)
        continue
      }
      known.lost = true
      known.losses++
      known.claimedTerm = undefined
      this.#options.log.warn({ node: name, connected: known.connected }, 'node has stopped reporting')
      this.#queue.add(name)
    }
  }

  async #reconcile(name: string): Promise<ReconcileResult> {
    const known = this.#known.get(name)
    if (known === undefined) return undefined
    if (!known.lost && !known.late && !known.connected) return undefined
    try {
      await this.#write(name, known)
    } catch (error) {
      if (!isCode(error, 'notFound')) throw error
      // A lost node that was deleted is forgotten; a live one registers anew.
      if (known.lost || !known.registers) this.#known.delete(name)
      else if (!known.late) await this.#create(name, known)
    }
    if (known.lost && !known.connected && this.#known.get(name) === known) this.#known.delete(name)
    return undefined
  }

  async #create(name: string, known: Known): Promise<void> {
    const { resources, serverId } = this.#options
    const taints = known.reported?.taints ?? []
    const spec = taints.length === 0 ? {} : { taints: [...taints] }
    const bare: Node = { apiVersion: 'v1', kind: 'Node', metadata: { name }, spec, status: {} }
    try {
      const change = { liveness: { state: 'live' } as const, reported: known.reported, serverId, now: this.#now() }
      await resources.create(nodeKind, desiredNode(bare, change))
    } catch (error) {
      if (!isCode(error, 'alreadyExists')) throw error
    }
    await this.#write(name, known)
  }

  async #write(name: string, known: Known): Promise<void> {
    const { resources, serverId } = this.#options
    const { losses } = known
    const term = this.#term()
    const claims = !known.lost && !known.late && known.claimedTerm !== term
    // An object that looks right may be old: another server may have called the node lost since.
    if (claims) await resources.waitForRevision(await resources.currentRevision(), CACHE_WAIT_MS)
    let stands = false
    await resources.modify<Node>(nodeKind, '', name, 'all', (node) => {
      const liveness: Liveness = { state: known.lost ? 'lost' : known.late ? 'late' : 'live' }
      stands = liveness.state === 'live' && this.#speaks(name, known, node)
      // While this write waited, another server may have taken the node over, or the session have ended.
      if (liveness.state === 'live' ? !stands : !this.#isOurs(node)) return undefined
      const desired = desiredNode(node, { liveness, reported: known.reported, serverId, now: this.#now() })
      return jsonEqual(desired, node) ? undefined : desired
    })
    if (!claims || !stands) return
    // The agent may start what it is told to run: it must have been told of every deletion before this claim.
    await resources.waitForRevision(await resources.currentRevision(), CACHE_WAIT_MS)
    if (this.#isElsewhere(name)) {
      this.#moved(name, known)
      return
    }
    known.claimed = true
    if (known.losses === losses && !known.late) known.claimedTerm = term
  }

  #now(): string {
    return timestamp(this.#options.clock.now())
  }
}
