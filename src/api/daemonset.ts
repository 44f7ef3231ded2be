/** DaemonSet. Source: Kubernetes apps/v1. */
import type { Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { resolveIntOrPercent } from './deployment.ts'
import { defineKind } from './kind.ts'
import { Condition, LabelSelector, typeMeta } from './meta.ts'
import { PodTemplateSpec } from './pod.ts'
import { defaultPodSpec } from './pod_rules.ts'
import { templateColumns, validateSelectorFixed, validateTemplateOwner } from './replicaset.ts'
import { count, int64, intOrString, listByKey, object, oneOf, opt } from './schema.ts'
import { selectorCell } from './selector.ts'

export const DaemonSet = object({
  ...typeMeta('apps/v1', 'DaemonSet'),
  spec: object({
    selector: LabelSelector,
    template: PodTemplateSpec,
    updateStrategy: opt(
      object({
        type: opt(oneOf('RollingUpdate', 'OnDelete')),
        rollingUpdate: opt(object({ maxUnavailable: opt(intOrString), maxSurge: opt(intOrString) })),
      }),
    ),
    minReadySeconds: opt(count),
    revisionHistoryLimit: opt(count),
  }),
  status: opt(
    object({
      currentNumberScheduled: opt(count),
      numberMisscheduled: opt(count),
      desiredNumberScheduled: opt(count),
      numberReady: opt(count),
      observedGeneration: opt(int64),
      updatedNumberScheduled: opt(count),
      numberAvailable: opt(count),
      numberUnavailable: opt(count),
      collisionCount: opt(count),
      conditions: opt(listByKey(Condition, 'type')),
    }),
  ),
})
export type DaemonSet = Static<typeof DaemonSet>

const STRATEGY = 'spec.updateStrategy.rollingUpdate'

function validateStrategy({ spec }: DaemonSet): FieldError[] {
  const { type, rollingUpdate } = spec.updateStrategy ?? {}
  if (rollingUpdate === undefined) return []
  if (type === 'OnDelete') return [{ path: STRATEGY, reason: 'Forbidden', message: 'does not go with OnDelete' }]
  const errors: FieldError[] = []
  const amount = (field: 'maxSurge' | 'maxUnavailable'): number => {
    const value = rollingUpdate[field] ?? 0
    const number = resolveIntOrPercent(value, 100, 'up')
    if (number !== undefined && number >= 0) return number
    const message = `"${value}" is neither a number nor a percentage`
    errors.push({ path: `${STRATEGY}.${field}`, reason: 'Invalid', message })
    return Number.NaN
  }
  const surge = amount('maxSurge')
  const unavailable = amount('maxUnavailable')
  if (surge === 0 && unavailable === 0) {
    const message = 'may not be 0 when maxSurge is 0: the rollout could never move'
    errors.push({ path: `${STRATEGY}.maxUnavailable`, reason: 'Invalid', message })
  } else if (surge > 0 && unavailable > 0) {
    const message = 'may not be set when maxUnavailable is: a node has one pod more, or one less'
    errors.push({ path: `${STRATEGY}.maxSurge`, reason: 'Invalid', message })
  }
  return errors
}

export const daemonSetKind = defineKind<DaemonSet>({
  group: 'apps',
  version: 'v1',
  kind: 'DaemonSet',
  plural: 'daemonsets',
  singular: 'daemonset',
  shortNames: ['ds'],
  categories: ['all'],
  namespaced: true,
  schema: DaemonSet,
  hasStatus: true,
  hasGeneration: true,
  applyDefaults(set) {
    const { spec } = set
    spec.updateStrategy ??= {}
    spec.updateStrategy.type ??= 'RollingUpdate'
    if (spec.updateStrategy.type === 'RollingUpdate') {
      spec.updateStrategy.rollingUpdate ??= {}
      spec.updateStrategy.rollingUpdate.maxUnavailable ??= 1
      spec.updateStrategy.rollingUpdate.maxSurge ??= 0
    }
    spec.revisionHistoryLimit ??= 10
    defaultPodSpec(spec.template.spec)
    set.status ??= {
      currentNumberScheduled: 0,
      numberMisscheduled: 0,
      desiredNumberScheduled: 0,
      numberReady: 0,
    }
  },
  validate: (set) => [...validateTemplateOwner(set), ...validateStrategy(set)],
  validateUpdate: validateSelectorFixed,
  columns: [
    {
      name: 'Desired',
      type: 'integer',
      description: 'Nodes that should run it',
      value: ({ status }) => status?.desiredNumberScheduled ?? 0,
    },
    {
      name: 'Current',
      type: 'integer',
      description: 'Nodes that have a pod of it',
      value: ({ status }) => status?.currentNumberScheduled ?? 0,
    },
    { name: 'Ready', type: 'integer', description: 'Pods ready', value: ({ status }) => status?.numberReady ?? 0 },
    {
      name: 'Up-to-date',
      type: 'integer',
      description: 'Nodes with a pod of the newest template',
      value: ({ status }) => status?.updatedNumberScheduled ?? 0,
    },
    {
      name: 'Available',
      type: 'integer',
      description: 'Nodes with a pod that serves',
      value: ({ status }) => status?.numberAvailable ?? 0,
    },
    {
      name: 'Node Selector',
      type: 'string',
      description: 'Labels that its nodes have',
      value: ({ spec }) =>
        Object.entries(spec.template.spec.nodeSelector ?? {})
          .map(([key, value]) => `${key}=${value}`)
          .join(',') || '<none>',
    },
    ...templateColumns,
    {
      name: 'Selector',
      type: 'string',
      priority: 1,
      description: 'Labels of its pods',
      value: ({ spec }) => selectorCell(spec.selector),
    },
  ],
})
