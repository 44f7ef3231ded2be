/**
 * Questions that are answered and never stored: who am I (`kubectl auth whoami`), may I or may another do this (`kubectl
 * auth can-i`), what may I do, whose is this token. Roles say who may ask; everybody may ask about themselves.
 * Source: Kubernetes authentication.k8s.io/v1, authorization.k8s.io/v1.
 */
import { DroverError, isCode } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { AUTHENTICATED, type User } from './authentication.ts'
import type { Attributes } from './authorization/rules.ts'
import { decodeObject } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { methodNotAllowed } from './status_error.ts'

const AUTHENTICATION = 'authentication.k8s.io'
const AUTHORIZATION = 'authorization.k8s.io'
const PATH = /^\/apis\/(authentication|authorization)\.k8s\.io\/v1\/(?:namespaces\/([^/]+)\/)?([a-z]+)$/

interface Question {
  context: ApiContext
  user: User
  /** Of a review in a namespace; empty elsewhere. */
  namespace: string
  spec: Record<string, unknown>
}

export interface Review {
  group: string
  plural: string
  kind: string
  namespaced: boolean
  answer(question: Question): Record<string, unknown>
}

/** In the order of discovery. */
export const REVIEWS: readonly Review[] = [
  {
    group: AUTHENTICATION,
    plural: 'selfsubjectreviews',
    kind: 'SelfSubjectReview',
    namespaced: false,
    answer: ({ user }) => ({ userInfo: userInfo(user) }),
  },
  {
    group: AUTHENTICATION,
    plural: 'tokenreviews',
    kind: 'TokenReview',
    namespaced: false,
    answer: ({ context, spec }) => reviewToken(context, spec),
  },
  {
    group: AUTHORIZATION,
    plural: 'selfsubjectaccessreviews',
    kind: 'SelfSubjectAccessReview',
    namespaced: false,
    answer: ({ context, user, spec }) => reviewAccess(context, user, askedAttributes(spec)),
  },
  {
    group: AUTHORIZATION,
    plural: 'subjectaccessreviews',
    kind: 'SubjectAccessReview',
    namespaced: false,
    answer: ({ context, spec }) => reviewAccess(context, askedUser(spec), askedAttributes(spec)),
  },
  {
    group: AUTHORIZATION,
    plural: 'localsubjectaccessreviews',
    kind: 'LocalSubjectAccessReview',
    namespaced: true,
    answer({ context, namespace, spec }) {
      const attributes = askedAttributes(spec)
      if (attributes.plural === '' || attributes.namespace !== namespace) {
        throw new DroverError('invalid', `spec.resourceAttributes.namespace: must be ${namespace}, as in the path`)
      }
      return reviewAccess(context, askedUser(spec), attributes)
    },
  },
  {
    group: AUTHORIZATION,
    plural: 'selfsubjectrulesreviews',
    kind: 'SelfSubjectRulesReview',
    namespaced: false,
    answer: ({ context, user, spec }) => reviewRules(context, user, text(spec.namespace)),
  },
]

/** False when the path is none of these. */
export async function handleReview(context: ApiContext, exchange: Exchange): Promise<boolean> {
  const [, side, namespace = '', plural] = PATH.exec(exchange.path) ?? []
  const review = REVIEWS.find((each) => each.plural === plural && each.group === `${side}.k8s.io`)
  if (review === undefined || review.namespaced !== (namespace !== '')) return false
  if (exchange.method !== 'POST') throw methodNotAllowed('reviews are made with POST')
  const body = decodeObject(await exchange.body(), exchange.headers['content-type'])
  if ((body.kind ?? review.kind) !== review.kind) {
    throw new DroverError('invalid', `the body is a ${String(body.kind)}; this path takes a ${review.kind}`)
  }
  const spec = isObject(body.spec) ? body.spec : {}
  const status = review.answer({ context, user: exchange.user, namespace, spec })
  exchange.sendJson(201, {
    kind: review.kind,
    apiVersion: `${review.group}/v1`,
    metadata: { creationTimestamp: null, ...(namespace === '' ? {} : { namespace }) },
    ...(review.kind === 'SelfSubjectReview' ? {} : { spec }),
    status,
  })
  return true
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

const texts = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((each) => typeof each === 'string') : []

function userInfo({ name: username, groups, uid, extra }: User): Record<string, unknown> {
  return { username, groups, ...(uid === undefined ? {} : { uid }), ...(extra === undefined ? {} : { extra }) }
}

function askedUser(spec: Record<string, unknown>): User {
  const user = { name: text(spec.user), groups: texts(spec.groups) }
  if (user.name !== '' || user.groups.length > 0) return user
  throw new DroverError('invalid', 'spec.user: at least one of user or group must be specified')
}

function askedAttributes(spec: Record<string, unknown>): Attributes {
  const { resourceAttributes: resource, nonResourceAttributes: path } = spec
  if (isObject(resource) === isObject(path)) {
    throw new DroverError(
      'invalid',
      'spec: exactly one of nonResourceAttributes or resourceAttributes must be specified',
    )
  }
  if (isObject(path)) {
    const none = { plural: '', group: '', subresource: '', namespace: '', name: '' }
    return { verb: text(path.verb), ...none, path: text(path.path) }
  }
  const asked = isObject(resource) ? resource : {}
  return {
    verb: text(asked.verb),
    plural: text(asked.resource),
    group: text(asked.group),
    subresource: text(asked.subresource),
    namespace: text(asked.namespace),
    name: text(asked.name),
    path: '',
  }
}

function reviewAccess({ authorizer }: ApiContext, user: User, attributes: Attributes): Record<string, unknown> {
  const { allowed, reason } = authorizer.decide(user, attributes)
  return { allowed, ...(reason === '' ? {} : { reason }) }
}

function reviewRules({ authorizer }: ApiContext, user: User, namespace: string): Record<string, unknown> {
  const rules = authorizer.rulesOf(user, namespace)
  return {
    resourceRules: rules
      .filter(({ resources = [] }) => resources.length > 0)
      .map(({ verbs, apiGroups, resources, resourceNames }) => ({
        verbs,
        apiGroups,
        resources,
        ...(resourceNames === undefined ? {} : { resourceNames }),
      })),
    nonResourceRules: rules
      .filter(({ nonResourceURLs = [] }) => nonResourceURLs.length > 0)
      .map(({ verbs, nonResourceURLs }) => ({ verbs, nonResourceURLs })),
    incomplete: false,
  }
}

function reviewToken(context: ApiContext, spec: Record<string, unknown>): Record<string, unknown> {
  const { serviceAccounts, authenticateToken } = context
  const token = text(spec.token)
  if (token === '') throw new DroverError('invalid', 'spec.token: must be given')
  const audiences = texts(spec.audiences)
  try {
    if (serviceAccounts?.isOurs(token) !== true) {
      const user = userInfo(authenticateToken(token))
      return { authenticated: true, user, ...(audiences.length === 0 ? {} : { audiences }) }
    }
    const found = serviceAccounts.verify(token, audiences.length === 0 ? undefined : audiences)
    const { username, uid, groups, extra } = found
    const user = { username, uid, groups: [...groups, AUTHENTICATED], extra }
    return { authenticated: true, user, audiences: found.audiences }
  } catch (error) {
    if (!isCode(error, 'unauthorized')) throw error
    return { user: {}, error: DroverError.from(error).message }
  }
}
