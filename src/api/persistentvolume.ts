/** PersistentVolume. Source: Kubernetes v1. */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import { parseBytes } from '../base/quantity.ts'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { isDnsSubdomain, VOLUME_PROTECTION } from './names.ts'
import { NodeSelector, nodeSelectorErrors } from './node_selector.ts'
import { AccessMode, modesText, protect } from './persistentvolumeclaim.ts'
import { bool, ignored, ignoredAll, object, oneOf, opt, quantityMap, setOf, text, time } from './schema.ts'

/** Holds a volume of ours until its node has removed the data. */
export const LOCAL_DATA_FINALIZER = 'drover.dev/local-data'
/** The node that a volume of ours lies on. */
export const VOLUME_NODE_LABEL = 'drover.dev/node'

const ClaimReference = object({
  apiVersion: opt(text),
  kind: opt(text),
  namespace: opt(text),
  name: opt(text),
  uid: opt(text),
  resourceVersion: opt(text),
  fieldPath: opt(text),
})

export const PersistentVolume = object({
  ...typeMeta('v1', 'PersistentVolume'),
  spec: object({
    capacity: opt(quantityMap),
    accessModes: opt(setOf(AccessMode)),
    claimRef: opt(ClaimReference),
    persistentVolumeReclaimPolicy: opt(oneOf('Delete', 'Retain', 'Recycle')),
    storageClassName: opt(text),
    volumeMode: opt(oneOf('Filesystem', 'Block')),
    nodeAffinity: opt(object({ required: opt(NodeSelector) })),
    /** Volumes of our own provisioner: `volumeHandle` is the volume's name. */
    csi: opt(
      object({
        driver: text,
        volumeHandle: text,
        readOnly: opt(bool),
        fsType: ignored(),
        volumeAttributes: ignored(),
        ...ignoredAll('controllerExpandSecretRef', 'controllerPublishSecretRef', 'nodeExpandSecretRef'),
        ...ignoredAll('nodePublishSecretRef', 'nodeStageSecretRef'),
      }),
    ),
    local: opt(object({ path: text, fsType: ignored() })),
    hostPath: opt(object({ path: text, type: opt(text) })),
    mountOptions: ignored(),
    nfs: ignored(),
    iscsi: ignored(),
    fc: ignored(),
    rbd: ignored(),
    cephfs: ignored(),
    ...ignoredAll('awsElasticBlockStore', 'azureDisk', 'azureFile', 'cinder', 'flexVolume', 'flocker'),
    ...ignoredAll('gcePersistentDisk', 'glusterfs', 'photonPersistentDisk', 'portworxVolume', 'quobyte'),
    ...ignoredAll('scaleIO', 'storageos', 'vsphereVolume'),
    volumeAttributesClassName: ignored(),
  }),
  status: opt(
    object({
      phase: opt(oneOf('Pending', 'Available', 'Bound', 'Released', 'Failed')),
      message: opt(text),
      reason: opt(text),
      lastPhaseTransitionTime: opt(Type.Union([time, Type.Null()])),
    }),
  ),
})
export type PersistentVolume = Static<typeof PersistentVolume>

const SOURCES = ['csi', 'local', 'hostPath'] as const

export function volumeBytes({ spec }: PersistentVolume): number {
  return parseBytes(spec.capacity?.storage ?? 0)
}

function validateVolume({ metadata, spec }: PersistentVolume): FieldError[] {
  const errors: FieldError[] = []
  if (!isDnsSubdomain(metadata.name ?? '')) {
    errors.push({ path: 'metadata.name', reason: 'Invalid', message: 'must be a DNS subdomain' })
  }
  if (SOURCES.filter((source) => spec[source] !== undefined).length !== 1) {
    errors.push({ path: 'spec', reason: 'Required', message: `give exactly one source: ${SOURCES.join(', ')}` })
  }
  for (const source of ['local', 'hostPath'] as const) {
    const path = spec[source]?.path
    if (path !== undefined && (!path.startsWith('/') || path.split('/').includes('..'))) {
      errors.push({ path: `spec.${source}.path`, reason: 'Invalid', message: 'must be absolute, without ".."' })
    }
  }
  if (spec.local !== undefined && spec.nodeAffinity?.required === undefined) {
    errors.push({ path: 'spec.nodeAffinity', reason: 'Required', message: 'a local volume says which node it is on' })
  }
  if (!(parseBytes(spec.capacity?.storage ?? 0) > 0)) {
    errors.push({ path: 'spec.capacity.storage', reason: 'Required', message: 'say how large it is, e.g. 1Gi' })
  }
  if ((spec.accessModes ?? []).length === 0) {
    errors.push({ path: 'spec.accessModes', reason: 'Required', message: 'name at least one, e.g. ReadWriteOnce' })
  }
  if (spec.persistentVolumeReclaimPolicy === 'Recycle') {
    const message = 'only Delete and Retain are supported'
    errors.push({ path: 'spec.persistentVolumeReclaimPolicy', reason: 'NotSupported', message })
  }
  const { required } = spec.nodeAffinity ?? {}
  if (required !== undefined) errors.push(...nodeSelectorErrors(required, 'spec.nodeAffinity.required'))
  return errors
}

/** `NAMESPACE/NAME`, or an empty text. */
export function claimOf({ spec }: PersistentVolume): string {
  const { namespace, name } = spec.claimRef ?? {}
  return name === undefined ? '' : `${namespace ?? ''}/${name}`
}

export const persistentVolumeKind = defineKind<PersistentVolume>({
  group: '',
  version: 'v1',
  kind: 'PersistentVolume',
  plural: 'persistentvolumes',
  singular: 'persistentvolume',
  shortNames: ['pv'],
  namespaced: false,
  schema: PersistentVolume,
  hasStatus: true,
  applyDefaults(volume) {
    volume.spec.persistentVolumeReclaimPolicy ??= 'Retain'
    volume.spec.volumeMode ??= 'Filesystem'
    volume.status ??= { phase: 'Pending' }
    protect(volume.metadata, VOLUME_PROTECTION)
  },
  validate: validateVolume,
  validateUpdate: (volume, old) =>
    [...SOURCES, 'nodeAffinity' as const]
      .filter((field) => !jsonEqual(volume.spec[field], old.spec[field]))
      .map((field) => ({ path: `spec.${field}`, reason: 'Forbidden' as const, message: 'is fixed after creation' })),
  columns: [
    {
      name: 'Capacity',
      type: 'string',
      description: 'How large it is',
      value: ({ spec }) => String(spec.capacity?.storage ?? ''),
    },
    {
      name: 'Access Modes',
      type: 'string',
      description: 'How it may be used',
      value: ({ spec }) => modesText(spec.accessModes),
    },
    {
      name: 'Reclaim Policy',
      type: 'string',
      description: 'What becomes of it when its claim goes',
      value: ({ spec }) => spec.persistentVolumeReclaimPolicy ?? 'Retain',
    },
    {
      name: 'Status',
      type: 'string',
      description: 'Where it stands',
      value: ({ metadata, status }) =>
        metadata.deletionTimestamp === undefined ? (status?.phase ?? 'Pending') : 'Terminating',
    },
    { name: 'Claim', type: 'string', description: 'Whose it is', value: claimOf },
    {
      name: 'StorageClass',
      type: 'string',
      description: 'Its class',
      value: ({ spec }) => spec.storageClassName ?? '',
    },
    { name: 'Reason', type: 'string', description: 'Why it failed', value: ({ status }) => status?.reason ?? '' },
    {
      name: 'VolumeMode',
      type: 'string',
      priority: 1,
      description: '',
      value: ({ spec }) => spec.volumeMode ?? 'Filesystem',
    },
  ],
})
