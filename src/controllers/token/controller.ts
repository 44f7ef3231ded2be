/** Removes join tokens some time after they have expired; until then a late joiner is told that it is too late. */

import { readTokenSecret, TOKEN_NAMESPACE } from '../../api/join_token.ts'
import type { Stored } from '../../api/meta.ts'
import { type Secret, secretKind } from '../../api/secret.ts'
import type { Service } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { deleteObject } from '../common/writes.ts'

const KEY = 'expired'
export const KEEP_EXPIRED_MS = 3_600_000

export interface TokenPlan {
  remove: Stored<Secret>[]
  /** When the next falls due. */
  againAtMs: number | undefined
}

/** Pure. */
export function planTokens(secrets: readonly Stored<Secret>[], nowMs: number): TokenPlan {
  const plan: TokenPlan = { remove: [], againAtMs: undefined }
  for (const secret of secrets) {
    const token = readTokenSecret(secret)
    if (token === undefined) continue
    const dueMs = token.expiresAtMs + KEEP_EXPIRED_MS
    if (dueMs <= nowMs) plan.remove.push(secret)
    else if (Number.isFinite(dueMs)) plan.againAtMs = Math.min(plan.againAtMs ?? dueMs, dueMs)
  }
  return plan
}

export function createTokenController(context: ControllerContext): Service {
  const { resources, clock } = context
  return queueService({
    id: 'token-controller',
    context,
    concurrency: 1,
    async reconcile() {
      const nowMs = clock.now()
      const plan = planTokens(resources.list(secretKind, { namespace: TOKEN_NAMESPACE }), nowMs)
      await settleAll(plan.remove.map((secret) => deleteObject(context, secretKind, secret)))
      return plan.againAtMs === undefined ? undefined : { againAfterMs: plan.againAtMs - nowMs }
    },
    watch(queue) {
      queue.add(KEY)
      return [
        resources.subscribe(secretKind, ({ object }) => {
          if (readTokenSecret(object) !== undefined) queue.add(KEY)
        }),
      ]
    },
  })
}
