/**
 * What the server has been told of each pod, and what it still has to hear. All changes of a tick leave in one
 * message; a new session hears everything again, since nobody knows what was lost with the old one.
 *
 * What is still on its way up is said a moment later: a pod that starts meanwhile, as most do, costs its server one write
 * instead of three. What runs, ends or is gone is said at once.
 */
import type { PodStatus } from '../api/pod.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { type AgentMessage, jsonBytes, type PodStatusReport } from '../rpc/messages.ts'

export interface PodName {
  namespace: string
  name: string
  uid: string
}

/** A message carries about this much. */
const MAX_MESSAGE_BYTES = 512 << 10
const PENDING_DELAY_MS = 50

export class StatusReporter {
  readonly #clock: Clock
  readonly #send: (message: AgentMessage) => boolean
  readonly #reports = new Map<string, PodStatusReport>()
  readonly #dirty = new Set<string>()
  /** Those of the dirty that do not wait. */
  readonly #urgent = new Set<string>()
  #soon: Timer | undefined
  #later: Timer | undefined

  constructor(clock: Clock, send: (message: AgentMessage) => boolean) {
    this.#clock = clock
    this.#send = send
  }

  report(pod: PodName, status: PodStatus): void {
    const known = this.#reports.get(pod.uid)
    if (known?.removed) return
    const statusJson = jsonBytes(status)
    if (known !== undefined && Buffer.compare(known.statusJson, statusJson) === 0) return
    this.#put({ ...pod, statusJson, removed: false }, status.phase !== 'Pending')
  }

  /** Said again in every session until the pod is no longer assigned. */
  removed(pod: PodName): void {
    if (this.#reports.get(pod.uid)?.removed) return
    this.#put({ ...pod, statusJson: this.#reports.get(pod.uid)?.statusJson ?? new Uint8Array(0), removed: true }, true)
  }

  forget(uid: string): void {
    this.#reports.delete(uid)
    this.#said(uid)
  }

  resendAll(): void {
    for (const uid of this.#reports.keys()) {
      this.#dirty.add(uid)
      this.#urgent.add(uid)
    }
    this.#sendSoon()
  }

  #put(report: PodStatusReport, urgent: boolean): void {
    this.#reports.set(report.uid, report)
    this.#dirty.add(report.uid)
    if (urgent) {
      this.#urgent.add(report.uid)
      this.#sendSoon()
      return
    }
    this.#later ??= this.#clock.schedule(PENDING_DELAY_MS, () => {
      this.#later = undefined
      this.#flush(this.#dirty)
    })
  }

  #sendSoon(): void {
    this.#soon ??= this.#clock.schedule(0, () => {
      this.#soon = undefined
      this.#flush(this.#urgent)
    })
  }

  #said(uid: string): void {
    this.#dirty.delete(uid)
    this.#urgent.delete(uid)
  }

  #flush(uids: ReadonlySet<string>): void {
    let reports: PodStatusReport[] = []
    let bytes = 0
    const send = (): boolean => {
      if (reports.length === 0) return true
      const sent = this.#send({ type: 'podStatuses', reports })
      if (sent) for (const { uid } of reports) this.#said(uid)
      reports = []
      bytes = 0
      return sent
    }
    for (const uid of uids) {
      const report = this.#reports.get(uid)
      if (report === undefined) continue
      reports.push(report)
      bytes += report.statusJson.length
      // Without a session all of it stays for the next.
      if (bytes > MAX_MESSAGE_BYTES && !send()) return
    }
    send()
  }
}
