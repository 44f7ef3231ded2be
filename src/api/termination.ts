/**
 * How a pod's grace is divided when it is deleted: first it leaves traffic, then its connections end, then its programs
 * are asked to stop. Server and agent share these numbers: the agent must not give up before the server has decided.
 * Pure. See docs/design/traffic-barrier.md.
 */
import { ANNOTATION } from './names.ts'
import type { Pod } from './pod.ts'

/** Reason of a Drained that is not stored: the pod stands in no service, so its agent need not wait for anybody. */
export const NO_ENDPOINTS = 'NoEndpoints'

/** Longest wait for nodes to confirm a change of the service table. */
export const MAX_CONFIRM_MS = 5_000
/** Longest wait for connections to end, or for a replacement where the pod is a service's last resort. */
const MAX_DRAIN_MS = 15_000
/** What the agent waits beyond the server's own bounds. */
const AGENT_SLACK_MS = 250
/** What the programs keep of the grace at least, where the grace allows it. */
const MIN_STOP_MS = 2_000

/** How long nodes are waited for before a pod is stopped. */
export function confirmLimitMs(graceMs: number): number {
  return Math.min(graceMs / 2, MAX_CONFIRM_MS)
}

/** How long a pod that nobody stands in for yet is kept for its service. */
export function replacementLimitMs(graceMs: number): number {
  return Math.min(graceMs / 2, MAX_DRAIN_MS)
}

/** How long an agent waits for the server's leave to stop a pod. */
export function leaveLimitMs(graceMs: number): number {
  return Math.min(graceMs / 2, MAX_DRAIN_MS + AGENT_SLACK_MS)
}

/** How long after its deletion a pod's busy connections hold back the first signal. */
export function drainLimitMs(pod: Pod, graceMs: number): number {
  const wantedMs = drainSeconds(pod)
  const latestMs = Math.max(0, graceMs - Math.min(MIN_STOP_MS, graceMs / 4))
  return Math.min(wantedMs === undefined ? Math.min(graceMs / 2, MAX_DRAIN_MS) : wantedMs * 1000, latestMs)
}

/** The annotation's seconds; undefined when it is absent or no number of seconds. */
export function drainSeconds(pod: Pod): number | undefined {
  const text = pod.metadata.annotations?.[ANNOTATION.drainSeconds]
  if (text === undefined) return undefined
  const seconds = Number(text)
  return text.trim() !== '' && Number.isFinite(seconds) && seconds >= 0 ? seconds : undefined
}

export function graceMsOf(pod: Pod): number {
  return Math.max(0, pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30) * 1000
}
