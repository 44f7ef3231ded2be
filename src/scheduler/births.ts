/**
 * Pods that are placed before they are first written: the leader's controllers make most pods, and its scheduler, in the
 * same process and under the same fence, may as well say where they go, so that creation and binding are one write.
 *
 *     admitted ─► reserve ─► those of one moment ─► whoever waits already goes first ─► place ─► assumed ─► written, bound
 *                    │                                                                              │
 *                    └── not ours, claims, nobody ready, no room ─► written unbound, and queued     └── not written ─► let go
 *
 * A placement counts in the snapshot from the moment it is made until the cache shows the pod, as with a binding. One that
 * cannot be made here is not refused: the pod is written without a node, and is judged, reported and retried as ever.
 */
import type { KubeObject, Stored } from '../api/meta.ts'
import type { Pod } from '../api/pod.ts'
import { type BackoffPolicy, backoffDelayMs } from '../base/backoff.ts'
import { type Clock, sleep } from '../base/clock.ts'
import type { DroverError } from '../base/errors.ts'
import type { PlacementDesk, Reservation } from '../resources/resources.ts'
import { withNode } from './bind.ts'
import type { SchedulerOptions } from './loop.ts'
import type { Placement } from './place.ts'
import { claimNames } from './volume_facts.ts'

/** What the desk asks of the loop that keeps the snapshot. */
export interface BirthLoop {
  /** Whether the pod is this scheduler's to place. */
  isOurs(pod: Pod): boolean
  /** Places what it can of pods that are about to be made, and counts it as assumed. */
  placeNewborn(pods: readonly Stored<Pod>[]): Placement[]
  born(placement: Placement, stored: Stored<Pod>): void
  /** The write failed; with `timeout` nobody knows yet whether it did. */
  unborn(placement: Placement, error: DroverError): void
}

/** One wait for the cache; when the store is away, another follows. */
const CATCH_UP_MS = 2_000
const RETRY: BackoffPolicy = { initialMs: 100, maxMs: 2_000, factor: 2, jitter: 0.5 }

/** True when the cache has reached the revision, by default the store's present one; false when the signal came first. */
export async function catchUp(
  { resources, clock, random }: SchedulerOptions,
  signal: AbortSignal,
  revision?: number,
): Promise<boolean> {
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      await resources.waitForRevision(revision ?? (await resources.currentRevision()), CATCH_UP_MS)
      return !signal.aborted
    } catch {
      // Nothing can be bound meanwhile either. An abort ends the wait, and with it the loop.
      await sleep(clock, backoffDelayMs(RETRY, failures, random), signal).catch(() => undefined)
    }
  }
  return false
}

interface Waiting {
  /** About to be written: all but its revision is there. */
  pod: Stored<Pod>
  answer(reservation: Reservation | undefined): void
}

export class BirthDesk implements PlacementDesk {
  readonly #clock: Clock
  #loop: BirthLoop | undefined
  #waiting: Waiting[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** While nobody has opened it, pods are made without a node. */
  open(loop: BirthLoop): void {
    this.#loop = loop
  }

  close(): void {
    this.#loop = undefined
  }

  async reserve(object: KubeObject): Promise<Reservation | undefined> {
    const pod = object as Stored<Pod>
    // Volumes are made and bound before their pod is: that takes writes of its own.
    if (this.#loop?.isOurs(pod) !== true || pod.spec.nodeName || claimNames(pod).length > 0) return undefined
    return new Promise((answer) => {
      this.#waiting.push({ pod, answer })
      // Replicas come to this point one after the other, in one turn: they are placed as one batch.
      if (this.#waiting.length === 1) queueMicrotask(() => this.#place())
    })
  }

  #place(): void {
    const waiting = this.#waiting.splice(0)
    const loop = this.#loop
    const placements = loop?.placeNewborn(waiting.map(({ pod }) => pod)) ?? []
    const placementOf = new Map(placements.map((placement) => [placement.pod.metadata.uid, placement]))
    for (const { pod, answer } of waiting) {
      const placement = placementOf.get(pod.metadata.uid)
      if (loop === undefined || placement === undefined) {
        answer(undefined)
        continue
      }
      Object.assign(pod, withNode(pod, placement.nodeName, this.#clock.now()))
      answer({
        kept: (stored) => loop.born(placement, stored as Stored<Pod>),
        lost: (error) => loop.unborn(placement, error),
      })
    }
  }
}
