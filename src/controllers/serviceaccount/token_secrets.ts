/**
 * Fills Secrets of type `kubernetes.io/service-account-token` with a token that does not end by time, the cluster's CA and
 * the namespace, for programs outside the cluster that cannot ask for fresh ones. Such a Secret goes with its account.
 *
 * One that names an account which is not there yet is left alone: Kubernetes removes it at once, and a manifest that lists
 * the Secret first then lacks it. What was filled once is removed when the account has gone, or is another of that name.
 */

import { keyOf, splitKey } from '../../api/kind.ts'
import type { Stored } from '../../api/meta.ts'
import {
  ACCOUNT_NAME_ANNOTATION,
  ACCOUNT_UID_ANNOTATION,
  SERVICE_ACCOUNT_TOKEN_TYPE,
  type Secret,
  secretKind,
} from '../../api/secret.ts'
import { type ServiceAccount, serviceAccountKind } from '../../api/serviceaccount.ts'
import { isCode } from '../../base/errors.ts'
import type { Service } from '../../base/service.ts'
import type { ServiceAccountTokens } from '../../resources/service_account_tokens.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { changeObject, deleteObject } from '../common/writes.ts'

export interface TokenSigner {
  tokens: Pick<ServiceAccountTokens, 'issueSecretToken' | 'verify'>
  /** Of the cluster. */
  caPem: string
}

export type TokenSecretPlan =
  | { type: 'leave' }
  | { type: 'delete' }
  /** `data` in base64; the token is signed when it is written. */
  | { type: 'fill'; data: { 'ca.crt': string; namespace: string }; token: 'keep' | 'issue' }

const base64 = (text: string): string => Buffer.from(text).toString('base64')

/** Pure. `isTokenGood`: whether the Secret's token would be let in. */
export function planTokenSecret(
  secret: Stored<Secret>,
  account: Stored<ServiceAccount> | undefined,
  { caPem, isTokenGood }: { caPem: string; isTokenGood: boolean },
): TokenSecretPlan {
  const uid = secret.metadata.annotations?.[ACCOUNT_UID_ANNOTATION]
  if (uid !== undefined && uid !== account?.metadata.uid) return { type: 'delete' }
  if (account === undefined || secret.metadata.deletionTimestamp !== undefined) return { type: 'leave' }
  const data = { 'ca.crt': base64(caPem), namespace: base64(secret.metadata.namespace ?? '') }
  const isWhole = secret.data?.['ca.crt'] === data['ca.crt'] && secret.data.namespace === data.namespace
  if (uid !== undefined && isWhole && isTokenGood) return { type: 'leave' }
  // Its writer wants it as it is, and the write would be refused.
  if (secret.immutable === true) return { type: 'leave' }
  return { type: 'fill', data, token: isTokenGood ? 'keep' : 'issue' }
}

export function createTokenSecretController(context: ControllerContext & { tokenSigner: TokenSigner }): Service {
  const { resources, tokenSigner } = context
  const { tokens, caPem } = tokenSigner

  const isToken = (secret: Stored<Secret>): boolean => secret.type === SERVICE_ACCOUNT_TOKEN_TYPE
  const accountOf = ({ metadata }: Stored<Secret>): string => metadata.annotations?.[ACCOUNT_NAME_ANNOTATION] ?? ''

  /** Signed with a key that the cluster has, for this account. */
  function isTokenGood(secret: Stored<Secret>, account: Stored<ServiceAccount> | undefined): boolean {
    const text = secret.data?.token
    if (text === undefined) return false
    try {
      return tokens.verify(Buffer.from(text, 'base64').toString()).uid === account?.metadata.uid
    } catch (error) {
      if (isCode(error, 'unauthorized')) return false
      throw error
    }
  }

  async function reconcile(key: string): Promise<undefined> {
    const { namespace, name } = splitKey(key)
    const secret = resources.get(secretKind, namespace, name)
    if (secret === undefined || !isToken(secret)) return undefined
    const account = resources.get(serviceAccountKind, namespace, accountOf(secret))
    const plan = planTokenSecret(secret, account, { caPem, isTokenGood: isTokenGood(secret, account) })
    if (plan.type === 'delete') await deleteObject(context, secretKind, secret)
    if (plan.type !== 'fill' || account === undefined) return undefined
    const { uid } = secret.metadata
    const issued =
      plan.token === 'keep'
        ? {}
        : { token: base64(tokens.issueSecretToken(namespace, account.metadata.name, { name, uid })) }
    await changeObject(context, secretKind, secret, {
      part: 'main',
      change: (current) => ({
        ...current,
        metadata: {
          ...current.metadata,
          annotations: { ...current.metadata.annotations, [ACCOUNT_UID_ANNOTATION]: account.metadata.uid },
        },
        data: { ...current.data, ...plan.data, ...issued },
      }),
    })
    return undefined
  }

  return queueService({
    id: 'token-secret-controller',
    context,
    concurrency: 1,
    reconcile,
    watch(queue) {
      const stops = [
        resources.subscribe(secretKind, ({ type, object }) => {
          if (type !== 'DELETED' && isToken(object)) queue.add(keyOf(object))
        }),
        resources.subscribe(serviceAccountKind, ({ type, object }) => {
          if (type === 'MODIFIED') return
          for (const secret of resources.list(secretKind, { namespace: object.metadata.namespace ?? '' })) {
            if (isToken(secret) && accountOf(secret) === object.metadata.name) queue.add(keyOf(secret))
          }
        }),
      ]
      for (const secret of resources.list(secretKind)) if (isToken(secret)) queue.add(keyOf(secret))
      return stops
    },
  })
}
