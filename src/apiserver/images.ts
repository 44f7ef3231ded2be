/**
 * Images on the nodes, Drover's own part of the API:
 *
 *   GET    /apis/drover.dev/v1/images                                  what each node has
 *   POST   /apis/drover.dev/v1/images?verb=load|import[&reference=R]   an archive for the nodes, as the body
 *   POST   /apis/drover.dev/v1/images?verb=pull&reference=R            the nodes pull it themselves
 *   DELETE /apis/drover.dev/v1/images?reference=R[&force=true]
 *
 * All nodes with a session, or those named by `node=`. Writes answer with lines of JSON: `{node, message}` while they
 * work, `{node, ok, error?}` at each node's end; a client must look at every `ok`. An archive is read once and goes to
 * all nodes at the pace of the slowest; a node that fails leaves the others alone.
 */
import { DroverError } from '../base/errors.ts'
import { CHANNEL, type FrameStream, type NodeStreamVerb } from '../base/stream.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { askNode, chosenNodes } from './node_streams.ts'
import { boolParam } from './query.ts'
import { methodNotAllowed } from './status_error.ts'

export const IMAGES_PATH = '/apis/drover.dev/v1/images'

interface Action {
  verb: NodeStreamVerb
  request: Record<string, unknown>
  sendsBody: boolean
}

export async function handleImages(context: ApiContext, exchange: Exchange): Promise<void> {
  if (exchange.method === 'GET') await listImages(context, exchange)
  else if (exchange.method === 'POST' || exchange.method === 'DELETE') {
    await onNodes(context, exchange, readAction(exchange))
  } else throw methodNotAllowed(`${IMAGES_PATH} takes GET, POST and DELETE`)
}

function readAction({ method, query }: Exchange): Action {
  const reference = query.get('reference') ?? ''
  const needed = (verb: string): void => {
    if (reference === '') throw new DroverError('invalid', `reference: name the image to ${verb}`)
  }
  if (method === 'DELETE') {
    needed('remove')
    return { verb: 'imageRemove', request: { reference, force: boolParam(query, 'force') }, sendsBody: false }
  }
  switch (query.get('verb')) {
    case 'load':
      return { verb: 'imageLoad', request: reference === '' ? {} : { reference }, sendsBody: true }
    case 'import':
      needed('make')
      return { verb: 'imageImport', request: { reference }, sendsBody: true }
    case 'pull':
      needed('pull')
      return { verb: 'imagePull', request: { reference }, sendsBody: false }
    default:
      throw new DroverError('invalid', `verb: "${query.get('verb') ?? ''}" is none of load, import, pull`)
  }
}

class NodeRun {
  readonly node: string
  stream: FrameStream | undefined
  /** Raised when the node can take no more. */
  ended = false

  constructor(node: string) {
    this.node = node
  }
}

async function onNodes(context: ApiContext, exchange: Exchange, action: Action): Promise<void> {
  const runs = chosenNodes(context, exchange.query).map((node) => new NodeRun(node))
  const stop = new AbortController()
  const onClose = (): void => stop.abort()
  for (const signal of [exchange.signal, context.stopping]) signal.addEventListener('abort', onClose, { once: true })
  exchange.begin(200, 'application/x-ndjson')
  exchange.flush()
  try {
    const opened = runs.map((run) => openNode(context, run, action, stop.signal))
    const finished = runs.map((run, index) => follow(exchange, run, opened[index] ?? Promise.resolve()))
    // An archive is not read before every node is there or has failed: a late one would miss its start.
    await Promise.allSettled(opened)
    if (action.sendsBody) await fanOut(exchange, runs)
    for (const run of runs) run.stream?.end()
    await Promise.all(finished)
    exchange.end()
  } catch (thrown) {
    const error = DroverError.from(thrown)
    for (const run of runs) run.stream?.end(error)
    throw error
  } finally {
    stop.abort()
    for (const signal of [exchange.signal, context.stopping]) signal.removeEventListener('abort', onClose)
  }
}

async function openNode(
  context: ApiContext,
  run: NodeRun,
  { verb, request }: Action,
  signal: AbortSignal,
): Promise<void> {
  run.stream = await context.gateway.open(run.node, verb, request, signal)
}

const line = (value: object): string => `${JSON.stringify(value)}\n`

/** One node's progress and its end, as lines of the answer. */
async function follow(exchange: Exchange, run: NodeRun, opened: Promise<void>): Promise<void> {
  const { node } = run
  try {
    await opened
    let rest = ''
    for await (const { channel, data } of run.stream?.frames ?? []) {
      if (channel !== CHANNEL.stdout) continue
      const lines = (rest + Buffer.from(data).toString('utf8')).split('\n')
      rest = lines.pop() ?? ''
      for (const message of lines) if (message !== '') await exchange.write(line({ node, message }))
    }
    if (rest !== '') await exchange.write(line({ node, message: rest }))
    run.ended = true
    await exchange.write(line({ node, ok: true }))
  } catch (thrown) {
    run.ended = true
    if (exchange.signal.aborted) return
    const { code, message } = DroverError.from(thrown)
    await exchange.write(line({ node, ok: false, error: message, code })).catch(() => undefined)
  }
}

/** Every chunk to every node that still takes it; the next is read when the last node has this one. */
async function fanOut(exchange: Exchange, runs: readonly NodeRun[]): Promise<void> {
  for await (const data of exchange.input) {
    const sends = runs.map(async (run) => {
      if (run.ended || run.stream === undefined) return
      // Why it failed is told by its frames.
      await run.stream.send({ channel: CHANNEL.stdin, data }).catch(() => {
        run.ended = true
      })
    })
    await Promise.all(sends)
  }
}

async function listImages(context: ApiContext, exchange: Exchange): Promise<void> {
  const nodes = chosenNodes(context, exchange.query)
  const items = await Promise.all(
    nodes.map(async (node) => {
      try {
        return {
          node,
          images: await askNode(context, { node, verb: 'imageList', request: {}, signal: exchange.signal }),
        }
      } catch (thrown) {
        return { node, images: [], error: DroverError.from(thrown).message }
      }
    }),
  )
  exchange.sendJson(200, { kind: 'ImageList', apiVersion: 'drover.dev/v1', items })
}
