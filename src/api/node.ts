/** Node. Source: Kubernetes v1. */
import Type, { type Static } from 'typebox'
import { defineKind } from './kind.ts'
import { Condition, typeMeta } from './meta.ts'
import { ANNOTATION, isDnsSubdomain } from './names.ts'
import {
  bool,
  ignored,
  int64,
  kept,
  listByKey,
  object,
  oneOf,
  opt,
  quantityMap,
  setOf,
  stringMap,
  text,
  time,
} from './schema.ts'

export const Taint = object({
  key: text,
  value: opt(text),
  effect: oneOf('NoSchedule', 'PreferNoSchedule', 'NoExecute'),
  timeAdded: opt(time),
})
export type Taint = Static<typeof Taint>

export const Node = object({
  ...typeMeta('v1', 'Node'),
  spec: opt(
    object({
      podCIDR: opt(text),
      podCIDRs: opt(setOf(text)),
      providerID: kept(text),
      unschedulable: opt(bool),
      taints: opt(Type.Array(Taint)),
      configSource: ignored(),
      externalID: ignored(),
    }),
  ),
  status: opt(
    object({
      capacity: opt(quantityMap),
      allocatable: opt(quantityMap),
      conditions: opt(listByKey(Condition, 'type')),
      addresses: opt(listByKey(object({ type: text, address: text }), 'type')),
      nodeInfo: opt(stringMap),
      images: opt(Type.Array(object({ names: opt(Type.Array(text)), sizeBytes: opt(int64) }))),
      phase: opt(text),
      /** Drover's own: volumes that are being deleted and whose data the node has removed. */
      removedVolumes: opt(setOf(text)),
      /** Drover's own: by name, why handlers that runtime classes may ask for cannot run pods here. */
      handlerProblems: opt(stringMap),
      daemonEndpoints: ignored(),
      features: ignored(),
      runtimeHandlers: kept(
        Type.Array(
          object({
            name: opt(text),
            features: opt(object({ recursiveReadOnlyMounts: opt(bool), userNamespaces: opt(bool) })),
          }),
        ),
      ),
      volumesAttached: ignored(),
      volumesInUse: ignored(),
      config: ignored(),
    }),
  ),
})
export type Node = Static<typeof Node>

export function nodeCondition(node: Node, type: string): Condition | undefined {
  return node.status?.conditions?.find((condition) => condition.type === type)
}

export function isNodeReady(node: Node): boolean {
  return nodeCondition(node, 'Ready')?.status === 'True'
}

/** Its pods are being replaced elsewhere. A node that takes pods again is not drained, whoever made it take them. */
export function isDraining(node: Node | undefined): boolean {
  return node?.spec?.unschedulable === true && node.metadata.annotations?.[ANNOTATION.draining] !== undefined
}

export function nodeAddress(node: Node, type: 'InternalIP' | 'Hostname' | 'ExternalIP'): string | undefined {
  return node.status?.addresses?.find((address) => address.type === type)?.address
}

function summary(node: Node): string {
  const ready = nodeCondition(node, 'Ready')?.status
  const word = ready === 'True' ? 'Ready' : ready === undefined ? 'Unknown' : 'NotReady'
  return node.spec?.unschedulable === true ? `${word},SchedulingDisabled` : word
}

function roles(node: Node): string {
  const prefix = 'node-role.kubernetes.io/'
  const found = Object.keys(node.metadata.labels ?? {}).filter((label) => label.startsWith(prefix))
  return found.map((label) => label.slice(prefix.length)).join(',') || '<none>'
}

const info = (node: Node, field: string): string => node.status?.nodeInfo?.[field] ?? '<unknown>'

export const nodeKind = defineKind<Node>({
  group: '',
  version: 'v1',
  kind: 'Node',
  plural: 'nodes',
  singular: 'node',
  shortNames: ['no'],
  namespaced: false,
  schema: Node,
  hasStatus: true,
  applyDefaults(node) {
    node.spec ??= {}
    node.status ??= {}
    // Whoever uncordons ends a drain, kubectl too: the next cordon is not to begin it anew.
    if (node.spec.unschedulable !== true) delete node.metadata.annotations?.[ANNOTATION.draining]
  },
  validate: ({ metadata }) =>
    isDnsSubdomain(metadata.name ?? '')
      ? []
      : [{ path: 'metadata.name', reason: 'Invalid', message: 'must be a DNS subdomain' }],
  validateUpdate: (node, old) =>
    old.spec?.podCIDR !== undefined && node.spec?.podCIDR !== old.spec.podCIDR
      ? [{ path: 'spec.podCIDR', reason: 'Forbidden', message: 'is fixed once it is set' }]
      : [],
  columns: [
    { name: 'Status', type: 'string', description: 'Ready or not, and whether it takes pods', value: summary },
    { name: 'Roles', type: 'string', description: 'From node-role labels', value: roles },
    {
      name: 'Version',
      type: 'string',
      description: "The agent's version",
      value: (node) => info(node, 'kubeletVersion'),
    },
    {
      name: 'Internal-IP',
      type: 'string',
      priority: 1,
      description: 'Address on the underlay',
      value: (node) => nodeAddress(node, 'InternalIP') ?? '<none>',
    },
    { name: 'OS-Image', type: 'string', priority: 1, description: '', value: (node) => info(node, 'osImage') },
    {
      name: 'Kernel-Version',
      type: 'string',
      priority: 1,
      description: '',
      value: (node) => info(node, 'kernelVersion'),
    },
    {
      name: 'Container-Runtime',
      type: 'string',
      priority: 1,
      description: '',
      value: (node) => info(node, 'containerRuntimeVersion'),
    },
  ],
  selectableFields: { 'spec.unschedulable': (node) => String(node.spec?.unschedulable ?? false) },
})
