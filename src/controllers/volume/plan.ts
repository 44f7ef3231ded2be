/** Which volume a claim gets, and what becomes of volumes: pure. Source: Kubernetes "Persistent Volumes". */
import { isTerminating } from '../../api/conditions.ts'
import type { Stored } from '../../api/meta.ts'
import { LABEL, LOCAL_PROVISIONER, NO_PROVISIONER, VOLUME_PROTECTION } from '../../api/names.ts'
import { isNodeReady, type Node } from '../../api/node.ts'
import {
  LOCAL_DATA_FINALIZER,
  type PersistentVolume,
  VOLUME_NODE_LABEL,
  volumeBytes,
} from '../../api/persistentvolume.ts'
import { claimedBytes, type PersistentVolumeClaim, SELECTED_NODE_ANNOTATION } from '../../api/persistentvolumeclaim.ts'
import { isDefaultClass, isDelayed, type StorageClass } from '../../api/storageclass.ts'
import {
  admitsNode,
  fittingVolumes,
  isClaimedBy,
  isKeptFor,
  isUnclaimed,
  mayBind,
  unservedMode,
} from '../../api/volume_fit.ts'
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
  /** No volume can be had on the selected node: the scheduler chooses again. */
  | { type: 'unselect'; reason: string }
  | { type: 'lost' }
  | { type: 'wait'; reason: string; message: string }
  | { type: 'done' }

const FIRST_CONSUMER: ClaimStep = {
  type: 'wait',
  reason: 'WaitForFirstConsumer',
  message: 'waiting for first consumer to be created before binding',
}

export function isOurs({ spec }: PersistentVolume): boolean {
  return spec.csi?.driver === LOCAL_PROVISIONER
}

export function planClaim(snapshot: ClaimSnapshot): ClaimStep {
  const { claim, volumes, classes } = snapshot
  const { spec, status } = claim
  if (spec.volumeName !== undefined) {
    const volume = volumes.find(({ metadata }) => metadata.name === spec.volumeName)
    if (volume !== undefined && mayBind(volume, claim)) {
      return status?.phase === 'Bound' && isClaimedBy(volume, claim) ? { type: 'done' } : { type: 'bind', volume }
    }
    if (status?.phase === 'Bound') return { type: 'lost' }
    return { type: 'wait', reason: 'FailedBinding', message: `volume "${spec.volumeName}" cannot be bound` }
  }
  if (spec.storageClassName === undefined) {
    const fallback = defaultClass(classes)
    if (fallback !== undefined) return { type: 'setClass', name: fallback.metadata.name }
  }
  const storage = classes.find(({ metadata }) => metadata.name === spec.storageClassName)
  if (storage !== undefined && isDelayed(storage)) return planDelayed(snapshot, storage)
  const [fitting] = fittingVolumes(claim, volumes)
  if (fitting !== undefined) return { type: 'bind', volume: fitting }
  if (storage !== undefined) return planMaking(snapshot, storage)
  const message = 'no persistent volumes available for this claim and no storage class is set'
  return { type: 'wait', reason: 'FailedBinding', message }
}

/** Only a volume that is kept for the claim is bound before a pod says where it is wanted. */
function planDelayed(snapshot: ClaimSnapshot, storage: Stored<StorageClass>): ClaimStep {
  const { claim, volumes, node: nodeOf } = snapshot
  const fitting = fittingVolumes(claim, volumes)
  const kept = fitting.find((volume) => isKeptFor(volume, claim))
  if (kept !== undefined) return { type: 'bind', volume: kept }
  const nodeName = selectedNode(claim)
  if (nodeName === undefined) {
    // What no node can offer is said before a pod comes; of the rest nobody knows yet.
    if (fitting.length === 0 && storage.provisioner === LOCAL_PROVISIONER) return planMaking(snapshot, storage)
    return FIRST_CONSUMER
  }
  const node = nodeOf(nodeName)
  if (node === undefined) return { type: 'unselect', reason: `node ${nodeName} has gone` }
  const { name, labels = {} } = node.metadata
  const there = fitting.find((volume) => admitsNode(volume, { name, labels }))
  if (there !== undefined) return { type: 'bind', volume: there }
  if (storage.provisioner !== NO_PROVISIONER) return planMaking(snapshot, storage)
  return { type: 'unselect', reason: `no free volume of class ${storage.metadata.name} will do on node ${nodeName}` }
}

function selectedNode({ metadata }: Claim): string | undefined {
  return metadata.annotations?.[SELECTED_NODE_ANNOTATION]
}

function planMaking(snapshot: ClaimSnapshot, storage: Stored<StorageClass>): ClaimStep {
  if (storage.provisioner === LOCAL_PROVISIONER) return planProvision(snapshot, storage)
  const message = `waiting for a volume to be created by the external provisioner "${storage.provisioner}"`
  return { type: 'wait', reason: 'ExternalProvisioning', message }
}

/** The newest, should there be several. */
function defaultClass(classes: readonly Stored<StorageClass>[]): Stored<StorageClass> | undefined {
  return classes
    .filter((storage) => isDefaultClass(storage) && !isTerminating(storage))
    .sort((a, b) => (a.metadata.creationTimestamp < b.metadata.creationTimestamp ? 1 : -1))[0]
}

function planProvision({ claim, volumes, node: nodeOf }: ClaimSnapshot, storage: Stored<StorageClass>): ClaimStep {
  const { spec } = claim
  const nodeName = selectedNode(claim)
  const unserved = unservedMode(spec)
  if (unserved !== undefined) {
    const message = `${unserved} cannot be had from ${LOCAL_PROVISIONER}: its volumes are directories of one node`
    if (nodeName !== undefined) return { type: 'unselect', reason: message }
    return { type: 'wait', reason: 'ProvisioningFailed', message }
  }
  if (nodeName === undefined) return FIRST_CONSUMER
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
  /** Made before volumes were held. */
  | { type: 'protect' }
  /** No claim holds it: what was deleted may go, its data too. */
  | { type: 'unprotect' }
  /** Nothing holds the object any more; `why` is told. */
  | { type: 'release'; why: string }
  | { type: 'wait' }

export function planVolume({ volume, claim, node }: VolumeSnapshot): VolumeStep {
  const { spec, metadata } = volume
  const ours = isOurs(volume)
  const holder = claim !== undefined && claim.metadata.uid === spec.claimRef?.uid ? claim : undefined
  const isProtected = metadata.finalizers?.includes(VOLUME_PROTECTION) === true
  if (isTerminating(volume)) {
    if (holder !== undefined) return { type: 'wait' }
    if (isProtected) return { type: 'unprotect' }
    if (metadata.finalizers?.includes(LOCAL_DATA_FINALIZER) !== true) return { type: 'wait' }
    if (spec.persistentVolumeReclaimPolicy !== 'Delete') return { type: 'release', why: 'its data stays on the node' }
    if (node === undefined) return { type: 'release', why: 'its node has left the cluster, its data with it' }
    const removed = node.status?.removedVolumes?.includes(metadata.name) === true
    return removed ? { type: 'release', why: 'its data has been removed' } : { type: 'wait' }
  }
  if (!isProtected) return { type: 'protect' }
  if (isUnclaimed(volume)) return { type: 'phase', phase: 'Available' }
  if (holder !== undefined) {
    // Not before the claim says so too: a volume is bound from both sides.
    return holder.spec.volumeName === metadata.name ? { type: 'phase', phase: 'Bound' } : { type: 'wait' }
  }
  if (spec.persistentVolumeReclaimPolicy !== 'Delete') return { type: 'phase', phase: 'Released' }
  if (ours) return { type: 'delete' }
  const message = 'Drover deletes only volumes that it has made; remove the data, then this volume'
  return { type: 'phase', phase: 'Failed', message }
}
