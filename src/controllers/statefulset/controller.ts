/** Keeps each StatefulSet's pods, claims and revisions, a planned step at a time. */
import { type KindDefinition, keyOf, splitKey } from '../../api/kind.ts'
import type { Stored } from '../../api/meta.ts'
import { persistentVolumeClaimKind } from '../../api/persistentvolumeclaim.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { type StatefulSet, statefulSetKind } from '../../api/statefulset.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import type { ReconcileResult, WorkQueue } from '../../base/queue.ts'
import type { Service } from '../../base/service.ts'
import { writeStatus } from '../common/collisions.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { controllerReference, OrphanIndex, withoutOwner } from '../common/owners.ts'
import { ensureRevision, revisionsOf, templateOf, trimHistory } from '../common/revisions.ts'
import { claimPods, createPod, deletePod, ownPods, watchOwners } from '../common/workload.ts'
import { changeObject, deleteObject } from '../common/writes.ts'
import { newPod, ordinalOf, ordinalOfClaim, revisionOf } from './identity.ts'
import { planStatefulSet, type StatefulSetStep } from './plan.ts'

export function createStatefulSetController(context: ControllerContext): Service {
  const { resources } = context
  const orphans = new OrphanIndex<Pod>()

  async function reconcile(key: string): Promise<ReconcileResult> {
    const { namespace, name } = splitKey(key)
    const set = resources.get(statefulSetKind, namespace, name)
    if (set === undefined) return undefined
    const fits = (pod: Stored<Pod>): boolean => ordinalOf(set, pod.metadata.name) !== undefined
    await claimPods(context, { kind: statefulSetKind, owner: set, orphans, fits })
    const revision = await ensureRevision(context, statefulSetKind, set)
    const before = plan(context, set, revision.name)
    try {
      for (const step of before.steps) await execute(context, set, step)
    } finally {
      // What was done shows in the status at once, also when the rest failed.
      await writeStatus(context, statefulSetKind, set, plan(context, set, revision.name).status)
    }
    const current = resources.get(statefulSetKind, namespace, name)?.status?.currentRevision
    const used = new Set([revision.name, current, ...ownPods(context, set).map((pod) => revisionOf(pod))])
    await trimHistory(context, set, ({ metadata }) => used.has(metadata.name))
    const { againAfterMs } = plan(context, set, revision.name)
    return againAfterMs === undefined ? undefined : { againAfterMs }
  }

  return queueService({
    id: 'statefulset-controller',
    context,
    reconcile,
    watch: (queue) => [
      orphans.watch(resources, podKind),
      ...watchOwners(context, statefulSetKind, queue),
      watchClaims(context, queue),
    ],
  })
}

/** A claim that has gone may be what a pod waited for. */
function watchClaims({ resources }: ControllerContext, queue: WorkQueue): () => void {
  return resources.subscribe(persistentVolumeClaimKind, ({ object }) => {
    for (const set of resources.list(statefulSetKind, { namespace: object.metadata.namespace ?? '' })) {
      if (ordinalOfClaim(set, object) !== undefined) queue.add(keyOf(set))
    }
  })
}

function plan(context: ControllerContext, set: Stored<StatefulSet>, updateRevision: string) {
  const { resources, clock } = context
  const revisions = new Set(revisionsOf(context, set).map(({ metadata }) => metadata.name))
  const hasClaims = (set.spec.volumeClaimTemplates ?? []).length > 0
  return planStatefulSet({
    set,
    pods: ownPods(context, set),
    claims: hasClaims ? resources.list(persistentVolumeClaimKind, { namespace: set.metadata.namespace ?? '' }) : [],
    updateRevision,
    hasRevision: (name) => revisions.has(name),
    nowMs: clock.now(),
  })
}

async function execute(context: ControllerContext, set: Stored<StatefulSet>, step: StatefulSetStep): Promise<void> {
  const { resources, fence } = context
  switch (step.type) {
    case 'createClaim':
      await resources.create(persistentVolumeClaimKind, step.claim, { fence }).catch((error: unknown) => {
        if (!isCode(error, 'alreadyExists')) throw error
      })
      return
    case 'createPod':
      await createPod(context, set, newPod(set, step.ordinal, templateFor(context, set, step.revision)))
      return
    case 'deletePod':
      return deletePod(context, set, step.pod, step.why)
    case 'deleteClaim':
      return deleteObject(context, persistentVolumeClaimKind, step.claim)
    case 'tieClaim': {
      const {
        controller: _controller,
        blockOwnerDeletion: _block,
        ...reference
      } = controllerReference(statefulSetKind as KindDefinition, set)
      await changeObject(context, persistentVolumeClaimKind, step.claim, {
        part: 'main',
        change(claim) {
          if (!step.tied) return withoutOwner(claim, set.metadata.uid)
          const others = (claim.metadata.ownerReferences ?? []).filter(({ uid }) => uid !== reference.uid)
          return { ...claim, metadata: { ...claim.metadata, ownerReferences: [...others, reference] } }
        },
      })
    }
  }
}

function templateFor(context: ControllerContext, set: Stored<StatefulSet>, name: string) {
  const revision = revisionsOf(context, set).find(({ metadata }) => metadata.name === name)
  const template = revision && templateOf(revision)
  if (template === undefined) throw new DroverError('conflict', `revision ${name} of ${keyOf(set)} has gone`)
  return { name, template }
}
