/** Rows of the peer table, from Node objects. Pure. */
import { type Node, nodeAddress } from '../api/node.ts'
import type { PeerRow } from '../rpc/tables.ts'

/** A row, or undefined until the node has a range of pod addresses and an address of its own. */
export function peerRow(node: Node): PeerRow | undefined {
  const address = nodeAddress(node, 'InternalIP')
  const podCidr = node.spec?.podCIDR
  if (address === undefined || podCidr === undefined || podCidr === '') return undefined
  return { nodeName: node.metadata.name ?? '', address, podCidr }
}
