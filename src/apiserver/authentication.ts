/**
 * Who is asking. Two proofs: a client certificate that our CA signed (CN is the user, O the groups), or a bearer token: one of a
 * fixed table, or a service account's. Anonymous requests reach only health and version.
 */
import { createHash } from 'node:crypto'
import type { PeerCertificate } from 'node:tls'
import { DroverError } from '../base/errors.ts'
import type { ServiceAccountTokens } from '../resources/service_account_tokens.ts'

export interface User {
  name: string
  groups: readonly string[]
  uid?: string
  extra?: Readonly<Record<string, readonly string[]>>
}

/** How a token's user is given to the server. */
export interface TokenUser {
  username: string
  groups: readonly string[]
}

/** What authentication needs of a TLS connection. */
export interface PeerSocket {
  authorized: boolean
  getPeerCertificate(): PeerCertificate | Record<string, never>
}

export const MASTERS = 'system:masters'
export const AUTHENTICATED = 'system:authenticated'
export const ANONYMOUS = 'system:anonymous'

const OPEN_PATHS: ReadonlySet<string> = new Set(['/healthz', '/livez', '/readyz', '/version'])
export type Authenticate = (socket: PeerSocket | undefined, authorization: string | undefined) => User

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

/** Whose a token is; throws `unauthorized`. */
export type AuthenticateToken = (token: string) => User

/** `tokens` is looked up by digest, so that the time taken says nothing about a token. */
export function createTokenAuthenticator(
  tokens: ReadonlyMap<string, TokenUser>,
  serviceAccounts: ServiceAccountTokens | undefined,
): AuthenticateToken {
  const users = new Map([...tokens].map(([token, user]) => [digest(token), user]))
  return (token) => {
    const user = users.get(digest(token))
    if (user !== undefined) return known(user.username, user.groups)
    if (serviceAccounts?.isOurs(token) !== true) {
      throw new DroverError('unauthorized', 'the bearer token is not known to this cluster')
    }
    const { username, groups, uid, extra } = serviceAccounts.verify(token)
    return { ...known(username, groups), uid, extra }
  }
}

export function createAuthenticator(authenticateToken: AuthenticateToken): Authenticate {
  return (socket, authorization) => {
    const bearer = /^Bearer\s+(\S+)\s*$/i.exec(authorization ?? '')?.[1]
    if (bearer !== undefined) return authenticateToken(bearer)
    if (authorization !== undefined) {
      throw new DroverError('unauthorized', 'the Authorization header is not understood; send "Bearer TOKEN"')
    }
    const subject = socket?.authorized === true ? socket.getPeerCertificate().subject : undefined
    if (subject === undefined) {
      throw new DroverError(
        'unauthorized',
        'Unauthorized: send a client certificate of this cluster, or a bearer token',
      )
    }
    const name: unknown = subject.CN
    if (typeof name !== 'string' || name === '') {
      throw new DroverError('unauthorized', 'the client certificate names no user (CN)')
    }
    const groups: unknown = subject.O
    return known(
      name,
      (Array.isArray(groups) ? groups : [groups]).filter((group) => typeof group === 'string'),
    )
  }
}

function known(name: string, groups: readonly string[]): User {
  return { name, groups: [...groups, AUTHENTICATED] }
}

export function isOpenPath(path: string): boolean {
  return OPEN_PATHS.has(path.replace(/^(\/(?:healthz|livez|readyz))\/.*$/, '$1'))
}
