/** The table of all kinds. Order is the order of discovery. */
import { configMapKind } from './configmap.ts'
import { deploymentKind } from './deployment.ts'
import { endpointSliceKind } from './endpointslice.ts'
import { eventKind } from './event.ts'
import type { KindDefinition } from './kind.ts'
import { namespaceKind } from './namespace.ts'
import { networkPolicyKind } from './networkpolicy.ts'
import { nodeKind } from './node.ts'
import { podKind } from './pod_kind.ts'
import { replicaSetKind } from './replicaset.ts'
import { secretKind } from './secret.ts'
import { serviceKind } from './service.ts'

export const KINDS: readonly KindDefinition[] = [
  namespaceKind,
  nodeKind,
  podKind,
  serviceKind,
  configMapKind,
  secretKind,
  eventKind,
  deploymentKind,
  replicaSetKind,
  endpointSliceKind,
  networkPolicyKind,
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
