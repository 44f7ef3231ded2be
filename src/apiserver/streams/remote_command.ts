/**
 * exec and attach: between a client, whichever protocol it speaks, and the node. Frames of Kubernetes' WebSocket
 * protocol and frames of the node's stream are the same thing: one byte of channel, then data. Over SPDY each channel is
 * a stream of its own. The program's end arrives as a Status on the error channel and is passed on.
 *
 *   client ──[0 stdin] [4 resize] [255 close]──▶ node        client ◀──[1 stdout] [2 stderr] [3 Status]── node
 *
 * A failure after the handshake is told as a Status on the error channel, as the node itself would.
 * Source: k8s.io/apimachinery/pkg/util/remotecommand, k8s.io/apiserver/pkg/util/wsstream.
 */
import type { WebSocket } from 'ws'
import { type Clock, withTimeout } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { CHANNEL, type Frame, type FrameStream } from '../../base/stream.ts'
import type { ApiContext } from '../context.ts'
import { toStatus } from '../status_error.ts'
import { type ByteTransport, webSocketTransport } from './byte_transport.ts'
import { createSpdySession, type SpdyStream } from './spdy_session.ts'

/** What a client asked for; which streams it will have. */
export interface RemoteCommand {
  verb: 'exec' | 'attach'
  node: string
  request: { stdin: boolean; stdout: boolean; stderr: boolean; tty: boolean }
}

export interface RemoteClient {
  /** What the client sends, to its end. */
  readonly frames: AsyncIterable<Frame>
  send(channel: number, data: Uint8Array): Promise<void>
  /** Ends what goes to the client, then the connection. */
  close(): Promise<void>
}

/** What a client may send; anything else is dropped. */
const FROM_CLIENT: ReadonlySet<number> = new Set([CHANNEL.stdin, CHANNEL.resize, CHANNEL.close])
/** How long a client may take to open its streams. */
const STREAMS_TIMEOUT_MS = 30_000

/** Serves one session to its end. `signal` is raised when the client has gone. */
export async function serveRemoteCommand(
  context: ApiContext,
  command: RemoteCommand,
  client: RemoteClient,
  signal: AbortSignal,
): Promise<void> {
  try {
    const stream = await context.gateway.open(command.node, command.verb, command.request, signal)
    // The far end's own failure is told by `frames`; here it only means that there is nobody to send to.
    fromClient(client, stream)
      .catch(() => undefined)
      .finally(() => stream.end())
    for await (const { channel, data } of stream.frames) await client.send(channel, data)
  } catch (thrown) {
    if (!signal.aborted) {
      await client.send(CHANNEL.error, Buffer.from(JSON.stringify(toStatus(DroverError.from(thrown)))))
    }
  } finally {
    await client.close().catch(() => undefined)
  }
}

async function fromClient(client: RemoteClient, stream: FrameStream): Promise<void> {
  for await (const frame of client.frames) if (FROM_CLIENT.has(frame.channel)) await stream.send(frame)
}

export function webSocketClient(socket: WebSocket): RemoteClient {
  const transport = webSocketTransport(socket)
  return {
    frames: channelFrames(transport),
    send: (channel, data) => transport.write(Buffer.concat([Buffer.of(channel), data])),
    close: async () => transport.close(),
  }
}

/** A message is a channel's number, then data. */
async function* channelFrames({ chunks }: ByteTransport): AsyncGenerator<Frame> {
  for await (const message of chunks) yield { channel: message[0] ?? CHANNEL.close, data: message.subarray(1) }
}

const CHANNEL_OF: Readonly<Record<string, number>> = {
  stdin: CHANNEL.stdin,
  stdout: CHANNEL.stdout,
  stderr: CHANNEL.stderr,
  error: CHANNEL.error,
  resize: CHANNEL.resize,
}

/** Waits until the client has opened a stream for each channel of the command, which it does at once or not at all. */
export async function spdyClient(
  transport: ByteTransport,
  { request }: RemoteCommand,
  clock: Clock,
): Promise<RemoteClient> {
  const { stdin, stdout, stderr, tty } = request
  const asked = Object.entries({ error: true, stdin, stdout, stderr, resize: tty })
  const wanted = asked.flatMap(([name, on]) => (on ? [name] : []))
  const streams = new Map<number, SpdyStream>()
  let ready: () => void = () => undefined
  const complete = new Promise<void>((resolve) => {
    ready = resolve
  })
  const session = createSpdySession(transport, (stream) => {
    const channel = CHANNEL_OF[stream.headers.get('streamtype') ?? '']
    if (channel === undefined || streams.has(channel)) {
      stream.reset().catch(() => undefined)
      return
    }
    streams.set(channel, stream)
    // The client only closes these: nobody reads them here.
    if (channel === CHANNEL.error || channel === CHANNEL.stdout || channel === CHANNEL.stderr) stream.chunks.abandon()
    if (wanted.every((name) => streams.has(CHANNEL_OF[name] ?? -1))) ready()
  })
  const over = session.run().then(() => {
    throw new DroverError('cancelled', 'the client has gone')
  })
  over.catch(() => undefined)
  await withTimeout(clock, Promise.race([complete, over]), STREAMS_TIMEOUT_MS, 'opening the streams of the command')
  return {
    frames: merged(streams.get(CHANNEL.stdin), streams.get(CHANNEL.resize)),
    send: async (channel, data) => streams.get(channel)?.write(data),
    async close() {
      await Promise.allSettled([...streams.values()].map((stream) => stream.end()))
      session.close()
    },
  }
}

/** Input and terminal sizes as the node takes them, in the order in which they come. */
async function* merged(input: SpdyStream | undefined, resize: SpdyStream | undefined): AsyncGenerator<Frame> {
  const sources = [input && inputFrames(input), resize && resizeFrames(resize)].filter((source) => source !== undefined)
  const pending = new Map(sources.map((source) => [source, next(source)]))
  while (pending.size > 0) {
    const { source, result } = await Promise.race(pending.values())
    if (result.done === true) pending.delete(source)
    else {
      pending.set(source, next(source))
      yield result.value
    }
  }
}

async function next(source: AsyncGenerator<Frame>) {
  return { source, result: await source.next() }
}

async function* inputFrames(stream: SpdyStream): AsyncGenerator<Frame> {
  for await (const data of stream.chunks) yield { channel: CHANNEL.stdin, data }
  yield { channel: CHANNEL.close, data: Buffer.of(CHANNEL.stdin) }
}

/** JSON documents, a line each, however they are cut. */
async function* resizeFrames(stream: SpdyStream): AsyncGenerator<Frame> {
  const MAX_LINE = 4096
  let text = ''
  for await (const chunk of stream.chunks) {
    const lines = (text + chunk.toString('utf8')).split('\n')
    text = (lines.pop() ?? '').slice(-MAX_LINE)
    for (const line of lines) if (line !== '') yield { channel: CHANNEL.resize, data: Buffer.from(line) }
  }
}
