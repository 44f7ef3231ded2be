/**
 * What the server has been told of each pod, and what it still has to hear. All changes of a tick leave in one
 * message; a new session hears everything again, since nobody knows what was lost with the old one.
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

export class StatusReporter {
  readonly #clock: Clock
  readonly #send: (message: AgentMessage) => boolean
  readonly #reports = new Map<string, PodStatusReport>()
  readonly #dirty = new Set<string>()
  #timer: Timer | undefined

  constructor(clock: Clock, send: (message: AgentMessage) => boolean) {
    this.#clock = clock
    this.#send = send
  }

  report(pod: PodName, status: PodStatus): void {
    const known = this.#reports.get(pod.uid)
    if (known?.removed) return
    const statusJson = jsonBytes(status)
    if (known !== undefined && Buffer.compare(known.statusJson, statusJson) === 0) return
    this.#put({ ...pod, statusJson, removed: false })
  }

  /** Said again in every session until the pod is no longer assigned. */
  removed(pod: PodName): void {
    if (this.#reports.get(pod.uid)?.removed) return
    this.#put({ ...pod, statusJson: this.#reports.get(pod.uid)?.statusJson ?? new Uint8Array(0), removed: true })
  }

  forget(uid: string): void {
    this.#reports.delete(uid)
    this.#dirty.delete(uid)
  }

  resendAll(): void {
    for (const uid of this.#reports.keys()) this.#dirty.add(uid)
    this.#schedule()
  }

  #put(report: PodStatusReport): void {
    this.#reports.set(report.uid, report)
    this.#dirty.add(report.uid)
    this.#schedule()
  }

  #schedule(): void {
    this.#timer ??= this.#clock.schedule(0, () => {
      this.#timer = undefined
      this.#flush()
    })
  }

  #flush(): void {
    let reports: PodStatusReport[] = []
    let bytes = 0
    const send = (): boolean => {
      if (reports.length === 0) return true
      const sent = this.#send({ type: 'podStatuses', reports })
      if (sent) for (const { uid } of reports) this.#dirty.delete(uid)
      reports = []
      bytes = 0
      return sent
    }
    for (const uid of this.#dirty) {
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
