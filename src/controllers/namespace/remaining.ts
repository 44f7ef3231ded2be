/**
 * What keeps a namespace that is ending, as conditions of its status: which kinds are left, and which finalizers hold
 * them. Without counts, so that a thousand pods that go one by one are not a thousand writes. Pure.
 * Source: Kubernetes v1 `NamespaceConditionType`.
 */
import { withCondition } from '../../api/conditions.ts'
import { type KindDefinition, resourceName } from '../../api/kind.ts'
import type { Condition, KubeObject, Stored } from '../../api/meta.ts'

export interface Content {
  kind: KindDefinition
  object: Stored<KubeObject>
}

const unique = (values: Iterable<string>): string[] => [...new Set(values)].sort()

/** The given list itself when nothing changes. `left` is not empty. */
export function remainingConditions(
  left: readonly Content[],
  before: readonly Condition[] | undefined,
  nowMs: number,
): readonly Condition[] {
  const kinds = unique(left.map(({ kind }) => resourceName(kind)))
  const held = left.filter(({ object }) => (object.metadata.finalizers ?? []).length > 0)
  const finalizers = unique(held.flatMap(({ object }) => object.metadata.finalizers ?? []))
  const heldKinds = unique(held.map(({ kind }) => resourceName(kind)))
  const deleted = {
    type: 'NamespaceDeletionContentFailure',
    status: 'False',
    reason: 'ContentDeleted',
    message: 'All content successfully deleted, may be waiting on finalization',
  } as const
  const remaining = {
    type: 'NamespaceContentRemaining',
    status: 'True',
    reason: 'SomeResourcesRemain',
    message: `Some resources are remaining: ${kinds.join(', ')}`,
  } as const
  const type = 'NamespaceFinalizersRemaining'
  const waiting =
    finalizers.length === 0
      ? ({
          type,
          status: 'False',
          reason: 'ContentHasNoFinalizers',
          message: 'No finalizer holds what remains',
        } as const)
      : ({
          type,
          status: 'True',
          reason: 'SomeFinalizersRemain',
          message: `Finalizers that hold ${heldKinds.join(', ')}: ${finalizers.join(', ')}`,
        } as const)
  let conditions = before
  for (const value of [deleted, remaining, waiting]) conditions = withCondition(conditions, value, nowMs)
  return conditions ?? []
}
