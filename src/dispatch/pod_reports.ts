/**
 * Writes what agents report of their pods. Only the newest report of a pod is kept while an older one is being
 * written, so a burst costs one write a pod; pods are written in parallel, one pod's reports in order.
 */
import type { Stored } from '../api/meta.ts'
import { isNodeReady, type Node, nodeKind } from '../api/node.ts'
import type { Pod, PodStatus } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { type Clock, timestamp } from '../base/clock.ts'
import { isCode } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { Logger } from '../base/log.ts'
import { type ReconcileResult, WorkQueue } from '../base/queue.ts'
import type { Random } from '../base/random.ts'
import type { Resources } from '../resources/resources.ts'
import { type PodStatusReport, parseJson } from '../rpc/messages.ts'
import { SESSION_ANNOTATION } from './node_object.ts'
import { mergePodStatus } from './pod_status.ts'

/** Group commit makes parallel writes cheap: they leave in one transaction. */
const WRITES_AT_ONCE = 128

export interface PodReportsOptions {
  resources: Resources
  clock: Clock
  random: Random
  log: Logger
  serverId: string
  /** Whether a pod that becomes Ready has to be routed to before it counts. */
  needsRoute: (pod: Pod) => boolean
}

interface Pending {
  nodeName: string
  report: PodStatusReport
}

export class PodReports {
  readonly #resources: Resources
  readonly #clock: Clock
  readonly #log: Logger
  readonly #needsRoute: (pod: Pod) => boolean
  readonly #serverId: string
  /** By uid. Bounded by the pods of connected nodes: reports about others never enter. */
  readonly #pending = new Map<string, Pending>()
  /** The last word about each pod, by uid, for as long as its node's session lasts. */
  readonly #last = new Map<string, Pending>()
  readonly #queue: WorkQueue

  constructor({ resources, clock, random, log, serverId, needsRoute }: PodReportsOptions) {
    this.#serverId = serverId
    this.#resources = resources
    this.#clock = clock
    this.#log = log
    this.#needsRoute = needsRoute
    this.#queue = new WorkQueue({ name: 'pod-reports', clock, random, log, concurrency: WRITES_AT_ONCE }, (uid) =>
      this.#write(uid),
    )
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#queue.run(signal)
  }

  /**
   * Sees to it that the last word of a node of ours stands: a server that stood still may write an older one over it
   * when it goes on, and the agent, whose word was taken, would not repeat it. So too what somebody else writes into a pod's
   * conditions meets the agent's word, where a readiness gate asks for it. Returns how to stop.
   */
  subscribe(): () => void {
    const stops = [
      this.#resources.subscribe(podKind, ({ type, object }) => {
        if (type === 'DELETED') this.#last.delete(object.metadata.uid)
        else this.#look(object)
      }),
      this.#resources.subscribe(nodeKind, (event) => {
        if (event.type === 'DELETED' || !this.#isOurs(event.object)) return
        if (event.type === 'MODIFIED' && this.#isOurs(event.old)) return
        for (const pod of this.#resources.podsOnNode(event.object.metadata.name)) this.#look(pod as Stored<Pod>)
      }),
    ]
    return () => {
      for (const stop of stops) stop()
    }
  }

  /** The node's session has ended: another server may speak for it from now on. */
  forget(nodeName: string): void {
    for (const [uid, last] of this.#last) if (last.nodeName === nodeName) this.#last.delete(uid)
  }

  #isOurs(node: Node): boolean {
    return isNodeReady(node) && node.metadata.annotations?.[SESSION_ANNOTATION] === this.#serverId
  }

  #look(pod: Stored<Pod>): void {
    const { uid, namespace = '', name } = pod.metadata
    const last = this.#last.get(uid)
    if (last === undefined || this.#pending.has(uid)) return
    const node = this.#resources.get(nodeKind, '', last.nodeName)
    // Of a node that does not answer, others judge what is true of its pods.
    if (node === undefined || !this.#isOurs(node)) return
    const { removed, statusJson } = last.report
    const isOver = removed && pod.metadata.deletionTimestamp !== undefined
    const status = statusJson.length === 0 ? undefined : parseJson(statusJson, `status of pod ${namespace}/${name}`)
    if (!isOver && (!isObject(status) || this.#merged(pod, status) === undefined)) return
    this.#pending.set(uid, last)
    this.#queue.add(uid)
  }

  #merged(pod: Pod, status: PodStatus): PodStatus | undefined {
    const { readinessGates } = pod.spec
    return mergePodStatus(pod.status, status, {
      now: timestamp(this.#clock.now()),
      needsRoute: () => this.#needsRoute(pod),
      ...(readinessGates === undefined ? {} : { readinessGates }),
    })
  }

  take(nodeName: string, reports: readonly PodStatusReport[]): void {
    for (const report of reports) {
      if (this.#podOf(nodeName, report) === undefined) continue
      const word = { nodeName, report }
      this.#last.set(report.uid, word)
      this.#pending.set(report.uid, word)
      this.#queue.add(report.uid)
    }
  }

  /** The pod that the report is about, if it is bound to the node that reports. */
  #podOf(nodeName: string, { namespace, name, uid }: PodStatusReport): Stored<Pod> | undefined {
    const pod = this.#resources.get(podKind, namespace, name)
    return pod?.metadata.uid === uid && pod.spec.nodeName === nodeName ? pod : undefined
  }

  async #write(uid: string): Promise<ReconcileResult> {
    const pending = this.#pending.get(uid)
    if (pending === undefined) return undefined
    try {
      await this.#writeReport(pending)
    } catch (error) {
      // The pod went away, or another took its name: there is nothing left to report.
      if (!isCode(error, 'notFound')) {
        if (!isCode(error, 'invalid')) throw error
        this.#log.error({ pod: `${pending.report.namespace}/${pending.report.name}`, err: error }, 'report refused')
      }
    }
    if (this.#pending.get(uid) !== pending) return undefined
    this.#pending.delete(uid)
    // A gate's condition that came while this was being written has been seen by nobody: its pod was pending.
    const pod = this.#podOf(pending.nodeName, pending.report)
    if (pod?.spec.readinessGates !== undefined) this.#look(pod)
    return undefined
  }

  async #writeReport({ nodeName, report }: Pending): Promise<void> {
    const { namespace, name, uid } = report
    const pod = this.#podOf(nodeName, report)
    if (pod === undefined) return
    if (report.removed && pod.metadata.deletionTimestamp !== undefined) {
      await this.#resources.delete(podKind, namespace, name, { gracePeriodSeconds: 0, preconditions: { uid } })
      return
    }
    if (report.statusJson.length === 0) return
    const status = parseJson(report.statusJson, `status of pod ${namespace}/${name}`)
    if (!isObject(status)) return
    await this.#resources.modify<Pod>(podKind, namespace, name, 'status', (current) => {
      if (current.metadata.uid !== uid) return undefined
      const merged = this.#merged(current, status)
      return merged === undefined ? undefined : { ...current, status: merged }
    })
  }
}
