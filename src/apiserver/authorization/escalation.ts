/**
 * Nobody hands out more than they hold: who writes a role must hold all its rules, or have the verb `escalate` on it; who
 * binds one must hold all its rules, or have the verb `bind`. Looked at when the object stands as it will be stored, so
 * that every kind of write is judged alike. Source: Kubernetes "Privilege escalation prevention and bootstrapping".
 */
import type { ClusterRole } from '../../api/clusterrole.ts'
import { type KindDefinition, resourceName } from '../../api/kind.ts'
import type { KubeObject } from '../../api/meta.ts'
import { type BindingContent, type PolicyRule, RBAC_GROUP } from '../../api/rbac.ts'
import { DroverError } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import { MASTERS, type User } from '../authentication.ts'
import type { Authorizer } from './authorizer.ts'
import { roleText } from './rbac.ts'
import { type Attributes, missingRules, ruleText } from './rules.ts'

/** Called with what would be stored, and what is; throws `forbidden`. */
export type WriteGuard = (next: KubeObject, base: KubeObject | undefined) => void

const MAX_NAMED = 5
const ALL: PolicyRule[] = [
  { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
  { verbs: ['*'], nonResourceURLs: ['*'] },
]

/** Undefined when there is nothing to look at but what the request itself was allowed. */
export function writeGuard(
  authorizer: Authorizer,
  user: User,
  { kind, verb }: { kind: KindDefinition; verb: string },
): WriteGuard | undefined {
  if (user.groups.includes(MASTERS)) return undefined
  const isRbac = kind.group === RBAC_GROUP
  if (!isRbac && verb !== 'patch') return undefined
  const isBinding = kind.kind === 'RoleBinding' || kind.kind === 'ClusterRoleBinding'
  return (next, base) => {
    // An apply makes what is not there: that is a creation, whatever its verb.
    if (verb === 'patch' && base === undefined) authorizer.require(user, attributesFor('create', kind, next))
    if (!isRbac) return
    if (isBinding) guardBinding({ authorizer, user, kind, next, base })
    else guardRole({ authorizer, user, kind, next, base })
  }
}

interface Guarded {
  authorizer: Authorizer
  user: User
  kind: KindDefinition
  next: KubeObject
  base: KubeObject | undefined
}

function guardRole({ authorizer, user, kind, next, base }: Guarded): void {
  const role = next as ClusterRole
  const old = base as ClusterRole | undefined
  const isSame = old !== undefined && jsonEqual([role.rules, role.aggregationRule], [old.rules, old.aggregationRule])
  if (isSame || authorizer.isAllowed(user, attributesFor('escalate', kind, next))) return
  // An aggregated role may come to hold anything.
  const isAggregated = role.aggregationRule !== undefined && !jsonEqual(role.aggregationRule, old?.aggregationRule)
  const wanted = [...(role.rules ?? []), ...(isAggregated ? ALL : [])]
  requireRules({ authorizer, user, kind, next, base }, wanted)
}

function guardBinding(guarded: Guarded): void {
  const { authorizer, user, kind, next, base } = guarded
  const binding = next as KubeObject & BindingContent
  const old = base as (KubeObject & BindingContent) | undefined
  if (old !== undefined && jsonEqual([binding.roleRef, binding.subjects], [old.roleRef, old.subjects])) return
  const { roleRef } = binding
  const namespace = next.metadata.namespace ?? ''
  const plural = roleRef.kind === 'Role' ? 'roles' : 'clusterroles'
  const attributes = {
    verb: 'bind',
    group: kind.group,
    plural,
    subresource: '',
    namespace,
    name: roleRef.name,
    path: '',
  }
  if (authorizer.isAllowed(user, attributes)) return
  const rules = authorizer.rbac.rulesOfRole(namespace, roleRef)
  if (rules === undefined) throw new DroverError('notFound', `${roleText(roleRef)} not found`)
  requireRules(guarded, rules)
}

function attributesFor(verb: string, { group, plural }: KindDefinition, { metadata }: KubeObject): Attributes {
  const { namespace = '', name = '' } = metadata
  return { verb, group, plural, subresource: '', namespace, name, path: '' }
}

function requireRules({ authorizer, user, kind, next }: Guarded, wanted: readonly PolicyRule[]): void {
  const { namespace = '', name = '' } = next.metadata
  const missing = missingRules(authorizer.rulesOf(user, namespace), wanted)
  if (missing.length === 0) return
  const named = missing.slice(0, MAX_NAMED).map(ruleText)
  const more = missing.length > MAX_NAMED ? [`and ${missing.length - MAX_NAMED} more`] : []
  const groups = user.groups.map((group) => JSON.stringify(group)).join(' ')
  throw new DroverError(
    'forbidden',
    `${resourceName(kind)} "${name}" is forbidden: user "${user.name}" (groups=[${groups}]) is attempting to grant RBAC permissions not currently held:\n${[...named, ...more].join('\n')}`,
  )
}
