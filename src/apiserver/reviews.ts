/** Questions about oneself: who am I (`kubectl auth whoami`), and may I (`kubectl auth can-i`). Answered, never stored. */
import { isObject } from '../base/json.ts'
import { isAllowed } from './authentication.ts'
import { decodeObject } from './codec.ts'
import type { Exchange } from './exchange.ts'
import { methodNotAllowed } from './status_error.ts'

const WHO_AM_I = '/apis/authentication.k8s.io/v1/selfsubjectreviews'
const MAY_I = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'

/** Every user may ask these. */
export const REVIEW_PATHS: ReadonlySet<string> = new Set([WHO_AM_I, MAY_I])

export async function handleReview(exchange: Exchange): Promise<void> {
  if (exchange.method !== 'POST') throw methodNotAllowed('reviews are made with POST')
  const { name: username, groups } = exchange.user
  if (exchange.path === WHO_AM_I) {
    const status = { userInfo: { username, groups } }
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
