/** Gives each node its range of pod addresses, and says so where none is left. One key: ranges are planned together. */
import { findCondition, withCondition } from '../../api/conditions.ts'
import type { Stored } from '../../api/meta.ts'
import { type Node, nodeKind } from '../../api/node.ts'
import { formatCidr, parseCidr } from '../../base/cidr.ts'
import { DroverError } from '../../base/errors.ts'
import type { Service } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { changeObject } from '../common/writes.ts'
import { planPodCidrs } from './ipam.ts'

export interface IpamOptions extends ControllerContext {
  /** Range of all pod addresses, e.g. `10.244.0.0/16`. */
  clusterCidr: string
  /** Size of one node's range, e.g. 24. */
  nodeCidrPrefixLength: number
}

const KEY = 'ranges'
const CONDITION = 'NetworkUnavailable'
const EXHAUSTED = 'PodCidrExhausted'

export function createIpamController(context: IpamOptions): Service {
  const { resources } = context
  const cluster = parseCidr(context.clusterCidr)
  const prefixLength = context.nodeCidrPrefixLength
  if (prefixLength < cluster.prefixLength || prefixLength > (cluster.family === 4 ? 30 : 126)) {
    throw new DroverError(
      'invalid',
      `a node's range of /${prefixLength} does not fit in ${formatCidr(cluster)}; choose a longer prefix than /${cluster.prefixLength}`,
    )
  }

  async function reconcile(): Promise<undefined> {
    const { assign, exhausted } = planPodCidrs(resources.list(nodeKind), cluster, prefixLength)
    await settleAll(assign.map(({ node, cidr }) => assignRange(context, node, cidr)))
    await settleAll(exhausted.map((node) => reportExhausted(context, node)))
    return undefined
  }

  return queueService({
    id: 'node-ipam-controller',
    context,
    concurrency: 1,
    reconcile,
    watch(queue) {
      queue.add(KEY)
      return [
        resources.subscribe(nodeKind, ({ type, object }) => {
          if (type === 'DELETED' || object.spec?.podCIDR === undefined) queue.add(KEY)
        }),
      ]
    },
  })
}

async function assignRange(context: ControllerContext, node: Stored<Node>, cidr: string): Promise<void> {
  await changeObject(context, nodeKind, node, {
    part: 'main',
    change: (current) =>
      current.spec?.podCIDR ? undefined : { ...current, spec: { ...current.spec, podCIDR: cidr, podCIDRs: [cidr] } },
  })
  if (findCondition(node.status?.conditions, CONDITION)?.reason !== EXHAUSTED) return
  await setCondition(context, node, { status: 'False', reason: 'PodCidrAssigned', message: `The node has ${cidr}` })
}

async function reportExhausted(context: IpamOptions, node: Stored<Node>): Promise<void> {
  const old = findCondition(node.status?.conditions, CONDITION)
  if (old?.status === 'True' && old.reason === EXHAUSTED) return
  const message = `No /${context.nodeCidrPrefixLength} is left in ${context.clusterCidr} for node ${node.metadata.name}: remove nodes, or start the cluster with a larger range of pod addresses`
  context.events.record(node, 'Warning', 'CIDRNotAvailable', message)
  await setCondition(context, node, { status: 'True', reason: EXHAUSTED, message })
}

async function setCondition(
  context: ControllerContext,
  node: Stored<Node>,
  value: { status: 'True' | 'False'; reason: string; message: string },
): Promise<void> {
  await changeObject(context, nodeKind, node, {
    part: 'status',
    change: (current) => {
      const old = current.status?.conditions
      const conditions = withCondition(old, { type: CONDITION, ...value }, context.clock.now())
      return conditions === old ? undefined : { ...current, status: { ...current.status, conditions: [...conditions] } }
    },
  })
}
