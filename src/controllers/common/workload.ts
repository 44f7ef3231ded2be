/** What controllers that own pods directly share: who wakes them, which pods are theirs, and how pods are made and removed. */
import { type KindDefinition, keyOf } from '../../api/kind.ts'
import type { KubeObject, LabelSelector, Stored } from '../../api/meta.ts'
import type { Pod, PodTemplateSpec } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { matchesSelector } from '../../api/selector.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import type { WorkQueue } from '../../base/queue.ts'
import type { ControllerContext } from './context.ts'
import {
  controllerOf,
  controllerReference,
  type OrphanIndex,
  planClaim,
  withController,
  withoutOwner,
} from './owners.ts'
import { changeObject, deleteObject } from './writes.ts'

export interface WorkloadOwner extends KubeObject {
  spec: { selector?: LabelSelector }
}

/** Queues owners when they or their pods change, and owners that might adopt a pod that nobody controls. */
export function watchOwners<T extends WorkloadOwner>(
  { resources }: ControllerContext,
  kind: KindDefinition<T>,
  queue: WorkQueue,
): (() => void)[] {
  const ownerKey = (pod: Stored<Pod>): string | undefined => {
    const owner = controllerOf(pod)
    return owner?.kind === kind.kind ? `${pod.metadata.namespace ?? ''}/${owner.name}` : undefined
  }
  const stops = [
    resources.subscribe(kind, ({ type, object }) => {
      if (type === 'DELETED') queue.forget(keyOf(object))
      else queue.add(keyOf(object))
    }),
    resources.subscribe(podKind, (event) => {
      const owners = [ownerKey(event.object), event.type === 'MODIFIED' ? ownerKey(event.old) : undefined]
      for (const owner of new Set(owners)) if (owner !== undefined) queue.add(owner)
      if (event.type === 'DELETED' || controllerOf(event.object) !== undefined) return
      const { namespace = '', labels } = event.object.metadata
      for (const owner of resources.list(kind, { namespace })) {
        if (matchesSelector(owner.spec.selector, labels)) queue.add(keyOf(owner))
      }
    }),
  ]
  for (const owner of resources.list(kind)) queue.add(keyOf(owner))
  return stops
}

export interface ClaimOptions<T extends WorkloadOwner> {
  kind: KindDefinition<T>
  owner: Stored<T>
  orphans: OrphanIndex<Pod>
  /** Of those that match the selector, which may be adopted. Default: all. */
  fits?(pod: Stored<Pod>): boolean
}

/** Adopts and releases; returns the owner's pods as they then stand. */
export async function claimPods<T extends WorkloadOwner>(
  context: ControllerContext,
  { kind, owner, orphans, fits = () => true }: ClaimOptions<T>,
): Promise<Stored<Pod>[]> {
  const { resources } = context
  const { uid, namespace = '' } = owner.metadata
  const claim = planClaim({
    owner,
    selector: owner.spec.selector ?? { matchLabels: { 'drover.dev/none': '' } },
    owned: resources.ownedBy(podKind, uid),
    orphans: orphans.in(namespace).filter(fits),
  })
  const reference = controllerReference(kind as KindDefinition, owner)
  await Promise.all([
    ...claim.adopt.map((pod) =>
      changeObject(context, podKind, pod, { part: 'main', change: (current) => withController(current, reference) }),
    ),
    ...claim.release.map((pod) =>
      changeObject(context, podKind, pod, { part: 'main', change: (current) => withoutOwner(current, uid) }),
    ),
  ])
  return ownPods(context, owner)
}

export function ownPods({ resources }: ControllerContext, owner: Stored<KubeObject>): Stored<Pod>[] {
  return resources.ownedBy(podKind, owner.metadata.uid).filter((pod) => controllerOf(pod)?.uid === owner.metadata.uid)
}

/** A pod of the owner from a template, which it does not share with it. */
export function podFromTemplate<T extends KubeObject>(
  kind: KindDefinition<T>,
  owner: Stored<T>,
  template: PodTemplateSpec,
  name: string,
): Pod & { metadata: { labels: Record<string, string>; annotations: Record<string, string> } } {
  const { labels, annotations, finalizers } = template.metadata ?? {}
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: owner.metadata.namespace ?? '',
      labels: { ...labels },
      annotations: { ...annotations },
      ...(finalizers && { finalizers: [...finalizers] }),
      ownerReferences: [controllerReference(kind as KindDefinition, owner)],
    },
    spec: structuredClone(template.spec),
  }
}

/** Makes a pod and says so. A failure is told as an event before it is thrown. */
export async function createPod(context: ControllerContext, owner: Stored<KubeObject>, pod: Pod): Promise<Stored<Pod>> {
  const { resources, events, fence, desk } = context
  try {
    const created = await resources.create(podKind, pod, { fence, desk })
    events.record(owner, 'Normal', 'SuccessfulCreate', `Created pod: ${created.metadata.name}`)
    return created
  } catch (thrown) {
    const error = DroverError.from(thrown)
    // The namespace goes, and the owner with it.
    const ending = isCode(error, 'forbidden')
    if (!ending) events.record(owner, 'Warning', 'FailedCreate', `Error creating: ${error.message}`)
    throw error
  }
}

export async function deletePod(
  context: ControllerContext,
  owner: Stored<KubeObject>,
  pod: Stored<Pod>,
  why = '',
): Promise<void> {
  await deleteObject(context, podKind, pod)
  const reason = why === '' ? '' : ` (${why})`
  context.events.record(owner, 'Normal', 'SuccessfulDelete', `Deleted pod: ${pod.metadata.name}${reason}`)
}
