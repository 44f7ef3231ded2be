/** What Drover's own paths have in common that speak with nodes over streams. */
import { DroverError } from '../base/errors.ts'
import { CHANNEL, type NodeStreamVerb } from '../base/stream.ts'
import type { ApiContext } from './context.ts'

/** An answer that is kept whole; an agent's own tables are far smaller. */
const MAX_ANSWER_BYTES = 8 << 20

/** Nodes that are meant: the named ones, connected or not, or all that are connected. */
export function chosenNodes({ gateway }: ApiContext, query: URLSearchParams): string[] {
  const named = query
    .getAll('node')
    .flatMap((value) => value.split(','))
    .filter((name) => name !== '')
  const nodes = named.length > 0 ? [...new Set(named)] : gateway.connectedNodes()
  if (nodes.length > 0) return nodes
  throw new DroverError('unavailable', 'no node is connected to this server; "get nodes" shows which are known', {
    retryAfterSeconds: 1,
  })
}

export interface NodeQuestion {
  node: string
  verb: NodeStreamVerb
  request: unknown
  signal: AbortSignal
}

/** What one node answers as JSON on its stdout, read whole. */
export async function askNode({ gateway }: ApiContext, question: NodeQuestion): Promise<unknown> {
  const { node, verb, request, signal } = question
  const stream = await gateway.open(node, verb, request, signal)
  stream.end()
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const { channel, data } of stream.frames) {
    if (channel !== CHANNEL.stdout) continue
    size += data.length
    if (size > MAX_ANSWER_BYTES) {
      throw new DroverError('tooLarge', `node ${node} sent more than ${MAX_ANSWER_BYTES} bytes`)
    }
    chunks.push(data)
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8') || '[]') as unknown
}
