/**
 * Names that are made of a template's hash, in three controllers: when another template has taken one, the owner counts a
 * collision in its status, which salts the next hash.
 */
import type { KindDefinition } from '../../api/kind.ts'
import type { KubeObject, Stored } from '../../api/meta.ts'
import { DroverError } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ControllerContext } from './context.ts'
import { changeObject } from './writes.ts'

export interface CountsCollisions extends KubeObject {
  status?: { collisionCount?: number } | undefined
}

/** Counts, and ends the pass: the next one tries another name. */
export async function countCollision<T extends CountsCollisions>(
  context: ControllerContext,
  kind: KindDefinition<T>,
  owner: Stored<T>,
  { name, takenBy }: { name: string; takenBy: string },
): Promise<never> {
  const collisionCount = (owner.status?.collisionCount ?? 0) + 1
  await changeObject(context, kind, owner, {
    part: 'status',
    change: (current) => ({ ...current, status: { ...current.status, collisionCount } }),
  })
  throw new DroverError('conflict', `the name ${name} is taken by another ${takenBy}; trying another`)
}

/** The status, with a collision that another pass has counted meanwhile. */
export function withCollisions<T extends CountsCollisions>(
  status: NonNullable<T['status']>,
  current: T,
): NonNullable<T['status']> {
  const collisionCount = current.status?.collisionCount
  return collisionCount === undefined ? status : { ...status, collisionCount }
}

/** Writes what differs. A collision that another pass has counted meanwhile is kept. */
export async function writeStatus<T extends CountsCollisions>(
  context: ControllerContext,
  kind: KindDefinition<T>,
  owner: Stored<T>,
  status: NonNullable<T['status']>,
  patient = false,
): Promise<void> {
  if (jsonEqual(status, owner.status)) return
  await changeObject(context, kind, owner, {
    part: 'status',
    patient,
    change: (current) => ({ ...current, status: withCollisions(status, current) }),
  })
}
