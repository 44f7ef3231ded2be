/**
 * Which pods may never run twice, and the times that keep it so. Both sides use it: agents fence what servers wait for.
 * Why these times suffice: docs/design/fencing.md.
 */
import { ANNOTATION } from './names.ts'
import type { PodSpec } from './pod.ts'

interface MaybeExclusive {
  metadata?:
    | {
        annotations?: Readonly<Record<string, string>>
        ownerReferences?: readonly { kind: string; apiVersion: string; controller?: boolean }[]
      }
    | undefined
  spec: Pick<PodSpec, 'volumes'>
}

/**
 * A pod of a StatefulSet, one that writes to a PersistentVolumeClaim, or one that says so. The annotation
 * `drover.dev/exclusive` decides where it is given: `"false"` has a pod replaced at once, whoever owns it.
 */
export function isExclusive({ metadata, spec }: MaybeExclusive): boolean {
  const said = metadata?.annotations?.[ANNOTATION.exclusive]
  if (said === 'true' || said === 'false') return said === 'true'
  const owner = metadata?.ownerReferences?.find(({ controller }) => controller === true)
  if (owner?.kind === 'StatefulSet' && owner.apiVersion.startsWith('apps/')) return true
  return (spec.volumes ?? []).some(({ persistentVolumeClaim: claim }) => claim !== undefined && claim.readOnly !== true)
}

/** How long a node may run exclusive pods after it sent the last heartbeat that a server acknowledged; on its own clock. */
export const EXCLUSIVE_LEASE_MS = 8_000
/** The rates of any two hosts' clocks differ by less than this. */
export const CLOCK_RATE_ERROR = 0.02
/** From a lease's end to the last process' end, and what else is late: see docs/design/fencing.md. */
export const FENCE_MARGIN_MS = 3_000

/** How long after a node was seen to be lost, on any clock, nothing exclusive can run on it any more. */
export function fenceAfterMs(leaseMs = EXCLUSIVE_LEASE_MS): number {
  return Math.ceil((leaseMs * (1 + CLOCK_RATE_ERROR)) / (1 - CLOCK_RATE_ERROR)) + FENCE_MARGIN_MS
}
