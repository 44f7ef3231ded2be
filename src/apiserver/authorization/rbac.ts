/**
 * Role-based access control: which rules a user has, found by subject. The index follows the cache's events, so that a
 * check looks only at bindings that name the user or one of the groups, in the namespace that is asked about.
 *
 *   subject ─► namespace ('' for all) ─► grants ─► role ─► rules
 */
import { clusterRoleKind } from '../../api/clusterrole.ts'
import { clusterRoleBindingKind } from '../../api/clusterrolebinding.ts'
import { type KindDefinition, keyOf } from '../../api/kind.ts'
import type { KubeObject, Stored } from '../../api/meta.ts'
import type { BindingContent, PolicyRule, RoleRef, Subject } from '../../api/rbac.ts'
import { roleKind } from '../../api/role.ts'
import { roleBindingKind } from '../../api/rolebinding.ts'
import { serviceAccountUser } from '../../api/serviceaccount.ts'
import type { Resources } from '../../resources/resources.ts'
import type { User } from '../authentication.ts'
import { type Attributes, allows } from './rules.ts'

/** One binding, as one subject has it. */
interface Grant {
  /** `RoleBinding a/b`, for people. */
  binding: string
  namespace: string
  roleRef: RoleRef
  role: RoleSlot
}

/** A role's rules as they stand, shared by all who have it. Kept when the role goes: it may come again. */
interface RoleSlot {
  rules: readonly PolicyRule[] | undefined
}

type ByNamespace = Map<string, Set<Grant>>

interface Indexed {
  grant: Grant
  subjects: string[]
}

export interface RbacDecision {
  allowed: boolean
  reason: string
}

const NO_RULES: readonly PolicyRule[] = []

const userKey = (name: string): string => `u/${name}`
const groupKey = (name: string): string => `g/${name}`

function subjectKey({ kind, name, namespace = '' }: Subject): string {
  if (kind === 'Group') return groupKey(name)
  return userKey(kind === 'ServiceAccount' ? serviceAccountUser(namespace, name) : name)
}

export class RbacIndex {
  readonly #resources: Resources
  readonly #bySubject = new Map<string, ByNamespace>()
  readonly #roles = new Map<string, RoleSlot>()
  readonly #byBinding = new Map<string, Indexed>()
  readonly #stops: (() => void)[]

  constructor(resources: Resources) {
    this.#resources = resources
    const follow = <T extends KubeObject & BindingContent>(kind: KindDefinition<T>): (() => void) => {
      const stop = resources.subscribe(kind, ({ type, object }) => {
        if (type === 'DELETED') this.#remove(object)
        else this.#put(object)
      })
      for (const binding of resources.list(kind)) this.#put(binding)
      return stop
    }
    const followRoles = <T extends KubeObject & { rules?: PolicyRule[] }>(kind: KindDefinition<T>): (() => void) => {
      const take = (role: Stored<T>, rules: readonly PolicyRule[] | undefined): void => {
        const { namespace = '', name } = role.metadata
        this.#slot(namespace, { kind: role.kind, name }).rules = rules
      }
      const stop = resources.subscribe(kind, ({ type, object }) => {
        take(object, type === 'DELETED' ? undefined : (object.rules ?? NO_RULES))
      })
      for (const role of resources.list(kind)) take(role, role.rules ?? NO_RULES)
      return stop
    }
    this.#stops = [
      followRoles(roleKind),
      followRoles(clusterRoleKind),
      follow(roleBindingKind),
      follow(clusterRoleBindingKind),
    ]
  }

  close(): void {
    for (const stop of this.#stops) stop()
  }

  decide(user: User, attributes: Attributes): RbacDecision {
    const unresolved: string[] = []
    // A path belongs to no namespace: only what is granted for the whole cluster counts.
    const namespaces = attributes.plural === '' || attributes.namespace === '' ? [''] : ['', attributes.namespace]
    for (const [subject, key] of this.#subjectsOf(user)) {
      const grants = this.#bySubject.get(key)
      if (grants === undefined) continue
      for (const namespace of namespaces) {
        for (const grant of grants.get(namespace) ?? []) {
          const { rules } = grant.role
          if (rules === undefined) unresolved.push(`${roleText(grant.roleRef)} not found`)
          else if (allows(rules, attributes)) {
            const { kind, name } = grant.roleRef
            return { allowed: true, reason: `RBAC: allowed by ${grant.binding} of ${kind} "${name}" to ${subject}` }
          }
        }
      }
    }
    return { allowed: false, reason: unresolved.length === 0 ? '' : `RBAC: ${[...new Set(unresolved)].join(', ')}` }
  }

  /** Everything that the user may do in the namespace, or for '' in the whole cluster. */
  rulesOf(user: User, namespace: string): PolicyRule[] {
    const rules: PolicyRule[] = []
    for (const [, key] of this.#subjectsOf(user)) {
      const grants = this.#bySubject.get(key)
      for (const each of namespace === '' ? [''] : ['', namespace]) {
        for (const grant of grants?.get(each) ?? []) rules.push(...(this.rulesOfRole(each, grant.roleRef) ?? []))
      }
    }
    return rules
  }

  /** Undefined when there is no such role. */
  rulesOfRole(namespace: string, { kind, name }: RoleRef): readonly PolicyRule[] | undefined {
    const role =
      kind === 'Role' ? this.#resources.get(roleKind, namespace, name) : this.#resources.get(clusterRoleKind, '', name)
    return role === undefined ? undefined : (role.rules ?? NO_RULES)
  }

  #slot(namespace: string, { kind, name }: RoleRef): RoleSlot {
    const key = kind === 'Role' ? `${namespace}/${name}` : name
    let slot = this.#roles.get(key)
    if (slot === undefined) {
      slot = { rules: undefined }
      this.#roles.set(key, slot)
    }
    return slot
  }

  *#subjectsOf({ name, groups }: User): Generator<[string, string]> {
    yield [`User "${name}"`, userKey(name)]
    for (const group of groups) yield [`Group "${group}"`, groupKey(group)]
  }

  #put(binding: Stored<KubeObject & BindingContent>): void {
    this.#remove(binding)
    const { kind, roleRef } = binding
    const { namespace = '' } = binding.metadata
    const role = this.#slot(namespace, roleRef)
    const grant = { binding: `${kind} "${keyOf(binding)}"`, namespace, roleRef, role }
    const subjects = [...new Set((binding.subjects ?? []).map(subjectKey))]
    this.#byBinding.set(bindingKey(binding), { grant, subjects })
    for (const subject of subjects) {
      const byNamespace: ByNamespace = this.#bySubject.get(subject) ?? new Map()
      this.#bySubject.set(subject, byNamespace)
      const grants = byNamespace.get(grant.namespace)
      if (grants === undefined) byNamespace.set(grant.namespace, new Set([grant]))
      else grants.add(grant)
    }
  }

  #remove(binding: Stored<KubeObject>): void {
    const key = bindingKey(binding)
    const indexed = this.#byBinding.get(key)
    if (indexed === undefined) return
    this.#byBinding.delete(key)
    const { grant, subjects } = indexed
    for (const subject of subjects) {
      const byNamespace = this.#bySubject.get(subject)
      const grants = byNamespace?.get(grant.namespace)
      grants?.delete(grant)
      if (grants?.size === 0) byNamespace?.delete(grant.namespace)
      if (byNamespace?.size === 0) this.#bySubject.delete(subject)
    }
  }
}

const bindingKey = (binding: Stored<KubeObject>): string => `${binding.kind}/${keyOf(binding)}`

export const roleText = ({ kind, name }: RoleRef): string => `${kind.toLowerCase()}.rbac.authorization.k8s.io "${name}"`
