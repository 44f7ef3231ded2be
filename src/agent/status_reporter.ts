/**
 * What the server has been told of each pod, and what it still has to hear. All changes of a tick leave in one
 * message; a new session hears everything again, since nobody knows what was lost with the old one.
 *
 * What is still on its way up is said a moment later: a pod that starts meanwhile, as most do, costs its server one write
 * instead of three. That no more is known than that its containers are being made waits longer still: where a hundred start
 * at once, each takes most of a second. What runs, ends or is gone is said at once.
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

/** How long what is said may wait. */
const DELAY_MS = { urgent: 0, pending: 50, creating: 1_000 } as const

function delayOf({ phase, initContainerStatuses = [], containerStatuses = [] }: PodStatus): number {
  if (phase !== 'Pending') return DELAY_MS.urgent
  const quiet = [...initContainerStatuses, ...containerStatuses].every(({ state = {}, lastState = {} }) => {
    const { reason = '', message } = state.waiting ?? {}
    const isMade = reason === 'ContainerCreating' || reason === 'PodInitializing'
    return isMade && message === undefined && Object.keys(lastState).length === 0
  })
  return quiet ? DELAY_MS.creating : DELAY_MS.pending
}

export class StatusReporter {
  readonly #clock: Clock
  readonly #send: (message: AgentMessage) => boolean
  readonly #reports = new Map<string, PodStatusReport>()
  /** When what has not been said is due, on the monotonic clock. */
  readonly #due = new Map<string, number>()
  #timer: { atMs: number; timer: Timer } | undefined

  constructor(clock: Clock, send: (message: AgentMessage) => boolean) {
    this.#clock = clock
    this.#send = send
  }

  report(pod: PodName, status: PodStatus): void {
    const known = this.#reports.get(pod.uid)
    if (known?.removed) return
    const statusJson = jsonBytes(status)
    if (known !== undefined && Buffer.compare(known.statusJson, statusJson) === 0) return
    this.#put({ ...pod, statusJson, removed: false }, delayOf(status))
  }

  /** Said again in every session until the pod is no longer assigned. */
  removed(pod: PodName): void {
    if (this.#reports.get(pod.uid)?.removed) return
    const statusJson = this.#reports.get(pod.uid)?.statusJson ?? new Uint8Array(0)
    this.#put({ ...pod, statusJson, removed: true }, DELAY_MS.urgent)
  }

  forget(uid: string): void {
    this.#reports.delete(uid)
    this.#due.delete(uid)
  }

  resendAll(): void {
    const nowMs = this.#clock.monotonicMs()
    for (const uid of this.#reports.keys()) this.#due.set(uid, nowMs)
    this.#sendBy(nowMs)
  }

  #put(report: PodStatusReport, delayMs: number): void {
    this.#reports.set(report.uid, report)
    // What was to be said sooner is not held up by what came after it.
    const atMs = Math.min(this.#clock.monotonicMs() + delayMs, this.#due.get(report.uid) ?? Number.POSITIVE_INFINITY)
    this.#due.set(report.uid, atMs)
    this.#sendBy(atMs)
  }

  #sendBy(atMs: number): void {
    if (this.#timer !== undefined && this.#timer.atMs <= atMs) return
    this.#timer?.timer.cancel()
    const waitMs = Math.max(0, atMs - this.#clock.monotonicMs())
    this.#timer = { atMs, timer: this.#clock.schedule(waitMs, () => this.#sendDue()) }
  }

  #sendDue(): void {
    this.#timer = undefined
    const nowMs = this.#clock.monotonicMs()
    const due = [...this.#due].filter(([, atMs]) => atMs <= nowMs).map(([uid]) => uid)
    // Without a session nothing is left of it, and the next hears everything.
    if (!this.#flush(due)) return
    const next = Math.min(...this.#due.values())
    if (Number.isFinite(next)) this.#sendBy(next)
  }

  /** False when there is no session. */
  #flush(uids: readonly string[]): boolean {
    let reports: PodStatusReport[] = []
    let bytes = 0
    const send = (): boolean => {
      if (reports.length === 0) return true
      const sent = this.#send({ type: 'podStatuses', reports })
      if (sent) for (const { uid } of reports) this.#due.delete(uid)
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
      if (bytes > MAX_MESSAGE_BYTES && !send()) return false
    }
    return send()
  }
}
