/**
 * Join tokens: `drover1.<CA hash>.<id>.<secret>`. The hash lets a machine know the cluster before it says anything; the
 * id finds the stored token; the secret is stored as its SHA-256 alone, in a Secret of kube-system, so that neither a
 * backup nor a reader of Secrets can join. The secret is 128 random bits: a plain hash of it cannot be guessed.
 * Fields are named as in Kubernetes' bootstrap tokens, where they mean the same.
 */
import { createHash, randomBytes } from 'node:crypto'
import { DroverError } from '../base/errors.ts'
import type { Secret } from './secret.ts'

export const TOKEN_NAMESPACE = 'kube-system'
export const TOKEN_TYPE = 'drover.dev/bootstrap-token'
export const DEFAULT_TTL_MS = 24 * 3_600_000

const PREFIX = 'drover1'
const NAME_PREFIX = 'bootstrap-token-'
const ID = /^[a-z0-9]{6}$/
const TOKEN = /^drover1\.([0-9a-f]{64})\.([a-z0-9]{6})\.([0-9a-f]{32})$/

export interface JoinToken {
  /** SHA-256 of the CA's public key, hex. */
  caHash: string
  id: string
  secret: string
}

export interface StoredToken {
  id: string
  /** Hex. */
  secretSha256: string
  /** Infinity for one that does not expire. */
  expiresAtMs: number
  description: string
  /** Whether it lets nodes join. */
  joins: boolean
}

export function createJoinToken(caHash: string): JoinToken {
  return { caHash, id: randomBytes(3).toString('hex'), secret: randomBytes(16).toString('hex') }
}

export function formatJoinToken({ caHash, id, secret }: JoinToken): string {
  return `${PREFIX}.${caHash}.${id}.${secret}`
}

/** Throws `invalid`; the message does not repeat the text, which is a secret. */
export function parseJoinToken(text: string): JoinToken {
  const match = TOKEN.exec(text.trim())
  const [, caHash, id, secret] = match ?? []
  if (caHash === undefined || id === undefined || secret === undefined) {
    throw new DroverError(
      'invalid',
      'this is no join token: it reads drover1.HASH.ID.SECRET; was it cut off? Make one with: drover token create',
    )
  }
  return { caHash, id, secret }
}

export const secretSha256 = (secret: string): string => createHash('sha256').update(secret).digest('hex')

export const tokenSecretName = (id: string): string => `${NAME_PREFIX}${id}`

export function checkTokenId(id: string): void {
  if (!ID.test(id))
    throw new DroverError('invalid', `"${id}" is no token id: six letters and digits, see: drover token list`)
}

export interface TokenFacts {
  expiresAtMs: number
  description: string
}

export function tokenSecret({ id, secret }: JoinToken, { expiresAtMs, description }: TokenFacts): Secret {
  const expires = Number.isFinite(expiresAtMs) ? { expiration: new Date(expiresAtMs).toISOString() } : {}
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: tokenSecretName(id), namespace: TOKEN_NAMESPACE },
    type: TOKEN_TYPE,
    stringData: {
      'token-id': id,
      'token-secret-sha256': secretSha256(secret),
      'usage-node-join': 'true',
      description,
      ...expires,
    },
  }
}

/** The token that a Secret holds; undefined when it holds none. A date that cannot be read has passed. */
export function readTokenSecret(secret: Secret): StoredToken | undefined {
  if (secret.type !== TOKEN_TYPE) return undefined
  const field = (name: string): string => Buffer.from(secret.data?.[name] ?? '', 'base64').toString('utf8')
  const id = field('token-id')
  if (!ID.test(id) || secret.metadata.name !== tokenSecretName(id)) return undefined
  const expiration = field('expiration')
  const expiresAtMs = Date.parse(expiration)
  return {
    id,
    secretSha256: field('token-secret-sha256'),
    expiresAtMs: expiration === '' ? Number.POSITIVE_INFINITY : Number.isNaN(expiresAtMs) ? 0 : expiresAtMs,
    description: field('description'),
    joins: field('usage-node-join') === 'true',
  }
}
