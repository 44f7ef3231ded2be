/**
 * Writes what agents report of their pods. Only the newest report of a pod is kept while an older one is being
 * written, so a burst costs one write a pod; pods are written in parallel, one pod's reports in order.
 */
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
import { mergePodStatus } from './pod_status.ts'

/** Group commit makes parallel writes cheap: they leave in one transaction. */
const WRITES_AT_ONCE = 128

export interface PodReportsOptions {
  resources: Resources
  clock: Clock
  random: Random
  log: Logger
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
  /** By uid. Bounded by the pods of connected nodes: reports about others never enter. */
  readonly #pending = new Map<string, Pending>()
  readonly #queue: WorkQueue

  constructor({ resources, clock, random, log, needsRoute }: PodReportsOptions) {
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

  take(nodeName: string, reports: readonly PodStatusReport[]): void {
    for (const report of reports) {
      if (this.#podOf(nodeName, report) === undefined) continue
      this.#pending.set(report.uid, { nodeName, report })
      this.#queue.add(report.uid)
    }
  }

  /** The pod that the report is about, if it is bound to the node that reports. */
  #podOf(nodeName: string, { namespace, name, uid }: PodStatusReport): Pod | undefined {
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
    if (this.#pending.get(uid) === pending) this.#pending.delete(uid)
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
    const now = timestamp(this.#clock.now())
    await this.#resources.modify<Pod>(podKind, namespace, name, 'status', (current) => {
      if (current.metadata.uid !== uid) return undefined
      const merged = mergePodStatus(current.status, status as PodStatus, now, () => this.#needsRoute(current))
      return merged === undefined ? undefined : { ...current, status: merged }
    })
  }
}
