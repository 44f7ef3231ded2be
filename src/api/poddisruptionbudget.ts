/** PodDisruptionBudget. Source: Kubernetes policy/v1. */
import type { Static } from 'typebox'
import Type from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { resolveIntOrPercent } from './deployment.ts'
import { defineKind } from './kind.ts'
import { Condition, LabelSelector, typeMeta } from './meta.ts'
import { isDnsSubdomain } from './names.ts'
import { count, int64, intOrString, listByKey, object, oneOf, opt, text, time } from './schema.ts'
import { selectorErrors } from './selector.ts'

export const PodDisruptionBudget = object({
  ...typeMeta('policy/v1', 'PodDisruptionBudget'),
  spec: object({
    minAvailable: opt(intOrString),
    maxUnavailable: opt(intOrString),
    selector: opt(LabelSelector),
    unhealthyPodEvictionPolicy: opt(oneOf('IfHealthyBudget', 'AlwaysAllow')),
  }),
  status: opt(
    object({
      observedGeneration: opt(int64),
      disruptedPods: opt(Type.Record(text, time)),
      disruptionsAllowed: opt(count),
      currentHealthy: opt(count),
      desiredHealthy: opt(count),
      expectedPods: opt(count),
      conditions: opt(listByKey(Condition, 'type')),
    }),
  ),
})
export type PodDisruptionBudget = Static<typeof PodDisruptionBudget>

function validateBudget({ metadata, spec }: PodDisruptionBudget): FieldError[] {
  const errors: FieldError[] = []
  if (!isDnsSubdomain(metadata.name ?? '')) {
    errors.push({ path: 'metadata.name', reason: 'Invalid', message: 'must be a DNS subdomain' })
  }
  if (spec.minAvailable !== undefined && spec.maxUnavailable !== undefined) {
    errors.push({ path: 'spec', reason: 'Invalid', message: 'give minAvailable or maxUnavailable, not both' })
  }
  for (const field of ['minAvailable', 'maxUnavailable'] as const) {
    const value = spec[field]
    const number = value === undefined ? 0 : resolveIntOrPercent(value, 100, 'up')
    if (number === undefined || number < 0 || (typeof value === 'string' && number > 100)) {
      const message = `"${value}" is neither a number nor a percentage`
      errors.push({ path: `spec.${field}`, reason: 'Invalid', message })
    }
  }
  if (spec.selector !== undefined) errors.push(...selectorErrors(spec.selector, 'spec.selector'))
  return errors
}

export const podDisruptionBudgetKind = defineKind<PodDisruptionBudget>({
  group: 'policy',
  version: 'v1',
  kind: 'PodDisruptionBudget',
  plural: 'poddisruptionbudgets',
  singular: 'poddisruptionbudget',
  shortNames: ['pdb'],
  namespaced: true,
  schema: PodDisruptionBudget,
  hasStatus: true,
  hasGeneration: true,
  applyDefaults(budget) {
    budget.status ??= { disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 }
  },
  validate: validateBudget,
  columns: [
    {
      name: 'Min Available',
      type: 'string',
      description: 'Pods that must stay',
      value: ({ spec }) => String(spec.minAvailable ?? 'N/A'),
    },
    {
      name: 'Max Unavailable',
      type: 'string',
      description: 'Pods that may be away',
      value: ({ spec }) => String(spec.maxUnavailable ?? 'N/A'),
    },
    {
      name: 'Allowed Disruptions',
      type: 'integer',
      description: 'Evictions that would be let through now',
      value: ({ status }) => status?.disruptionsAllowed ?? 0,
    },
  ],
})
