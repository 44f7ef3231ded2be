/** StatefulSet. Source: Kubernetes apps/v1. */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import { resolveIntOrPercent } from './deployment.ts'
import { defineKind } from './kind.ts'
import { Condition, LabelSelector, ObjectMeta, typeMeta } from './meta.ts'
import { isDnsLabel } from './names.ts'
import { ClaimSpec, ClaimStatus, claimSpecErrors, defaultClaimSpec } from './persistentvolumeclaim.ts'
import { PodTemplateSpec } from './pod.ts'
import { defaultPodSpec } from './pod_rules.ts'
import { templateColumns, validateSelectorFixed, validateTemplateOwner } from './replicaset.ts'
import { count, int64, intOrString, listByKey, object, oneOf, opt, text } from './schema.ts'

/** On pods of StatefulSets and DaemonSets: the revision that they were made from. */
export const REVISION_HASH_LABEL = 'controller-revision-hash'
export const POD_NAME_LABEL = 'statefulset.kubernetes.io/pod-name'
export const POD_INDEX_LABEL = 'apps.kubernetes.io/pod-index'

/** The revision's name, with a hash, becomes a label of the pods; and the pods' names become host names. */
const MAX_NAME = 52

export const ClaimTemplate = object({
  apiVersion: opt(text),
  kind: opt(text),
  metadata: ObjectMeta,
  spec: ClaimSpec,
  status: opt(ClaimStatus),
})
export type ClaimTemplate = Static<typeof ClaimTemplate>

export const StatefulSet = object({
  ...typeMeta('apps/v1', 'StatefulSet'),
  spec: object({
    replicas: opt(count),
    selector: LabelSelector,
    template: PodTemplateSpec,
    serviceName: opt(text),
    podManagementPolicy: opt(oneOf('OrderedReady', 'Parallel')),
    updateStrategy: opt(
      object({
        type: opt(oneOf('RollingUpdate', 'OnDelete')),
        rollingUpdate: opt(object({ partition: opt(count), maxUnavailable: opt(intOrString) })),
      }),
    ),
    revisionHistoryLimit: opt(count),
    minReadySeconds: opt(count),
    volumeClaimTemplates: opt(Type.Array(ClaimTemplate)),
    persistentVolumeClaimRetentionPolicy: opt(
      object({ whenDeleted: opt(oneOf('Retain', 'Delete')), whenScaled: opt(oneOf('Retain', 'Delete')) }),
    ),
    ordinals: opt(object({ start: opt(count) })),
  }),
  status: opt(
    object({
      observedGeneration: opt(int64),
      replicas: opt(count),
      readyReplicas: opt(count),
      availableReplicas: opt(count),
      currentReplicas: opt(count),
      updatedReplicas: opt(count),
      currentRevision: opt(text),
      updateRevision: opt(text),
      collisionCount: opt(count),
      conditions: opt(listByKey(Condition, 'type')),
    }),
  ),
})
export type StatefulSet = Static<typeof StatefulSet>

function validateStatefulSet({ metadata, spec }: StatefulSet): FieldError[] {
  const errors: FieldError[] = []
  const name = metadata.name ?? ''
  if (!isDnsLabel(name) || name.length > MAX_NAME) {
    const message = `must be a DNS label of at most ${MAX_NAME} characters: its pods' names are host names`
    errors.push({ path: 'metadata.name', reason: 'Invalid', message })
  }
  const { type, rollingUpdate } = spec.updateStrategy ?? {}
  if (type === 'OnDelete' && rollingUpdate !== undefined) {
    const message = 'does not go with OnDelete'
    errors.push({ path: 'spec.updateStrategy.rollingUpdate', reason: 'Forbidden', message })
  }
  const maxUnavailable = rollingUpdate?.maxUnavailable
  if (maxUnavailable !== undefined && !((resolveIntOrPercent(maxUnavailable, 100, 'up') ?? 0) > 0)) {
    const message = `"${maxUnavailable}" must be a number or a percentage above 0`
    errors.push({ path: 'spec.updateStrategy.rollingUpdate.maxUnavailable', reason: 'Invalid', message })
  }
  for (const [index, template] of (spec.volumeClaimTemplates ?? []).entries()) {
    const path = `spec.volumeClaimTemplates[${index}]`
    if (!isDnsLabel(template.metadata.name ?? '')) {
      errors.push({ path: `${path}.metadata.name`, reason: 'Invalid', message: 'must be a DNS label' })
    }
    errors.push(...claimSpecErrors(template.spec, `${path}.spec`))
  }
  return errors
}

/** Claim templates become volumes of the pods: mounts may name them. */
function withClaimVolumes(set: StatefulSet): StatefulSet {
  const claims = (set.spec.volumeClaimTemplates ?? []).map(({ metadata: { name = '' } }) => name)
  if (claims.length === 0) return set
  const { template } = set.spec
  const others = (template.spec.volumes ?? []).filter(({ name }) => !claims.includes(name))
  const volumes = [...others, ...claims.map((name) => ({ name, persistentVolumeClaim: { claimName: 'claim' } }))]
  return { ...set, spec: { ...set.spec, template: { ...template, spec: { ...template.spec, volumes } } } }
}

/** All but the number of pods, the template and how it is rolled out. */
function fixedPart({ spec }: StatefulSet): unknown {
  const {
    replicas: _replicas,
    template: _template,
    updateStrategy: _strategy,
    minReadySeconds: _ready,
    persistentVolumeClaimRetentionPolicy: _retention,
    revisionHistoryLimit: _history,
    ordinals: _ordinals,
    selector: _selector,
    ...fixed
  } = spec
  return fixed
}

export const statefulSetKind = defineKind<StatefulSet>({
  group: 'apps',
  version: 'v1',
  kind: 'StatefulSet',
  plural: 'statefulsets',
  singular: 'statefulset',
  shortNames: ['sts'],
  categories: ['all'],
  namespaced: true,
  schema: StatefulSet,
  hasStatus: true,
  hasScale: true,
  hasGeneration: true,
  applyDefaults(set) {
    const { spec } = set
    spec.replicas ??= 1
    spec.podManagementPolicy ??= 'OrderedReady'
    spec.updateStrategy ??= {}
    spec.updateStrategy.type ??= 'RollingUpdate'
    if (spec.updateStrategy.type === 'RollingUpdate') {
      spec.updateStrategy.rollingUpdate ??= {}
      spec.updateStrategy.rollingUpdate.partition ??= 0
      spec.updateStrategy.rollingUpdate.maxUnavailable ??= 1
    }
    spec.persistentVolumeClaimRetentionPolicy ??= {}
    spec.persistentVolumeClaimRetentionPolicy.whenDeleted ??= 'Retain'
    spec.persistentVolumeClaimRetentionPolicy.whenScaled ??= 'Retain'
    spec.revisionHistoryLimit ??= 10
    for (const template of spec.volumeClaimTemplates ?? []) {
      template.apiVersion ??= 'v1'
      template.kind ??= 'PersistentVolumeClaim'
      defaultClaimSpec(template.spec)
    }
    defaultPodSpec(spec.template.spec)
    set.status ??= { replicas: 0 }
  },
  validate: (set) => [...validateStatefulSet(set), ...validateTemplateOwner(withClaimVolumes(set))],
  validateUpdate(set, old) {
    const errors = validateSelectorFixed(set, old)
    if (jsonEqual(fixedPart(set), fixedPart(old))) return errors
    const message =
      'only replicas, ordinals, template, updateStrategy, persistentVolumeClaimRetentionPolicy, revisionHistoryLimit and minReadySeconds may change'
    return [...errors, { path: 'spec', reason: 'Forbidden', message }]
  },
  columns: [
    {
      name: 'Ready',
      type: 'string',
      description: 'Replicas ready, of those wanted',
      value: ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec.replicas ?? 1}`,
    },
    ...templateColumns,
  ],
})
