/**
 * Images on the nodes, Drover's own part of the API:
 *
 *   GET    /apis/drover.dev/v1/images                                  what each node has
 *   POST   /apis/drover.dev/v1/images?verb=load|import[&reference=R]   an archive for the nodes, as the body
 *   GET    /apis/drover.dev/v1/images?verb=inspect&reference=R         what the nodes that have it know of one
 *   GET    /apis/drover.dev/v1/images?verb=save&reference=R            an archive, from one node that has it
 *   POST   /apis/drover.dev/v1/images?verb=pull&reference=R            the nodes pull it themselves
 *   POST   /apis/drover.dev/v1/images?verb=push&reference=R            one node that has it sends it to its registry
 *   POST   /apis/drover.dev/v1/images?verb=tag&reference=R&target=T    one more name, where it is
 *   POST   /apis/drover.dev/v1/images?verb=prune[&all=true]            what nothing there uses
 *   DELETE /apis/drover.dev/v1/images?reference=R[&force=true]
 *
 * All nodes with a session, or those named by `node=`. Writes answer with lines of JSON: `{node, message}` while they
 * work, `{node, ok, error?}` at each node's end; a client must look at every `ok`. An archive is read once and goes to
 * all nodes at the pace of the slowest; a node that fails leaves the others alone.
 */
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { CHANNEL, type FrameStream, type NodeStreamVerb } from '../base/stream.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { askNode, chosenNodes } from './node_streams.ts'
import { boolParam } from './query.ts'
import { methodNotAllowed } from './status_error.ts'

export const IMAGES_PATH = '/apis/drover.dev/v1/images'

/** A name and a password. */
const MAX_CREDENTIALS_BYTES = 64 << 10

interface Action {
  verb: NodeStreamVerb
  request: Record<string, unknown>
  sendsBody: boolean
}

export async function handleImages(context: ApiContext, exchange: Exchange): Promise<void> {
  const { method, query } = exchange
  if (method === 'GET') {
    const verb = query.get('verb') ?? 'list'
    if (verb === 'list') await listImages(context, exchange)
    else if (verb === 'inspect') await inspectImage(context, exchange)
    else if (verb === 'save') await saveImage(context, exchange)
    else throw new DroverError('invalid', `verb: "${verb}" is none of list, inspect, save`)
  } else if (method === 'POST' || method === 'DELETE') {
    const action = await readAction(exchange)
    await onNodes(context, exchange, action, await nodesFor(context, exchange, action))
  } else throw methodNotAllowed(`${IMAGES_PATH} takes GET, POST and DELETE`)
}

/** What works on an image that is there is sent only where it is, unless nodes are named. */
async function nodesFor(context: ApiContext, exchange: Exchange, { verb, request }: Action): Promise<string[]> {
  if (verb !== 'imagePush' && verb !== 'imageTag') return chosenNodes(context, exchange.query)
  const holders = await nodesWith(context, exchange, String(request.reference))
  // One is enough to push from: all have the same.
  return verb === 'imagePush' ? holders.slice(0, 1).map(({ node }) => node) : holders.map(({ node }) => node)
}

function neededReference(query: URLSearchParams, verb: string): string {
  const reference = query.get('reference') ?? ''
  if (reference === '') throw new DroverError('invalid', `reference: name the image to ${verb}`)
  return reference
}

async function readAction(exchange: Exchange): Promise<Action> {
  const { method, query } = exchange
  const needed = (verb: string): string => neededReference(query, verb)
  if (method === 'DELETE') {
    return {
      verb: 'imageRemove',
      request: { reference: needed('remove'), force: boolParam(query, 'force') },
      sendsBody: false,
    }
  }
  const verb = query.get('verb') ?? ''
  switch (verb) {
    case 'load': {
      const reference = query.get('reference') ?? ''
      return { verb: 'imageLoad', request: reference === '' ? {} : { reference }, sendsBody: true }
    }
    case 'import':
      return { verb: 'imageImport', request: { reference: needed('make') }, sendsBody: true }
    case 'pull':
    case 'push': {
      const request = { reference: needed(verb), ...(await readCredentials(exchange)) }
      return { verb: verb === 'pull' ? 'imagePull' : 'imagePush', request, sendsBody: false }
    }
    case 'tag':
      return { verb: 'imageTag', request: { reference: needed('tag'), target: query.get('target') }, sendsBody: false }
    case 'prune':
      return { verb: 'imagePrune', request: { all: boolParam(query, 'all') }, sendsBody: false }
    default:
      throw new DroverError('invalid', `verb: "${verb}" is none of load, import, pull, push, tag, prune`)
  }
}

/** They come in the body, which no log shows. */
async function readCredentials({ input }: Exchange): Promise<{ username?: string; password?: string }> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of input) {
    size += piece.length
    if (size > MAX_CREDENTIALS_BYTES)
      throw new DroverError('tooLarge', 'the body holds more than a name and a password')
    pieces.push(piece)
  }
  if (size === 0) return {}
  let value: unknown
  try {
    value = JSON.parse(Buffer.concat(pieces).toString('utf8'))
  } catch (cause) {
    throw new DroverError('invalid', 'the body is not JSON with username and password', { cause })
  }
  if (!isObject(value) || typeof value.username !== 'string' || typeof value.password !== 'string') {
    throw new DroverError('invalid', 'the body needs username and password, both strings')
  }
  return { username: value.username, password: value.password }
}

/** Nodes that have the image, with what they know of it. Throws `notFound` when none has. */
async function nodesWith(context: ApiContext, exchange: Exchange, reference: string) {
  const failures: DroverError[] = []
  const answers = await Promise.all(
    chosenNodes(context, exchange.query).map(async (node) => {
      try {
        const question = { node, verb: 'imageInspect', request: { reference }, signal: exchange.signal } as const
        return [{ node, image: await askNode(context, question) }]
      } catch (thrown) {
        failures.push(DroverError.from(thrown))
        return []
      }
    }),
  )
  const holders = answers.flat()
  if (holders.length > 0) return holders
  const other = failures.find(({ code }) => code !== 'notFound')
  throw other ?? new DroverError('notFound', `no node has an image "${reference}"`)
}

async function inspectImage(context: ApiContext, exchange: Exchange): Promise<void> {
  const items = await nodesWith(context, exchange, neededReference(exchange.query, 'look at'))
  exchange.sendJson(200, { kind: 'ImageInspection', apiVersion: 'drover.dev/v1', items })
}

/** An archive from one node that has the image. A node that fails on the way breaks the answer off: it must not look whole. */
async function saveImage(context: ApiContext, exchange: Exchange): Promise<void> {
  const reference = neededReference(exchange.query, 'save')
  const [holder] = await nodesWith(context, exchange, reference)
  if (holder === undefined) return
  const stream = await context.gateway.open(holder.node, 'imageSave', { reference }, exchange.signal)
  stream.end()
  let begun = false
  for await (const { channel, data } of stream.frames) {
    if (channel !== CHANNEL.stdout) continue
    if (!begun) exchange.begin(200, 'application/x-tar')
    begun = true
    await exchange.write(Buffer.from(data))
  }
  if (!begun) throw new DroverError('internal', `node ${holder.node} sent an empty archive`)
  exchange.end()
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

async function onNodes(
  context: ApiContext,
  exchange: Exchange,
  action: Action,
  nodes: readonly string[],
): Promise<void> {
  const runs = nodes.map((node) => new NodeRun(node))
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
