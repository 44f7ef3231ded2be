/**
 * Port-forward: connections of a client to ports of a pod. Each connection is a stream of its own to the node.
 *
 * kubectl and Go clients speak SPDY, straight or inside a WebSocket: for each connection two streams with the same
 * `requestid`, one for data and one on which we say what went wrong. The JavaScript client speaks plain WebSocket messages:
 * for the i-th port of the query, channel 2i is data and 2i+1 is what went wrong; the first message of each names the port,
 * and in v5 a message on channel 255 says that the client sends no more on one.
 * Source: k8s.io/apimachinery/pkg/util/portforward, k8s.io/kubelet/pkg/cri/streaming/portforward.
 */
import type { WebSocket } from 'ws'
import { DroverError } from '../../base/errors.ts'
import { CHANNEL, type FrameStream } from '../../base/stream.ts'
import type { ApiContext } from '../context.ts'
import { ByteQueue } from './byte_queue.ts'
import { type ByteTransport, webSocketTransport } from './byte_transport.ts'
import { createSpdySession, type SpdyStream } from './spdy_session.ts'

export interface ForwardTarget {
  namespace: string
  pod: string
  node: string
}

/** One connection's two halves, whichever protocol carries them. */
interface Local {
  chunks: AsyncIterable<Buffer>
  write(data: Uint8Array): Promise<void>
  end(): Promise<void>
  fail(message: string): Promise<void>
}

const MAX_PORT = 65_535
/** A connection needs two channels, and a channel is one byte. */
const MAX_PORTS = 64

function parsePort(text: string | undefined): number {
  const port = Number(text)
  if (/^\d{1,5}$/.test(text ?? '') && port >= 1 && port <= MAX_PORT) return port
  throw new DroverError('invalid', `port "${text ?? ''}" is not a number from 1 to ${MAX_PORT}`)
}

/** Ports of the query: `ports=80,443` or repeated. Throws `invalid` for what is no port. */
export function portsOf(query: URLSearchParams): number[] {
  const ports = query.getAll('ports').flatMap((text) => text.split(',').map(parsePort))
  if (ports.length === 0) throw new DroverError('invalid', 'ports: say which ports of the pod to connect to')
  if (ports.length > MAX_PORTS) throw new DroverError('invalid', `ports: at most ${MAX_PORTS} at once`)
  return ports
}

/** Carries one connection to its end; what goes wrong is said to the client. */
async function forward(
  context: ApiContext,
  { namespace, pod, node }: ForwardTarget,
  port: number,
  local: Local,
): Promise<void> {
  const stop = new AbortController()
  try {
    const stream = await context.gateway.open(node, 'portForward', { namespace, pod, port }, stop.signal)
    const up = toNode(local, stream)
    // A client that has gone takes its connection with it; one that only sends no more still wants the answer.
    up.catch(() => stop.abort())
    for await (const { channel, data } of stream.frames) if (channel === CHANNEL.stdout) await local.write(data)
  } catch (thrown) {
    const error = DroverError.from(thrown)
    context.log.debug({ pod: `${namespace}/${pod}`, port, err: error }, 'a forwarded connection failed')
    await local.fail(`cannot connect to port ${port} of pod ${pod}: ${error.message}`).catch(() => undefined)
  } finally {
    await local.end().catch(() => undefined)
    stop.abort()
  }
}

async function toNode({ chunks }: Local, stream: FrameStream): Promise<void> {
  for await (const data of chunks) await stream.send({ channel: CHANNEL.stdin, data })
  stream.end()
}

/** Serves a client that speaks SPDY until it goes. */
export async function serveSpdyForward(
  context: ApiContext,
  target: ForwardTarget,
  transport: ByteTransport,
): Promise<void> {
  /** The stream for errors of a request that waits for its data stream, or the other way round. */
  const waiting = new Map<string, SpdyStream>()
  const begin = (data: SpdyStream, error: SpdyStream): void => {
    error.chunks.abandon()
    const local: Local = {
      chunks: data.chunks,
      write: (bytes) => data.write(bytes),
      async end() {
        data.chunks.abandon()
        await Promise.all([data.end(), error.end()])
      },
      fail: (message) => error.write(Buffer.from(message)),
    }
    let port: number
    try {
      port = parsePort(data.headers.get('port'))
    } catch (thrown) {
      local
        .fail(DroverError.from(thrown).message)
        .then(() => local.end())
        .catch(() => undefined)
      return
    }
    forward(context, target, port, local).catch((error: unknown) => {
      context.log.error({ err: error }, 'a forwarded connection ended in a defect')
    })
  }
  const session = createSpdySession(transport, (stream) => {
    const type = stream.headers.get('streamtype')
    // Clients from before request ids open the error stream first.
    const request = stream.headers.get('requestid') ?? `port ${stream.headers.get('port')}`
    const other = waiting.get(request)
    if ((type !== 'data' && type !== 'error') || other?.headers.get('streamtype') === type) {
      stream.reset().catch(() => undefined)
    } else if (other === undefined) waiting.set(request, stream)
    else {
      waiting.delete(request)
      if (type === 'data') begin(stream, other)
      else begin(other, stream)
    }
  })
  await session.run()
}

/** Serves a client whose connections are channels of one WebSocket: one connection a port. */
export async function serveChannelForward(
  context: ApiContext,
  target: ForwardTarget,
  ports: readonly number[],
  socket: WebSocket,
): Promise<void> {
  const transport = webSocketTransport(socket)
  const queues = ports.map(() => new ByteQueue())
  const send = (channel: number, data: Uint8Array): Promise<void> =>
    transport.write(Buffer.concat([Buffer.of(channel), data]))
  const take = async (): Promise<void> => {
    for await (const message of transport.chunks) {
      const channel = message[0] ?? 1
      if (channel === CHANNEL.close) queues[(message[1] ?? 1) / 2]?.end()
      else if (channel % 2 === 0) await queues[channel / 2]?.push(message.subarray(1))
    }
  }
  const taking = take()
    .catch(() => undefined)
    .finally(() => {
      for (const queue of queues) queue.end(new DroverError('cancelled', 'the client has gone'))
    })
  try {
    await Promise.all(
      ports.map(async (port, i) => {
        const name = Buffer.alloc(2)
        name.writeUInt16LE(port)
        await send(2 * i, name)
        await send(2 * i + 1, name)
        const queue = queues[i] ?? new ByteQueue()
        await forward(context, target, port, {
          chunks: queue,
          write: (data) => send(2 * i, data),
          end: async () => queue.abandon(),
          fail: (message) => send(2 * i + 1, Buffer.from(message)),
        })
      }),
    )
  } finally {
    transport.close()
    await taking
  }
}
