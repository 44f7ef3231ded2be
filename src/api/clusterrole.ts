/** ClusterRole: what may be done anywhere, or where a RoleBinding says. Source: Kubernetes rbac.authorization.k8s.io/v1. */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { defineKind } from './kind.ts'
import { LabelSelector, typeMeta } from './meta.ts'
import { PolicyRule, RBAC_GROUP, validateRules } from './rbac.ts'
import { object, opt } from './schema.ts'
import { selectorErrors } from './selector.ts'

export const ClusterRole = object({
  ...typeMeta(`${RBAC_GROUP}/v1`, 'ClusterRole'),
  rules: opt(Type.Array(PolicyRule)),
  /** Rules are then those of all roles that a selector matches; a controller writes them. */
  aggregationRule: opt(object({ clusterRoleSelectors: opt(Type.Array(LabelSelector)) })),
})
export type ClusterRole = Static<typeof ClusterRole>

function validateAggregation({ aggregationRule }: ClusterRole): FieldError[] {
  if (aggregationRule === undefined) return []
  const path = 'aggregationRule.clusterRoleSelectors'
  const selectors = aggregationRule.clusterRoleSelectors ?? []
  if (selectors.length === 0)
    return [{ path, reason: 'Required', message: 'at least one clusterRoleSelector is needed' }]
  return selectors.flatMap((selector, index) => selectorErrors(selector, `${path}[${index}]`))
}

export const clusterRoleKind = defineKind<ClusterRole>({
  group: RBAC_GROUP,
  version: 'v1',
  kind: 'ClusterRole',
  plural: 'clusterroles',
  singular: 'clusterrole',
  namespaced: false,
  hasPathNames: true,
  schema: ClusterRole,
  validate: (role) => [...validateRules(role.rules, true), ...validateAggregation(role)],
})
