/** Moves each Deployment's ReplicaSets towards its template, a planned step at a time. */
import { type Deployment, deploymentKind } from '../../api/deployment.ts'
import { keyOf, splitKey } from '../../api/kind.ts'
import type { Stored } from '../../api/meta.ts'
import { ANNOTATION } from '../../api/names.ts'
import { type ReplicaSet, replicaSetKind } from '../../api/replicaset.ts'
import { matchesSelector } from '../../api/selector.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import type { ReconcileResult, WorkQueue } from '../../base/queue.ts'
import type { Service } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import { countCollision } from '../common/collisions.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import {
  controllerOf,
  controllerReference,
  OrphanIndex,
  planClaim,
  withController,
  withoutOwner,
} from '../common/owners.ts'
import { PutOff } from '../common/put_off.ts'
import { changeObject, deleteObject, isPatient } from '../common/writes.ts'
import { findConfig, findTroubles, rollsBack, watchCauses } from './causes.ts'
import { withConfigHash } from './config_hash.ts'
import { countSets, watchCounts } from './counted.ts'
import { sameTemplate } from './hash.ts'
import { type Own, writeOwn } from './own.ts'
import { type DeploymentStep, type DeploymentSteps, planDeployment } from './plan.ts'
import { boundsOf, foregoesSurge, replicasOf, type StoredSet } from './sets.ts'
import { mayPutOff } from './status.ts'

export function createDeploymentController(context: ControllerContext): Service {
  const { resources, clock } = context
  const orphans = new OrphanIndex<ReplicaSet>()
  const putOff = new PutOff()

  async function reconcile(key: string): Promise<ReconcileResult> {
    const { namespace, name } = splitKey(key)
    const stored = resources.get(deploymentKind, namespace, name)
    if (stored === undefined) return undefined
    const { sets, podsLeft, againAfterMs: countAfterMs } = countSets(context, await claimSets(context, stored, orphans))
    const deployment = withConfigHash(stored, sets, (reference) => findConfig(context, reference))
    const autoRollback = rollsBack(context, deployment)
    const troubles = autoRollback ? findTroubles(context, sets) : undefined
    const { steps, againAfterMs } = planDeployment({
      deployment,
      sets,
      podsLeft,
      autoRollback,
      ...(troubles !== undefined && { troubles }),
      nowMs: clock.now(),
    })
    for (const step of steps) if (!isNoteOnSet(step) && !isOwn(step)) await execute(context, deployment, step)
    const putOffMs = await settle(key, deployment, steps.filter(isOwn))
    // Not beside the status: a note changes a set whose own status is written in this turn, and one of the two would lose.
    await settleAll(steps.filter(isNoteOnSet).map((step) => updateReplicaSet(context, deployment, step)))
    const waits = [againAfterMs, countAfterMs, putOffMs].filter((wait) => wait !== undefined)
    return waits.length === 0 ? undefined : { againAfterMs: Math.min(...waits) }
  }

  /** Writes what concerns the deployment itself; or says for how long it is put off. */
  async function settle(
    key: string,
    deployment: Stored<Deployment>,
    steps: readonly OwnStep[],
  ): Promise<number | undefined> {
    // One that is being deleted is left as it is.
    if (steps.length === 0) return undefined
    let status = deployment.status ?? {}
    let annotations: Own['annotations'] = {}
    for (const step of steps) {
      if (step.type === 'setStatus') status = step.status
      else annotations = step.annotations
    }
    const mayWait = mayPutOff(deployment.status, status, boundsOf(deployment).replicas)
    const waitMs = mayWait ? putOff.waitMs(key, clock.monotonicMs()) : 0
    if (waitMs > 0) return waitMs
    putOff.end(key)
    // What was put off leaves beside what the set has put off.
    await writeOwn(context, deployment, {
      status,
      annotations,
      patient: mayWait || isPatient(deployment.status, status),
    })
    return undefined
  }

  return queueService({
    id: 'deployment-controller',
    context,
    reconcile,
    watch: (queue) => [
      orphans.watch(resources, replicaSetKind),
      ...watchCauses(context, queue),
      watchCounts(context, queue),
      ...watchDeployments(context, queue),
    ],
  })
}

function watchDeployments({ resources }: ControllerContext, queue: WorkQueue): (() => void)[] {
  const stops = [
    resources.subscribe(deploymentKind, ({ type, object }) => {
      if (type === 'DELETED') queue.forget(keyOf(object))
      else queue.add(keyOf(object))
    }),
    resources.subscribe(replicaSetKind, (event) => {
      const { namespace = '', labels } = event.object.metadata
      const owners = [event.object, event.type === 'MODIFIED' ? event.old : event.object].map(controllerOf)
      for (const owner of owners) if (owner?.kind === deploymentKind.kind) queue.add(`${namespace}/${owner.name}`)
      if (event.type === 'DELETED' || owners[0] !== undefined) return
      for (const deployment of resources.list(deploymentKind, { namespace })) {
        if (matchesSelector(deployment.spec.selector, labels)) queue.add(keyOf(deployment))
      }
    }),
  ]
  for (const deployment of resources.list(deploymentKind)) queue.add(keyOf(deployment))
  return stops
}

async function claimSets(
  context: ControllerContext,
  deployment: Stored<Deployment>,
  orphans: OrphanIndex<ReplicaSet>,
): Promise<StoredSet[]> {
  const { resources } = context
  const claim = planClaim({
    owner: deployment,
    selector: deployment.spec.selector,
    owned: resources.ownedBy(replicaSetKind, deployment.metadata.uid),
    orphans: orphans.in(deployment.metadata.namespace ?? ''),
  })
  const reference = controllerReference(deploymentKind, deployment)
  const adopted = await Promise.all(
    claim.adopt.map((set) =>
      changeObject(context, replicaSetKind, set, {
        part: 'main',
        change: (current) => withController(current, reference),
      }),
    ),
  )
  await Promise.all(
    claim.release.map((set) =>
      changeObject(context, replicaSetKind, set, {
        part: 'main',
        change: (current) => withoutOwner(current, deployment.metadata.uid),
      }),
    ),
  )
  const ours = adopted.filter((set) => set !== undefined && controllerOf(set)?.uid === deployment.metadata.uid)
  return [...claim.mine, ...(ours as StoredSet[])]
}

type OwnStep = Extract<DeploymentStep, { type: 'setStatus' | 'annotate' }>

/** Changes annotations of a set and none of its pods. */
function isNoteOnSet(step: DeploymentStep): step is Extract<DeploymentStep, { type: 'updateSet' }> {
  return step.type === 'updateSet' && step.replicas === replicasOf(step.set)
}

/** Changes the Deployment itself. */
function isOwn(step: DeploymentStep): step is OwnStep {
  return step.type === 'setStatus' || step.type === 'annotate'
}

function execute(
  context: ControllerContext,
  deployment: Stored<Deployment>,
  step: Exclude<DeploymentStep, OwnStep>,
): Promise<void> {
  switch (step.type) {
    case 'createSet':
      return createReplicaSet(context, deployment, step)
    case 'updateSet':
      return updateReplicaSet(context, deployment, step)
    case 'deleteSet':
      return deleteObject(context, replicaSetKind, step.set)
    case 'rollBack':
      return beginRollback(context, deployment, step)
  }
}

async function createReplicaSet(
  context: ControllerContext,
  deployment: Stored<Deployment>,
  { set }: DeploymentSteps['createSet'],
): Promise<void> {
  const { resources, events, fence } = context
  const name = set.metadata.name ?? ''
  try {
    await resources.create(replicaSetKind, set, { fence })
  } catch (thrown) {
    if (isCode(thrown, 'alreadyExists')) return resolveCollision(context, deployment, set)
    const error = DroverError.from(thrown)
    const message = `Failed to create new replica set "${name}": ${error.message}`
    if (!error.temporary) events.record(deployment, 'Warning', 'ReplicaSetCreateError', message)
    throw error
  }
  if (foregoesSurge(deployment)) {
    const message =
      'Pods of this template may never run twice: old ones end before new ones start (maxSurge counts as 0)'
    events.record(deployment, 'Normal', 'ExclusivePods', message)
  }
  const size = replicasOf(set)
  if (size > 0)
    events.record(deployment, 'Normal', 'ScalingReplicaSet', `Scaled up replica set ${name} from 0 to ${size}`)
}

/** The name is taken: by our own earlier self, which is well, or by another template, so another name is needed. */
async function resolveCollision(
  context: ControllerContext,
  deployment: Stored<Deployment>,
  set: ReplicaSet,
): Promise<void> {
  const { namespace = '', name = '' } = set.metadata
  const existing = context.resources.get(replicaSetKind, namespace, name)
  const ours = existing !== undefined && controllerOf(existing)?.uid === deployment.metadata.uid
  if (ours && sameTemplate(existing.spec.template, set.spec.template)) return
  await countCollision(context, deploymentKind, deployment, { name, takenBy: 'ReplicaSet' })
}

async function updateReplicaSet(
  context: ControllerContext,
  deployment: Stored<Deployment>,
  { set, replicas, minReadySeconds, annotations }: DeploymentSteps['updateSet'],
): Promise<void> {
  const before = replicasOf(set)
  await changeObject(context, replicaSetKind, set, {
    part: 'main',
    patient: before === replicas,
    change: (current) => ({
      ...current,
      metadata: { ...current.metadata, annotations: { ...current.metadata.annotations, ...annotations } },
      spec: { ...current.spec, replicas, minReadySeconds },
    }),
  })
  if (before === replicas) return
  const verb = replicas > before ? 'up' : 'down'
  const message = `Scaled ${verb} replica set ${set.metadata.name} from ${before} to ${replicas}`
  context.events.record(deployment, 'Normal', 'ScalingReplicaSet', message)
}

async function beginRollback(
  context: ControllerContext,
  deployment: Stored<Deployment>,
  { rollback: { from, to, reason, message } }: DeploymentSteps['rollBack'],
): Promise<void> {
  const annotations = {
    [ANNOTATION.rolledBackTo]: to.metadata.name,
    [ANNOTATION.rolledBackReason]: reason,
    [ANNOTATION.rolledBackMessage]: message,
  }
  await changeObject(context, replicaSetKind, from, {
    part: 'main',
    change: (current) => ({
      ...current,
      metadata: { ...current.metadata, annotations: { ...current.metadata.annotations, ...annotations } },
    }),
  })
  context.events.record(deployment, 'Warning', 'RolledBack', message)
}
