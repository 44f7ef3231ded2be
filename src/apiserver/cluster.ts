/** `GET /apis/drover.dev/v1/cluster`: the cluster at a glance, for `drover version` and `drover check`. */
import { isNodeReady, type Node, nodeKind } from '../api/node.ts'
import { podKind } from '../api/pod_kind.ts'
import type { ApiContext, NetworkLimits } from './context.ts'
import type { Exchange } from './exchange.ts'

export const CLUSTER_PATH = '/apis/drover.dev/v1/cluster'

/** How much of the ranges is given out. */
function networkRoom(limits: NetworkLimits, nodes: readonly Node[]) {
  const nodesWithRange = nodes.filter(({ spec }) => Boolean(spec?.podCIDR)).length
  return { ...limits, nodesWithRange, nodesWithoutRange: nodes.length - nodesWithRange }
}

export async function sendCluster(context: ApiContext, exchange: Exchange): Promise<void> {
  const { resources, gateway, version } = context
  const nodes = resources.list(nodeKind)
  const phases: Record<string, number> = {}
  for (const pod of resources.list(podKind)) {
    const phase = pod.status?.phase ?? 'Pending'
    phases[phase] = (phases[phase] ?? 0) + 1
  }
  exchange.sendJson(200, {
    kind: 'Cluster',
    apiVersion: 'drover.dev/v1',
    version,
    /** Nodes with a session on the server that answers. */
    connectedNodes: gateway.connectedNodes(),
    nodes: { total: nodes.length, ready: nodes.filter(isNodeReady).length },
    pods: phases,
    ...(context.network === undefined ? {} : { network: networkRoom(context.network, nodes) }),
    revision: resources.revision(),
    checks: await context.readiness(),
  })
}
