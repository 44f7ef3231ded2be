/**
 * Pods that wait for a node, by uid. `active` ones are tried in the next cycle; `refused` ones when something has changed that could
 * help; `backingOff` ones failed for a reason outside the plan (the store was away) and come back by the clock.
 */

import type { Stored } from '../api/meta.ts'
import type { Pod } from '../api/pod.ts'
import { type BackoffPolicy, backoffDelayMs } from '../base/backoff.ts'
import type { Clock, Timer } from '../base/clock.ts'
import type { Random } from '../base/random.ts'

type State = 'active' | 'refused' | 'backingOff' | 'binding'

interface Waiting {
  pod: Stored<Pod>
  state: State
  failures: number
  timer: Timer | undefined
  /** When its refusal was last written. */
  reportedAtMs: number
}

const BACKOFF: BackoffPolicy = { initialMs: 20, maxMs: 10_000, factor: 2, jitter: 0.5 }

const priorityOf = ({ spec }: Pod): number => spec.priority ?? 0

export class PendingPods {
  readonly #clock: Clock
  readonly #random: Random
  readonly #wake: () => void
  readonly #pods = new Map<string, Waiting>()
  /** How many of them have a priority: where none has, as is usual, nothing is sorted. */
  #ranked = 0

  constructor(options: { clock: Clock; random: Random; wake: () => void }) {
    this.#clock = options.clock
    this.#random = options.random
    this.#wake = options.wake
  }

  get size(): number {
    return this.#pods.size
  }

  has(uid: string): boolean {
    return this.#pods.has(uid)
  }

  /** A new pod, or a newer state of one that waits; `retry` when the change may make a place for it. */
  put(pod: Stored<Pod>, retry: boolean): void {
    const known = this.#pods.get(pod.metadata.uid)
    if (known === undefined) {
      const waiting = { pod, state: 'active' as const, failures: 0, timer: undefined, reportedAtMs: -Infinity }
      this.#pods.set(pod.metadata.uid, waiting)
      if (priorityOf(pod) !== 0) this.#ranked++
      this.#wake()
      return
    }
    known.pod = pod
    if (retry && known.state === 'refused') this.#activate(known)
  }

  remove(uid: string): void {
    const known = this.#pods.get(uid)
    if (known === undefined) return
    known.timer?.cancel()
    this.#pods.delete(uid)
    // It is fixed for a pod's life.
    if (priorityOf(known.pod) !== 0) this.#ranked--
  }

  /** At most `limit` active pods, those of the highest priority first, else in the order in which they came. */
  active(limit: number): Stored<Pod>[] {
    if (this.#ranked === 0) return this.#inOrder(limit)
    return this.#inOrder(Number.POSITIVE_INFINITY)
      .sort((a, b) => priorityOf(b) - priorityOf(a))
      .slice(0, limit)
  }

  #inOrder(limit: number): Stored<Pod>[] {
    const pods: Stored<Pod>[] = []
    for (const { pod, state } of this.#pods.values()) {
      if (pods.length >= limit) break
      if (state === 'active') pods.push(pod)
    }
    return pods
  }

  markBinding(uid: string): void {
    const waiting = this.#pods.get(uid)
    if (waiting !== undefined) waiting.state = 'binding'
  }

  /** True when the refusal may be written now; else it comes up again once `intervalMs` has passed since the last. */
  markRefused(uid: string, changed: boolean, intervalMs: number): boolean {
    const waiting = this.#pods.get(uid)
    if (waiting === undefined) return false
    waiting.state = 'refused'
    if (!changed) return false
    const waitMs = waiting.reportedAtMs + intervalMs - this.#clock.monotonicMs()
    if (waitMs > 0) {
      this.#later(waiting, waitMs)
      return false
    }
    waiting.reportedAtMs = this.#clock.monotonicMs()
    return true
  }

  /** Something outside the plan went wrong: again after a while. */
  markFailed(uid: string): void {
    const waiting = this.#pods.get(uid)
    if (waiting === undefined) return
    waiting.failures++
    waiting.state = 'backingOff'
    this.#later(waiting, backoffDelayMs(BACKOFF, waiting.failures, this.#random))
  }

  retryRefused(): void {
    for (const waiting of this.#pods.values()) if (waiting.state === 'refused') this.#activate(waiting)
  }

  stop(): void {
    for (const { timer } of this.#pods.values()) timer?.cancel()
    this.#pods.clear()
    this.#ranked = 0
  }

  #later(waiting: Waiting, delayMs: number): void {
    if (waiting.timer !== undefined) return
    waiting.timer = this.#clock.schedule(delayMs, () => {
      waiting.timer = undefined
      if (waiting.state === 'refused' || waiting.state === 'backingOff') this.#activate(waiting)
    })
  }

  #activate(waiting: Waiting): void {
    waiting.state = 'active'
    this.#wake()
  }
}
