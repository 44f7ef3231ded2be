/** Writes that controllers share: all fenced, all harmless when repeated. */
import type { KindDefinition } from '../../api/kind.ts'
import type { KubeObject, Stored } from '../../api/meta.ts'
import { isCode } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import type { DeleteOptions } from '../../resources/resources.ts'
import type { ControllerContext } from './context.ts'

/** Deletes exactly this object: one that has gone, or whose name another took since, is no failure. */
export async function deleteObject<T extends KubeObject>(
  { resources, fence }: ControllerContext,
  kind: KindDefinition<T>,
  object: Stored<T>,
  options: DeleteOptions = {},
): Promise<void> {
  const { namespace = '', name, uid } = object.metadata
  try {
    await resources.delete(kind, namespace, name, {
      ...options,
      fence,
      preconditions: { uid, ...options.preconditions },
    })
  } catch (error) {
    if (isCode(error, 'notFound')) return
    if (isCode(error, 'conflict') && resources.get(kind, namespace, name)?.metadata.uid !== uid) return
    throw error
  }
}

/** Changes exactly this object; one that has gone is no failure. */
export async function changeObject<T extends KubeObject>(
  { resources, fence }: ControllerContext,
  kind: KindDefinition<T>,
  object: Stored<T>,
  options: { part: 'main' | 'status' | 'all'; change(object: T): T | undefined; patient?: boolean },
): Promise<Stored<T> | undefined> {
  const { namespace = '', name, uid } = object.metadata
  const change = (current: T): T | undefined => (current.metadata.uid === uid ? options.change(current) : undefined)
  try {
    return await resources.modify(kind, namespace, name, options.part, change, {
      fence,
      patient: options.patient === true,
    })
  } catch (error) {
    if (isCode(error, 'notFound')) return undefined
    throw error
  }
}

/** Whether a status may wait for company: nobody who waits for pods learns anything from it. */
export function isPatient(before: PodCounts | undefined, after: PodCounts): boolean {
  const counts = (status: PodCounts | undefined) => [status?.readyReplicas ?? 0, status?.availableReplicas ?? 0]
  return jsonEqual(counts(before), counts(after))
}

/**
 * Whether pods were made, or more of them serve and not yet all: on their way up, the next status is the one that people
 * wait for, and it says all of this too. `wanted`: how many are to serve in the end.
 */
export function isOnTheWayUp(before: PodCounts | undefined, after: PodCounts, wanted: number): boolean {
  const [old, next] = [countsOf(before), countsOf(after)]
  if (next.made < old.made || next.ready < old.ready || next.available < old.available) return false
  const filling = next.ready > old.ready || next.available > old.available
  return filling ? next.ready < wanted : next.made > old.made
}

function countsOf(status: PodCounts | undefined) {
  const { replicas: made = 0, readyReplicas: ready = 0, availableReplicas: available = 0 } = status ?? {}
  return { made, ready, available }
}

interface PodCounts {
  replicas?: number
  readyReplicas?: number
  availableReplicas?: number
}
