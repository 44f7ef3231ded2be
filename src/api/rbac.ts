/** What the kinds of role-based access control share. Source: Kubernetes rbac.authorization.k8s.io/v1. */
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import { object, opt, text } from './schema.ts'

export const RBAC_GROUP = 'rbac.authorization.k8s.io'

export const PolicyRule = object({
  verbs: Type.Array(text),
  apiGroups: opt(Type.Array(text)),
  resources: opt(Type.Array(text)),
  resourceNames: opt(Type.Array(text)),
  nonResourceURLs: opt(Type.Array(text)),
})
export type PolicyRule = Static<typeof PolicyRule>

export const Subject = object({
  kind: text,
  apiGroup: opt(text),
  name: text,
  namespace: opt(text),
})
export type Subject = Static<typeof Subject>

export const RoleRef = object({ apiGroup: opt(text), kind: text, name: text })
export type RoleRef = Static<typeof RoleRef>

export interface BindingContent {
  subjects?: Subject[]
  roleRef: RoleRef
}

/** `onCluster`: whether paths that are no resources may be named. */
export function validateRules(rules: readonly PolicyRule[] | undefined, onCluster: boolean): FieldError[] {
  return (rules ?? []).flatMap((rule, index) => validateRule(rule, `rules[${index}]`, onCluster))
}

function validateRule(rule: PolicyRule, path: string, onCluster: boolean): FieldError[] {
  const { verbs, apiGroups = [], resources = [], resourceNames = [], nonResourceURLs = [] } = rule
  const faults: FieldError[] = []
  const required = (field: string, message: string): void => {
    faults.push({ path: `${path}.${field}`, reason: 'Required', message })
  }
  if (verbs.length === 0) required('verbs', 'verbs must contain at least one value')
  if (nonResourceURLs.length > 0) {
    const invalid = (message: string): void => {
      faults.push({ path: `${path}.nonResourceURLs`, reason: 'Invalid', message })
    }
    if (!onCluster) invalid('namespaced rules cannot apply to non-resource URLs')
    if (apiGroups.length + resources.length + resourceNames.length > 0) {
      invalid('rules cannot apply to both regular resources and non-resource URLs')
    }
    return faults
  }
  if (apiGroups.length === 0) required('apiGroups', 'resource rules must supply at least one api group')
  if (resources.length === 0) required('resources', 'resource rules must supply at least one resource')
  return faults
}

/** What a user left out: the groups of subjects and role. */
export function defaultBinding({ subjects, roleRef }: BindingContent): void {
  roleRef.apiGroup ||= RBAC_GROUP
  for (const subject of subjects ?? []) {
    if (subject.kind !== 'ServiceAccount') subject.apiGroup ||= RBAC_GROUP
  }
}

export function validateBinding(
  { subjects = [], roleRef }: BindingContent,
  roleKinds: readonly string[],
): FieldError[] {
  const faults: FieldError[] = []
  const unsupported = (path: string, value: string, known: readonly string[]): void => {
    faults.push({ path, reason: 'NotSupported', message: `"${value}" is not supported; ${known.join(' or ')} is` })
  }
  if (roleRef.apiGroup !== RBAC_GROUP) unsupported('roleRef.apiGroup', roleRef.apiGroup ?? '', [RBAC_GROUP])
  if (!roleKinds.includes(roleRef.kind)) unsupported('roleRef.kind', roleRef.kind, roleKinds)
  if (roleRef.name === '') faults.push({ path: 'roleRef.name', reason: 'Required', message: 'must be given' })
  for (const [index, { kind, apiGroup = '', name, namespace = '' }] of subjects.entries()) {
    const path = `subjects[${index}]`
    if (name === '') faults.push({ path: `${path}.name`, reason: 'Required', message: 'must be given' })
    if (kind === 'ServiceAccount') {
      if (apiGroup !== '') unsupported(`${path}.apiGroup`, apiGroup, ['""'])
      if (namespace === '') faults.push({ path: `${path}.namespace`, reason: 'Required', message: 'must be given' })
    } else if (kind === 'User' || kind === 'Group') {
      if (apiGroup !== RBAC_GROUP) unsupported(`${path}.apiGroup`, apiGroup, [RBAC_GROUP])
    } else unsupported(`${path}.kind`, kind, ['ServiceAccount', 'User', 'Group'])
  }
  return faults
}

/** Another role is another binding: who may change subjects may not thereby hand out more. */
export function validateRoleRefUpdate(next: BindingContent, old: BindingContent): FieldError[] {
  if (jsonEqual(next.roleRef, old.roleRef)) return []
  return [{ path: 'roleRef', reason: 'Invalid', message: 'cannot change roleRef; delete the binding and make it anew' }]
}

/** As tables show them: users, groups, service accounts. */
export function subjectNames(subjects: readonly Subject[] | undefined, kind: string): string {
  return (subjects ?? [])
    .filter((subject) => subject.kind === kind)
    .map(({ name, namespace }) => (namespace ? `${namespace}/${name}` : name))
    .join(', ')
}
