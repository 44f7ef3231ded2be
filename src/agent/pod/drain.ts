/**
 * What holds back the first signal to a pod that is to go: traffic that still reaches it, then connections that still
 * carry requests. Pure. See docs/design/traffic-barrier.md for why a connection counts as busy.
 */
import { findCondition } from '../../api/conditions.ts'
import { POD_CONDITION } from '../../api/names.ts'
import type { Pod } from '../../api/pod.ts'
import { drainLimitMs, drainSeconds, graceMsOf, leaveLimitMs, NO_ENDPOINTS } from '../../api/termination.ts'
import type { Connection } from '../network/network.ts'
import type { DrainFact } from './facts.ts'

/** A connection on which nothing has moved for so long carries no request, unless one is still unanswered. */
const IDLE_MS = 1_000

export function drainFact(
  pod: Pod,
  { terminateByMs, looked }: { terminateByMs: number; looked: DrainFact['looked'] },
): DrainFact {
  const graceMs = graceMsOf(pod)
  const startedMs = terminateByMs - graceMs
  const drained = findCondition(pod.status?.conditions, POD_CONDITION.drained)
  const inService = drained?.reason !== NO_ENDPOINTS || drainSeconds(pod) !== undefined
  return {
    leaveByMs: drained?.status === 'True' ? undefined : startedMs + leaveLimitMs(graceMs),
    // In the host's namespace the connections of all its programs are mixed.
    quietByMs: inService && pod.spec.hostNetwork !== true ? startedMs + drainLimitMs(pod, graceMs) : undefined,
    looked,
  }
}

/**
 * Whether a request may be on its way: data not read or not taken, a request after the last answer, or anything that
 * moved within the last second (an answer in parts, a connection that has only just come). The kernel counts times in
 * ticks of some milliseconds: a first request that came in the tick of the connection shows no order, so a connection
 * that has asked and was never answered is busy whatever the times say.
 */
export function isBusy(connection: Connection): boolean {
  const { unreadBytes, unsentBytes, receivedBytes, sentBytes, sinceReceivedMs, sinceSentMs } = connection
  if (unreadBytes > 0 || unsentBytes > 0) return true
  if (Math.min(sinceReceivedMs, sinceSentMs) < IDLE_MS) return true
  return receivedBytes > 0 && (sentBytes === 0 || sinceReceivedMs < sinceSentMs)
}
