/** The Node object as dispatch writes it: the agent's facts, and the condition Ready. Pure. */
import type { Condition } from '../api/meta.ts'
import { NODE_CONDITION } from '../api/names.ts'
import type { Node, Taint } from '../api/node.ts'
import { podCapacity } from '../api/pod_capacity.ts'
import { withTransition } from './pod_status.ts'

/** Names the server that holds or last held the node's session, so that only one server judges the node. */
export const SESSION_ANNOTATION = 'drover.dev/session-server'

const READY = 'Ready'

export type Liveness =
  | { state: 'live' }
  | { state: 'late' }
  /** Nothing was heard for too long. */
  | { state: 'lost' }

/** What the agent has said of its node since its session began. */
export interface ReportedNode {
  labels: Readonly<Record<string, string>>
  /** For a Node that is made now; one that stands keeps the taints that people gave it. */
  taints?: readonly Taint[]
  status: NonNullable<Node['status']>
}

export interface NodeChange {
  liveness: Liveness
  reported: ReportedNode | undefined
  serverId: string
  /** RFC 3339. */
  now: string
}

function readyCondition(liveness: Liveness): Condition {
  return liveness.state === 'live'
    ? { type: READY, status: 'True', reason: 'AgentReady', message: 'the agent is connected and reports' }
    : { type: READY, status: 'Unknown', reason: 'NodeStatusUnknown', message: 'the agent has stopped reporting' }
}

const LATE: Condition = {
  type: NODE_CONDITION.late,
  status: 'True',
  reason: 'HeartbeatsMissed',
  message: 'heartbeats are late',
}

/** What came later holds; of conditions each by its type, since a report names only those that changed. */
export function withReport(known: ReportedNode['status'], report: ReportedNode['status']): ReportedNode['status'] {
  const { conditions = [] } = report
  const kept = (known.conditions ?? []).filter(({ type }) => !conditions.some((one) => one.type === type))
  return { ...known, ...report, conditions: [...kept, ...conditions] }
}

/** Conditions that the agent gives are its own; those of others stay. */
function conditionsOf(old: readonly Condition[], { liveness, reported, now }: NodeChange): Condition[] {
  const given = (reported?.status.conditions ?? []).filter(({ type }) => type !== READY)
  // A late node stays what it was.
  const ready = liveness.state === 'late' ? [] : [readyCondition(liveness)]
  const fresh = [...given, ...ready, ...(liveness.state === 'live' ? [] : [LATE])]
  const kept = old.filter(
    ({ type }) => type !== NODE_CONDITION.late && !fresh.some((condition) => condition.type === type),
  )
  return [...fresh.map((condition) => withTransition(condition, old, now)), ...kept].sort((a, b) =>
    a.type < b.type ? -1 : a.type > b.type ? 1 : 0,
  )
}

/** What the agent can run, as far as the node's range has addresses: a pod too many would wait on its node for ever. */
function podsThatFit(
  allocatable: NonNullable<Node['status']>['allocatable'],
  podCidr: string | undefined,
): NonNullable<Node['status']>['allocatable'] {
  if (allocatable === undefined || podCidr === undefined || podCidr === '') return allocatable
  const pods = Math.min(Number(allocatable.pods ?? Number.POSITIVE_INFINITY), podCapacity(podCidr))
  return { ...allocatable, pods: String(pods) }
}

/** The node as it should stand; equal to `node` when there is nothing to change. */
export function desiredNode(node: Node, change: NodeChange): Node {
  const { reported, liveness, serverId } = change
  const metadata = { ...node.metadata }
  const status = { ...node.status }
  if (liveness.state === 'live') {
    metadata.annotations = { ...metadata.annotations, [SESSION_ANNOTATION]: serverId }
    if (reported !== undefined) {
      metadata.labels = { ...metadata.labels, ...reported.labels }
      Object.assign(status, reported.status)
      const allocatable = podsThatFit(status.allocatable, node.spec?.podCIDR)
      if (allocatable !== undefined) status.allocatable = allocatable
    }
  }
  status.conditions = conditionsOf(node.status?.conditions ?? [], change)
  return { ...node, metadata, status }
}
