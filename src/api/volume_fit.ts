/** Which volumes a claim can be bound to: pure, and the same for who chooses the node and who binds. */
import { isTerminating } from './conditions.ts'
import type { Stored } from './meta.ts'
import { matchesNodeSelector, type NodeIdentity } from './node_selector.ts'
import { type PersistentVolume, volumeBytes } from './persistentvolume.ts'
import { type AccessMode, type ClaimSpec, claimedBytes, type PersistentVolumeClaim } from './persistentvolumeclaim.ts'
import { matchesSelector } from './selector.ts'

type Claim = Stored<PersistentVolumeClaim>
type Volume = Stored<PersistentVolume>

export function isClaimedBy({ spec }: PersistentVolume, { metadata }: Claim): boolean {
  return spec.claimRef?.uid === metadata.uid
}

/** No claim has it yet; it may be kept for one by name. */
export function isUnclaimed({ spec: { claimRef } }: PersistentVolume): boolean {
  return claimRef?.uid === undefined || claimRef.uid === ''
}

/** Kept for just this claim, or bound to it already. */
export function isKeptFor(volume: PersistentVolume, claim: Claim): boolean {
  const { claimRef } = volume.spec
  if (claimRef === undefined) return false
  if (!isUnclaimed(volume)) return isClaimedBy(volume, claim)
  return claimRef.name === claim.metadata.name && claimRef.namespace === claim.metadata.namespace
}

/** Free, or kept for just this claim. */
export function mayBind(volume: PersistentVolume, claim: Claim): boolean {
  return volume.spec.claimRef === undefined ? !isTerminating(volume) : isKeptFor(volume, claim)
}

/** The one kept for the claim first, then the smallest. */
export function fittingVolumes(claim: Claim, volumes: readonly Volume[]): Volume[] {
  const { spec } = claim
  const kept = (volume: Volume): number => (isKeptFor(volume, claim) ? 0 : 1)
  return volumes
    .filter(
      (volume) =>
        mayBind(volume, claim) &&
        !isTerminating(volume) &&
        (volume.spec.storageClassName ?? '') === (spec.storageClassName ?? '') &&
        (spec.accessModes ?? []).every((mode) => volume.spec.accessModes?.includes(mode)) &&
        volumeBytes(volume) >= claimedBytes(spec) &&
        (spec.selector === undefined || matchesSelector(spec.selector, volume.metadata.labels)),
    )
    .sort(
      (a, b) => kept(a) - kept(b) || volumeBytes(a) - volumeBytes(b) || (a.metadata.name < b.metadata.name ? -1 : 1),
    )
}

/** Whether the volume can be used on the node. */
export function admitsNode({ spec }: PersistentVolume, node: NodeIdentity): boolean {
  const required = spec.nodeAffinity?.required
  return required === undefined || matchesNodeSelector(required, node)
}

/** Directories serve one node. */
const LOCAL_MODES: readonly AccessMode[] = ['ReadWriteOnce', 'ReadWriteOncePod', 'ReadOnlyMany']

/** What the claim asks for and our own provisioner cannot give: who wants to write from several nodes is told so. */
export function unservedMode({ accessModes }: ClaimSpec): AccessMode | undefined {
  return accessModes?.find((mode) => !LOCAL_MODES.includes(mode))
}
