/**
 * Tokens of service accounts on request: the sub-resource `serviceaccounts/NAME/token`, and the keys that verify them.
 * Source: Kubernetes authentication.k8s.io/v1 `TokenRequest`; OpenID Connect Discovery 1.0.
 */
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { type BoundObject, MIN_TOKEN_SECONDS } from '../resources/service_account_tokens.ts'
import type { User } from './authentication.ts'
import { isOwnPod, nodeOf } from './authorization/node.ts'
import { decodeObject } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import type { Target } from './router.ts'
import { methodNotAllowed } from './status_error.ts'

const MAX_AUDIENCES = 32
const MAX_EXPIRATION_SECONDS = 2 ** 32

function fault(path: string, message: string): DroverError {
  return new DroverError('invalid', `TokenRequest is invalid: ${path}: ${message}`, {
    fields: [{ path, reason: 'Invalid', message }],
  })
}

function readAudiences(value: unknown): string[] {
  if (value === undefined || value === null) return []
  const isList = Array.isArray(value) && value.length <= MAX_AUDIENCES
  if (!isList || value.some((audience) => typeof audience !== 'string' || audience === '')) {
    throw fault('spec.audiences', `must be a list of at most ${MAX_AUDIENCES} words`)
  }
  return value.map(String)
}

function readSeconds(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'number' || !Number.isInteger(value)) throw fault('spec.expirationSeconds', 'must be a number')
  if (value < MIN_TOKEN_SECONDS)
    throw fault('spec.expirationSeconds', 'may not specify a duration less than 10 minutes')
  if (value > MAX_EXPIRATION_SECONDS)
    throw fault('spec.expirationSeconds', 'may not specify a duration larger than 2^32 seconds')
  return value
}

function readBound(value: unknown): BoundObject | undefined {
  if (value === undefined || value === null) return undefined
  const { kind, name, uid } = isObject(value) ? value : {}
  if (kind !== 'Pod' && kind !== 'Secret' && kind !== 'Node') {
    throw fault('spec.boundObjectRef.kind', 'must be Pod, Secret or Node')
  }
  if (typeof name !== 'string' || name === '') throw fault('spec.boundObjectRef.name', 'must be given')
  return { kind, name, ...(typeof uid === 'string' && uid !== '' ? { uid } : {}) }
}

/** A node gets tokens for its own pods alone. */
function checkNode({ resources }: ApiContext, user: User, namespace: string, bound: BoundObject | undefined): void {
  const node = nodeOf(user)
  if (node === undefined) return
  if (bound?.kind === 'Pod' && bound.uid !== undefined && isOwnPod(resources, node, namespace, bound.name)) return
  throw new DroverError('forbidden', `node ${node} gets tokens only for pods that run on it, bound to name and uid`)
}

export async function handleTokenRequest(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { serviceAccounts } = context
  if (exchange.method !== 'POST') throw methodNotAllowed('serviceaccounts/token takes POST')
  if (serviceAccounts === undefined) throw new DroverError('unsupported', 'this server signs no tokens')
  const { namespace, name } = target
  const body = decodeObject(await exchange.body(), exchange.headers['content-type'])
  if ((body.kind ?? 'TokenRequest') !== 'TokenRequest') {
    throw new DroverError('invalid', `the body is a ${String(body.kind)}; this path takes a TokenRequest`)
  }
  const spec = isObject(body.spec) ? body.spec : {}
  const audiences = readAudiences(spec.audiences)
  const seconds = readSeconds(spec.expirationSeconds)
  const bound = readBound(spec.boundObjectRef)
  checkNode(context, exchange.user, namespace, bound)
  const issued = serviceAccounts.issueToken(
    {
      namespace,
      serviceAccount: name,
      audiences,
      ...(seconds === undefined ? {} : { expirationSeconds: seconds }),
    },
    bound,
  )
  exchange.sendJson(201, {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: { name, namespace, creationTimestamp: null },
    spec: {
      audiences: audiences.length === 0 ? [serviceAccounts.issuer] : audiences,
      expirationSeconds: Math.round((issued.expiresAtMs - context.clock.now()) / 1_000),
      boundObjectRef: bound === undefined ? null : { apiVersion: 'v1', ...bound },
    },
    status: { token: issued.token, expirationTimestamp: issued.expiresAt },
  })
}

/** `/openid/v1/jwks` and `/.well-known/openid-configuration`; false when the path is neither. */
export function sendKeys({ serviceAccounts }: ApiContext, exchange: Exchange): boolean {
  if (serviceAccounts === undefined || exchange.method !== 'GET') return false
  if (exchange.path === '/openid/v1/jwks') exchange.sendJson(200, serviceAccounts.jwks())
  else if (exchange.path === '/.well-known/openid-configuration')
    exchange.sendJson(200, serviceAccounts.openIdConfiguration())
  else return false
  return true
}
