/** Role: what may be done in one namespace. Source: Kubernetes rbac.authorization.k8s.io/v1. */
import Type, { type Static } from 'typebox'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { PolicyRule, RBAC_GROUP, validateRules } from './rbac.ts'
import { object, opt } from './schema.ts'

export const Role = object({ ...typeMeta(`${RBAC_GROUP}/v1`, 'Role'), rules: opt(Type.Array(PolicyRule)) })
export type Role = Static<typeof Role>

export const roleKind = defineKind<Role>({
  group: RBAC_GROUP,
  version: 'v1',
  kind: 'Role',
  plural: 'roles',
  singular: 'role',
  namespaced: true,
  hasPathNames: true,
  schema: Role,
  validate: ({ rules }) => validateRules(rules, false),
})
