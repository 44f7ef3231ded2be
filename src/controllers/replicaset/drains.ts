/**
 * Pods that leave a drained node because others of their set serve in their place. A disruption budget may hold one all
 * the same: then it stays, an event on the pod says which budget and what it needs, and it is asked again.
 */
import type { Stored } from '../../api/meta.ts'
import { DRAIN_WAITS } from '../../api/names.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import type { ReplicaSet } from '../../api/replicaset.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import { takeLeave } from '../../resources/disruption_leave.ts'
import type { ControllerContext } from '../common/context.ts'
import { deleteObject } from '../common/writes.ts'

/** How soon a budget that has refused is asked again. */
export const DRAIN_AGAIN_MS = 2_000
/** What was said of that many pods is remembered; then all is said once more. */
const MAX_TOLD = 1_000

export class Drains {
  readonly #context: ControllerContext
  /** By uid of the pod, so that each refusal is told once. */
  readonly #told = new Map<string, string>()

  constructor(context: ControllerContext) {
    this.#context = context
  }

  /** Whether a budget holds any of them. One after the other: each takes from what the budget allows. */
  async drain(replicaSet: Stored<ReplicaSet>, pods: readonly Stored<Pod>[]): Promise<boolean> {
    const { resources, clock, events, fence } = this.#context
    let held = false
    for (const pod of pods) {
      try {
        await takeLeave(resources, pod, { nowMs: clock.now(), fence })
        await deleteObject(this.#context, podKind, pod)
        this.#told.delete(pod.metadata.uid)
        events.record(replicaSet, 'Normal', 'SuccessfulDelete', `Deleted pod: ${pod.metadata.name} (node is drained)`)
      } catch (error) {
        if (!isCode(error, 'tooManyRequests')) throw error
        held = true
        this.#tell(pod, DroverError.from(error).message)
      }
    }
    return held
  }

  #tell(pod: Stored<Pod>, message: string): void {
    const { uid } = pod.metadata
    if (this.#told.get(uid) === message) return
    if (this.#told.size >= MAX_TOLD) this.#told.clear()
    this.#told.set(uid, message)
    this.#context.events.record(pod, 'Warning', DRAIN_WAITS, message)
  }
}
