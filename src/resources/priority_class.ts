/**
 * Priorities at the door: a pod's class says its number, or the cluster's default class does for one that names none. Unlike
 * Kubernetes, a pod may say a number without a class, up to what users' classes may have; and no `priority: 0` is written into
 * one that has neither, nor the class's `preemptionPolicy`, which nothing here acts on. Source: Kubernetes "Pod Priority and
 * Preemption".
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { MAX_USER_PRIORITY, type PriorityClass, priorityClassKind } from '../api/priorityclass.ts'
import type { Check } from './checks.ts'
import { forbidden } from './errors.ts'

/** All of the cluster. */
export type ListPriorityClasses = () => readonly PriorityClass[]

/** Changes the pod, a private copy that is about to be made. Throws `forbidden` where it and its class do not agree. */
export function admitPriority(pod: Pod, classes: readonly PriorityClass[]): void {
  const { spec, metadata } = pod
  const refusal = (why: string) => forbidden(podKind as KindDefinition, metadata.name ?? '', why)
  const { priorityClassName } = spec
  if (priorityClassName === undefined || priorityClassName === '') {
    if (spec.priority !== undefined) {
      if (spec.priority <= MAX_USER_PRIORITY) return
      throw refusal(`its priority may be at most ${MAX_USER_PRIORITY} without a PriorityClass`)
    }
    const usual = defaultClass(classes)
    if (usual === undefined) return
    spec.priorityClassName = usual.metadata.name ?? ''
    spec.priority = usual.value
    return
  }
  const found = classes.find(({ metadata: { name } }) => name === priorityClassName)
  if (found === undefined) throw refusal(`no PriorityClass with name ${priorityClassName} was found`)
  if (spec.priority !== undefined && spec.priority !== found.value) {
    throw refusal(
      `its priority is ${spec.priority}, and that of its class ${priorityClassName} ${found.value}: leave it out`,
    )
  }
  spec.priority = found.value
}

/** Of several, which two servers may let in at one moment, the one that gives the least. */
function defaultClass(classes: readonly PriorityClass[]): PriorityClass | undefined {
  return classes.filter(({ globalDefault }) => globalDefault === true).toSorted((a, b) => a.value - b.value)[0]
}

/** Throws `forbidden` where another class is the default already. */
function admitClass(changed: PriorityClass, classes: readonly PriorityClass[]): void {
  if (changed.globalDefault !== true) return
  const name = changed.metadata.name ?? ''
  const other = classes.find(({ metadata, globalDefault }) => globalDefault === true && metadata.name !== name)
  if (other === undefined) return
  const why = `PriorityClass ${other.metadata.name} is already marked as default. Only one default can exist`
  throw forbidden(priorityClassKind as KindDefinition, name, why)
}

export function priorityCheck(list: ListPriorityClasses): Check {
  return (kind, object, base) => {
    if (kind.kind === 'Pod' && base === undefined) admitPriority(object as KubeObject as Pod, list())
    if (kind.kind === 'PriorityClass') admitClass(object as KubeObject as PriorityClass, list())
  }
}
