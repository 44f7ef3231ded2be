/** The table of all kinds. Order is the order of discovery. */
import { clusterRoleKind } from './clusterrole.ts'
import { clusterRoleBindingKind } from './clusterrolebinding.ts'
import { configMapKind } from './configmap.ts'
import { controllerRevisionKind } from './controllerrevision.ts'
import { cronJobKind } from './cronjob.ts'
import { daemonSetKind } from './daemonset.ts'
import { deploymentKind } from './deployment.ts'
import { endpointSliceKind } from './endpointslice.ts'
import { eventKind } from './event.ts'
import { jobKind } from './job.ts'
import type { KindDefinition } from './kind.ts'
import { leaseKind } from './lease.ts'
import { namespaceKind } from './namespace.ts'
import { networkPolicyKind } from './networkpolicy.ts'
import { nodeKind } from './node.ts'
import { persistentVolumeKind } from './persistentvolume.ts'
import { persistentVolumeClaimKind } from './persistentvolumeclaim.ts'
import { podKind } from './pod_kind.ts'
import { podDisruptionBudgetKind } from './poddisruptionbudget.ts'
import { priorityClassKind } from './priorityclass.ts'
import { replicaSetKind } from './replicaset.ts'
import { roleKind } from './role.ts'
import { roleBindingKind } from './rolebinding.ts'
import { runtimeClassKind } from './runtimeclass.ts'
import { secretKind } from './secret.ts'
import { serviceKind } from './service.ts'
import { serviceAccountKind } from './serviceaccount.ts'
import { statefulSetKind } from './statefulset.ts'
import { storageClassKind } from './storageclass.ts'

export const KINDS: readonly KindDefinition[] = [
  namespaceKind,
  nodeKind,
  podKind,
  serviceKind,
  configMapKind,
  secretKind,
  serviceAccountKind,
  eventKind,
  deploymentKind,
  replicaSetKind,
  statefulSetKind,
  daemonSetKind,
  controllerRevisionKind,
  jobKind,
  cronJobKind,
  podDisruptionBudgetKind,
  persistentVolumeKind,
  persistentVolumeClaimKind,
  storageClassKind,
  runtimeClassKind,
  priorityClassKind,
  endpointSliceKind,
  networkPolicyKind,
  leaseKind,
  roleKind,
  roleBindingKind,
  clusterRoleKind,
  clusterRoleBindingKind,
]

export function findKind(group: string, version: string, plural: string): KindDefinition | undefined {
  return KINDS.find((kind) => kind.group === group && kind.version === version && kind.plural === plural)
}

export function findKindByName(apiVersion: string, kindName: string): KindDefinition | undefined {
  return KINDS.find(
    (kind) =>
      kind.kind === kindName && (kind.group === '' ? kind.version : `${kind.group}/${kind.version}`) === apiVersion,
  )
}
