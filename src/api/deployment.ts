/** Deployment. Source: Kubernetes apps/v1. */
import type { Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { defineKind } from './kind.ts'
import { Condition, LabelSelector, typeMeta } from './meta.ts'
import { PodTemplateSpec } from './pod.ts'
import { defaultPodSpec } from './pod_rules.ts'
import { templateColumns, validateSelectorFixed, validateTemplateOwner } from './replicaset.ts'
import { bool, count, int64, intOrString, listByKey, object, oneOf, opt } from './schema.ts'

export const Deployment = object({
  ...typeMeta('apps/v1', 'Deployment'),
  spec: object({
    replicas: opt(count),
    selector: LabelSelector,
    template: PodTemplateSpec,
    strategy: opt(
      object({
        type: opt(oneOf('RollingUpdate', 'Recreate')),
        rollingUpdate: opt(object({ maxSurge: opt(intOrString), maxUnavailable: opt(intOrString) })),
      }),
    ),
    minReadySeconds: opt(count),
    revisionHistoryLimit: opt(count),
    paused: opt(bool),
    progressDeadlineSeconds: opt(count),
  }),
  status: opt(
    object({
      observedGeneration: opt(int64),
      replicas: opt(count),
      updatedReplicas: opt(count),
      readyReplicas: opt(count),
      availableReplicas: opt(count),
      unavailableReplicas: opt(count),
      terminatingReplicas: opt(count),
      collisionCount: opt(count),
      conditions: opt(listByKey(Condition, 'type')),
    }),
  ),
})
export type Deployment = Static<typeof Deployment>

/** A number of pods from a number or a percentage. `invalid` text gives undefined. */
export function resolveIntOrPercent(value: number | string, total: number, round: 'up' | 'down'): number | undefined {
  if (typeof value === 'number') return value
  const percent = /^(\d+)%$/.exec(value)?.[1]
  if (percent === undefined) return undefined
  const exact = (Number(percent) * total) / 100
  return round === 'up' ? Math.ceil(exact) : Math.floor(exact)
}

function validateStrategy(spec: Deployment['spec']): FieldError[] {
  const errors: FieldError[] = []
  const { type, rollingUpdate } = spec.strategy ?? {}
  if (type === 'Recreate' && rollingUpdate !== undefined) {
    errors.push({ path: 'spec.strategy.rollingUpdate', reason: 'Forbidden', message: 'does not go with Recreate' })
  }
  for (const field of ['maxSurge', 'maxUnavailable'] as const) {
    const value = rollingUpdate?.[field]
    const number = value === undefined ? 0 : resolveIntOrPercent(value, 100, 'up')
    if (number === undefined || number < 0) {
      errors.push({
        path: `spec.strategy.rollingUpdate.${field}`,
        reason: 'Invalid',
        message: `"${value}" is neither a number nor a percentage`,
      })
    }
  }
  const isZero = (value: number | string | undefined): boolean => value === 0 || value === '0%'
  if (isZero(rollingUpdate?.maxSurge) && isZero(rollingUpdate?.maxUnavailable)) {
    errors.push({
      path: 'spec.strategy.rollingUpdate.maxUnavailable',
      reason: 'Invalid',
      message: 'may not be 0 when maxSurge is 0: the rollout could never move',
    })
  }
  return errors
}

export const deploymentKind = defineKind<Deployment>({
  group: 'apps',
  version: 'v1',
  kind: 'Deployment',
  plural: 'deployments',
  singular: 'deployment',
  shortNames: ['deploy'],
  categories: ['all'],
  namespaced: true,
  schema: Deployment,
  hasStatus: true,
  hasScale: true,
  hasGeneration: true,
  applyDefaults(deployment) {
    const { spec } = deployment
    spec.replicas ??= 1
    spec.strategy ??= {}
    spec.strategy.type ??= 'RollingUpdate'
    if (spec.strategy.type === 'RollingUpdate') {
      spec.strategy.rollingUpdate ??= {}
      spec.strategy.rollingUpdate.maxSurge ??= '25%'
      spec.strategy.rollingUpdate.maxUnavailable ??= '25%'
    }
    spec.revisionHistoryLimit ??= 10
    spec.progressDeadlineSeconds ??= 600
    defaultPodSpec(spec.template.spec)
    deployment.status ??= {}
  },
  validate: (deployment) => [...validateTemplateOwner(deployment), ...validateStrategy(deployment.spec)],
  validateUpdate: validateSelectorFixed,
  columns: [
    {
      name: 'Ready',
      type: 'string',
      description: 'Replicas ready, of those wanted',
      value: ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec.replicas ?? 1}`,
    },
    {
      name: 'Up-to-date',
      type: 'integer',
      description: 'Replicas of the newest template',
      value: ({ status }) => status?.updatedReplicas ?? 0,
    },
    {
      name: 'Available',
      type: 'integer',
      description: 'Replicas that serve',
      value: ({ status }) => status?.availableReplicas ?? 0,
    },
    ...templateColumns,
  ],
})
