/** Which volume a claim gets, and what becomes of volumes: pure. Source: Kubernetes "Persistent Volumes". */
import { isTerminating } from '../../api/conditions.ts'
import type { Stored } from '../../api/meta.ts'
import { LABEL, LOCAL_PROVISIONER } from '../../api/names.ts'
import { isNodeReady, type Node } from '../../api/node.ts'
import {
  LOCAL_DATA_FINALIZER,
  type PersistentVolume,
  VOLUME_NODE_LABEL,
  volumeBytes,
} from '../../api/persistentvolume.ts'
import {
  type AccessMode,
  claimedBytes,
  type PersistentVolumeClaim,
  SELECTED_NODE_ANNOTATION,
} from '../../api/persistentvolumeclaim.ts'
import { matchesSelector } from '../../api/selector.ts'
import { isDefaultClass, type StorageClass } from '../../api/storageclass.ts'
import { formatBytes, parseBytes } from '../../base/quantity.ts'

type Claim = Stored<PersistentVolumeClaim>
type Volume = Stored<PersistentVolume>

export interface ClaimSnapshot {
  claim: Claim
  volumes: readonly Volume[]
  classes: readonly Stored<StorageClass>[]
  node(name: string): Stored<Node> | undefined
}

export type ClaimStep =
  | { type: 'setClass'; name: string }
  | { type: 'bind'; volume: Volume }
  | { type: 'provision'; volume: PersistentVolume }
  /** No volume can be made on the selected node: the scheduler chooses again. */
  | { type: 'unselect'; reason: string }
  | { type: 'lost' }
  | { type: 'wait'; reason: string; message: string }
  | { type: 'done' }

export function isOurs({ spec }: PersistentVolume): boolean {
  return spec.csi?.driver === LOCAL_PROVISIONER
}

export function planClaim(snapshot: ClaimSnapshot): ClaimStep {
  const { claim, volumes, classes } = snapshot
  const { spec, status } = claim
  if (spec.volumeName !== undefined) {
    const volume = volumes.find(({ metadata }) => metadata.name === spec.volumeName)
    if (volume !== undefined && mayBind(volume, claim)) {
      return status?.phase === 'Bound' && isClaimed(volume, claim) ? { type: 'done' } : { type: 'bind', volume }
    }
    if (status?.phase === 'Bound') return { type: 'lost' }
    return { type: 'wait', reason: 'FailedBinding', message: `volume "${spec.volumeName}" cannot be bound` }
  }
  if (spec.storageClassName === undefined) {
    const fallback = defaultClass(classes)
    if (fallback !== undefined) return { type: 'setClass', name: fallback.metadata.name }
  }
  const fitting = findVolume(claim, volumes)
  if (fitting !== undefined) return { type: 'bind', volume: fitting }
  const storage = classes.find(({ metadata }) => metadata.name === spec.storageClassName)
  if (storage === undefined) {
    const message = 'no persistent volumes available for this claim and no storage class is set'
    return { type: 'wait', reason: 'FailedBinding', message }
  }
  if (storage.provisioner !== LOCAL_PROVISIONER) {
    const message = `waiting for a volume to be created by the external provisioner "${storage.provisioner}"`
    return { type: 'wait', reason: 'ExternalProvisioning', message }
  }
  return planProvision(snapshot, storage)
}

/** The newest, should there be several. */
function defaultClass(classes: readonly Stored<StorageClass>[]): Stored<StorageClass> | undefined {
  return classes
    .filter((storage) => isDefaultClass(storage) && !isTerminating(storage))
    .sort((a, b) => (a.metadata.creationTimestamp < b.metadata.creationTimestamp ? 1 : -1))[0]
}

function isClaimed({ spec }: PersistentVolume, { metadata }: Claim): boolean {
  return spec.claimRef?.uid === metadata.uid
}

/** Free, or kept for just this claim. */
function mayBind(volume: Volume, claim: Claim): boolean {
  const { claimRef } = volume.spec
  if (claimRef === undefined) return !isTerminating(volume)
  if (claimRef.uid !== undefined && claimRef.uid !== '') return isClaimed(volume, claim)
  return claimRef.name === claim.metadata.name && claimRef.namespace === claim.metadata.namespace
}

/** The smallest that will do; one that names the claim comes first. */
function findVolume(claim: Claim, volumes: readonly Volume[]): Volume | undefined {
  const { spec } = claim
  const fits = volumes.filter(
    (volume) =>
      mayBind(volume, claim) &&
      !isTerminating(volume) &&
      (volume.spec.storageClassName ?? '') === (spec.storageClassName ?? '') &&
      (spec.accessModes ?? []).every((mode) => volume.spec.accessModes?.includes(mode)) &&
      volumeBytes(volume) >= claimedBytes(spec) &&
      (spec.selector === undefined || matchesSelector(spec.selector, volume.metadata.labels)),
  )
  const named = ({ spec: { claimRef } }: Volume): number => (claimRef === undefined ? 1 : 0)
  return fits.sort((a, b) => named(a) - named(b) || volumeBytes(a) - volumeBytes(b))[0]
}

/** Directories serve one node: who wants to write from several is told so. */
const LOCAL_MODES: readonly AccessMode[] = ['ReadWriteOnce', 'ReadWriteOncePod', 'ReadOnlyMany']

function planProvision({ claim, volumes, node: nodeOf }: ClaimSnapshot, storage: Stored<StorageClass>): ClaimStep {
  const { metadata, spec } = claim
  const unfit = (spec.accessModes ?? []).find((mode) => !LOCAL_MODES.includes(mode))
  if (unfit !== undefined) {
    const message = `${unfit} cannot be had from ${LOCAL_PROVISIONER}: its volumes are directories of one node`
    return { type: 'wait', reason: 'ProvisioningFailed', message }
  }
  const nodeName = metadata.annotations?.[SELECTED_NODE_ANNOTATION]
  if (nodeName === undefined) {
    const message = 'waiting for first consumer to be created before binding'
    return { type: 'wait', reason: 'WaitForFirstConsumer', message }
  }
  const node = nodeOf(nodeName)
  if (node === undefined) return { type: 'unselect', reason: `node ${nodeName} has gone` }
  if (!isNodeReady(node)) return { type: 'unselect', reason: `node ${nodeName} is not ready` }
  const wanted = claimedBytes(spec)
  const { free, total } = diskOf(node, volumes)
  if (free < wanted) {
    const reason = `node ${nodeName} has ${formatBytes(Math.max(0, free))} of ${formatBytes(total)} left for volumes, ${formatBytes(wanted)} are wanted`
    return { type: 'unselect', reason }
  }
  return { type: 'provision', volume: newVolume(claim, storage, nodeName) }
}

/** What the node announces, less what volumes were promised. A node that announces nothing is not asked. */
export function diskOf(node: Node, volumes: readonly Volume[]): { free: number; total: number } {
  const announced = (node.status?.allocatable ?? node.status?.capacity)?.['ephemeral-storage']
  if (announced === undefined) return { free: Number.MAX_SAFE_INTEGER, total: Number.MAX_SAFE_INTEGER }
  const total = parseBytes(announced)
  const taken = volumes
    .filter((volume) => volume.metadata.labels?.[VOLUME_NODE_LABEL] === node.metadata.name)
    .reduce((sum, volume) => sum + volumeBytes(volume), 0)
  return { free: total - taken, total }
}

function newVolume({ metadata, spec }: Claim, storage: Stored<StorageClass>, nodeName: string): PersistentVolume {
  const name = `pvc-${metadata.uid}`
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name,
      labels: { [VOLUME_NODE_LABEL]: nodeName },
      annotations: { 'pv.kubernetes.io/provisioned-by': LOCAL_PROVISIONER },
      finalizers: [LOCAL_DATA_FINALIZER],
    },
    spec: {
      capacity: { storage: spec.resources?.requests?.storage ?? '0' },
      accessModes: spec.accessModes ?? [],
      claimRef: {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        namespace: metadata.namespace ?? '',
        name: metadata.name,
        uid: metadata.uid,
      },
      persistentVolumeReclaimPolicy: storage.reclaimPolicy ?? 'Delete',
      storageClassName: storage.metadata.name,
      csi: { driver: LOCAL_PROVISIONER, volumeHandle: name },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: LABEL.hostname, operator: 'In', values: [nodeName] }] }],
        },
      },
    },
  }
}

export interface VolumeSnapshot {
  volume: Volume
  /** The claim that its reference names, whatever its uid. */
  claim: Claim | undefined
  node: Stored<Node> | undefined
}

export type VolumeStep =
  | { type: 'phase'; phase: 'Available' | 'Bound' | 'Released' | 'Failed'; message?: string }
  | { type: 'delete' }
  /** Nothing holds the object any more; `why` is told. */
  | { type: 'release'; why: string }
  | { type: 'wait' }

export function planVolume({ volume, claim, node }: VolumeSnapshot): VolumeStep {
  const { spec, metadata } = volume
  const ours = isOurs(volume)
  const holder = claim !== undefined && claim.metadata.uid === spec.claimRef?.uid ? claim : undefined
  if (isTerminating(volume)) {
    if (metadata.finalizers?.includes(LOCAL_DATA_FINALIZER) !== true || holder !== undefined) return { type: 'wait' }
    if (spec.persistentVolumeReclaimPolicy !== 'Delete') return { type: 'release', why: 'its data stays on the node' }
    if (node === undefined) return { type: 'release', why: 'its node has left the cluster, its data with it' }
    const removed = node.status?.removedVolumes?.includes(metadata.name) === true
    return removed ? { type: 'release', why: 'its data has been removed' } : { type: 'wait' }
  }
  if (spec.claimRef?.uid === undefined || spec.claimRef.uid === '') return { type: 'phase', phase: 'Available' }
  if (holder !== undefined) {
    // Not before the claim says so too: a volume is bound from both sides.
    return holder.spec.volumeName === metadata.name ? { type: 'phase', phase: 'Bound' } : { type: 'wait' }
  }
  if (spec.persistentVolumeReclaimPolicy !== 'Delete') return { type: 'phase', phase: 'Released' }
  if (ours) return { type: 'delete' }
  const message = 'Drover deletes only volumes that it has made; remove the data, then this volume'
  return { type: 'phase', phase: 'Failed', message }
}
