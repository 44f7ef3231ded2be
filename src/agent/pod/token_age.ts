/** When a token is to be renewed, by what it says of itself. Pure. As the kubelet: after 80 % of its time, or a day. */
import { isObject } from '../../base/json.ts'

const SHARE = 0.8
const DAY_MS = 86_400_000

/** How long it may still stand; 0 or less: renew it now. A text that is no token is renewed at once. */
export function tokenRefreshMs(token: string, nowMs: number): number {
  const claims = claimsOf(token)
  if (claims === undefined) return 0
  const { iat, exp } = claims
  return Math.min(iat * 1000 + (exp - iat) * 1000 * SHARE, iat * 1000 + DAY_MS) - nowMs
}

function claimsOf(token: string): { iat: number; exp: number } | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'))
    if (!isObject(claims) || typeof claims.iat !== 'number' || typeof claims.exp !== 'number') return undefined
    return { iat: claims.iat, exp: claims.exp }
  } catch {
    return undefined
  }
}
