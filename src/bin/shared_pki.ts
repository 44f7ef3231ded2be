/**
 * Servers of one cluster must trust each other's signatures: agents and clients meet now this one, now that one. A server
 * with a CA or an `sa.key` of its own would be let in by etcd and then refuse the others' nodes and tokens at random; so
 * it is told at its start what differs, and does not start.
 *
 *   /drover-meta/shared-pki        the CA, and the key that tokens were last signed with: for servers that start alone
 *   presence of the live servers   which key each signs with, and which it verifies (presence.ts)
 *
 * A change of `sa.key` goes through: the new key behind the old on every server, then before it, then alone.
 */
import { createHash, X509Certificate } from 'node:crypto'
import type { SigningKey } from '../base/cluster_keys.ts'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { Store } from '../store/store.ts'

export const SHARED_PKI_KEY = '/drover-meta/shared-pki'

/** Ids of the keys in a server's `sa.key`; the first signs. */
export type TokenKeys = readonly string[]

export interface SharedPki {
  /** SHA-256 of the CA's certificate. */
  ca: string
  /** Id of the key that tokens are signed with. */
  signs: string
}

export interface PkiFacts {
  ca: string
  tokenKeys: TokenKeys
  /** Of the other servers that live, by id. Empty: of a version that does not say. */
  others: ReadonlyMap<string, TokenKeys>
  recorded: SharedPki | undefined
}

/** What must be mended before this server may start; undefined when all fits. Pure. */
export function judgeSharedPki({ ca, tokenKeys, others, recorded }: PkiFacts): string | undefined {
  if (recorded !== undefined && recorded.ca !== ca) {
    return `pki/ca.crt is not the CA of the cluster whose state this etcd holds (SHA-256 ${recorded.ca}): copy pki/ca.crt, ca.key, sa.key and secrets.key from a server of that cluster, or use another etcd`
  }
  const [own = ''] = tokenKeys
  for (const [id, theirs] of others) {
    const [signs] = theirs
    if (signs === undefined) continue
    if (!tokenKeys.includes(signs)) {
      return `pki/sa.key lacks the key ${signs} that server ${id} signs tokens with: copy pki/sa.key from that server`
    }
    if (!theirs.includes(own)) {
      return `pki/sa.key signs tokens with the key ${own}, which server ${id} does not have: add it to the end of that server's pki/sa.key and start it again, then this one; or copy pki/sa.key from there`
    }
  }
  if (recorded !== undefined && !tokenKeys.includes(recorded.signs)) {
    return `pki/sa.key lacks the key ${recorded.signs} that this cluster's tokens are signed with: copy pki/sa.key from another server or a backup, or put the new key before the old one; if the old key is lost, start once with --forget-token-key, and tokens that it signed end`
  }
  return undefined
}

export const caFingerprint = (certPem: string): string =>
  createHash('sha256').update(new X509Certificate(certPem).raw).digest('hex')

export const tokenKeysOf = (keys: readonly SigningKey[]): TokenKeys => keys.map(({ id }) => id)

function parseRecord(value: string): SharedPki | undefined {
  const parsed: unknown = JSON.parse(value)
  if (!isObject(parsed) || typeof parsed.ca !== 'string' || typeof parsed.signs !== 'string') return undefined
  return { ca: parsed.ca, signs: parsed.signs }
}

export interface SharedPkiOptions {
  store: Store
  caPem: string
  tokenKeys: TokenKeys
  others: ReadonlyMap<string, TokenKeys>
  /** The key that the record names is lost, and the user knows. */
  forgetTokenKey: boolean
}

/** Rejects with `invalid` and what to do; else records this server's keys as the cluster's. */
export async function checkSharedPki(options: SharedPkiOptions): Promise<void> {
  const { store, caPem, tokenKeys, others, forgetTokenKey } = options
  const ca = caFingerprint(caPem)
  const mine: SharedPki = { ca, signs: tokenKeys[0] ?? '' }
  const value = JSON.stringify(mine)
  let found = await store.get(SHARED_PKI_KEY)
  for (;;) {
    const read = found === undefined ? undefined : parseRecord(found.value)
    const recorded = read !== undefined && forgetTokenKey ? { ...read, signs: mine.signs } : read
    const fault = judgeSharedPki({ ca, tokenKeys, others, recorded })
    if (fault !== undefined) throw new DroverError('invalid', fault)
    if (found?.value === value) return
    // Two that start at once: the second is judged by what the first has written.
    const expect = { modRevision: found?.modRevision ?? 0 }
    const outcome = await store.write({ type: 'put', key: SHARED_PKI_KEY, value, expect })
    if (outcome.ok) return
    found = outcome.current
  }
}
