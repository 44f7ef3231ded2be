/**
 * Nodes that check themselves, Drover's own part of the API:
 *
 *   GET   /apis/drover.dev/v1/nodechecks[?node=A,B]   what is not as it should be
 *   POST  /apis/drover.dev/v1/nodechecks[?node=A,B]   the same, and mends it
 *
 * All nodes with a session, or those that are named. A node that fails leaves the answers of the others alone.
 */
import { DroverError } from '../base/errors.ts'
import type { NodeDamage } from '../rpc/tables.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { askNode, chosenNodes } from './node_streams.ts'
import { methodNotAllowed } from './status_error.ts'

export const NODE_CHECKS_PATH = '/apis/drover.dev/v1/nodechecks'

export interface NodeCheck {
  node: string
  damage: NodeDamage[]
  error?: string
}

export async function handleNodeChecks(context: ApiContext, exchange: Exchange): Promise<void> {
  if (exchange.method !== 'GET' && exchange.method !== 'POST') {
    throw methodNotAllowed(`${NODE_CHECKS_PATH} takes GET and POST`)
  }
  const request = { repair: exchange.method === 'POST' }
  const items = await Promise.all(
    chosenNodes(context, exchange.query).map(async (node): Promise<NodeCheck> => {
      try {
        const damage = await askNode(context, { node, verb: 'nodeFsck', request, signal: exchange.signal })
        return { node, damage: damage as NodeDamage[] }
      } catch (thrown) {
        return { node, damage: [], error: DroverError.from(thrown).message }
      }
    }),
  )
  exchange.sendJson(200, { kind: 'NodeCheckList', apiVersion: 'drover.dev/v1', items })
}
