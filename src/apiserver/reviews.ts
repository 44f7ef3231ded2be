/** Questions about oneself: who am I (`kubectl auth whoami`), and may I (`kubectl auth can-i`). Answered, never stored. */
import { DroverError, isCode } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { AUTHENTICATED, isAllowed } from './authentication.ts'
import { decodeObject } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { methodNotAllowed } from './status_error.ts'

const WHO_AM_I = '/apis/authentication.k8s.io/v1/selfsubjectreviews'
const TOKEN = '/apis/authentication.k8s.io/v1/tokenreviews'
const MAY_I = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'

/** Every user may ask these. */
export const REVIEW_PATHS: ReadonlySet<string> = new Set([WHO_AM_I, MAY_I])

/** `TokenReview`: whose a token is, for services that are sent tokens. False when the path is another. */
export async function handleTokenReview(context: ApiContext, exchange: Exchange): Promise<boolean> {
  if (exchange.path !== TOKEN) return false
  if (exchange.method !== 'POST') throw methodNotAllowed('reviews are made with POST')
  const body = decodeObject(await exchange.body(), exchange.headers['content-type'])
  const spec = isObject(body.spec) ? body.spec : {}
  const { token } = spec
  if (typeof token !== 'string' || token === '') throw new DroverError('invalid', 'spec.token: must be given')
  const audiences = Array.isArray(spec.audiences) ? spec.audiences.map(String) : []
  const apiVersion = 'authentication.k8s.io/v1'
  const metadata = { creationTimestamp: null }
  exchange.sendJson(201, {
    kind: 'TokenReview',
    apiVersion,
    metadata,
    spec,
    status: reviewToken(context, token, audiences),
  })
  return true
}

function reviewToken(context: ApiContext, token: string, audiences: readonly string[]): Record<string, unknown> {
  const { serviceAccounts, authenticateToken } = context
  try {
    if (serviceAccounts?.isOurs(token) !== true) {
      const { name: username, groups } = authenticateToken(token)
      return { authenticated: true, user: { username, groups }, ...(audiences.length === 0 ? {} : { audiences }) }
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

export async function handleReview(exchange: Exchange): Promise<void> {
  if (exchange.method !== 'POST') throw methodNotAllowed('reviews are made with POST')
  if (exchange.path === WHO_AM_I) {
    const { name: username, groups, uid, extra } = exchange.user
    const userInfo = {
      username,
      groups,
      ...(uid === undefined ? {} : { uid }),
      ...(extra === undefined ? {} : { extra }),
    }
    const status = { userInfo }
    const apiVersion = 'authentication.k8s.io/v1'
    exchange.sendJson(201, { kind: 'SelfSubjectReview', apiVersion, metadata: { creationTimestamp: null }, status })
    return
  }
  const body = decodeObject(await exchange.body(), exchange.headers['content-type'])
  const spec = isObject(body.spec) ? body.spec : {}
  const allowed = isAllowed(exchange.user, askedAttributes(spec))
  const status = { allowed, ...(allowed ? {} : { reason: 'only members of system:masters may' }) }
  const apiVersion = 'authorization.k8s.io/v1'
  exchange.sendJson(201, {
    kind: 'SelfSubjectAccessReview',
    apiVersion,
    metadata: { creationTimestamp: null },
    spec,
    status,
  })
}

function askedAttributes(spec: Record<string, unknown>): Parameters<typeof isAllowed>[1] {
  const resource = isObject(spec.resourceAttributes) ? spec.resourceAttributes : {}
  const path = isObject(spec.nonResourceAttributes) ? spec.nonResourceAttributes : {}
  const text = (value: unknown): string => (typeof value === 'string' ? value : '')
  return {
    verb: text(resource.verb ?? path.verb),
    plural: text(resource.resource),
    group: text(resource.group),
    subresource: text(resource.subresource),
    namespace: text(resource.namespace),
    name: text(resource.name),
    path: text(path.path),
  }
}
