/**
 * The one place that says whether a request may be made: masters always, nodes as far as their pods reach, everybody as
 * roles allow. Who is refused is told so in Kubernetes' words.
 */
import { resourceName } from '../../api/kind.ts'
import type { PolicyRule } from '../../api/rbac.ts'
import { DroverError } from '../../base/errors.ts'
import type { Resources } from '../../resources/resources.ts'
import { MASTERS, type User } from '../authentication.ts'
import { nodeMay, nodeOf } from './node.ts'
import { RbacIndex } from './rbac.ts'
import type { Attributes } from './rules.ts'

export interface Decision {
  allowed: boolean
  /** Why, where there is something to say. */
  reason: string
}

const EVERYTHING: readonly PolicyRule[] = [
  { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
  { verbs: ['*'], nonResourceURLs: ['*'] },
]

export class Authorizer {
  readonly rbac: RbacIndex
  readonly #resources: Resources

  constructor(resources: Resources) {
    this.#resources = resources
    this.rbac = new RbacIndex(resources)
  }

  close(): void {
    this.rbac.close()
  }

  decide(user: User, attributes: Attributes): Decision {
    if (user.groups.includes(MASTERS)) return { allowed: true, reason: '' }
    const node = nodeOf(user)
    if (node !== undefined && attributes.plural !== '' && nodeMay(this.#resources, node, attributes)) {
      return { allowed: true, reason: '' }
    }
    return this.rbac.decide(user, attributes)
  }

  isAllowed(user: User, attributes: Attributes): boolean {
    return this.decide(user, attributes).allowed
  }

  /** Throws `forbidden` with who may not do what. */
  require(user: User, attributes: Attributes): void {
    const { allowed, reason } = this.decide(user, attributes)
    if (allowed) return
    const why = reason === '' ? '' : `: ${reason}`
    throw new DroverError('forbidden', `${refusal(user, attributes)}${why}`)
  }

  rulesOf(user: User, namespace: string): readonly PolicyRule[] {
    return user.groups.includes(MASTERS) ? EVERYTHING : this.rbac.rulesOf(user, namespace)
  }
}

/** `pods "x" is forbidden: User "u" cannot get resource "pods" in API group "" in the namespace "n"` */
function refusal(user: User, { verb, plural, group, subresource, namespace, name, path }: Attributes): string {
  if (plural === '') return `forbidden: User "${user.name}" cannot ${verb} path "${path}"`
  const where = namespace === '' ? 'at the cluster scope' : `in the namespace "${namespace}"`
  const resource = `resource "${subresource === '' ? plural : `${plural}/${subresource}`}" in API group "${group}"`
  const about = `${resourceName({ group, plural })}${name === '' ? '' : ` "${name}"`}`
  return `${about} is forbidden: User "${user.name}" cannot ${verb} ${resource} ${where}`
}
