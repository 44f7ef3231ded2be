/**
 * What a deletion does to an object: nothing more, a mark with a deadline, or its end. Pure.
 * Source: Kubernetes "Finalizers", "Garbage Collection", "Termination of Pods".
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { namespaceKind } from '../api/namespace.ts'
import type { Pod } from '../api/pod.ts'
import { DEFAULT_GRACE_SECONDS } from '../api/pod_rules.ts'
import { BUILTIN_CLASSES, priorityClassKind } from '../api/priorityclass.ts'
import { timestamp } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import { cleanCopy } from './codec.ts'
import { conflict, forbidden } from './errors.ts'
import { namespaceFinalizers } from './prepare.ts'
import type { DeleteOptions, Propagation } from './resources.ts'

export type DeletionStep =
  | { step: 'remove' }
  /** The object stays, with a mark or a nearer deadline. */
  | { step: 'mark'; object: KubeObject }
  | { step: 'wait' }

const FINALIZER: Readonly<Record<Exclude<Propagation, 'Background'>, string>> = {
  Foreground: 'foregroundDeletion',
  Orphan: 'orphan',
}

interface Lasting {
  kind: Pick<KindDefinition, 'kind' | 'group'>
  names: readonly string[]
  /** Why none of them may go. */
  why: string
}

/** What a cluster cannot do without. */
const LASTING: readonly Lasting[] = [
  {
    kind: namespaceKind,
    names: ['default', 'kube-system', 'kube-public'],
    why: 'this namespace may not be deleted',
  },
  {
    kind: priorityClassKind,
    names: BUILTIN_CLASSES.map(({ metadata: { name = '' } }) => name),
    why: 'this is a system priority class and cannot be deleted',
  },
]

/** Throws `conflict` when a precondition does not hold, `forbidden` for what must stay. */
export function planDeletion(
  kind: KindDefinition,
  base: Stored<KubeObject>,
  options: DeleteOptions,
  nowMs: number,
): DeletionStep {
  checkPreconditions(kind, base, options)
  const lasting = LASTING.find((each) => isSame(kind, each.kind) && each.names.includes(base.metadata.name))
  if (lasting !== undefined) throw forbidden(kind, base.metadata.name, lasting.why)
  const finalizers = finalizersAfter(base.metadata.finalizers ?? [], options.propagation)
  const graceSeconds = graceAfter(kind, base, options.gracePeriodSeconds)
  if (finalizers.length === 0 && graceSeconds === 0 && !isHeld(kind, base)) return { step: 'remove' }
  const object = mark(kind, base, { finalizers, graceSeconds, nowMs })
  return jsonEqual(object, base) ? { step: 'wait' } : { step: 'mark', object }
}

/** Whether an object that is being deleted has nothing left that holds it. */
export function isReleased(kind: KindDefinition, object: KubeObject): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds = 0, finalizers = [] } = object.metadata
  if (deletionTimestamp === undefined || finalizers.length > 0) return false
  return deletionGracePeriodSeconds === 0 && !isHeld(kind, object)
}

function isSame(one: Lasting['kind'], other: Lasting['kind']): boolean {
  return one.kind === other.kind && one.group === other.group
}

function isHeld(kind: KindDefinition, object: KubeObject): boolean {
  return isSame(kind, namespaceKind) && namespaceFinalizers(object).length > 0
}

function checkPreconditions(
  kind: KindDefinition,
  base: Stored<KubeObject>,
  { preconditions = {} }: DeleteOptions,
): void {
  const { uid, resourceVersion } = preconditions
  if (uid !== undefined && uid !== base.metadata.uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${base.metadata.uid}`
    throw conflict(kind, base.metadata.name, why)
  }
  if (resourceVersion !== undefined && resourceVersion !== base.metadata.resourceVersion) {
    const has = base.metadata.resourceVersion
    const why = `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${has}`
    throw conflict(kind, base.metadata.name, why)
  }
}

function finalizersAfter(finalizers: readonly string[], propagation: Propagation | undefined): string[] {
  if (propagation === undefined) return [...finalizers]
  const ours: readonly string[] = Object.values(FINALIZER)
  const others = finalizers.filter((finalizer) => !ours.includes(finalizer))
  return propagation === 'Background' ? others : [...others, FINALIZER[propagation]]
}

/** Seconds of grace from the first request on. A later request can only shorten them. */
function graceAfter(kind: KindDefinition, base: KubeObject, asked: number | undefined): number {
  if (asked !== undefined && (!Number.isInteger(asked) || asked < 0)) {
    throw new DroverError('invalid', `gracePeriodSeconds: Invalid value: ${asked} must be a whole number, 0 or more`)
  }
  if (kind.kind !== 'Pod' || kind.group !== '') return 0
  const { spec, status, metadata } = base as Pod
  const finished = status?.phase === 'Succeeded' || status?.phase === 'Failed'
  if (!spec.nodeName || finished) return 0
  if (metadata.deletionTimestamp === undefined) {
    return asked ?? Math.max(0, spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS)
  }
  const before = metadata.deletionGracePeriodSeconds ?? 0
  return asked === undefined ? before : Math.min(asked, before)
}

interface Marks {
  finalizers: string[]
  graceSeconds: number
  nowMs: number
}

function mark(kind: KindDefinition, base: Stored<KubeObject>, { finalizers, graceSeconds, nowMs }: Marks): KubeObject {
  const object: KubeObject = cleanCopy(base)
  const { metadata } = object
  if (finalizers.length > 0) metadata.finalizers = finalizers
  else delete metadata.finalizers
  const { deletionTimestamp, deletionGracePeriodSeconds = 0 } = base.metadata
  if (deletionTimestamp === undefined) {
    metadata.deletionTimestamp = timestamp(nowMs + graceSeconds * 1000)
    metadata.deletionGracePeriodSeconds = graceSeconds
    if (kind.hasGeneration) metadata.generation = (metadata.generation ?? 0) + 1
  } else if (graceSeconds < deletionGracePeriodSeconds) {
    const startedMs = Date.parse(deletionTimestamp) - deletionGracePeriodSeconds * 1000
    metadata.deletionTimestamp = timestamp(startedMs + graceSeconds * 1000)
    metadata.deletionGracePeriodSeconds = graceSeconds
  }
  if (isSame(kind, namespaceKind)) object.status = { ...(object.status as object | undefined), phase: 'Terminating' }
  return object
}
