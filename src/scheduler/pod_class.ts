/**
 * Pods that every node judges alike: one template's replicas. Filters and scores are worked out once for the class.
 */
import type { LabelSelector, Stored } from '../api/meta.ts'
import type { NodeSelector } from '../api/node_selector.ts'
import type { Pod, Toleration } from '../api/pod.ts'
import type { Amounts } from '../api/pod_amounts.ts'
import { type HostPort, hostPorts, podRequests } from './requests.ts'
import type { ClaimNeed, PodVolumes } from './volume_facts.ts'

export interface SpreadConstraint {
  maxSkew: number
  topologyKey: string
  hard: boolean
  selector: LabelSelector | undefined
}

export interface PodClass {
  key: string
  /** Pods of more priority are placed first; so those of one class have the same. */
  priority: number
  namespace: string
  labels: Readonly<Record<string, string>>
  /** Pods of the same group stay apart; undefined for pods that nothing joins. */
  group: string | undefined
  requests: Amounts
  tolerations: readonly Toleration[]
  nodeSelector: readonly (readonly [string, string])[]
  /** All of them must match: what the pod requires, and where its volumes are. */
  nodes: readonly NodeSelector[]
  /** Of its unbound claims. */
  needs: readonly ClaimNeed[]
  ports: readonly HostPort[]
  spread: readonly SpreadConstraint[]
  hostNetwork: boolean
}

/** Replicas of one controller belong together; pods without one, when they have the same labels. */
export function groupOf(pod: Stored<Pod>): string | undefined {
  const { ownerReferences, namespace = '', labels } = pod.metadata
  const controller = ownerReferences?.find((reference) => reference.controller === true)
  if (controller !== undefined) return controller.uid
  if (labels === undefined || Object.keys(labels).length === 0) return undefined
  return `${namespace} ${JSON.stringify(Object.entries(labels).sort())}`
}

export function classOf(pod: Stored<Pod>, volumes?: PodVolumes): PodClass {
  const { spec, metadata } = pod
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
  const needs = volumes?.needs ?? []
  const parts = {
    priority: spec.priority ?? 0,
    namespace: metadata.namespace ?? '',
    labels: metadata.labels ?? {},
    group: groupOf(pod),
    requests: podRequests(pod),
    tolerations: spec.tolerations ?? [],
    nodeSelector: Object.entries(spec.nodeSelector ?? {}),
    nodes: [...(required === undefined ? [] : [required]), ...(volumes?.nodes ?? [])],
    ports: hostPorts(pod),
    spread: (spec.topologySpreadConstraints ?? []).map((constraint) => ({
      maxSkew: Math.max(1, constraint.maxSkew),
      topologyKey: constraint.topologyKey,
      hard: constraint.whenUnsatisfiable === 'DoNotSchedule',
      selector: constraint.labelSelector,
    })),
    hostNetwork: spec.hostNetwork === true,
  }
  // A volume's name stands for where it is.
  const wanted = needs.map((need) => ({ ...need, volumes: need.volumes.map(({ name }) => name) }))
  return { ...parts, needs, key: JSON.stringify({ ...parts, needs: wanted }) }
}
