/** Keeps each ReplicaSet at its number of pods, and says in its status how they are. */
import { keyOf, splitKey } from '../../api/kind.ts'
import type { Stored } from '../../api/meta.ts'
import { isDraining, nodeKind } from '../../api/node.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { type ReplicaSet, replicaSetKind } from '../../api/replicaset.ts'
import { matchesSelector } from '../../api/selector.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ReconcileResult, WorkQueue } from '../../base/queue.ts'
import { randomSuffix } from '../../base/random.ts'
import type { Service } from '../../base/service.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import {
  controllerOf,
  controllerReference,
  OrphanIndex,
  planClaim,
  withController,
  withoutOwner,
} from '../common/owners.ts'
import { isActive } from '../common/pods.ts'
import { PutOff } from '../common/put_off.ts'
import { changeObject, deleteObject, isOnTheWayUp, isPatient } from '../common/writes.ts'
import { DRAIN_AGAIN_MS, Drains } from './drains.ts'
import { planReplicaSet, planStatus } from './plan.ts'

/** Room for `-` and the suffix within a host name's 63 characters. */
const MAX_NAME_BASE = 57

type Failure = { reason: 'FailedCreate' | 'FailedDelete'; message: string; error: DroverError }

export function createReplicaSetController(context: ControllerContext): Service {
  const { resources, clock } = context
  const orphans = new OrphanIndex<Pod>()
  const drains = new Drains(context)
  const putOff = new PutOff()

  async function reconcile(key: string): Promise<ReconcileResult> {
    const { namespace, name } = splitKey(key)
    const replicaSet = resources.get(replicaSetKind, namespace, name)
    if (replicaSet === undefined) return undefined
    await claimPods(context, replicaSet, orphans)
    const plan = planReplicaSet({ replicaSet, ...observe(context, replicaSet), nowMs: clock.now() })
    const failure =
      (await createPods(context, replicaSet, plan.create)) ?? (await deletePods(context, replicaSet, plan.delete))
    const held = await drains.drain(replicaSet, plan.drain)
    const pods = resources.ownedBy(podKind, replicaSet.metadata.uid)
    const failed = failure && { failure: { reason: failure.reason, message: failure.message } }
    const { status, againAfterMs } = planStatus({ replicaSet, pods, nowMs: clock.now(), ...failed })
    const putOffMs = await settle(key, replicaSet, status)
    if (failure !== undefined) throw failure.error
    if (plan.more) return { againAfterMs: 0 }
    const waits = [againAfterMs, putOffMs, held ? DRAIN_AGAIN_MS : undefined].filter((wait) => wait !== undefined)
    return waits.length === 0 ? undefined : { againAfterMs: Math.min(...waits) }
  }

  /** Writes the status; or says for how long it is put off. */
  async function settle(
    key: string,
    replicaSet: Stored<ReplicaSet>,
    status: NonNullable<ReplicaSet['status']>,
  ): Promise<number | undefined> {
    const { status: before } = replicaSet
    const mayWait =
      isOnTheWayUp(before, status, replicaSet.spec.replicas ?? 1) && jsonEqual(before?.conditions, status.conditions)
    const waitMs = mayWait ? putOff.waitMs(key, clock.monotonicMs()) : 0
    if (waitMs > 0) return waitMs
    putOff.end(key)
    if (jsonEqual(status, before)) return undefined
    await changeObject(context, replicaSetKind, replicaSet, {
      part: 'status',
      change: (current) => ({ ...current, status }),
      patient: mayWait || isPatient(before, status),
    })
    return undefined
  }

  return queueService({
    id: 'replicaset-controller',
    context,
    reconcile,
    watch: (queue) => [orphans.watch(resources, podKind), ...watchSets(context, queue)],
  })
}

function watchSets({ resources }: ControllerContext, queue: WorkQueue): (() => void)[] {
  const ownerKey = (pod: Stored<Pod>): string | undefined => {
    const owner = controllerOf(pod)
    return owner?.kind === replicaSetKind.kind ? `${pod.metadata.namespace ?? ''}/${owner.name}` : undefined
  }
  const stops = [
    resources.subscribe(replicaSetKind, ({ type, object }) => {
      if (type === 'DELETED') queue.forget(keyOf(object))
      else queue.add(keyOf(object))
    }),
    resources.subscribe(podKind, (event) => {
      const owners = [ownerKey(event.object), event.type === 'MODIFIED' ? ownerKey(event.old) : undefined]
      for (const owner of new Set(owners)) if (owner !== undefined) queue.add(owner)
      // An orphan may be what some set lacks; only that set can tell.
      if (event.type !== 'DELETED' && controllerOf(event.object) === undefined) {
        const { namespace = '', labels } = event.object.metadata
        for (const set of resources.list(replicaSetKind, { namespace })) {
          if (matchesSelector(set.spec.selector, labels)) queue.add(keyOf(set))
        }
      }
    }),
  ]
  stops.push(
    resources.subscribe(nodeKind, (event) => {
      if (event.type !== 'MODIFIED' || isDraining(event.old) === isDraining(event.object)) return
      for (const pod of resources.podsOnNode(event.object.metadata.name)) {
        const owner = ownerKey(pod as Stored<Pod>)
        if (owner !== undefined) queue.add(owner)
      }
    }),
  )
  for (const set of resources.list(replicaSetKind)) queue.add(keyOf(set))
  return stops
}

function observe(context: ControllerContext, replicaSet: Stored<ReplicaSet>) {
  const { resources } = context
  const pods = resources.ownedBy(podKind, replicaSet.metadata.uid)
  const podsPerNode = new Map<string, number>()
  // Only a set that must shrink asks where its kin stand.
  if (pods.filter(isActive).length > (replicaSet.spec.replicas ?? 1)) {
    const owner = controllerOf(replicaSet)
    const kin = owner === undefined ? [replicaSet] : resources.ownedBy(replicaSetKind, owner.uid)
    for (const set of kin) {
      for (const pod of resources.ownedBy(podKind, set.metadata.uid)) {
        if (!pod.spec.nodeName || !isActive(pod)) continue
        podsPerNode.set(pod.spec.nodeName, (podsPerNode.get(pod.spec.nodeName) ?? 0) + 1)
      }
    }
  }
  const nodes = new Set(pods.map(({ spec }) => spec.nodeName ?? ''))
  const drainingNodes = new Set([...nodes].filter((name) => isDraining(resources.get(nodeKind, '', name))))
  return { pods, podsPerNode, drainingNodes }
}

async function claimPods(
  context: ControllerContext,
  replicaSet: Stored<ReplicaSet>,
  orphans: OrphanIndex<Pod>,
): Promise<void> {
  const claim = planClaim({
    owner: replicaSet,
    selector: replicaSet.spec.selector,
    owned: context.resources.ownedBy(podKind, replicaSet.metadata.uid),
    orphans: orphans.in(replicaSet.metadata.namespace ?? ''),
  })
  const reference = controllerReference(replicaSetKind, replicaSet)
  await Promise.all([
    ...claim.adopt.map((pod) =>
      changeObject(context, podKind, pod, { part: 'main', change: (current) => withController(current, reference) }),
    ),
    ...claim.release.map((pod) =>
      changeObject(context, podKind, pod, {
        part: 'main',
        change: (current) => withoutOwner(current, replicaSet.metadata.uid),
      }),
    ),
  ])
}

function newPod(context: ControllerContext, replicaSet: Stored<ReplicaSet>): Pod {
  const { template } = replicaSet.spec
  const base = replicaSet.metadata.name.slice(0, MAX_NAME_BASE).replace(/[-.]+$/, '')
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `${base}-${randomSuffix(context.random)}`,
      generateName: `${base}-`,
      namespace: replicaSet.metadata.namespace ?? '',
      labels: { ...template.metadata?.labels },
      ...(template.metadata?.annotations && { annotations: { ...template.metadata.annotations } }),
      ...(template.metadata?.finalizers && { finalizers: [...template.metadata.finalizers] }),
      ownerReferences: [controllerReference(replicaSetKind, replicaSet)],
    },
    spec: structuredClone(template.spec),
  }
}

async function createPods(
  context: ControllerContext,
  replicaSet: Stored<ReplicaSet>,
  count: number,
): Promise<Failure | undefined> {
  const { resources, events, fence, desk } = context
  const made = Array.from({ length: count }, async () => {
    const pod = await resources.create(podKind, newPod(context, replicaSet), { fence, desk })
    events.record(replicaSet, 'Normal', 'SuccessfulCreate', `Created pod: ${pod.metadata.name}`)
  })
  return firstFailure(context, replicaSet, { reason: 'FailedCreate', verb: 'creating', results: made })
}

async function deletePods(
  context: ControllerContext,
  replicaSet: Stored<ReplicaSet>,
  pods: readonly Stored<Pod>[],
): Promise<Failure | undefined> {
  const gone = pods.map(async (pod) => {
    await deleteObject(context, podKind, pod)
    context.events.record(replicaSet, 'Normal', 'SuccessfulDelete', `Deleted pod: ${pod.metadata.name}`)
  })
  return firstFailure(context, replicaSet, { reason: 'FailedDelete', verb: 'deleting', results: gone })
}

async function firstFailure(
  context: ControllerContext,
  replicaSet: Stored<ReplicaSet>,
  work: { reason: Failure['reason']; verb: string; results: Promise<void>[] },
): Promise<Failure | undefined> {
  const rejected = (await Promise.allSettled(work.results)).filter((result) => result.status === 'rejected')
  const errors = rejected.map(({ reason }) => DroverError.from(reason))
  // A name that was taken costs one more pass, with another name: nobody needs to know.
  const error = errors.find((candidate) => !isCode(candidate, 'alreadyExists')) ?? errors[0]
  if (error === undefined) return undefined
  if (isCode(error, 'alreadyExists')) throw new DroverError('conflict', error.message, { cause: error })
  const message = `Error ${work.verb}: ${error.message}`
  context.events.record(replicaSet, 'Warning', work.reason, message)
  return { reason: work.reason, message, error }
}
