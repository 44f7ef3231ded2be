/**
 * Tokens of service accounts: JWTs (RFC 7519, ES256) that any server signs and any server verifies, for all share the
 * key. A token is bound to its account's uid and mostly to a pod's: it is refused from the moment either has gone, which
 * is looked up in the cache at every use. Nothing about tokens is stored.
 *
 * A signature that was found good is remembered (bounded), so that a client's every request does not pay for it again.
 */
import { createHash, sign, verify } from 'node:crypto'
import type { KubeObject, Stored } from '../api/meta.ts'
import { nodeKind } from '../api/node.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { secretKind } from '../api/secret.ts'
import { serviceAccountGroups, serviceAccountKind, serviceAccountUser } from '../api/serviceaccount.ts'
import { type Clock, timestamp } from '../base/clock.ts'
import type { SigningKey } from '../base/cluster_keys.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { Random } from '../base/random.ts'
import type { Resources } from './resources.ts'

/** What a token of a pod is asked for. */
export interface TokenWish {
  namespace: string
  serviceAccount: string
  /** Both or neither: the pod that the token ends with. */
  podName?: string
  podUid?: string
  /** Default: the API. */
  audiences?: readonly string[]
  /** Default an hour; at least ten minutes, at most a year (a longer wish is cut). */
  expirationSeconds?: number
}

export interface IssuedToken {
  token: string
  /** RFC 3339. */
  expiresAt: string
  expiresAtMs: number
}

/** Something other than a pod that a token may end with. */
export interface BoundObject {
  kind: 'Pod' | 'Secret' | 'Node'
  name: string
  uid?: string
}

export interface TokenIdentity {
  username: string
  uid: string
  groups: string[]
  extra: Record<string, string[]>
  /** Those of the token that were asked for. */
  audiences: string[]
}

export interface ServiceAccountTokens {
  readonly issuer: string
  /** Throws `notFound` when account or pod is not there, `conflict` when the pod is another of that name. */
  issueToken(wish: TokenWish, bound?: BoundObject): IssuedToken
  /** For a Secret that keeps it: it ends with the Secret or the account, and not by time. Throws as `issueToken` does. */
  issueSecretToken(namespace: string, serviceAccount: string, secret: { name: string; uid: string }): string
  /** Whether the text claims to be one of ours; only then `verify` has an opinion. */
  isOurs(token: string): boolean
  /** Throws `unauthorized` with what is wrong. `audiences`: one of them must be the token's; default: the API. */
  verify(token: string, audiences?: readonly string[]): TokenIdentity
  /** For others who verify: RFC 7517 and OpenID Connect discovery. */
  jwks(): object
  openIdConfiguration(): object
}

export interface ServiceAccountTokensOptions {
  resources: Resources
  clock: Clock
  random: Random
  /** The first signs. */
  keys: readonly SigningKey[]
  issuer?: string
}

export const DEFAULT_ISSUER = 'https://kubernetes.default.svc.cluster.local'
export const MIN_TOKEN_SECONDS = 600
export const DEFAULT_TOKEN_SECONDS = 3_600
const MAX_TOKEN_SECONDS = 365 * 86_400
/** Clocks of servers differ a little. */
const LEEWAY_SECONDS = 10
/** A pod that ends may still say goodbye. */
const POD_DELETION_LEEWAY_MS = 60_000
const MAX_TOKEN_LENGTH = 16_384
const MAX_REMEMBERED = 10_000
const CREDENTIAL_ID = 'authentication.kubernetes.io/credential-id'
const POD_NAME = 'authentication.kubernetes.io/pod-name'
const POD_UID = 'authentication.kubernetes.io/pod-uid'
const NODE_NAME = 'authentication.kubernetes.io/node-name'

interface Reference {
  name: string
  uid: string
}

/** Claims whose form has been checked. */
interface Claims {
  audiences: string[]
  expiresAtMs: number
  id: string
  namespace: string
  account: Reference
  pod: Reference | undefined
  secret: Reference | undefined
  node: Reference | undefined
}

export function createServiceAccountTokens(options: ServiceAccountTokensOptions): ServiceAccountTokens {
  return new Tokens(options)
}

class Tokens implements ServiceAccountTokens {
  readonly issuer: string
  readonly #options: ServiceAccountTokensOptions
  readonly #signing: SigningKey
  /** Claims of tokens whose signature was good, by the token's digest, oldest first. */
  readonly #known = new Map<string, Claims>()

  constructor(options: ServiceAccountTokensOptions) {
    const [signing] = options.keys
    if (signing === undefined) throw new DroverError('internal', 'no key to sign tokens with')
    this.#signing = signing
    this.#options = options
    this.issuer = options.issuer ?? DEFAULT_ISSUER
  }

  issueToken(wish: TokenWish, given?: BoundObject): IssuedToken {
    const { podName, podUid } = wish
    const bound =
      given ?? (podName === undefined ? undefined : { kind: 'Pod', name: podName, ...(podUid ? { uid: podUid } : {}) })
    const seconds = Math.min(
      Math.max(wish.expirationSeconds ?? DEFAULT_TOKEN_SECONDS, MIN_TOKEN_SECONDS),
      MAX_TOKEN_SECONDS,
    )
    const exp = Math.floor(this.#options.clock.now() / 1_000) + seconds
    return { token: this.#sign(wish, bound, exp), expiresAt: timestamp(exp * 1_000), expiresAtMs: exp * 1_000 }
  }

  issueSecretToken(namespace: string, serviceAccount: string, secret: { name: string; uid: string }): string {
    return this.#sign({ namespace, serviceAccount }, { kind: 'Secret', ...secret }, undefined)
  }

  /** `exp` in seconds of the epoch; none: it does not end by time. */
  #sign(wish: TokenWish, bound: BoundObject | undefined, exp: number | undefined): string {
    const { clock, random } = this.#options
    const { namespace, serviceAccount, audiences = [] } = wish
    const account = this.#account(namespace, serviceAccount)
    const nowSeconds = Math.floor(clock.now() / 1_000)
    const claims = {
      aud: audiences.length === 0 ? [this.issuer] : [...audiences],
      ...(exp === undefined ? {} : { exp }),
      iat: nowSeconds,
      iss: this.issuer,
      jti: random.uuid(),
      'kubernetes.io': {
        namespace,
        ...this.#boundClaims(namespace, serviceAccount, bound),
        serviceaccount: { name: serviceAccount, uid: account.metadata.uid },
      },
      nbf: nowSeconds,
      sub: serviceAccountUser(namespace, serviceAccount),
    }
    const head = encodePart({ alg: 'ES256', kid: this.#signing.id, typ: 'JWT' })
    const signed = `${head}.${encodePart(claims)}`
    const key = { key: this.#signing.privateKey, dsaEncoding: 'ieee-p1363' as const }
    return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`
  }

  isOurs(token: string): boolean {
    const [, payload, signature] = token.split('.')
    if (payload === undefined || signature === undefined || token.length > MAX_TOKEN_LENGTH) return false
    return decodePart(payload)?.iss === this.issuer
  }

  verify(token: string, audiences: readonly string[] = [this.issuer]): TokenIdentity {
    const digest = createHash('sha256').update(token).digest('base64')
    const known = this.#known.get(digest)
    const claims = known ?? this.#checkSignature(token)
    if (claims.expiresAtMs + LEEWAY_SECONDS * 1_000 <= this.#options.clock.now()) {
      this.#known.delete(digest)
      throw refused('the token has expired')
    }
    if (known === undefined) this.#remember(digest, claims)
    const shared = claims.audiences.filter((audience) => audiences.includes(audience))
    if (shared.length === 0) {
      throw refused(`the token is for ${claims.audiences.join(', ')}, not for ${audiences.join(', ')}`)
    }
    this.#checkBinding(claims)
    const { namespace, account, pod, node, id } = claims
    return {
      username: serviceAccountUser(namespace, account.name),
      uid: account.uid,
      groups: serviceAccountGroups(namespace),
      extra: {
        [CREDENTIAL_ID]: [`JTI=${id}`],
        ...(pod === undefined ? {} : { [POD_NAME]: [pod.name], [POD_UID]: [pod.uid] }),
        ...(node === undefined ? {} : { [NODE_NAME]: [node.name] }),
      },
      audiences: shared,
    }
  }

  jwks(): object {
    const keys = this.#options.keys.map(({ id, publicKey }) => ({
      use: 'sig',
      alg: 'ES256',
      kid: id,
      ...publicKey.export({ format: 'jwk' }),
    }))
    return { keys }
  }

  openIdConfiguration(): object {
    return {
      issuer: this.issuer,
      jwks_uri: `${this.issuer}/openid/v1/jwks`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
    }
  }

  #account(namespace: string, name: string): Stored<KubeObject> {
    const account = this.#options.resources.get(serviceAccountKind, namespace, name)
    if (account === undefined) throw new DroverError('notFound', `serviceaccounts "${name}" not found`)
    return account
  }

  #boundClaims(namespace: string, account: string, bound: BoundObject | undefined): Record<string, unknown> {
    if (bound === undefined) return {}
    const object = this.#boundObject(namespace, bound)
    if (object === undefined) {
      throw new DroverError('notFound', `${bound.kind.toLowerCase()}s "${bound.name}" not found`)
    }
    const { name, uid } = object.metadata
    if (bound.uid !== undefined && bound.uid !== uid) {
      throw new DroverError(
        'conflict',
        `the UID in the bound object reference (${bound.uid}) does not match the UID in record (${uid})`,
      )
    }
    const claims: Record<string, unknown> = { [bound.kind.toLowerCase()]: { name, uid } }
    if (bound.kind !== 'Pod') return claims
    const { serviceAccountName = 'default', nodeName } = (object as Stored<Pod>).spec
    if (serviceAccountName !== account) {
      throw new DroverError(
        'invalid',
        `cannot bind token for serviceaccount "${account}" to pod running with different serviceaccount name "${serviceAccountName}"`,
      )
    }
    const node = nodeName === undefined ? undefined : this.#options.resources.get(nodeKind, '', nodeName)
    if (node !== undefined) claims.node = { name: node.metadata.name, uid: node.metadata.uid }
    return claims
  }

  #boundObject(namespace: string, { kind, name }: BoundObject): Stored<KubeObject> | undefined {
    const { resources } = this.#options
    if (kind === 'Pod') return resources.get(podKind, namespace, name)
    return kind === 'Secret' ? resources.get(secretKind, namespace, name) : resources.get(nodeKind, '', name)
  }

  #checkSignature(token: string): Claims {
    const [head = '', payload = '', signature = '', ...rest] = token.split('.')
    const header = decodePart(head)
    // The algorithm is ours to say, not the token's.
    if (rest.length > 0 || header?.alg !== 'ES256') throw refused('the token is no ES256 JWT')
    const key = this.#options.keys.find(({ id }) => id === header.kid)
    if (key === undefined) throw refused('the token was signed with a key that this cluster does not have')
    const good = verify(
      'sha256',
      Buffer.from(`${head}.${payload}`),
      { key: key.publicKey, dsaEncoding: 'ieee-p1363' },
      Buffer.from(signature, 'base64url'),
    )
    if (!good) throw refused("the token's signature is wrong")
    const claims = readClaims(decodePart(payload), this.issuer)
    if (claims === undefined) throw refused('the token lacks claims that it must have')
    return claims
  }

  /** Account and bound object are still those that the token was made for. */
  #checkBinding({ namespace, account, pod, secret, node }: Claims): void {
    const { resources, clock } = this.#options
    const found = resources.get(serviceAccountKind, namespace, account.name)
    if (found?.metadata.uid !== account.uid) throw refused(`service account ${namespace}/${account.name} has gone`)
    if (pod !== undefined) {
      const current = resources.get(podKind, namespace, pod.name)
      if (current?.metadata.uid !== pod.uid) throw refused(`pod ${namespace}/${pod.name} has gone`)
      const { deletionTimestamp } = current.metadata
      if (deletionTimestamp !== undefined && Date.parse(deletionTimestamp) + POD_DELETION_LEEWAY_MS < clock.now()) {
        throw refused(`pod ${namespace}/${pod.name} should have gone`)
      }
      return
    }
    if (secret !== undefined && resources.get(secretKind, namespace, secret.name)?.metadata.uid !== secret.uid) {
      throw refused(`secret ${namespace}/${secret.name} has gone`)
    }
    if (node !== undefined && resources.get(nodeKind, '', node.name)?.metadata.uid !== node.uid) {
      throw refused(`node ${node.name} has gone`)
    }
  }

  #remember(digest: string, claims: Claims): void {
    const [oldest] = this.#known.keys()
    if (this.#known.size >= MAX_REMEMBERED && oldest !== undefined) this.#known.delete(oldest)
    this.#known.set(digest, claims)
  }
}

const refused = (message: string): DroverError => new DroverError('unauthorized', `Unauthorized: ${message}`)

const encodePart = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

function decodePart(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function readReference(value: unknown): Reference | undefined {
  if (!isObject(value)) return undefined
  const { name, uid } = value
  return typeof name === 'string' && typeof uid === 'string' ? { name, uid } : undefined
}

function readClaims(payload: Record<string, unknown> | undefined, issuer: string): Claims | undefined {
  const own = payload?.['kubernetes.io']
  if (payload === undefined || !isObject(own) || payload.iss !== issuer) return undefined
  const { aud, exp, jti } = payload
  const account = readReference(own.serviceaccount)
  const secret = readReference(own.secret)
  if (account === undefined || typeof jti !== 'string') return undefined
  // Only what a Secret keeps, and ends with, may have no end of its own.
  if (typeof exp !== 'number' && (exp !== undefined || secret === undefined)) return undefined
  if (!Array.isArray(aud) || typeof own.namespace !== 'string') return undefined
  return {
    audiences: aud.filter((audience) => typeof audience === 'string'),
    expiresAtMs: exp === undefined ? Number.POSITIVE_INFINITY : exp * 1_000,
    id: jti,
    namespace: own.namespace,
    account,
    pod: readReference(own.pod),
    secret,
    node: readReference(own.node),
  }
}
