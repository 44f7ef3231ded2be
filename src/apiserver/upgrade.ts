/**
 * Upgrades: exec and attach over WebSockets. Frames of the WebSocket protocol and frames of the node's stream are the
 * same thing: one byte of channel, then data. The process' end arrives as a Status on the error channel and is passed on.
 *
 *   client ── v5.channel.k8s.io ── this file ── FrameStream ── node
 *     [0 stdin] [4 resize] [255 close, v5]  →      ← [1 stdout] [2 stderr] [3 Status]
 *
 * A failure after the handshake is told as a Status on the error channel, as the node itself would.
 * Source: k8s.io/apimachinery/pkg/util/remotecommand, k8s.io/apiserver/pkg/util/wsstream.
 */
import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import { DroverError } from '../base/errors.ts'
import { CHANNEL, type FrameStream } from '../base/stream.ts'
import { type Authenticate, authorize } from './authentication.ts'
import type { ApiContext } from './context.ts'
import type { ApiMetrics } from './metrics.ts'
import { type PodContainer, requireRunning, resolveContainer } from './pod_container.ts'
import { boolParam } from './query.ts'
import { parseTarget, type Target } from './router.ts'
import { HttpError, toStatus } from './status_error.ts'

const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io']
const MAX_FRAME_BYTES = 4 << 20
/** What a client may send; anything else is dropped. */
const FROM_CLIENT: ReadonlySet<number> = new Set([CHANNEL.stdin, CHANNEL.resize, CHANNEL.close])

export interface UpgradeParts {
  context: ApiContext
  authenticate: Authenticate
  metrics: ApiMetrics
}

interface Session {
  id: string
  verb: 'exec' | 'attach'
  found: PodContainer
  request: object
  user: string
}

export type HandleUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

export function createUpgradeHandler(parts: UpgradeParts): HandleUpgrade {
  const { context, metrics } = parts
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    handleProtocols: (offered) => PROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
  })
  return (request, socket, head) => {
    // Before the handshake is done nobody else listens, and a client may vanish at any time.
    socket.on('error', () => socket.destroy())
    const id = context.random.uuid()
    let session: Session
    try {
      session = prepare(parts, request, id)
    } catch (thrown) {
      refuse(socket, id, DroverError.from(thrown))
      return
    }
    sockets.handleUpgrade(request, socket, head, (client) => {
      const labels = {
        verb: 'connect',
        group: '',
        version: 'v1',
        resource: 'pods',
        subresource: session.verb,
        scope: 'resource',
      }
      const done = metrics.begin(labels, true)
      serve(context, session, client)
        .catch((error: unknown) => context.log.error({ request: id, err: error }, 'upgraded session failed'))
        .finally(() => done(101, 0, 0))
    })
  }
}

/** Everything that can be refused in plain HTTP. */
function prepare({ context, authenticate }: UpgradeParts, request: IncomingMessage, id: string): Session {
  const [path = '/', search = ''] = (request.url ?? '/').split('?', 2)
  const query = new URLSearchParams(search)
  const socket = request.socket instanceof TLSSocket ? request.socket : undefined
  const user = authenticate(socket, request.headers.authorization)
  const target = parseTarget(path)
  const { group = '', plural = '' } = target?.kind ?? {}
  const { subresource = '', namespace = '', name = '' } = target ?? {}
  authorize(user, { verb: 'create', group, plural, subresource, namespace, name, path })
  if (target === undefined || plural !== 'pods') throw new DroverError('notFound', `nothing at ${path} can be upgraded`)
  if (subresource === 'portforward') {
    throw new HttpError(501, 'NotImplemented', 'port-forward is not served yet; expose the pod with a Service instead')
  }
  if (subresource !== 'exec' && subresource !== 'attach') {
    throw new DroverError('invalid', `pods/${subresource} takes no upgrade`)
  }
  const session = readSession({ context, target, query, verb: subresource, id, user: user.name })
  requireWebSocket(request)
  return session
}

interface SessionInput {
  context: ApiContext
  target: Target
  query: URLSearchParams
  verb: 'exec' | 'attach'
  id: string
  user: string
}

function readSession({ context, target, query, verb, id, user }: SessionInput): Session {
  const found = resolveContainer(context, target, query.get('container') ?? '')
  requireRunning(found)
  const command = query.getAll('command')
  if (verb === 'exec' && command.length === 0) throw new DroverError('invalid', 'command: say what to run')
  const tty = boolParam(query, 'tty')
  const streams = {
    stdin: boolParam(query, 'stdin'),
    stdout: boolParam(query, 'stdout'),
    // A terminal has one stream out.
    stderr: boolParam(query, 'stderr') && !tty,
    tty,
  }
  if (!streams.stdin && !streams.stdout && !streams.stderr) {
    throw new DroverError('invalid', 'ask for at least one of stdin, stdout and stderr')
  }
  const { namespace, name: pod } = target
  const request = { namespace, pod, container: found.container, ...(verb === 'exec' ? { command } : {}), ...streams }
  return { id, verb, found, request, user }
}

function requireWebSocket({ headers }: IncomingMessage): void {
  const works = 'kubectl 1.30 or newer, drover, and every client that speaks v5.channel.k8s.io or v4.channel.k8s.io'
  if (headers.upgrade?.toLowerCase() !== 'websocket') {
    throw new DroverError('invalid', `${headers.upgrade ?? 'this'} is not served here, WebSockets are: use ${works}`)
  }
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((protocol) => protocol.trim())
  if (!offered.some((protocol) => PROTOCOLS.includes(protocol))) {
    throw new DroverError('invalid', `none of the protocols [${offered.join(' ')}] is served here: use ${works}`)
  }
}

function refuse(socket: Duplex, id: string, error: DroverError): void {
  const status = toStatus(error)
  const body = JSON.stringify(status)
  const lines = [
    `HTTP/1.1 ${status.code} ${STATUS_CODES[status.code] ?? 'Error'}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    `audit-id: ${id}`,
    'connection: close',
    '',
    body,
  ]
  socket.end(lines.join('\r\n'))
}

async function serve(context: ApiContext, session: Session, client: WebSocket): Promise<void> {
  const { id, verb, found, request, user } = session
  const stop = new AbortController()
  const onStop = (): void => client.terminate()
  context.stopping.addEventListener('abort', onStop, { once: true })
  client.on('close', () => stop.abort())
  client.on('error', () => stop.abort())
  // What arrives while the node is being reached waits in the socket.
  client.pause()
  const pod = `${found.pod.metadata.namespace}/${found.pod.metadata.name}`
  context.log.info({ request: id, verb, pod, container: found.container, user }, 'session opened')
  try {
    const stream = await context.gateway.open(found.node, verb, request, stop.signal)
    fromClient(client, stream)
    await toClient(client, stream)
  } catch (thrown) {
    if (!stop.signal.aborted)
      await send(client, CHANNEL.error, Buffer.from(JSON.stringify(toStatus(DroverError.from(thrown)))))
  } finally {
    context.stopping.removeEventListener('abort', onStop)
    client.resume()
    client.close(1000)
    stop.abort()
  }
}

/** One frame at a time: the socket is paused while the node takes it. */
function fromClient(client: WebSocket, stream: FrameStream): void {
  let sending = Promise.resolve()
  client.on('message', (raw: RawData) => {
    const message = toBuffer(raw)
    const channel = message[0]
    if (channel === undefined || !FROM_CLIENT.has(channel)) return
    client.pause()
    // The far end's own failure is told by `frames`; here it only means that there is nobody to send to.
    sending = sending
      .then(() => stream.send({ channel, data: message.subarray(1) }))
      .catch(() => undefined)
      .finally(() => client.resume())
  })
  client.on('close', () => stream.end())
  client.resume()
}

async function toClient(client: WebSocket, stream: FrameStream): Promise<void> {
  for await (const { channel, data } of stream.frames) await send(client, channel, data)
}

function send(client: WebSocket, channel: number, data: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    client.send(Buffer.concat([Buffer.of(channel), data]), (error) => {
      if (error) reject(new DroverError('cancelled', 'the client has gone', { cause: error }))
      else resolve()
    })
  })
}

function toBuffer(raw: RawData): Buffer {
  if (Array.isArray(raw)) return Buffer.concat(raw)
  return Buffer.isBuffer(raw) ? raw : Buffer.from(raw)
}
