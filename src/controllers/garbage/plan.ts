/**
 * What owner references ask for: pure. Source: Kubernetes "Garbage Collection" (background, foreground, orphan).
 * An object goes when all its owners have gone. Owners of kinds that we do not know are taken to exist: it is not for us
 * to judge them.
 */
import { isTerminating } from '../../api/conditions.ts'
import type { KubeObject, OwnerReference, Stored } from '../../api/meta.ts'

export const FOREGROUND = 'foregroundDeletion'
export const ORPHAN = 'orphan'

/** What the cache says of an owner that is named. */
export type OwnerState =
  | 'present'
  /** It waits, under foreground deletion, for its dependents to end. */
  | 'waiting'
  | 'absent'

export type DependentPlan =
  | { type: 'keep' }
  | { type: 'delete'; foreground: boolean }
  /** Some owners have gone, others have not: the references to the gone ones are dropped. */
  | { type: 'disown'; uids: string[] }

export function planDependent(
  object: Stored<KubeObject>,
  stateOf: (reference: OwnerReference) => OwnerState,
  hasDependents: boolean,
): DependentPlan {
  const references = object.metadata.ownerReferences ?? []
  if (references.length === 0 || isTerminating(object)) return { type: 'keep' }
  const states = references.map((reference) => ({ uid: reference.uid, state: stateOf(reference) }))
  const gone = states.filter(({ state }) => state !== 'present').map(({ uid }) => uid)
  if (gone.length === 0) return { type: 'keep' }
  if (gone.length < states.length) return { type: 'disown', uids: gone }
  // A waiting owner waits for what hangs on its dependents as well.
  return { type: 'delete', foreground: hasDependents && states.some(({ state }) => state === 'waiting') }
}

export type OwnerPlan =
  | { type: 'none' }
  /** Dependents lose their reference, then the finalizer goes. */
  | { type: 'orphan'; dependents: Stored<KubeObject>[] }
  /** Dependents are looked at again; while `blocked`, the finalizer stays. */
  | { type: 'foreground'; dependents: Stored<KubeObject>[]; blocked: boolean }

export function planOwner(object: Stored<KubeObject>, dependents: readonly Stored<KubeObject>[]): OwnerPlan {
  if (!isTerminating(object)) return { type: 'none' }
  const finalizers = object.metadata.finalizers ?? []
  if (finalizers.includes(ORPHAN)) return { type: 'orphan', dependents: [...dependents] }
  if (!finalizers.includes(FOREGROUND)) return { type: 'none' }
  const blocks = (dependent: KubeObject): boolean =>
    (dependent.metadata.ownerReferences ?? []).some(
      ({ uid, blockOwnerDeletion }) => uid === object.metadata.uid && blockOwnerDeletion === true,
    )
  return { type: 'foreground', dependents: [...dependents], blocked: dependents.some(blocks) }
}
