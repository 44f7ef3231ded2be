/** Keeps the status of PodDisruptionBudgets current: what the eviction API goes by. */
import { type Deployment, deploymentKind } from '../../api/deployment.ts'
import { isInBudget, needsExpected } from '../../api/disruption.ts'
import { keyOf, splitKey } from '../../api/kind.ts'
import type { OwnerReference, Stored } from '../../api/meta.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { type PodDisruptionBudget, podDisruptionBudgetKind } from '../../api/poddisruptionbudget.ts'
import { type ReplicaSet, replicaSetKind } from '../../api/replicaset.ts'
import { type StatefulSet, statefulSetKind } from '../../api/statefulset.ts'
import { DroverError } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ReconcileResult, WorkQueue } from '../../base/queue.ts'
import type { Service } from '../../base/service.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { controllerOf } from '../common/owners.ts'
import { changeObject } from '../common/writes.ts'
import { planBudget } from './plan.ts'

export function createDisruptionController(context: ControllerContext): Service {
  const { resources, clock } = context

  async function reconcile(key: string): Promise<ReconcileResult> {
    const { namespace, name } = splitKey(key)
    const budget = resources.get(podDisruptionBudgetKind, namespace, name)
    if (budget === undefined) return undefined
    const { status, againAfterMs } = planBudget({
      budget,
      pods: resources.list(podKind, { namespace }),
      expected: (pods) => expectedPods(context, budget, pods),
      nowMs: clock.now(),
    })
    if (!jsonEqual(status, budget.status)) {
      await changeObject(context, podDisruptionBudgetKind, budget, {
        part: 'status',
        change(current) {
          // An eviction was let through meanwhile: what it took must not be given again.
          if (current.metadata.resourceVersion !== budget.metadata.resourceVersion) {
            throw new DroverError('conflict', `budget ${key} has changed; reading it again`)
          }
          return { ...current, status }
        },
      })
    }
    return againAfterMs === undefined ? undefined : { againAfterMs }
  }

  return queueService({ id: 'disruption-controller', context, reconcile, watch: (queue) => watch(context, queue) })
}

function watch({ resources }: ControllerContext, queue: WorkQueue): (() => void)[] {
  const wake = (pod: Stored<Pod>): void => {
    for (const budget of resources.list(podDisruptionBudgetKind, { namespace: pod.metadata.namespace ?? '' })) {
      if (isInBudget(budget, pod)) queue.add(keyOf(budget))
    }
  }
  const wakeAll = ({ object }: { object: Stored<Deployment> | Stored<ReplicaSet> | Stored<StatefulSet> }): void => {
    for (const budget of resources.list(podDisruptionBudgetKind, { namespace: object.metadata.namespace ?? '' })) {
      if (needsExpected(budget)) queue.add(keyOf(budget))
    }
  }
  const stops = [
    resources.subscribe(podDisruptionBudgetKind, ({ type, object }) => {
      if (type === 'DELETED') queue.forget(keyOf(object))
      else queue.add(keyOf(object))
    }),
    resources.subscribe(podKind, (event) => {
      if (event.type === 'MODIFIED' && event.old.metadata.labels !== event.object.metadata.labels) wake(event.old)
      wake(event.object)
    }),
    resources.subscribe(deploymentKind, wakeAll),
    resources.subscribe(replicaSetKind, wakeAll),
    resources.subscribe(statefulSetKind, wakeAll),
  ]
  for (const budget of resources.list(podDisruptionBudgetKind)) queue.add(keyOf(budget))
  return stops
}

/** What the pods' controllers are set to, each once. Pods without a controller are not counted on. */
function expectedPods(
  context: ControllerContext,
  budget: PodDisruptionBudget,
  pods: readonly Stored<Pod>[],
): { pods: number } | { fault: string } {
  if (!needsExpected(budget)) return { pods: pods.length }
  const scales = new Map<string, number>()
  for (const pod of pods) {
    const reference = controllerOf(pod)
    if (reference === undefined) continue
    const scale = scaleOf(context, pod.metadata.namespace ?? '', reference)
    if (scale === undefined) {
      return { fault: `${reference.kind} ${reference.name} has no scale; give minAvailable as a number` }
    }
    scales.set(scale.uid, scale.replicas)
  }
  return { pods: [...scales.values()].reduce((sum, replicas) => sum + replicas, 0) }
}

function scaleOf(
  { resources }: ControllerContext,
  namespace: string,
  { kind, name, uid }: OwnerReference,
): { uid: string; replicas: number } | undefined {
  if (kind === statefulSetKind.kind) {
    const set = resources.get(statefulSetKind, namespace, name)
    return { uid, replicas: set?.metadata.uid === uid ? (set.spec.replicas ?? 1) : 0 }
  }
  if (kind !== replicaSetKind.kind) return undefined
  const set = resources.get(replicaSetKind, namespace, name)
  if (set?.metadata.uid !== uid) return { uid, replicas: 0 }
  const owner = controllerOf(set)
  if (owner?.kind !== deploymentKind.kind) return { uid, replicas: set.spec.replicas ?? 1 }
  const deployment = resources.get(deploymentKind, namespace, owner.name)
  return { uid: owner.uid, replicas: deployment?.spec.replicas ?? 1 }
}
