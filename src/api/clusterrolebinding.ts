/** ClusterRoleBinding: who has a role everywhere. Source: Kubernetes rbac.authorization.k8s.io/v1. */
import Type, { type Static } from 'typebox'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { defaultBinding, RBAC_GROUP, RoleRef, Subject, validateBinding, validateRoleRefUpdate } from './rbac.ts'
import { roleBindingKind } from './rolebinding.ts'
import { object, opt } from './schema.ts'

export const ClusterRoleBinding = object({
  ...typeMeta(`${RBAC_GROUP}/v1`, 'ClusterRoleBinding'),
  subjects: opt(Type.Array(Subject)),
  roleRef: RoleRef,
})
export type ClusterRoleBinding = Static<typeof ClusterRoleBinding>

export const clusterRoleBindingKind = defineKind<ClusterRoleBinding>({
  group: RBAC_GROUP,
  version: 'v1',
  kind: 'ClusterRoleBinding',
  plural: 'clusterrolebindings',
  singular: 'clusterrolebinding',
  namespaced: false,
  hasPathNames: true,
  schema: ClusterRoleBinding,
  applyDefaults: defaultBinding,
  validate: (binding) => validateBinding(binding, ['ClusterRole']),
  validateUpdate: validateRoleRefUpdate,
  columns: roleBindingKind.columns,
})
