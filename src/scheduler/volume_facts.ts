/** What a pod's claims say of where it can go: pure. Source: Kubernetes "Storage Classes", volume binding modes. */
import { isTerminating } from '../api/conditions.ts'
import type { Stored } from '../api/meta.ts'
import { LABEL, LOCAL_PROVISIONER, NO_PROVISIONER } from '../api/names.ts'
import type { NodeSelector } from '../api/node_selector.ts'
import type { PersistentVolume } from '../api/persistentvolume.ts'
import { claimedBytes, type PersistentVolumeClaim, SELECTED_NODE_ANNOTATION } from '../api/persistentvolumeclaim.ts'
import type { Pod } from '../api/pod.ts'
import { isDelayed, type StorageClass } from '../api/storageclass.ts'
import { fittingVolumes, isKeptFor, unservedMode } from '../api/volume_fit.ts'

/** The resource that volumes take of a node's disk. */
export const STORAGE = 'storage'

/** A volume that users declared and nobody has yet. */
export interface FreeVolume {
  name: string
  /** Where it can be used; everywhere when it does not say. */
  nodes: NodeSelector | undefined
}

/** What an unbound claim needs of a node. */
export interface ClaimNeed {
  bytes: number
  /** Those that will do, the smallest first. */
  volumes: readonly FreeVolume[]
  /** Where none of them can be used: made on the node's own disk, made by somebody else, or not to be had. */
  otherwise: 'local' | 'external' | undefined
}

export interface PodVolumes {
  /** Why the pod can go nowhere yet. */
  fault?: string
  /** Where its bound volumes are. */
  nodes: NodeSelector[]
  /** Of its unbound claims, the smallest first. */
  needs: ClaimNeed[]
  /** Claims whose volume is bound or made where the pod goes. */
  unbound: Stored<PersistentVolumeClaim>[]
  /** Names of claims that no other pod may use beside it. */
  exclusive: string[]
}

export interface VolumeLookup {
  claim(namespace: string, name: string): Stored<PersistentVolumeClaim> | undefined
  volume(name: string): Stored<PersistentVolume> | undefined
  storageClass(name: string): Stored<StorageClass> | undefined
  /** Volumes of the class that no claim has, less those promised to pods that are being bound. */
  unclaimed(className: string): readonly Stored<PersistentVolume>[]
  /** Another pod that may be using the claim. */
  userOf(claim: Stored<PersistentVolumeClaim>, other: Stored<Pod>): Pod | undefined
}

/** Of a claim that serves one pod at a time. */
export function exclusiveFault(claimName: string, user: Pod): string {
  return `persistentvolumeclaim "${claimName}" is ReadWriteOncePod, and pod ${user.metadata.name} uses it`
}

export function claimNames({ spec }: Pod): string[] {
  return (spec.volumes ?? []).flatMap(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName ?? [])
}

export function volumesOf(pod: Stored<Pod>, lookup: VolumeLookup): PodVolumes {
  const volumes: PodVolumes = { nodes: [], needs: [], unbound: [], exclusive: [] }
  for (const name of new Set(claimNames(pod))) {
    const claim = lookup.claim(pod.metadata.namespace ?? '', name)
    const fault =
      claim === undefined ? `persistentvolumeclaim "${name}" not found` : addClaim(pod, claim, lookup, volumes)
    if (fault !== undefined) return { ...volumes, fault }
  }
  // So that a small claim does not take the volume that only a large one needs.
  volumes.needs.sort((a, b) => a.bytes - b.bytes)
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
    if (user !== undefined) return exclusiveFault(metadata.name, user)
    volumes.exclusive.push(metadata.name)
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
  if (storage === undefined || !isDelayed(storage) || spec.volumeName !== undefined) {
    return `${called} is not bound to a volume yet`
  }
  const fitting = fittingVolumes(claim, lookup.unclaimed(className))
  // The volume controller needs no word from here to bind it.
  if (fitting[0] !== undefined && isKeptFor(fitting[0], claim)) return `${called} is not bound to a volume yet`
  volumes.unbound.push(claim)
  volumes.needs.push({
    bytes: claimedBytes(spec),
    volumes: fitting.map((volume) => ({ name: volume.metadata.name, nodes: volume.spec.nodeAffinity?.required })),
    otherwise: makerOf(claim, storage),
  })
  const selected = metadata.annotations?.[SELECTED_NODE_ANNOTATION]
  if (selected !== undefined) volumes.nodes.push(hostSelector(selected))
  return undefined
}

function makerOf({ spec }: PersistentVolumeClaim, { provisioner }: StorageClass): ClaimNeed['otherwise'] {
  if (provisioner === LOCAL_PROVISIONER) return unservedMode(spec) === undefined ? 'local' : undefined
  return provisioner === NO_PROVISIONER ? undefined : 'external'
}

function hostSelector(nodeName: string): NodeSelector {
  return { nodeSelectorTerms: [{ matchExpressions: [{ key: LABEL.hostname, operator: 'In', values: [nodeName] }] }] }
}
