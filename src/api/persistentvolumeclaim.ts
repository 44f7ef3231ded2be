/** PersistentVolumeClaim. Source: Kubernetes v1. */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import { parseBytes } from '../base/quantity.ts'
import { defineKind } from './kind.ts'
import { Condition, LabelSelector, type ObjectMeta, typeMeta } from './meta.ts'
import { isDnsSubdomain } from './names.ts'
import { ignored, listByKey, object, oneOf, opt, quantityMap, setOf, text } from './schema.ts'

/** Set by the scheduler: the node on which the claim's volume is to be made. */
export const SELECTED_NODE_ANNOTATION = 'volume.kubernetes.io/selected-node'
/** Holds a claim for as long as pods use it. */
export const CLAIM_PROTECTION = 'kubernetes.io/pvc-protection'

/** With the finalizer beside the user's own, unless it ends already: then it is for the machinery to take away. */
export function protect(metadata: ObjectMeta, finalizer: string): void {
  const { deletionTimestamp, finalizers = [] } = metadata
  if (deletionTimestamp === undefined && !finalizers.includes(finalizer)) {
    metadata.finalizers = [...finalizers, finalizer]
  }
}

export const AccessMode = oneOf('ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod')
export type AccessMode = Static<typeof AccessMode>

export const ClaimSpec = object({
  accessModes: opt(setOf(AccessMode)),
  resources: opt(object({ requests: opt(quantityMap), limits: opt(quantityMap) })),
  selector: opt(LabelSelector),
  storageClassName: opt(text),
  volumeMode: opt(oneOf('Filesystem', 'Block')),
  volumeName: opt(text),
  dataSource: ignored(),
  dataSourceRef: ignored(),
  volumeAttributesClassName: ignored(),
})
export type ClaimSpec = Static<typeof ClaimSpec>

export const ClaimStatus = object({
  phase: opt(oneOf('Pending', 'Bound', 'Lost')),
  accessModes: opt(Type.Array(AccessMode)),
  capacity: opt(quantityMap),
  conditions: opt(listByKey(Condition, 'type')),
  allocatedResources: ignored(),
  allocatedResourceStatuses: ignored(),
  currentVolumeAttributesClassName: ignored(),
  modifyVolumeStatus: ignored(),
})
export type ClaimStatus = Static<typeof ClaimStatus>

export const PersistentVolumeClaim = object({
  ...typeMeta('v1', 'PersistentVolumeClaim'),
  spec: ClaimSpec,
  status: opt(ClaimStatus),
})
export type PersistentVolumeClaim = Static<typeof PersistentVolumeClaim>

export function defaultClaimSpec(spec: ClaimSpec): void {
  spec.volumeMode ??= 'Filesystem'
}

export function claimedBytes(spec: ClaimSpec): number {
  return parseBytes(spec.resources?.requests?.storage ?? 0)
}

export function claimSpecErrors(spec: ClaimSpec, path: string): FieldError[] {
  const errors: FieldError[] = []
  const modes = spec.accessModes ?? []
  if (modes.length === 0) {
    errors.push({ path: `${path}.accessModes`, reason: 'Required', message: 'name at least one, e.g. ReadWriteOnce' })
  }
  if (modes.includes('ReadWriteOncePod') && modes.length > 1) {
    const message = 'ReadWriteOncePod goes with no other mode'
    errors.push({ path: `${path}.accessModes`, reason: 'Invalid', message })
  }
  if (!(claimedBytes(spec) > 0)) {
    const message = 'say how much is wanted, e.g. 1Gi'
    errors.push({ path: `${path}.resources.requests.storage`, reason: 'Required', message })
  }
  if (spec.storageClassName && !isDnsSubdomain(spec.storageClassName)) {
    errors.push({ path: `${path}.storageClassName`, reason: 'Invalid', message: 'is not the name of a class' })
  }
  if (spec.volumeMode === 'Block') {
    errors.push({ path: `${path}.volumeMode`, reason: 'NotSupported', message: 'only Filesystem is supported' })
  }
  return errors
}

/** Users may not change a claim; the machinery names its volume, and its class where none was named. */
function validateUpdate(claim: PersistentVolumeClaim, old: PersistentVolumeClaim): FieldError[] {
  const fixed = ({ volumeName: _volume, storageClassName: _class, ...rest }: ClaimSpec): unknown => rest
  const { spec } = claim
  const named = (field: 'volumeName' | 'storageClassName'): boolean =>
    old.spec[field] !== undefined && old.spec[field] !== spec[field]
  if (jsonEqual(fixed(spec), fixed(old.spec)) && !named('volumeName') && !named('storageClassName')) return []
  return [{ path: 'spec', reason: 'Forbidden', message: 'is fixed after creation; local volumes do not grow' }]
}

const SHORT_MODES = {
  ReadWriteOnce: 'RWO',
  ReadOnlyMany: 'ROX',
  ReadWriteMany: 'RWX',
  ReadWriteOncePod: 'RWOP',
} as const

export function modesText(modes: readonly AccessMode[] | undefined): string {
  return (modes ?? []).map((mode) => SHORT_MODES[mode]).join(',')
}

export const persistentVolumeClaimKind = defineKind<PersistentVolumeClaim>({
  group: '',
  version: 'v1',
  kind: 'PersistentVolumeClaim',
  plural: 'persistentvolumeclaims',
  singular: 'persistentvolumeclaim',
  shortNames: ['pvc'],
  namespaced: true,
  schema: PersistentVolumeClaim,
  hasStatus: true,
  applyDefaults(claim) {
    defaultClaimSpec(claim.spec)
    claim.status ??= { phase: 'Pending' }
    protect(claim.metadata, CLAIM_PROTECTION)
  },
  validate: (claim) => claimSpecErrors(claim.spec, 'spec'),
  validateUpdate,
  columns: [
    {
      name: 'Status',
      type: 'string',
      description: 'Bound once it has a volume',
      value: ({ metadata, status }) =>
        metadata.deletionTimestamp === undefined ? (status?.phase ?? 'Pending') : 'Terminating',
    },
    { name: 'Volume', type: 'string', description: 'Its volume', value: ({ spec }) => spec.volumeName ?? '' },
    {
      name: 'Capacity',
      type: 'string',
      description: "The volume's size",
      value: ({ status }) => String(status?.capacity?.storage ?? ''),
    },
    {
      name: 'Access Modes',
      type: 'string',
      description: 'How it may be used',
      value: ({ status }) => modesText(status?.accessModes),
    },
    {
      name: 'StorageClass',
      type: 'string',
      description: 'Class of the volume',
      value: ({ spec }) => spec.storageClassName ?? '',
    },
    {
      name: 'VolumeMode',
      type: 'string',
      priority: 1,
      description: '',
      value: ({ spec }) => spec.volumeMode ?? 'Filesystem',
    },
  ],
})
