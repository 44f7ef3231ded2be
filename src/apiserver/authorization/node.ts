/**
 * What a node may do over REST with its certificate: read its own Node and what its own pods name, report on them, and
 * get tokens for them. Agents need none of it (they speak in their sessions), but a stolen certificate must not give more
 * than the node had. Source: Kubernetes "Using Node Authorization" and the NodeRestriction admission plugin.
 */

import { DEFAULT_SERVICE_ACCOUNT } from '../../api/names.ts'
import { persistentVolumeKind } from '../../api/persistentvolume.ts'
import { persistentVolumeClaimKind } from '../../api/persistentvolumeclaim.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { podReferences } from '../../api/pod_references.ts'
import type { Resources } from '../../resources/resources.ts'
import type { User } from '../authentication.ts'
import type { Attributes } from './rules.ts'

const PREFIX = 'system:node:'
const GROUP = 'system:nodes'
const READS: ReadonlySet<string> = new Set(['get', 'list', 'watch'])
const STATUS_WRITES: ReadonlySet<string> = new Set(['update', 'patch'])

/** The node that the user is, if it is one. */
export function nodeOf({ name, groups }: User): string | undefined {
  return name.startsWith(PREFIX) && groups.includes(GROUP) ? name.slice(PREFIX.length) : undefined
}

function podsOn(resources: Resources, node: string): Pod[] {
  return resources.podsOnNode(node) as unknown as Pod[]
}

function isNamedByPods(resources: Resources, node: string, { plural, namespace, name }: Attributes): boolean {
  const pods = podsOn(resources, node).filter(({ metadata }) => metadata.namespace === namespace)
  switch (plural) {
    case 'secrets':
    case 'configmaps': {
      const reference = `${plural.slice(0, -1)}/${namespace}/${name}`
      return pods.some((pod) => podReferences(pod).has(reference))
    }
    case 'persistentvolumeclaims':
      return pods.some((pod) => (pod.spec.volumes ?? []).some((each) => each.persistentVolumeClaim?.claimName === name))
    case 'serviceaccounts':
      return pods.some(({ spec }) => (spec.serviceAccountName ?? DEFAULT_SERVICE_ACCOUNT) === name)
    default:
      return false
  }
}

/** A volume is reached through the claim that it is bound to. */
function isVolumeOfPods(resources: Resources, node: string, name: string): boolean {
  const claim = resources.get(persistentVolumeKind, '', name)?.spec.claimRef
  const { name: claimName = '', namespace = '' } = claim ?? {}
  if (claimName === '') return false
  if (resources.get(persistentVolumeClaimKind, namespace, claimName)?.spec.volumeName !== name) return false
  const attributes = { plural: 'persistentvolumeclaims', namespace, name: claimName } as Attributes
  return isNamedByPods(resources, node, attributes)
}

function mayUsePods(resources: Resources, node: string, attributes: Attributes): boolean {
  const { verb, subresource, namespace, name } = attributes
  if (name === '' || resources.get(podKind, namespace, name)?.spec.nodeName !== node) return false
  return subresource === 'status' ? verb === 'get' || STATUS_WRITES.has(verb) : subresource === '' && verb === 'get'
}

export function nodeMay(resources: Resources, node: string, attributes: Attributes): boolean {
  const { verb, group, plural, subresource, name } = attributes
  if (group === '' && plural === 'nodes') {
    if (name !== node) return false
    return subresource === 'status' ? verb === 'get' || STATUS_WRITES.has(verb) : subresource === '' && verb === 'get'
  }
  if (group === '' && plural === 'pods') return mayUsePods(resources, node, attributes)
  if (group === '' && plural === 'events' && subresource === '') return verb === 'create' || verb === 'patch'
  if (group === '' && plural === 'serviceaccounts' && subresource === 'token') {
    return verb === 'create' && isNamedByPods(resources, node, attributes)
  }
  if (subresource !== '' || !READS.has(verb)) return false
  if ((group === '' && plural === 'services') || (group === 'discovery.k8s.io' && plural === 'endpointslices'))
    return true
  if (group !== '' || verb !== 'get' || name === '') return false
  return plural === 'persistentvolumes'
    ? isVolumeOfPods(resources, node, name)
    : isNamedByPods(resources, node, attributes)
}

/** Whether the pod may be the one that a token for this node is bound to. */
export function isOwnPod(resources: Resources, node: string, namespace: string, name: string): boolean {
  return resources.get(podKind, namespace, name)?.spec.nodeName === node
}
