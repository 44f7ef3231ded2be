/** What a pod's claims say of where it can go: pure. Source: Kubernetes "Storage Classes", volume binding modes. */
import { isTerminating } from '../api/conditions.ts'
import type { Stored } from '../api/meta.ts'
import { LABEL } from '../api/names.ts'
import type { NodeSelector } from '../api/node_selector.ts'
import type { PersistentVolume } from '../api/persistentvolume.ts'
import { claimedBytes, type PersistentVolumeClaim, SELECTED_NODE_ANNOTATION } from '../api/persistentvolumeclaim.ts'
import type { Pod } from '../api/pod.ts'
import type { StorageClass } from '../api/storageclass.ts'

/** The resource that volumes take of a node's disk. */
export const STORAGE = 'storage'

export interface PodVolumes {
  /** Why the pod can go nowhere yet. */
  fault?: string
  /** Where its bound volumes are. */
  nodes: NodeSelector[]
  /** What its unbound claims will take. */
  newBytes: number
  /** Claims whose volume is made where the pod goes. */
  unbound: Stored<PersistentVolumeClaim>[]
}

export interface VolumeLookup {
  claim(namespace: string, name: string): Stored<PersistentVolumeClaim> | undefined
  volume(name: string): Stored<PersistentVolume> | undefined
  storageClass(name: string): Stored<StorageClass> | undefined
  /** Another pod that may be using the claim. */
  userOf(claim: Stored<PersistentVolumeClaim>, other: Stored<Pod>): Pod | undefined
}

export function claimNames({ spec }: Pod): string[] {
  return (spec.volumes ?? []).flatMap(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName ?? [])
}

export function volumesOf(pod: Stored<Pod>, lookup: VolumeLookup): PodVolumes {
  const volumes: PodVolumes = { nodes: [], newBytes: 0, unbound: [] }
  for (const name of new Set(claimNames(pod))) {
    const claim = lookup.claim(pod.metadata.namespace ?? '', name)
    const fault =
      claim === undefined ? `persistentvolumeclaim "${name}" not found` : addClaim(pod, claim, lookup, volumes)
    if (fault !== undefined) return { ...volumes, fault }
  }
  return volumes
}

function addClaim(
  pod: Stored<Pod>,
  claim: Stored<PersistentVolumeClaim>,
  lookup: VolumeLookup,
  volumes: PodVolumes,
): string | undefined {
  const { spec, status, metadata } = claim
  const called = `persistentvolumeclaim "${metadata.name}"`
  if (isTerminating(claim)) return `${called} is being deleted`
  if (status?.phase === 'Lost') return `${called} has lost its volume ${spec.volumeName ?? ''}`
  if (spec.accessModes?.includes('ReadWriteOncePod') === true) {
    const user = lookup.userOf(claim, pod)
    if (user !== undefined) return `${called} is ReadWriteOncePod, and pod ${user.metadata.name} uses it`
  }
  if (status?.phase === 'Bound' && spec.volumeName !== undefined) {
    const volume = lookup.volume(spec.volumeName)
    if (volume === undefined) return `persistentvolume "${spec.volumeName}" of ${called} not found`
    const required = volume.spec.nodeAffinity?.required
    if (required !== undefined) volumes.nodes.push(required)
    return undefined
  }
  const className = spec.storageClassName
  if (className === undefined) return `${called} has no storage class, and there is no default class`
  const storage = className === '' ? undefined : lookup.storageClass(className)
  if (className !== '' && storage === undefined) return `storageclass "${className}" of ${called} not found`
  if (storage?.volumeBindingMode !== 'WaitForFirstConsumer' || spec.volumeName !== undefined) {
    return `${called} is not bound to a volume yet`
  }
  volumes.unbound.push(claim)
  volumes.newBytes += claimedBytes(spec)
  const selected = metadata.annotations?.[SELECTED_NODE_ANNOTATION]
  if (selected !== undefined) volumes.nodes.push(hostSelector(selected))
  return undefined
}

function hostSelector(nodeName: string): NodeSelector {
  return { nodeSelectorTerms: [{ matchExpressions: [{ key: LABEL.hostname, operator: 'In', values: [nodeName] }] }] }
}
