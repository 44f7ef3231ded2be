/**
 * Why a pod is where it is, or nowhere: every node looked at for all that stands in the way, not only the first thing,
 * so that what would have to change can be said. Pure; it replays the placement on what is stored now.
 */

import type { Stored } from '../api/meta.ts'
import { handlerOfLabel, TAINT } from '../api/names.ts'
import type { Pod } from '../api/pod.ts'
import { anyTolerates } from '../api/taints.ts'
import {
  type Change,
  handlerProblem,
  type NodeScore,
  type NodeVerdict,
  type Obstacle,
  type PlacementVerdict,
} from '../api/why.ts'
import { formatBytes, formatCpuMillis } from '../base/quantity.ts'
import { Draft } from './draft.ts'
import { countReasons, explainRefusal, REASON, type ReasonCounts } from './explain.ts'
import { judgeFor, type NodeJudge } from './filters.ts'
import { classOf, type PodClass } from './pod_class.ts'
import type { NodeFacts, Snapshot } from './snapshot.ts'
import { SpreadState } from './spread.ts'

/** More would not be read. */
const MAX_CHANGES = 3

/** `snapshot` must not hold the pod itself. */
export function explainPlacement(snapshot: Snapshot, pod: Stored<Pod>): PlacementVerdict {
  const podClass = classOf(pod)
  const draft = new Draft(snapshot)
  const view: View = { podClass, draft, judge: judgeFor(podClass, draft), spread: new SpreadState(podClass, draft) }
  const counts: ReasonCounts = new Map()
  const nodes = snapshot.nodes.flatMap((node, row) => (node === undefined ? [] : [verdictOf(view, node, row, counts)]))
  const fitting = nodes.filter(({ obstacles }) => obstacles.length === 0).sort(compareFitting)
  const others = nodes.filter(({ obstacles }) => obstacles.length > 0).sort(compareOthers)
  const message =
    fitting.length > 0 ? `${fitting.length}/${nodes.length} nodes fit` : explainRefusal(snapshot.nodeCount, counts)
  return { nodes: [...fitting, ...others], message, changes: fitting.length > 0 ? [] : changesOf(others) }
}

interface View {
  podClass: PodClass
  draft: Draft
  judge: NodeJudge
  spread: SpreadState
}

function verdictOf(view: View, node: NodeFacts, row: number, counts: ReasonCounts): NodeVerdict {
  const { judge, spread } = view
  const bar = judge.barredBy(row)
  const lacks = bar === undefined ? judge.lacks(row) : []
  const spreadBar = bar === undefined && lacks.length === 0 ? spread.barredBy(node) : undefined
  countReasons(
    counts,
    bar !== undefined ? [bar] : lacks.length > 0 ? lacks : spreadBar === undefined ? [] : [spreadBar],
  )
  const obstacles = obstaclesOf(view, node, row)
  // A rule that this file does not know is told in the scheduler's own words.
  if (obstacles.length === 0 && (bar ?? lacks[0]) !== undefined) {
    obstacles.push({ type: 'other', reason: bar ?? lacks.join(', ') })
  }
  return obstacles.length > 0
    ? { node: node.name, obstacles }
    : { node: node.name, obstacles, score: scoreOf(view, node, row) }
}

function obstaclesOf({ podClass, draft, judge, spread }: View, node: NodeFacts, row: number): Obstacle[] {
  const found: Obstacle[] = []
  const { snapshot } = draft
  const bears = (key: string): boolean => anyTolerates(podClass.tolerations, { key, effect: 'NoSchedule' })
  if (node.cordoned && !bears(TAINT.unschedulable)) found.push({ type: 'cordoned' })
  const unready = node.ready === 'Unknown' ? TAINT.unreachable : TAINT.notReady
  if (node.ready !== 'True' && !bears(unready)) found.push({ type: 'notReady' })
  for (const { key, value, effect } of snapshot.taints[node.taintSet] ?? []) {
    const isOwn = key === TAINT.unschedulable || key === TAINT.notReady || key === TAINT.unreachable
    if (
      effect === 'PreferNoSchedule' ||
      isOwn ||
      anyTolerates(podClass.tolerations, { key, effect, ...(value && { value }) })
    )
      continue
    found.push({ type: 'taint', key, effect, ...(value ? { value } : {}) })
  }
  const missing = podClass.nodeSelector.filter(([key, value]) => node.labels[key] !== value)
  const handlers = missing.flatMap(([key, value]) => handlerOfLabel(key, value) ?? [])
  const labels = missing.filter(([key, value]) => handlerOfLabel(key, value) === undefined)
  if (labels.length > 0) found.push({ type: 'labels', missing: Object.fromEntries(labels) })
  for (const handler of handlers) {
    const problem = node.handlerProblems[handler]
    found.push({ type: 'handler', handler, ...(problem === undefined ? {} : { problem }) })
  }
  if (!node.hasNetwork && !podClass.hostNetwork) found.push({ type: 'network' })
  const lacks = judge.lacks(row)
  for (const [resource, requested] of Object.entries(podClass.requests)) {
    const free = draft.free(resource, row)
    // What the judge lets pass though nothing is declared is no obstacle.
    if (
      free < requested &&
      lacks.some((text) => text.endsWith(resource) || (resource === 'pods' && text === REASON.pods))
    ) {
      found.push({ type: 'resource', resource, requested, free: Math.max(0, free) })
    }
  }
  if (lacks.includes(REASON.ports)) found.push({ type: 'ports' })
  if (spread.barredBy(node) !== undefined) found.push({ type: 'spread' })
  return found
}

function scoreOf({ podClass, draft, judge, spread }: View, node: NodeFacts, row: number): NodeScore {
  const counts = podClass.group === undefined ? undefined : draft.counts(podClass.group)
  return {
    avoidedTaints: judge.avoided(row),
    spreadPenalty: spread.penalty(node),
    siblings: counts?.byRow[row] ?? 0,
    zoneSiblings: counts?.byZone.get(node.zone) ?? 0,
    fullness: Math.round(draft.cost(podClass, row) * 1000) / 1000,
  }
}

function compareFitting(a: NodeVerdict, b: NodeVerdict): number {
  const [x, y] = [a.score, b.score]
  if (x === undefined || y === undefined) return 0
  return (
    x.avoidedTaints - y.avoidedTaints ||
    x.spreadPenalty - y.spreadPenalty ||
    x.siblings - y.siblings ||
    x.zoneSiblings - y.zoneSiblings ||
    x.fullness - y.fullness ||
    (a.node < b.node ? -1 : 1)
  )
}

/** How hard each is to change, next to the others: a command, a setting, then machines. */
const WEIGHT: Readonly<Record<Obstacle['type'], number>> = {
  cordoned: 1,
  labels: 2,
  taint: 2,
  spread: 3,
  resource: 4,
  ports: 5,
  network: 6,
  handler: 7,
  notReady: 8,
  other: 8,
}

/** Of one resource, less missing is less to do. */
function weightOf(obstacle: Obstacle): number {
  const share = obstacle.type === 'resource' && obstacle.requested > 0 ? 1 - obstacle.free / obstacle.requested : 0
  return WEIGHT[obstacle.type] + share
}

const effortOf = ({ obstacles }: NodeVerdict): number => obstacles.reduce((sum, one) => sum + weightOf(one), 0)

function compareOthers(a: NodeVerdict, b: NodeVerdict): number {
  return effortOf(a) - effortOf(b) || (a.node < b.node ? -1 : 1)
}

function changesOf(nodes: readonly NodeVerdict[]): Change[] {
  return nodes.slice(0, MAX_CHANGES).map(({ node, obstacles }) => ({
    node,
    text: obstacles.map((obstacle) => wordsFor(obstacle, node)).join(', and '),
  }))
}

/** `200Mi more memory`, `1500m more CPU`. */
function moreText(resource: string, amount: number): string {
  if (resource === 'cpu') return `${formatCpuMillis(amount)} more CPU`
  if (resource === 'memory' || resource === 'ephemeral-storage')
    return `${formatBytes(roundUp(amount))} more ${resource}`
  return `${amount} more ${resource}`
}

/** Up to whole mebibytes: free memory is seldom round. */
const roundUp = (bytes: number): number => (bytes > 2 ** 20 ? Math.ceil(bytes / 2 ** 20) * 2 ** 20 : bytes)

function wordsFor(obstacle: Obstacle, node: string): string {
  switch (obstacle.type) {
    case 'resource': {
      if (obstacle.resource === 'pods') return `room for one more pod on node ${node}`
      return `${moreText(obstacle.resource, obstacle.requested - obstacle.free)} on node ${node}`
    }
    case 'taint': {
      const taint = `${obstacle.key}${obstacle.value === undefined ? '' : `=${obstacle.value}`}:${obstacle.effect}`
      return `remove the taint ${taint} from node ${node} (or tolerate it)`
    }
    case 'labels': {
      const labels = Object.entries(obstacle.missing).map(([key, value]) => `${key}=${value}`)
      return `label node ${node} with ${labels.join(' ')} (or ask for less in nodeSelector)`
    }
    case 'handler':
      return `the runtime handler ${obstacle.handler} on node ${node} (${handlerProblem(obstacle)})`
    case 'cordoned':
      return `uncordon node ${node}`
    case 'notReady':
      return `bring node ${node} back: it is not ready`
    case 'network':
      return `a pod network on node ${node}: it has no address range yet`
    case 'ports':
      return `free the pod's host ports on node ${node}`
    case 'spread':
      return `more of its pods elsewhere before node ${node} (or a larger maxSkew)`
    case 'other':
      return `on node ${node}: ${obstacle.reason}`
  }
}
