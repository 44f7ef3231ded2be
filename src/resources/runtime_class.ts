/**
 * Pods that name a RuntimeClass, at the door: the class must be there, its overhead becomes the pod's, and where it may run
 * is merged with where the pod asks to. Source: Kubernetes "Runtime Class", "Pod Overhead".
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import type { RuntimeClass } from '../api/runtimeclass.ts'
import { jsonEqual } from '../base/json.ts'
import { parseQuantity } from '../base/quantity.ts'
import type { Check } from './checks.ts'
import { forbidden } from './errors.ts'

export type FindRuntimeClass = (name: string) => Stored<RuntimeClass> | undefined

type Amounts = Readonly<Record<string, string | number>>

/** Changes the pod, a private copy that is about to be made. Throws `forbidden` where it and its class do not agree. */
export function admitRuntimeClass(pod: Pod, findClass: FindRuntimeClass): void {
  const { spec, metadata } = pod
  const refuse = (why: string): never => {
    throw forbidden(podKind as KindDefinition, metadata.name ?? '', `pod rejected: ${why}`)
  }
  const { runtimeClassName } = spec
  const found = runtimeClassName === undefined ? undefined : findClass(runtimeClassName)
  if (runtimeClassName !== undefined && found === undefined) refuse(`RuntimeClass "${runtimeClassName}" not found`)
  const podFixed = found?.overhead?.podFixed
  if (spec.overhead !== undefined && podFixed === undefined) {
    refuse('Pod Overhead set without corresponding RuntimeClass defined Overhead')
  }
  if (spec.overhead !== undefined && podFixed !== undefined && !sameAmounts(spec.overhead, podFixed)) {
    refuse("Pod's Overhead doesn't match RuntimeClass's defined Overhead")
  }
  if (podFixed !== undefined) spec.overhead = { ...podFixed }
  const { nodeSelector, tolerations } = found?.scheduling ?? {}
  for (const [key, value] of Object.entries(nodeSelector ?? {})) {
    const own = spec.nodeSelector?.[key]
    if (own === undefined || own === value) continue
    refuse(`conflict: runtimeClass.scheduling.nodeSelector[${key}] = ${value}; pod.spec.nodeSelector[${key}] = ${own}`)
  }
  if (nodeSelector !== undefined) spec.nodeSelector = { ...spec.nodeSelector, ...nodeSelector }
  const present = spec.tolerations ?? []
  const added = (tolerations ?? []).filter((toleration) => !present.some((own) => jsonEqual(own, toleration)))
  if (added.length > 0) spec.tolerations = [...present, ...added]
}

function sameAmounts(one: Amounts, other: Amounts): boolean {
  const amounts = (of: Amounts): Record<string, number> =>
    Object.fromEntries(Object.entries(of).map(([name, amount]) => [name, parseQuantity(amount)]))
  return jsonEqual(amounts(one), amounts(other))
}

export function runtimeClassCheck(findClass: FindRuntimeClass): Check {
  return (kind, object, base) => {
    if (kind.kind === 'Pod' && base === undefined) admitRuntimeClass(object as KubeObject as Pod, findClass)
  }
}
