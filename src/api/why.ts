/** What `drover why` and `drover plan` are answered: Drover's own part of the API, `drover.dev/v1`. Not stored. */
import type { Stored } from './meta.ts'
import type { Pod } from './pod.ts'

/** One thing that keeps a pod off a node. */
export type Obstacle =
  | { type: 'resource'; resource: string; requested: number; free: number }
  | { type: 'taint'; key: string; value?: string; effect: string }
  | { type: 'labels'; missing: Record<string, string> }
  /** The node's agent does not offer what the pod's runtime class asks for; why, where the agent said so. */
  | { type: 'handler'; handler: string; problem?: string }
  | { type: 'cordoned' }
  | { type: 'notReady' }
  | { type: 'network' }
  | { type: 'ports' }
  | { type: 'spread' }
  /** A rule that has no words of its own here. */
  | { type: 'other'; reason: string }

/** How the node compares; the order of the fields is the order in which nodes are compared, less is better. */
export interface NodeScore {
  avoidedTaints: number
  spreadPenalty: number
  /** Pods of the same controller on the node, and in its zone. */
  siblings: number
  zoneSiblings: number
  /** Requested of what there is, with the pod: the fuller of CPU and memory, plus the share of pods. */
  fullness: number
}

export interface NodeVerdict {
  node: string
  obstacles: Obstacle[]
  /** Only of nodes that fit. */
  score?: NodeScore
}

/** What would let the pod run. */
export interface Change {
  node: string
  /** In words, e.g. `200Mi more memory on node n2`. */
  text: string
}

export interface PlacementVerdict {
  /** Best first: nodes that fit by their score, then the others by how little is missing. */
  nodes: NodeVerdict[]
  message: string
  /** Smallest first; empty when a node fits. */
  changes: Change[]
}

export interface Cause {
  /** When it was, RFC 3339; absent for what is so now. */
  time?: string
  reason: string
  message: string
}

export type PodState = 'pending' | 'starting' | 'running' | 'ready' | 'ending' | 'finished' | 'gone'

export interface WhyAnswer {
  apiVersion: 'drover.dev/v1'
  kind: 'PodWhy'
  metadata: { namespace: string; name: string }
  state: PodState
  node?: string
  /** One sentence. */
  summary: string
  causes: Cause[]
  /** For a pod that waits, or as it would be placed now. */
  placement?: PlacementVerdict
}

/** A template's pods, to be placed as if they were made now. */
export interface PlanWorkload {
  /** `Deployment/web`, for the answer. */
  name: string
  namespace: string
  /** Labels and spec of the pods. */
  template: { metadata?: { labels?: Record<string, string> }; spec: object }
  count: number
  /** Pods beyond `count` that run beside the old ones while it rolls out. */
  surge: number
  /** Uid of what owns the pods that these replace, directly or through a ReplicaSet. */
  replaces?: string
}

export interface PlannedWorkload {
  name: string
  /** Pods by node. */
  placements: Record<string, number>
  refused: number
  message: string
  /** Whether the first step of the rollout finds room beside what runs. */
  surge: { wanted: number; placed: number; message: string }
}

export interface PlanAnswer {
  apiVersion: 'drover.dev/v1'
  kind: 'Plan'
  items: PlannedWorkload[]
}

/** The scheduler as the API server asks it; joined in the composition root. */
export interface PlacementPort {
  explain(pod: Stored<Pod>): PlacementVerdict
  /** One after the other: each workload finds what those before it have taken. */
  plan(workloads: readonly PlanWorkload[]): PlannedWorkload[]
}

/** The agent's words, or that it was never told of such a handler. */
export function handlerProblem({ problem }: { problem?: string }): string {
  return problem ?? 'its agent was given no such handler (drover agent --runtime-handler NAME=PROGRAM)'
}
