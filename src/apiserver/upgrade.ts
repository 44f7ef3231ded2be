/**
 * Upgrades: exec, attach and port-forward. What can be refused is refused in plain HTTP, before the handshake; then
 * `streams/` serves the session.
 *
 *   WebSocket  v5.channel.k8s.io, v4.channel.k8s.io    exec and attach (kubectl from 1.30), port-forward in JavaScript, drover
 *   WebSocket  SPDY/3.1+portforward.k8s.io             SPDY inside: port-forward of kubectl from 1.31
 *   SPDY/3.1   v4.channel.k8s.io, portforward.k8s.io   older kubectl, Go clients
 *
 * Source: k8s.io/apimachinery/pkg/util/httpstream, k8s.io/apiserver/pkg/util/wsstream, KEP-4006.
 */
import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { type WebSocket, WebSocketServer } from 'ws'
import { DroverError } from '../base/errors.ts'
import type { Authenticate } from './authentication.ts'
import { attributesOf } from './authorization/attributes.ts'
import { impersonate } from './authorization/impersonation.ts'
import type { ApiContext } from './context.ts'
import type { ApiMetrics } from './metrics.ts'
import { requireRunning, resolveContainer, resolveRunningPod } from './pod_container.ts'
import { boolParam } from './query.ts'
import { parseTarget, type Target } from './router.ts'
import { toStatus } from './status_error.ts'
import { socketTransport, webSocketTransport } from './streams/byte_transport.ts'
import { type ForwardTarget, portsOf, serveChannelForward, serveSpdyForward } from './streams/port_forward.ts'
import { type RemoteCommand, serveRemoteCommand, spdyClient, webSocketClient } from './streams/remote_command.ts'

const CHANNELS = ['v5.channel.k8s.io', 'v4.channel.k8s.io']
const FORWARD_TUNNEL = 'SPDY/3.1+portforward.k8s.io'
const SPDY_COMMAND = 'v4.channel.k8s.io'
const SPDY_FORWARD = 'portforward.k8s.io'
const MAX_FRAME_BYTES = 4 << 20

export interface UpgradeParts {
  context: ApiContext
  authenticate: Authenticate
  metrics: ApiMetrics
}

type Verb = 'exec' | 'attach' | 'portforward'

interface Session {
  id: string
  verb: Verb
  /** What the client is told was chosen; a SPDY client wants its own header. */
  protocol: string
  onSpdy: boolean
  serveSpdy(socket: Duplex, signal: AbortSignal): Promise<void>
  serveWebSocket(client: WebSocket, signal: AbortSignal): Promise<void>
}

export type HandleUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

export function createUpgradeHandler(parts: UpgradeParts): HandleUpgrade {
  const { context, metrics } = parts
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    handleProtocols: (offered) => [...offered][0] ?? false,
  })
  // Its name holds a slash, which RFC 6455 allows no protocol: `ws` would refuse it, so it is answered by hand.
  const tunnels = new WeakSet<IncomingMessage>()
  sockets.on('headers', (headers, request) => {
    if (tunnels.has(request)) headers.push(`Sec-WebSocket-Protocol: ${FORWARD_TUNNEL}`)
  })

  const track = async (session: Session, serve: (signal: AbortSignal) => Promise<void>, connection: Connection) => {
    const labels = { verb: 'connect', group: '', version: 'v1', resource: 'pods', scope: 'resource' }
    const done = metrics.begin({ ...labels, subresource: session.verb }, true)
    const gone = new AbortController()
    connection.onClose(() => gone.abort())
    const onStop = (): void => connection.end()
    context.stopping.addEventListener('abort', onStop, { once: true })
    try {
      await serve(gone.signal)
    } catch (error) {
      const level = gone.signal.aborted ? 'debug' : 'warn'
      context.log[level]({ request: session.id, err: error }, 'an upgraded session failed')
    } finally {
      context.stopping.removeEventListener('abort', onStop)
      gone.abort()
      connection.end()
      done(101, 0, 0)
    }
  }

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
    if (session.onSpdy) {
      acceptSpdy(socket, session.protocol, head)
      const connection = { onClose: (call: () => void) => socket.on('close', call), end: () => socket.end() }
      void track(session, (signal) => session.serveSpdy(socket, signal), connection)
      return
    }
    if (session.protocol === FORWARD_TUNNEL) {
      tunnels.add(request)
      delete request.headers['sec-websocket-protocol']
    } else request.headers['sec-websocket-protocol'] = session.protocol
    sockets.handleUpgrade(request, socket, head, (client) => {
      const connection = { onClose: (call: () => void) => client.on('close', call), end: () => client.close(1000) }
      void track(session, (signal) => session.serveWebSocket(client, signal), connection)
    })
  }
}

interface Connection {
  onClose(call: () => void): void
  end(): void
}

/** Everything that can be refused in plain HTTP. */
function prepare({ context, authenticate }: UpgradeParts, request: IncomingMessage, id: string): Session {
  const [path = '/', search = ''] = (request.url ?? '/').split('?', 2)
  const query = new URLSearchParams(search)
  const socket = request.socket instanceof TLSSocket ? request.socket : undefined
  const { authorizer } = context
  const user = impersonate(authorizer, authenticate(socket, request.headers.authorization), request.headers)
  const target = parseTarget(path)
  // Whatever the method: to run a program in a pod is to make something.
  authorizer.require(user, attributesOf({ target, verb: 'create', method: 'POST', path }))
  const { plural = '' } = target?.kind ?? {}
  const { subresource = '', namespace = '', name = '' } = target ?? {}
  if (target === undefined || plural !== 'pods') throw new DroverError('notFound', `nothing at ${path} can be upgraded`)
  const told = { request: id, verb: subresource, pod: `${namespace}/${name}`, user: user.name }
  if (subresource === 'portforward') {
    const pod = resolveRunningPod(context, target)
    const session = forwardSession(context, { namespace, pod: name, node: pod.spec.nodeName ?? '' }, request, query)
    context.log.info(told, 'session opened')
    return { id, ...session }
  }
  if (subresource !== 'exec' && subresource !== 'attach') {
    throw new DroverError('invalid', `pods/${subresource} takes no upgrade`)
  }
  const session = commandSession(context, readCommand(context, target, query, subresource), request)
  context.log.info(told, 'session opened')
  return { id, ...session }
}

function readCommand(
  context: ApiContext,
  target: Target,
  query: URLSearchParams,
  verb: 'exec' | 'attach',
): RemoteCommand {
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
  return { verb, node: found.node, request }
}

function commandSession(context: ApiContext, command: RemoteCommand, request: IncomingMessage): Omit<Session, 'id'> {
  return {
    verb: command.verb,
    ...chooseProtocol(request, CHANNELS, SPDY_COMMAND),
    async serveSpdy(socket, signal) {
      const client = await spdyClient(socketTransport(socket), command, context.clock)
      await serveRemoteCommand(context, command, client, signal)
    },
    serveWebSocket: (client, signal) => serveRemoteCommand(context, command, webSocketClient(client), signal),
  }
}

function forwardSession(
  context: ApiContext,
  target: ForwardTarget,
  request: IncomingMessage,
  query: URLSearchParams,
): Omit<Session, 'id'> {
  const chosen = chooseProtocol(request, [FORWARD_TUNNEL, ...CHANNELS], SPDY_FORWARD)
  const ports = CHANNELS.includes(chosen.protocol) ? portsOf(query) : []
  return {
    verb: 'portforward',
    ...chosen,
    serveSpdy: (socket) => serveSpdyForward(context, target, socketTransport(socket)),
    serveWebSocket: (client) =>
      chosen.protocol === FORWARD_TUNNEL
        ? serveSpdyForward(context, target, webSocketTransport(client))
        : serveChannelForward(context, target, ports, client),
  }
}

/** The first of `webSocket` that the client offers, or `spdy` on a SPDY connection. Throws `invalid`: what is served. */
function chooseProtocol(
  { headers, headersDistinct }: IncomingMessage,
  webSocket: readonly string[],
  spdy: string,
): { protocol: string; onSpdy: boolean } {
  const words = (values: readonly string[]): string[] => values.flatMap((value) => value.split(/[\s,;]+/))
  const served = `a WebSocket with ${webSocket.join(' or ')}, or SPDY/3.1 with ${spdy}`
  const upgrade = headers.upgrade?.toLowerCase()
  if (upgrade === 'websocket') {
    const offered = words(headersDistinct['sec-websocket-protocol'] ?? [])
    const protocol = webSocket.find((candidate) => offered.includes(candidate))
    if (protocol !== undefined) return { protocol, onSpdy: false }
    throw new DroverError('invalid', `none of the protocols [${offered.join(' ')}] is served here: use ${served}`)
  }
  if (upgrade === 'spdy/3.1') {
    const offered = words(headersDistinct['x-stream-protocol-version'] ?? [])
    if (offered.includes(spdy)) return { protocol: spdy, onSpdy: true }
    throw new DroverError('invalid', `none of the protocols [${offered.join(' ')}] is served here: use ${served}`)
  }
  throw new DroverError('invalid', `${headers.upgrade ?? 'this'} is not served here: use ${served}`)
}

function acceptSpdy(socket: Duplex, protocol: string, head: Buffer): void {
  const lines = [
    'HTTP/1.1 101 Switching Protocols',
    'Connection: Upgrade',
    'Upgrade: SPDY/3.1',
    `X-Stream-Protocol-Version: ${protocol}`,
  ]
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  if (head.length > 0) socket.unshift(head)
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
