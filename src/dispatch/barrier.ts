/**
 * The traffic barrier: a pod that ends is stopped only after every live node has ceased to route to it, and a new one
 * counts as available only when every live node does. It watches for pods that wait for either, asks how far the nodes'
 * programmed service tables have come, and writes the answer to the pod: `drover.dev/Drained`, `drover.dev/Routed`.
 *
 *   pod deleted ─► slice: terminating ─► row without it ─► nodes program ─► Drained=True ─► the agent may stop it
 *   pod Ready   ─► slice: ready       ─► row with it    ─► nodes program ─► Routed=True  ─► available
 *
 * Nothing is polled: events of pods, slices, services and nodes and the nodes' own word wake it. Waits are bounded (see
 * api/termination.ts). All of it is rebuilt from stored objects after a restart; the count of a wait then starts anew,
 * and the agent's own bound holds. With several servers each says in a condition of its own that its nodes are done,
 * and who finds all of these writes the verdict: nothing is shared unless a pod waits.
 */
import {
  type ConditionValue,
  findCondition,
  isPodFinished,
  isPodReady,
  isTerminating,
  withCondition,
} from '../api/conditions.ts'
import { keyOf, splitKey } from '../api/kind.ts'
import type { Stored } from '../api/meta.ts'
import { POD_CONDITION } from '../api/names.ts'
import { isNodeReady, nodeKind } from '../api/node.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { replicaSetKind } from '../api/replicaset.ts'
import { confirmLimitMs, graceMsOf, MAX_CONFIRM_MS, replacementLimitMs } from '../api/termination.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { isCode } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { type ReconcileResult, WorkQueue } from '../base/queue.ts'
import type { Random } from '../base/random.ts'
import type { EventRecorder, Resources } from '../resources/resources.ts'
import { type BarrierNode, type BarrierWait, planBarrier, type Settled } from './barrier_plan.ts'
import { EndpointIndex } from './endpoint_index.ts'
import { SESSION_ANNOTATION } from './node_object.ts'

export interface BarrierOptions {
  resources: Resources
  events: EventRecorder
  clock: Clock
  random: Random
  log: Logger
  serverId: string
  /** Whether another server lives and so speaks for the nodes that it holds. */
  isServerAlive: (serverId: string) => boolean
  tables: {
    readonly services: { readonly sequence: number }
    flush(): void
    routes(service: string, address: string): boolean
  }
  /** Sessions of this server. */
  sessions: ReadonlyMap<string, { readonly programmedRevision: number }>
}

type Purpose = 'drained' | 'routed'

interface Wait extends BarrierWait {
  uid: string
  purpose: Purpose
}

interface Verdict extends Settled {
  wait: Wait
}

const WRITES_AT_ONCE = 128
const CONDITION: Readonly<Record<Purpose, string>> = { drained: POD_CONDITION.drained, routed: POD_CONDITION.routed }

export class Barrier {
  readonly #options: BarrierOptions
  readonly #endpoints: EndpointIndex
  /** By pod: one that waits for a verdict. Bounded by the pods that come and go at the time. */
  readonly #waits = new Map<string, Wait>()
  readonly #verdicts = new Map<string, Verdict>()
  readonly #queue: WorkQueue
  #excused: ReadonlyMap<string, number> = new Map()
  #soon: Timer | undefined
  #later: Timer | undefined
  #again: Timer | undefined

  constructor(options: BarrierOptions) {
    this.#options = options
    this.#endpoints = new EndpointIndex(options.resources)
    const { clock, random, log } = options
    this.#queue = new WorkQueue({ name: 'barrier', clock, random, log, concurrency: WRITES_AT_ONCE }, (key) =>
      this.#write(key),
    )
  }

  /** Follows events; returns how to stop. */
  subscribe(): () => void {
    const { resources } = this.#options
    const stops = [
      this.#endpoints.subscribe(() => this.wake()),
      resources.subscribe(podKind, ({ type, object }) => {
        if (type === 'DELETED') this.#forget(keyOf(object))
        else this.#look(object)
      }),
      resources.subscribe(nodeKind, () => this.wake()),
    ]
    for (const pod of resources.list(podKind)) this.#look(pod)
    return () => {
      for (const stop of stops) stop()
      this.#soon?.cancel()
      this.#later?.cancel()
      this.#again?.cancel()
    }
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#queue.run(signal)
  }

  /** A node's session began, ended, or has programmed more. */
  wake(): void {
    if (this.#waits.size === 0) return
    this.#soon ??= this.#options.clock.schedule(0, () => {
      this.#soon = undefined
      this.#evaluate()
    })
  }

  /** Whether traffic may reach the pod through a service: it must leave that traffic before it is stopped. */
  needsDrain(pod: Pod): boolean {
    return (pod.status?.podIP ?? '') !== '' && !isPodFinished(pod) && this.#endpoints.servicesOf(pod).length > 0
  }

  /** Whether a pod that becomes Ready has to be routed to before it counts. */
  needsRoute(pod: Pod): boolean {
    return this.#endpoints.servicesOf(pod).length > 0
  }

  #look(pod: Stored<Pod>): void {
    const key = keyOf(pod)
    const purpose = this.#purposeOf(pod)
    const known = this.#waits.get(key)
    if (purpose === undefined) this.#forget(key)
    else if (known?.uid !== pod.metadata.uid || known.purpose !== purpose) {
      const sinceMs = this.#options.clock.monotonicMs()
      this.#verdicts.delete(key)
      this.#waits.set(key, { key, uid: pod.metadata.uid, purpose, sequence: undefined, sinceMs, limitMs: 0 })
    }
    // Another server's word may have come with the pod.
    this.wake()
  }

  #forget(key: string): void {
    this.#waits.delete(key)
    this.#verdicts.delete(key)
  }

  #purposeOf(pod: Pod): Purpose | undefined {
    if (!pod.spec.nodeName || isPodFinished(pod)) return undefined
    const status = (type: string) => findCondition(pod.status?.conditions, type)?.status
    if (isTerminating(pod)) {
      return status(POD_CONDITION.drained) !== 'True' && this.needsDrain(pod) ? 'drained' : undefined
    }
    return status(POD_CONDITION.routed) === 'False' && isPodReady(pod) ? 'routed' : undefined
  }

  #evaluate(): void {
    const { resources, clock, tables } = this.#options
    tables.flush()
    const open: Wait[] = []
    for (const wait of this.#waits.values()) {
      if (this.#verdicts.has(wait.key)) continue
      const { namespace, name } = splitKey(wait.key)
      const pod = resources.get(podKind, namespace, name)
      if (pod?.metadata.uid !== wait.uid) continue
      if (wait.purpose === 'drained') this.#followDrain(wait, pod)
      else this.#followRoute(wait, pod)
      open.push(wait)
    }
    const nowMs = clock.monotonicMs()
    const plan = planBarrier({ waits: open, nodes: this.#nodes(), excused: this.#excused, nowMs })
    this.#excused = plan.excused
    for (const settled of plan.settled) this.#settle(settled)
    this.#later?.cancel()
    this.#later =
      plan.againAtMs === undefined ? undefined : clock.schedule(plan.againAtMs - nowMs, () => this.wake(), true)
  }

  #followDrain(wait: Wait, pod: Stored<Pod>): void {
    const { tables } = this.#options
    const address = pod.status?.podIP ?? ''
    const graceMs = graceMsOf(pod)
    const services = this.#endpoints.servicesOf(pod)
    // Until the slice says so, a slice that was made of an older state of the pod may still be on its way.
    const told = services.every((service) => this.#endpoints.endpoint(service, wait.uid)?.terminating === true)
    const lastResort = told && services.some((service) => tables.routes(service, address))
    const held = lastResort && this.#expectsReplacement(pod)
    wait.limitMs = held ? replacementLimitMs(graceMs) : confirmLimitMs(graceMs)
    // Where nobody will stand in for it, there is nothing to wait for: requests go to it for as long as it answers.
    if (!told || held) wait.sequence = undefined
    else wait.sequence ??= tables.services.sequence
  }

  #followRoute(wait: Wait, pod: Stored<Pod>): void {
    wait.limitMs = MAX_CONFIRM_MS
    const services = this.#endpoints.servicesOf(pod)
    const listed = services.every((service) => this.#endpoints.endpoint(service, wait.uid)?.ready === true)
    if (!listed) wait.sequence = undefined
    else wait.sequence ??= this.#options.tables.services.sequence
  }

  /** Its ReplicaSet is to stay, so another pod comes in its place. */
  #expectsReplacement(pod: Stored<Pod>): boolean {
    const owner = pod.metadata.ownerReferences?.find(({ controller }) => controller === true)
    if (owner?.kind !== replicaSetKind.kind) return false
    const set = this.#options.resources.get(replicaSetKind, pod.metadata.namespace ?? '', owner.name)
    return set?.metadata.uid === owner.uid && !isTerminating(set) && (set.spec.replicas ?? 1) > 0
  }

  /** Nodes whose word this server waits for: those that are Ready, have an overlay, and no other server speaks for. */
  #nodes(): BarrierNode[] {
    const { resources, sessions } = this.#options
    const nodes: BarrierNode[] = []
    for (const node of resources.list(nodeKind)) {
      if (!isNodeReady(node) || !node.spec?.podCIDR) continue
      const { name } = node.metadata
      const session = sessions.get(name)
      if (session !== undefined) nodes.push({ name, programmed: session.programmedRevision })
      else if (this.#otherServer(node) === undefined) nodes.push({ name, programmed: -1 })
    }
    return nodes
  }

  #otherServer(node: { metadata: { name?: string; annotations?: Record<string, string> } }): string | undefined {
    const { serverId, isServerAlive, sessions } = this.#options
    const holder = node.metadata.annotations?.[SESSION_ANNOTATION]
    if (sessions.has(node.metadata.name ?? '') || holder === undefined || holder === serverId) return undefined
    return isServerAlive(holder) ? holder : undefined
  }

  #otherServers(): Set<string> {
    const servers = new Set<string>()
    for (const node of this.#options.resources.list(nodeKind)) {
      const other = isNodeReady(node) && node.spec?.podCIDR ? this.#otherServer(node) : undefined
      if (other !== undefined) servers.add(other)
    }
    return servers
  }

  #settle(settled: Settled): void {
    const wait = this.#waits.get(settled.key)
    if (wait === undefined) return
    this.#verdicts.set(settled.key, { ...settled, wait })
    this.#queue.add(settled.key)
  }

  async #write(key: string): Promise<ReconcileResult> {
    const { resources, clock, serverId, events } = this.#options
    const verdict = this.#verdicts.get(key)
    if (verdict === undefined) return undefined
    const { wait, missing } = verdict
    const { namespace, name } = splitKey(key)
    const type = CONDITION[wait.purpose]
    const others = [...this.#otherServers()]
    const late = clock.monotonicMs() - wait.sinceMs >= wait.limitMs
    let silent: string[] = []
    try {
      const pod = await resources.modify<Pod>(podKind, namespace, name, 'status', (current) => {
        if (current.metadata.uid !== wait.uid || this.#purposeOf(current) !== wait.purpose) return undefined
        const list = current.status?.conditions ?? []
        silent = others.filter((server) => findCondition(list, ackType(type, server))?.status !== 'True')
        const complete = late || silent.length === 0
        const value = complete ? verdictCondition(type, verdict, silent) : ack(ackType(type, serverId))
        const kept = complete ? list.filter((condition) => !condition.type.startsWith(`${type}-by-`)) : list
        const conditions = withCondition(kept, value, clock.now())
        return conditions === list
          ? undefined
          : { ...current, status: { ...current.status, conditions: [...conditions] } }
      })
      if (missing.length > 0) events.record(pod, 'Warning', 'EndpointNotConfirmed', explain(verdict, []))
    } catch (error) {
      if (!isCode(error, 'notFound')) throw error
    }
    if (this.#verdicts.get(key) !== verdict) return undefined
    if (late || silent.length === 0) this.#forget(key)
    else this.#waitForOthers(key)
    return undefined
  }

  /** Their words come with the pod. One that says nothing may have died, and its nodes be ours to ask: look again. */
  #waitForOthers(key: string): void {
    this.#verdicts.delete(key)
    this.#again ??= this.#options.clock.schedule(
      OTHERS_AGAIN_MS,
      () => {
        this.#again = undefined
        this.wake()
      },
      true,
    )
  }
}

const OTHERS_AGAIN_MS = 500

const ackType = (type: string, serverId: string): string => `${type}-by-${serverId}`
const ack = (type: string) => ({ type, status: 'True' as const, reason: 'NodesConfirmed' })

function verdictCondition(type: string, verdict: Verdict, silent: readonly string[]): ConditionValue {
  const { missing, unwritten } = verdict
  if (missing.length + silent.length === 0 && !unwritten) return { type, status: 'True', reason: 'NodesConfirmed' }
  const reason = unwritten ? 'NotInTime' : 'NodesNotConfirmed'
  return { type, status: 'True', reason, message: explain(verdict, silent) }
}

function explain({ missing, unwritten, wait }: Verdict, silent: readonly string[]): string {
  const what = wait.purpose === 'drained' ? 'no longer route to the pod' : 'route to the pod'
  if (unwritten) return `the service table did not show within ${wait.limitMs} ms that nodes ${what}`
  const who = [...missing, ...silent.map((server) => `server ${server}`)].join(', ')
  return `${who} did not confirm within ${wait.limitMs} ms to ${what}; not waited for any longer`
}
