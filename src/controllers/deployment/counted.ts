/**
 * Sets as their pods stand now, instead of as their stored status last said: what the ReplicaSet controller is about to
 * write, a deployment reads from the same pods in the same turn, and both statuses leave in one commit.
 *
 * Every decision of a rollout uses these counts. Where they differ from the stored ones they are newer, in both directions:
 * a pod that failed a moment ago is no longer counted on, one that serves since is. What the pods cannot tell stays as
 * stored: how far the set's own controller has come (`observedGeneration`), and what it failed at (`ReplicaFailure`).
 */
import { isPodFinished } from '../../api/conditions.ts'
import { deploymentKind } from '../../api/deployment.ts'
import type { Stored } from '../../api/meta.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { replicaSetKind } from '../../api/replicaset.ts'
import type { WorkQueue } from '../../base/queue.ts'
import type { ControllerContext } from '../common/context.ts'
import { controllerOf } from '../common/owners.ts'
import { changesCounts, countReplicas } from '../common/pods.ts'
import type { StoredSet } from './sets.ts'

export interface CountedSets {
  /** The sets with the counts of their pods in place of the stored ones. */
  sets: StoredSet[]
  /** By uid of the set: pods which have not ended. Sets without any are not in it. */
  podsLeft: Map<string, number>
  /** When some ready pod will have been ready for long enough. */
  againAfterMs: number | undefined
}

export function countSets({ resources, clock }: ControllerContext, stored: readonly StoredSet[]): CountedSets {
  const nowMs = clock.now()
  const podsLeft = new Map<string, number>()
  const waits: number[] = []
  const sets = stored.map((set) => {
    const pods = resources.ownedBy(podKind, set.metadata.uid)
    const { counts, againAfterMs } = countReplicas(pods, set.spec.minReadySeconds ?? 0, nowMs)
    const left = pods.filter((pod) => !isPodFinished(pod)).length
    if (left > 0) podsLeft.set(set.metadata.uid, left)
    if (againAfterMs !== undefined) waits.push(againAfterMs)
    return { ...set, status: { ...set.status, ...counts } }
  })
  return { sets, podsLeft, againAfterMs: waits.length === 0 ? undefined : Math.min(...waits) }
}

/** The deployment that the pod belongs to, by way of its set: the key in the queue. */
export function deploymentKeyOf({ resources }: ControllerContext, pod: Stored<Pod>): string | undefined {
  const owner = controllerOf(pod)
  if (owner?.kind !== replicaSetKind.kind) return undefined
  const { namespace = '' } = pod.metadata
  const set = resources.get(replicaSetKind, namespace, owner.name)
  const deployment = set && controllerOf(set)
  return deployment?.kind === deploymentKind.kind ? `${namespace}/${deployment.name}` : undefined
}

/** Wakes a deployment for what changes the counts of its sets, when the sets themselves are woken for it. */
export function watchCounts(context: ControllerContext, queue: WorkQueue): () => void {
  const wake = (pod: Stored<Pod>): void => {
    const key = deploymentKeyOf(context, pod)
    if (key !== undefined) queue.add(key)
  }
  return context.resources.subscribe(podKind, (event) => {
    if (event.type !== 'MODIFIED') {
      wake(event.object)
      return
    }
    const { old, object } = event
    const moved = controllerOf(old)?.uid !== controllerOf(object)?.uid
    if (!moved && !changesCounts(old, object)) return
    wake(object)
    if (moved) wake(old)
  })
}
