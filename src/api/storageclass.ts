/** StorageClass. Source: Kubernetes storage.k8s.io/v1. */
import type { Static } from 'typebox'
import { jsonEqual } from '../base/json.ts'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { isDnsSubdomain, LOCAL_PROVISIONER } from './names.ts'
import { ignored, object, oneOf, opt, stringMap, text } from './schema.ts'

/** The class that every cluster begins with. */
export const LOCAL_CLASS = 'local'
export const DEFAULT_CLASS_ANNOTATION = 'storageclass.kubernetes.io/is-default-class'

export const StorageClass = object({
  ...typeMeta('storage.k8s.io/v1', 'StorageClass'),
  provisioner: text,
  parameters: opt(stringMap),
  reclaimPolicy: opt(oneOf('Delete', 'Retain')),
  volumeBindingMode: opt(oneOf('Immediate', 'WaitForFirstConsumer')),
  allowVolumeExpansion: ignored(),
  allowedTopologies: ignored(),
  mountOptions: ignored(),
})
export type StorageClass = Static<typeof StorageClass>

export function isDefaultClass({ metadata }: StorageClass): boolean {
  return metadata.annotations?.[DEFAULT_CLASS_ANNOTATION] === 'true'
}

/** Its claims are bound where their first pod goes, not before. */
export function isDelayed({ volumeBindingMode }: StorageClass): boolean {
  return volumeBindingMode === 'WaitForFirstConsumer'
}

export const storageClassKind = defineKind<StorageClass>({
  group: 'storage.k8s.io',
  version: 'v1',
  kind: 'StorageClass',
  plural: 'storageclasses',
  singular: 'storageclass',
  shortNames: ['sc'],
  namespaced: false,
  schema: StorageClass,
  applyDefaults(storage) {
    storage.reclaimPolicy ??= 'Delete'
    storage.volumeBindingMode ??= 'Immediate'
  },
  validate({ metadata, provisioner, volumeBindingMode }) {
    if (!isDnsSubdomain(metadata.name ?? '')) {
      return [{ path: 'metadata.name', reason: 'Invalid', message: 'must be a DNS subdomain' }]
    }
    if (provisioner === LOCAL_PROVISIONER && volumeBindingMode !== 'WaitForFirstConsumer') {
      const message = `must be WaitForFirstConsumer with ${LOCAL_PROVISIONER}: where the volume is follows from where the pod is`
      return [{ path: 'volumeBindingMode', reason: 'Invalid', message }]
    }
    return []
  },
  validateUpdate: (storage, old) =>
    (['provisioner', 'parameters', 'reclaimPolicy', 'volumeBindingMode'] as const)
      .filter((field) => !jsonEqual(storage[field], old[field]))
      .map((path) => ({ path, reason: 'Forbidden' as const, message: 'is fixed; make a new class instead' })),
  columns: [
    {
      name: 'Provisioner',
      type: 'string',
      description: 'Who makes the volumes',
      value: ({ provisioner }) => provisioner,
    },
    {
      name: 'ReclaimPolicy',
      type: 'string',
      description: 'What becomes of a volume when its claim goes',
      value: ({ reclaimPolicy }) => reclaimPolicy ?? 'Delete',
    },
    {
      name: 'VolumeBindingMode',
      type: 'string',
      description: 'When claims are bound',
      value: ({ volumeBindingMode }) => volumeBindingMode ?? 'Immediate',
    },
    {
      name: 'AllowVolumeExpansion',
      type: 'string',
      description: 'Whether claims may grow',
      value: () => 'false',
    },
  ],
})
