/** ReplicaSet. Source: Kubernetes apps/v1. */
import type { Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import { defineKind } from './kind.ts'
import { Condition, LabelSelector, typeMeta } from './meta.ts'
import { isDnsSubdomain } from './names.ts'
import { type PodTemplateSpec, PodTemplateSpec as Template } from './pod.ts'
import { defaultPodSpec, validateTemplate } from './pod_rules.ts'
import { count, int64, listByKey, object, opt } from './schema.ts'
import { matchesSelector, selectorErrors } from './selector.ts'

export const ReplicaSet = object({
  ...typeMeta('apps/v1', 'ReplicaSet'),
  spec: object({
    replicas: opt(count),
    minReadySeconds: opt(count),
    selector: LabelSelector,
    template: Template,
  }),
  status: opt(
    object({
      replicas: opt(count),
      fullyLabeledReplicas: opt(count),
      readyReplicas: opt(count),
      availableReplicas: opt(count),
      terminatingReplicas: opt(count),
      observedGeneration: opt(int64),
      conditions: opt(listByKey(Condition, 'type')),
    }),
  ),
})
export type ReplicaSet = Static<typeof ReplicaSet>

interface TemplateOwner {
  metadata: { name?: string }
  spec: { selector: Static<typeof LabelSelector>; template: PodTemplateSpec }
}

/** Rules that every kind with a selector and a template shares. */
export function validateTemplateOwner({ metadata, spec }: TemplateOwner): FieldError[] {
  const errors = selectorErrors(spec.selector, 'spec.selector')
  if (!isDnsSubdomain(metadata.name ?? '')) {
    errors.push({ path: 'metadata.name', reason: 'Invalid', message: 'must be a DNS subdomain' })
  }
  const empty = !spec.selector.matchLabels && !spec.selector.matchExpressions
  if (empty) errors.push({ path: 'spec.selector', reason: 'Required', message: 'an empty selector selects everything' })
  else if (!matchesSelector(spec.selector, spec.template.metadata?.labels)) {
    errors.push({
      path: 'spec.template.metadata.labels',
      reason: 'Invalid',
      message: 'the selector does not match the template: give the template the labels that spec.selector names',
    })
  }
  return [...errors, ...validateTemplate(spec.template, 'spec.template')]
}

export function validateSelectorFixed(
  object: { spec: { selector: unknown } },
  old: { spec: { selector: unknown } },
): FieldError[] {
  return jsonEqual(object.spec.selector, old.spec.selector)
    ? []
    : [{ path: 'spec.selector', reason: 'Forbidden', message: 'is fixed; make a new object instead' }]
}

const images = (set: { spec: { template: PodTemplateSpec } }): string =>
  set.spec.template.spec.containers.map((container) => container.image ?? '').join(',')
const names = (set: { spec: { template: PodTemplateSpec } }): string =>
  set.spec.template.spec.containers.map((container) => container.name).join(',')

/** Wide columns of kinds with a template. */
export const templateColumns = [
  { name: 'Containers', type: 'string', priority: 1, description: 'Names of the containers', value: names },
  { name: 'Images', type: 'string', priority: 1, description: 'Images of the containers', value: images },
] as const

export const replicaSetKind = defineKind<ReplicaSet>({
  group: 'apps',
  version: 'v1',
  kind: 'ReplicaSet',
  plural: 'replicasets',
  singular: 'replicaset',
  shortNames: ['rs'],
  categories: ['all'],
  namespaced: true,
  schema: ReplicaSet,
  hasStatus: true,
  hasScale: true,
  hasGeneration: true,
  applyDefaults(set) {
    set.spec.replicas ??= 1
    defaultPodSpec(set.spec.template.spec)
    set.status ??= { replicas: 0 }
  },
  validate: validateTemplateOwner,
  validateUpdate: validateSelectorFixed,
  columns: [
    { name: 'Desired', type: 'integer', description: 'Replicas wanted', value: (set) => set.spec.replicas ?? 1 },
    { name: 'Current', type: 'integer', description: 'Replicas there', value: (set) => set.status?.replicas ?? 0 },
    { name: 'Ready', type: 'integer', description: 'Replicas ready', value: (set) => set.status?.readyReplicas ?? 0 },
    ...templateColumns,
  ],
})
