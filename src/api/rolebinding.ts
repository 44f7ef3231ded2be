/** RoleBinding: who has a role in one namespace. Source: Kubernetes rbac.authorization.k8s.io/v1. */
import Type, { type Static } from 'typebox'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import {
  defaultBinding,
  RBAC_GROUP,
  RoleRef,
  Subject,
  subjectNames,
  validateBinding,
  validateRoleRefUpdate,
} from './rbac.ts'
import { object, opt } from './schema.ts'

export const RoleBinding = object({
  ...typeMeta(`${RBAC_GROUP}/v1`, 'RoleBinding'),
  subjects: opt(Type.Array(Subject)),
  roleRef: RoleRef,
})
export type RoleBinding = Static<typeof RoleBinding>

export const roleBindingKind = defineKind<RoleBinding>({
  group: RBAC_GROUP,
  version: 'v1',
  kind: 'RoleBinding',
  plural: 'rolebindings',
  singular: 'rolebinding',
  namespaced: true,
  hasPathNames: true,
  schema: RoleBinding,
  applyDefaults: defaultBinding,
  validate: (binding) => validateBinding(binding, ['Role', 'ClusterRole']),
  validateUpdate: validateRoleRefUpdate,
  columns: [
    {
      name: 'Role',
      type: 'string',
      description: 'What it gives',
      value: ({ roleRef }) => `${roleRef.kind}/${roleRef.name}`,
    },
    {
      name: 'Users',
      type: 'string',
      description: 'To which users',
      priority: 1,
      value: ({ subjects }) => subjectNames(subjects, 'User'),
    },
    {
      name: 'Groups',
      type: 'string',
      description: 'To which groups',
      priority: 1,
      value: ({ subjects }) => subjectNames(subjects, 'Group'),
    },
    {
      name: 'ServiceAccounts',
      type: 'string',
      description: 'To which service accounts',
      priority: 1,
      value: ({ subjects }) => subjectNames(subjects, 'ServiceAccount'),
    },
  ],
})
