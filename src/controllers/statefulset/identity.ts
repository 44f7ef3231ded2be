/** Names and places of a StatefulSet's pods and claims: pure. An ordinal is a pod's identity for life. */

import { apiVersionOf } from '../../api/kind.ts'
import type { Stored } from '../../api/meta.ts'
import { type PersistentVolumeClaim, persistentVolumeClaimKind } from '../../api/persistentvolumeclaim.ts'
import type { Pod, PodTemplateSpec } from '../../api/pod.ts'
import {
  POD_INDEX_LABEL,
  POD_NAME_LABEL,
  REVISION_HASH_LABEL,
  type StatefulSet,
  statefulSetKind,
} from '../../api/statefulset.ts'
import { podFromTemplate } from '../common/workload.ts'

export const podName = (set: Stored<StatefulSet>, ordinal: number): string => `${set.metadata.name}-${ordinal}`

/** The ordinal that a name says, or undefined for a name that is none of the set's. */
export function ordinalOf(set: Stored<StatefulSet>, name: string): number | undefined {
  const prefix = `${set.metadata.name}-`
  if (!name.startsWith(prefix)) return undefined
  const text = name.slice(prefix.length)
  return /^(0|[1-9]\d{0,8})$/.test(text) ? Number(text) : undefined
}

export function revisionOf(pod: Pod): string {
  return pod.metadata.labels?.[REVISION_HASH_LABEL] ?? ''
}

export const claimName = (template: string, set: Stored<StatefulSet>, ordinal: number): string =>
  `${template}-${podName(set, ordinal)}`

export function newPod(
  set: Stored<StatefulSet>,
  ordinal: number,
  revision: { name: string; template: PodTemplateSpec },
): Pod {
  const name = podName(set, ordinal)
  const pod = podFromTemplate(statefulSetKind, set, revision.template, name)
  Object.assign(pod.metadata.labels, {
    [POD_NAME_LABEL]: name,
    [POD_INDEX_LABEL]: String(ordinal),
    [REVISION_HASH_LABEL]: revision.name,
  })
  pod.spec.hostname = name
  if (set.spec.serviceName) pod.spec.subdomain = set.spec.serviceName
  const templates = (set.spec.volumeClaimTemplates ?? []).map(({ metadata }) => metadata.name ?? '')
  const others = (pod.spec.volumes ?? []).filter((volume) => !templates.includes(volume.name))
  const claimed = templates.map((template) => ({
    name: template,
    persistentVolumeClaim: { claimName: claimName(template, set, ordinal) },
  }))
  if (others.length + claimed.length > 0) pod.spec.volumes = [...others, ...claimed]
  return pod
}

/** The claims that a pod needs. */
export function newClaims(set: Stored<StatefulSet>, ordinal: number): PersistentVolumeClaim[] {
  return (set.spec.volumeClaimTemplates ?? []).map((template) => ({
    apiVersion: apiVersionOf(persistentVolumeClaimKind),
    kind: persistentVolumeClaimKind.kind,
    metadata: {
      name: claimName(template.metadata.name ?? '', set, ordinal),
      namespace: set.metadata.namespace ?? '',
      labels: { ...template.metadata.labels, ...set.spec.selector.matchLabels },
      ...(template.metadata.annotations && { annotations: { ...template.metadata.annotations } }),
    },
    spec: structuredClone(template.spec),
  }))
}

/** The ordinal of the pod that a claim is for, or undefined for a claim of others. */
export function ordinalOfClaim(set: Stored<StatefulSet>, claim: PersistentVolumeClaim): number | undefined {
  const { name = '', labels } = claim.metadata
  for (const template of set.spec.volumeClaimTemplates ?? []) {
    const prefix = `${template.metadata.name}-`
    const ordinal = name.startsWith(prefix) ? ordinalOf(set, name.slice(prefix.length)) : undefined
    if (ordinal === undefined) continue
    // Someone else's claim may have such a name; ours carries the set's labels.
    const wanted = Object.entries(set.spec.selector.matchLabels ?? {})
    if (wanted.every(([key, value]) => labels?.[key] === value)) return ordinal
  }
  return undefined
}
