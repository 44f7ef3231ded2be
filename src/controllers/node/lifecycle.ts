/** Watches over nodes: taints the unready, takes their pods out of traffic, evicts, and clears up after lost nodes. */
import { findCondition, isTerminating, withCondition } from '../../api/conditions.ts'
import { fenceAfterMs, isExclusive } from '../../api/exclusive.ts'
import type { Stored } from '../../api/meta.ts'
import { POD_CONDITION } from '../../api/names.ts'
import { type Node, nodeCondition, nodeKind } from '../../api/node.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { gatedReady } from '../../api/readiness_gates.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ReconcileResult, WorkQueue } from '../../base/queue.ts'
import type { Service } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { changeObject, deleteObject } from '../common/writes.ts'
import {
  type Cluster,
  clusterSeenBy,
  healthOf,
  isLate,
  NODE_NOT_READY,
  type NodePlan,
  planNode,
  pressuresOf,
} from './plan.ts'

export interface NodeLifecycleOptions extends ControllerContext {
  /** Wait between a node's taint and the eviction of its pods. Default 0: the heartbeat limit was wait enough. */
  nodeEvictionDelayMs?: number
}

/**
 * Since when this leader has seen nodes lost or missing, on the clock that does not jump. A new leader counts anew: it
 * waits longer than it must, but never less, whatever the clocks of leaders before it showed.
 */
type LostSince = Map<string, number>

export function createNodeLifecycleController(context: NodeLifecycleOptions): Service {
  const { resources, clock, nodeEvictionDelayMs = 0 } = context
  const lostSince: LostSince = new Map()

  function fencedAfterMs(name: string): number {
    const nowMs = clock.monotonicMs()
    const sinceMs = lostSince.get(name) ?? nowMs
    lostSince.set(name, sinceMs)
    return Math.max(0, Math.ceil(sinceMs + fenceAfterMs() - nowMs))
  }

  async function reconcile(name: string): Promise<ReconcileResult> {
    const pods = resources.podsOnNode(name) as Stored<Pod>[]
    const node = resources.get(nodeKind, '', name)
    if (node === undefined) {
      if (pods.length > 0) return await clearLostNode(context, { name, pods, fencedAfterMs: fencedAfterMs(name) })
      lostSince.delete(name)
      return undefined
    }
    const lost = healthOf(node) === 'unreachable'
    if (!lost) lostSince.delete(name)
    const nowMs = clock.now()
    const cluster = clusterSeenBy(node, resources.list(nodeKind), nowMs)
    const fenced = lost ? { fencedAfterMs: fencedAfterMs(name) } : {}
    const plan = planNode({ node, pods, cluster, evictionDelayMs: nodeEvictionDelayMs, nowMs, ...fenced })
    await taint(context, node, plan)
    const message = `Node ${name} is not ready`
    if (plan.heldBack > 0) reportHeldBack(context, node, { cluster, pods: plan.heldBack })
    await settleAll([
      ...plan.evict.map(({ pod, force }) => evict(context, node, { pod, force })),
      ...plan.markNotReady.map((pod) => setReady(context, pod, { status: 'False', reason: NODE_NOT_READY, message })),
      ...plan.markReady.map((pod) => setReady(context, pod, { status: 'True' })),
    ])
    return plan.againAfterMs === undefined ? undefined : { againAfterMs: plan.againAfterMs }
  }

  return queueService({
    id: 'node-lifecycle-controller',
    context,
    reconcile,
    watch: (queue) => watchNodes(context, queue),
  })
}

function watchNodes({ resources }: ControllerContext, queue: WorkQueue): (() => void)[] {
  // How many nodes are unready decides about all that are.
  const wakeUnready = (): void => {
    for (const node of resources.list(nodeKind)) if (healthOf(node) !== 'ready') queue.add(node.metadata.name)
  }
  const stops = [
    resources.subscribe(nodeKind, (event) => {
      const changed =
        event.type === 'MODIFIED'
          ? healthOf(event.old) !== healthOf(event.object) || isLate(event.old) !== isLate(event.object)
          : true
      const tainted = event.type === 'MODIFIED' && !jsonEqual(event.old.spec?.taints, event.object.spec?.taints)
      const pressed = event.type === 'MODIFIED' && !jsonEqual(pressuresOf(event.old), pressuresOf(event.object))
      if (changed || tainted || pressed) queue.add(event.object.metadata.name)
      if (changed) wakeUnready()
    }),
    resources.subscribe(podKind, (event) => {
      const { nodeName } = event.object.spec
      if (event.type === 'DELETED' || !nodeName) return
      const node = resources.get(nodeKind, '', nodeName)
      if (node === undefined || healthOf(node) !== 'ready' || hasNoExecute(node)) queue.add(nodeName)
    }),
  ]
  const names = new Set(resources.list(nodeKind).map((node) => node.metadata.name))
  for (const pod of resources.list(podKind)) if (pod.spec.nodeName) names.add(pod.spec.nodeName)
  for (const name of names) queue.add(name)
  return stops
}

const hasNoExecute = (node: Node): boolean => (node.spec?.taints ?? []).some(({ effect }) => effect === 'NoExecute')

async function clearLostNode(
  context: ControllerContext,
  { name, pods, fencedAfterMs }: { name: string; pods: readonly Stored<Pod>[]; fencedAfterMs: number },
): Promise<ReconcileResult> {
  const { resources, events } = context
  // A pod's node is older than its binding: once the cache is as new as the pods, a node that is missing is gone.
  const newest = Math.max(...pods.map((pod) => Number(pod.metadata.resourceVersion)))
  await resources.waitForRevision(newest, CACHE_WAIT_MS)
  if (resources.get(nodeKind, '', name) !== undefined) return undefined
  const waiting = fencedAfterMs > 0 ? pods.filter(isExclusive) : []
  await settleAll(
    pods
      .filter((pod) => !waiting.includes(pod))
      .map(async (pod) => {
        await markDisrupted(context, pod, { reason: 'DeletionByPodGC', message: `Node ${name} no longer exists` })
        if (isExclusive(pod) && !(await markFenced(context, pod, name))) return
        events.record(pod, 'Warning', 'NodeGone', `Deleting pod: its node ${name} no longer exists`)
        await deleteObject(context, podKind, pod, { gracePeriodSeconds: 0 })
      }),
  )
  return waiting.length > 0 ? { againAfterMs: fencedAfterMs } : undefined
}

/**
 * Says on the pod, before it is deleted, that it goes by no fault of its own: job failure policies ask for it. What ends already
 * was told to for another reason. Source: Kubernetes "Pod disruption conditions".
 */
async function markDisrupted(
  context: ControllerContext,
  pod: Stored<Pod>,
  why: { reason: string; message: string },
): Promise<void> {
  if (isTerminating(pod)) return
  const type = POD_CONDITION.disruptionTarget
  await changeObject(context, podKind, pod, {
    part: 'status',
    change: (current) => {
      const known = current.status?.conditions
      if (isTerminating(current) || findCondition(known, type)?.status === 'True') return undefined
      const conditions = withCondition(known, { type, status: 'True', ...why }, context.clock.now())
      return { ...current, status: { ...current.status, conditions: [...conditions] } }
    },
  })
}

/**
 * Before an exclusive pod's object goes by force: marks it as ending, then looks whether its node is still lost. A node
 * that comes back after the mark sees it before it may start anything; one that came back before it ends the pod itself.
 */
async function markFenced(context: ControllerContext, pod: Stored<Pod>, nodeName: string): Promise<boolean> {
  const { resources } = context
  if (!isTerminating(pod)) {
    // Without any grace the mark would be the removal.
    const grace = Math.max(1, pod.spec.terminationGracePeriodSeconds ?? 1)
    await deleteObject(context, podKind, pod, { gracePeriodSeconds: grace })
  }
  await resources.waitForRevision(await resources.currentRevision(), CACHE_WAIT_MS)
  const node = resources.get(nodeKind, '', nodeName)
  return node === undefined || healthOf(node) === 'unreachable'
}

const CACHE_WAIT_MS = 10_000

async function taint(context: ControllerContext, node: Stored<Node>, { taints }: NodePlan): Promise<void> {
  if (jsonEqual(node.spec?.taints ?? [], taints)) return
  const { events } = context
  const health = healthOf(node)
  const before = nodeCondition(node, 'Ready')
  await changeObject(context, nodeKind, node, {
    part: 'main',
    change: (current) => {
      if (!jsonEqual(current.spec?.taints ?? [], node.spec?.taints ?? [])) return undefined
      const { taints: _old, ...spec } = current.spec ?? {}
      return { ...current, spec: taints.length > 0 ? { ...spec, taints: [...taints] } : spec }
    },
  })
  // A node without the condition has only just come: it is ready, or not yet, but not again and not no longer.
  if (health === 'ready') events.record(node, 'Normal', 'NodeReady', `Node ${node.metadata.name} is ready`)
  else if (before !== undefined) {
    const why = before?.message ? `: ${before.message}` : ''
    events.record(node, 'Warning', 'NodeNotReady', `Node ${node.metadata.name} is ${wordOf(health)}${why}`)
  }
}

const wordOf = (health: 'notReady' | 'unreachable'): string =>
  health === 'unreachable' ? 'unreachable: its agent no longer answers' : 'not ready'

async function setReady(
  context: ControllerContext,
  pod: Stored<Pod>,
  given: { status: 'True' | 'False'; reason?: string; message?: string },
): Promise<void> {
  const { clock } = context
  await changeObject(context, podKind, pod, {
    part: 'status',
    change: (current) => {
      const old = findCondition(current.status?.conditions, POD_CONDITION.ready)
      // The agent has spoken meanwhile: its word counts, and this is looked at again.
      if (given.status === 'True' && old?.reason !== NODE_NOT_READY) return undefined
      const word = given.status === 'True' ? gatedReady(current.spec, current.status?.conditions) : given
      const ready = withCondition(current.status?.conditions, { type: POD_CONDITION.ready, ...word }, clock.now())
      // Out of traffic now: when it is Ready again it counts only once nodes route to it anew.
      const routed = findCondition(ready, POD_CONDITION.routed)
      const conditions =
        given.status === 'False' && routed?.status === 'True'
          ? withCondition(ready, { type: POD_CONDITION.routed, status: 'False', reason: NODE_NOT_READY }, clock.now())
          : ready
      return { ...current, status: { ...current.status, conditions: [...conditions] } }
    },
  })
}

async function evict(
  context: ControllerContext,
  node: Stored<Node>,
  { pod, force }: { pod: Stored<Pod>; force: boolean },
): Promise<void> {
  const name = node.metadata.name
  const why = force ? `node ${name} is unreachable` : `it does not tolerate the taints of node ${name}`
  await markDisrupted(context, pod, { reason: 'DeletionByTaintManager', message: `Deleting pod: ${why}` })
  if (force && isExclusive(pod) && !(await markFenced(context, pod, name))) return
  context.events.record(pod, 'Warning', 'TaintManagerEviction', `Deleting pod: ${why}`)
  await deleteObject(context, podKind, pod, force ? { gracePeriodSeconds: 0 } : {})
}

function reportHeldBack(
  context: ControllerContext,
  node: Stored<Node>,
  { cluster, pods }: { cluster: Cluster; pods: number },
): void {
  const lost = Math.max(cluster.together, cluster.unready === cluster.nodes ? cluster.unready : 0)
  const message = `${lost} of ${cluster.nodes} nodes are unready at once: ${pods} pods stay where they are, because moving them would do more harm than good`
  context.log.warn({ node: node.metadata.name, ...cluster, pods }, 'evictions stopped')
  context.events.record(node, 'Warning', 'EvictionsStopped', message)
}
