/** Which nodes a DaemonSet is for: pure. Source: Kubernetes "DaemonSet", taints and tolerations. */
import type { Stored } from '../../api/meta.ts'
import { LABEL } from '../../api/names.ts'
import type { Node } from '../../api/node.ts'
import { matchesNodeSelector, namedNode, nodeNameSelector } from '../../api/node_selector.ts'
import type { Pod, PodSpec, Toleration } from '../../api/pod.ts'
import { anyTolerates } from '../../api/taints.ts'

/** Daemons belong to their node whatever its state: they neither wait for it nor are evicted from it. */
const NODE_STATES: readonly Toleration[] = [
  { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/disk-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/memory-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/pid-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/unschedulable', operator: 'Exists', effect: 'NoSchedule' },
]
const NETWORK_UNAVAILABLE: Toleration = {
  key: 'node.kubernetes.io/network-unavailable',
  operator: 'Exists',
  effect: 'NoSchedule',
}

export function daemonTolerations(spec: PodSpec): Toleration[] {
  const added = spec.hostNetwork === true ? [...NODE_STATES, NETWORK_UNAVAILABLE] : NODE_STATES
  const own = spec.tolerations ?? []
  const isNew = ({ key, effect }: Toleration): boolean =>
    !own.some((toleration) => toleration.key === key && toleration.effect === effect)
  return [...own, ...added.filter(isNew)]
}

/** The pod's spec for one node: the scheduler binds it there, with all its checks, and nowhere else. */
export function specForNode(spec: PodSpec, nodeName: string): PodSpec {
  const { nodeAffinity, ...affinity } = spec.affinity ?? {}
  return {
    ...structuredClone(spec),
    affinity: {
      ...affinity,
      // What the template asks for has been looked at when the node was chosen.
      nodeAffinity: { ...nodeAffinity, requiredDuringSchedulingIgnoredDuringExecution: nodeNameSelector(nodeName) },
    },
    tolerations: daemonTolerations(spec),
  }
}

/** The node that a daemon's pod is on, or is for. */
export function nodeOfPod({ spec }: Pod): string | undefined {
  return spec.nodeName || namedNode(spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution)
}

export interface Eligibility {
  /** A pod is wanted there. */
  runs: boolean
  /** A pod that is there may stay. */
  stays: boolean
}

export function eligibility(spec: PodSpec, node: Stored<Node>): Eligibility {
  const { name, labels = {} } = node.metadata
  const wanted = Object.entries(spec.nodeSelector ?? {})
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
  const matches =
    wanted.every(([key, value]) => labels[key] === value) &&
    (required === undefined ||
      matchesNodeSelector(required, { name, labels: { [LABEL.hostname]: name, ...labels } })) &&
    (!spec.nodeName || spec.nodeName === name)
  if (!matches) return { runs: false, stays: false }
  const tolerations = daemonTolerations(spec)
  const untolerated = (node.spec?.taints ?? []).filter((taint) => !anyTolerates(tolerations, taint))
  return {
    runs: untolerated.every(({ effect }) => effect === 'PreferNoSchedule'),
    stays: untolerated.every(({ effect }) => effect !== 'NoExecute'),
  }
}
