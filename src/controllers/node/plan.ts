/**
 * What a node's health asks for: pure. Taints that say it, pods whose readiness can no longer be believed, and pods that
 * must go.
 *
 * A pod on an unreachable node is removed by force: nobody is there to end it in good order. On a node that is reachable
 * but not ready, or that a user tainted, the agent still owes the pod its grace, so it is deleted with it.
 *
 * An exclusive pod may run on there until its node's lease has run out (docs/design/fencing.md): it waits for that.
 */
import { findCondition, isPodFinished, isPodReady, isTerminating } from '../../api/conditions.ts'
import { isExclusive } from '../../api/exclusive.ts'
import type { Stored } from '../../api/meta.ts'
import { NODE_CONDITION, POD_CONDITION, TAINT } from '../../api/names.ts'
import { type Node, nodeCondition, type Taint } from '../../api/node.ts'
import type { Pod } from '../../api/pod.ts'
import { toleratesTaint } from '../../api/taints.ts'
import { timestamp } from '../../base/clock.ts'

/** Reason of the condition Ready that this controller sets on pods. */
export const NODE_NOT_READY = 'NodeNotReady'

export type Health = 'ready' | 'notReady' | 'unreachable'

export function healthOf(node: Node): Health {
  const status = nodeCondition(node, 'Ready')?.status
  if (status === 'True') return 'ready'
  return status === 'Unknown' ? 'unreachable' : 'notReady'
}

const HEALTH_KEYS: ReadonlySet<string> = new Set([TAINT.notReady, TAINT.unreachable])
const KEY_OF: Readonly<Record<Exclude<Health, 'ready'>, string>> = {
  notReady: TAINT.notReady,
  unreachable: TAINT.unreachable,
}

const PRESSURE_TAINTS: Readonly<Record<string, string>> = {
  [NODE_CONDITION.memoryPressure]: TAINT.memoryPressure,
  [NODE_CONDITION.diskPressure]: TAINT.diskPressure,
  [NODE_CONDITION.pidPressure]: TAINT.pidPressure,
}
const PRESSURE_KEYS: ReadonlySet<string> = new Set(Object.values(PRESSURE_TAINTS))

/** What the node runs short of, by its conditions. */
export function pressuresOf(node: Node): string[] {
  return Object.keys(PRESSURE_TAINTS).filter((type) => nodeCondition(node, type)?.status === 'True')
}

/**
 * The node's taints as they should be; the same list when nothing changes. A NoExecute taint gets the time at which it
 * came, from which tolerationSeconds count.
 */
export function planTaints(node: Node, nowMs: number): readonly Taint[] {
  const taints = node.spec?.taints ?? []
  const health = healthOf(node)
  const key = health === 'ready' ? undefined : KEY_OF[health]
  const pressures = pressuresOf(node).map((condition) => PRESSURE_TAINTS[condition])
  const kept = taints.filter(
    (taint) =>
      (!HEALTH_KEYS.has(taint.key) || taint.key === key) &&
      (!PRESSURE_KEYS.has(taint.key) || pressures.some((each) => each === taint.key)),
  )
  const next = kept.map((taint) =>
    taint.effect === 'NoExecute' && taint.timeAdded === undefined ? { ...taint, timeAdded: timestamp(nowMs) } : taint,
  )
  for (const effect of ['NoSchedule', 'NoExecute'] as const) {
    if (key === undefined || next.some((taint) => taint.key === key && taint.effect === effect)) continue
    next.push({ key, effect, ...(effect === 'NoExecute' && { timeAdded: timestamp(nowMs) }) })
  }
  for (const pressure of pressures) {
    if (pressure === undefined || next.some((taint) => taint.key === pressure)) continue
    next.push({ key: pressure, effect: 'NoSchedule' })
  }
  const same = next.length === taints.length && next.every((taint, index) => taint === taints[index])
  return same ? taints : next
}

/** Nodes as the one that is looked at sees them. */
export interface Cluster {
  nodes: number
  unready: number
  /** Of the unready: those that became so within some minutes of the node, itself included. */
  together: number
  /**
   * Ready, but not to be counted on yet: their beats are missing, or they were lost with the node and are just back. By
   * the next seconds they are unready too, or the node itself is back.
   */
  late: number
}

/** A node that was lost hours ago says nothing about one that is lost now. */
const TOGETHER_MS = 5 * 60_000

/** How long the others of a common loss have to come back once the first has. */
const RETURN_MS = 10_000

export function isLate(node: Node): boolean {
  return healthOf(node) === 'ready' && nodeCondition(node, NODE_CONDITION.late)?.status === 'True'
}

export function clusterSeenBy(node: Node, nodes: readonly Node[], nowMs: number): Cluster {
  const sinceMs = (one: Node): number => Date.parse(nodeCondition(one, 'Ready')?.lastTransitionTime ?? '')
  const ownMs = sinceMs(node)
  const unready = nodes.filter((one) => healthOf(one) !== 'ready')
  // One that never was ready has not vanished, and compares as not a number.
  const together = unready.filter((one) => Math.abs(sinceMs(one) - ownMs) <= TOGETHER_MS)
  const isBack = (one: Node): boolean =>
    healthOf(one) === 'ready' && sinceMs(one) >= ownMs && nowMs - sinceMs(one) < RETURN_MS
  return {
    nodes: nodes.length,
    unready: unready.length,
    together: together.length,
    late: nodes.filter((one) => isLate(one) || isBack(one)).length,
  }
}

/**
 * Whether so many nodes were lost at once that the fault is more likely ours than theirs: more than half of them, or all
 * there are. Moving their pods would then do harm, or find no place.
 */
export function isMassFailure({ nodes, unready, together }: Cluster): boolean {
  return unready === nodes || together * 2 > nodes
}

/** Whether it may turn out to be a mass failure, once the late nodes have shown what they are. */
export function mayBeMassFailure({ nodes, unready, together, late }: Cluster): boolean {
  return late > 0 && (unready + late === nodes || (together + late) * 2 > nodes)
}

/**
 * When the pod must leave: 0 now, undefined never. Of several limits the shortest holds. One that came after the taint has
 * its whole time, else it would be placed and thrown out over and over.
 */
export function evictAtMs(pod: Pod, taints: readonly Taint[]): number | undefined {
  let atMs: number | undefined
  for (const taint of taints) {
    if (taint.effect !== 'NoExecute') continue
    const matching = (pod.spec.tolerations ?? []).filter((toleration) => toleratesTaint(toleration, taint))
    if (matching.length === 0) return 0
    const limits = matching.map(({ tolerationSeconds }) => tolerationSeconds).filter((limit) => limit !== undefined)
    if (limits.length === 0) continue
    const sinceMs = Math.max(Date.parse(taint.timeAdded ?? ''), cameAtMs(pod))
    const endMs = sinceMs + Math.max(0, Math.min(...limits)) * 1000
    atMs = Math.min(atMs ?? Number.POSITIVE_INFINITY, Number.isNaN(endMs) ? 0 : endMs)
  }
  return atMs
}

/** When the pod came to its node. */
function cameAtMs({ metadata, status }: Pod): number {
  const scheduled = findCondition(status?.conditions, POD_CONDITION.scheduled)
  const boundAt = scheduled?.status === 'True' ? scheduled.lastTransitionTime : undefined
  return Date.parse(boundAt ?? metadata.creationTimestamp ?? '') || 0
}

const UNSURE_MS = 250

export interface NodeSnapshot {
  node: Stored<Node>
  pods: readonly Stored<Pod>[]
  cluster: Cluster
  evictionDelayMs: number
  nowMs: number
  /** How much longer something exclusive may run on the unreachable node. */
  fencedAfterMs?: number
}

export interface NodePlan {
  taints: readonly Taint[]
  /** Their condition Ready becomes False, so that no traffic goes to them. */
  markNotReady: Stored<Pod>[]
  /** Marked so while the node was lost, and it is back: Ready follows their containers again. */
  markReady: Stored<Pod>[]
  evict: { pod: Stored<Pod>; force: boolean }[]
  /** How many pods would have been evicted, had not most nodes failed together. */
  heldBack: number
  againAfterMs: number | undefined
}

export function planNode(snapshot: NodeSnapshot): NodePlan {
  const { node, pods, cluster, nowMs } = snapshot
  const health = healthOf(node)
  const taints = planTaints(node, nowMs)
  const plan: NodePlan = { taints, markNotReady: [], markReady: [], evict: [], heldBack: 0, againAfterMs: undefined }
  // While no node is ready, taking endpoints away would help no one and hurt all that still run.
  if (health !== 'ready' && cluster.unready < cluster.nodes)
    plan.markNotReady = pods.filter((pod) => isPodReady(pod) && !isPodFinished(pod))
  if (health === 'ready') plan.markReady = pods.filter(isMarked)
  const stopped = health !== 'ready' && isMassFailure(cluster)
  const unsure = health !== 'ready' && !stopped && mayBeMassFailure(cluster)
  for (const pod of pods) {
    const atMs = leaveAtMs(snapshot, taints, pod)
    if (atMs === undefined) continue
    if (stopped) plan.heldBack += atMs <= nowMs ? 1 : 0
    else if (unsure) plan.againAfterMs = Math.min(plan.againAfterMs ?? Number.POSITIVE_INFINITY, UNSURE_MS)
    else if (atMs <= nowMs) plan.evict.push({ pod, force: health === 'unreachable' })
    else plan.againAfterMs = Math.min(plan.againAfterMs ?? Number.POSITIVE_INFINITY, atMs - nowMs)
  }
  // Who is removed now needs no mark: its endpoints go with it.
  const gone = new Set(plan.evict.filter(({ force }) => force).map(({ pod }) => pod))
  plan.markNotReady = plan.markNotReady.filter((pod) => !gone.has(pod))
  return plan
}

/**
 * Marked by us, and its agent's last word is that the containers are ready. The agent may have sent that word before the
 * node was seen to be back, and will not repeat it: without this the mark would stay for ever.
 */
function isMarked(pod: Pod): boolean {
  const conditions = pod.status?.conditions
  const ready = findCondition(conditions, POD_CONDITION.ready)
  const containersReady = findCondition(conditions, POD_CONDITION.containersReady)?.status === 'True'
  return ready?.status === 'False' && ready.reason === NODE_NOT_READY && containersReady && !isPodFinished(pod)
}

function leaveAtMs(
  { node, evictionDelayMs, nowMs, fencedAfterMs = 0 }: NodeSnapshot,
  taints: readonly Taint[],
  pod: Pod,
): number | undefined {
  const health = healthOf(node)
  const lost = health === 'unreachable'
  // The agent of a reachable node ends what is being deleted; finished pods hold nothing.
  if (!lost && (isTerminating(pod) || isPodFinished(pod))) return undefined
  const fencedAtMs = lost && isExclusive(pod) ? nowMs + Math.max(0, fencedAfterMs) : 0
  const atMs = evictAtMs(pod, taints)
  const delayed =
    atMs === undefined || health === 'ready' ? atMs : Math.max(atMs, taintedAtMs(taints) + evictionDelayMs)
  if (!isTerminating(pod)) {
    return isPodFinished(pod) || delayed === undefined ? undefined : Math.max(delayed, fencedAtMs)
  }
  // It was told to end, and no agent will say that it did: its deadline is the latest that it stays.
  const deadlineMs = Date.parse(pod.metadata.deletionTimestamp ?? '')
  const endMs = Math.min(delayed ?? Number.POSITIVE_INFINITY, Number.isNaN(deadlineMs) ? 0 : deadlineMs)
  return Math.max(endMs, fencedAtMs)
}

function taintedAtMs(taints: readonly Taint[]): number {
  const taint = taints.find(({ key, effect }) => HEALTH_KEYS.has(key) && effect === 'NoExecute')
  return Date.parse(taint?.timeAdded ?? '') || 0
}
