/**
 * Pod security levels at the door: a namespace's labels say what its pods may ask for. Pods are refused or warned about
 * when they are made; of workloads, whose pods will be refused later, whoever writes them is told at once.
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import type { PodSpec } from '../api/pod.ts'
import { type SecurityLevel, securityLevel, securityViolations } from '../api/pod_security.ts'
import { DroverError } from '../base/errors.ts'
import { isObject, jsonEqual } from '../base/json.ts'
import type { Check } from './checks.ts'
import type { WriteOptions } from './resources.ts'

export type FindNamespace = (name: string) => Stored<KubeObject> | undefined

/** The pod spec in an object: a pod's own, or its template's, wherever the kind keeps it. */
function podSpecIn(object: KubeObject | undefined): PodSpec | undefined {
  const spec: unknown = object?.spec
  if (!isObject(spec)) return undefined
  if (object?.kind === 'Pod') return spec as unknown as PodSpec
  const job = isObject(spec.jobTemplate) && isObject(spec.jobTemplate.spec) ? spec.jobTemplate.spec : spec
  const template = isObject(job.template) ? job.template.spec : undefined
  return isObject(template) && Array.isArray(template.containers) ? (template as unknown as PodSpec) : undefined
}

/** Throws `forbidden` for a pod that its namespace does not let in; `base` is what stands there. */
export function checkPodSecurity(
  kind: KindDefinition,
  object: KubeObject,
  base: KubeObject | undefined,
  { findNamespace, options }: { findNamespace: FindNamespace; options: WriteOptions },
): void {
  const spec = kind.namespaced ? podSpecIn(object) : undefined
  if (spec === undefined) return
  const before = podSpecIn(base)
  if (before !== undefined && (kind.kind === 'Pod' || jsonEqual(before, spec))) return
  const { labels } = findNamespace(object.metadata.namespace ?? '')?.metadata ?? {}
  const enforced = securityLevel(labels, 'enforce')
  const words = (level: SecurityLevel): string => {
    const found = securityViolations(level, spec)
    return found.length === 0 ? '' : `violate PodSecurity "${level}:latest": ${found.join(', ')}`
  }
  if (kind.kind === 'Pod') {
    const refused = words(enforced)
    if (refused !== '') {
      const said = refused.replace(/^violate/, 'violates')
      throw new DroverError('forbidden', `pods "${object.metadata.name}" is forbidden: ${said}`)
    }
  }
  // A workload is let in, and its pods will not be: it is told by the strictest of the two.
  const warned = words(securityLevel(labels, 'warn')) || (kind.kind === 'Pod' ? '' : words(enforced))
  if (warned !== '') options.warn?.(`would ${warned}`)
}

export function podSecurityCheck(findNamespace: FindNamespace): Check {
  return (kind, object, base, options) => checkPodSecurity(kind, object, base, { findNamespace, options })
}
