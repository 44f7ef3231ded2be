/** The server's end: a listener with mutual TLS that knows which node calls. */
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js'
import { DroverError } from '../base/errors.ts'
import type { FrameStream } from '../base/stream.ts'
import { createFrameStream } from './frames.ts'
import { fromServerCall, type MessageStream } from './message_stream.ts'
import type { AgentMessage, ServerMessage, StreamFrameMessage } from './messages.ts'
import { CHANNEL_OPTIONS, NODE_SERVICE, STREAM_ID_KEY } from './node_service.ts'
import { grpcStatusOf } from './status.ts'

/** PEM texts. */
export interface TlsFiles {
  ca: string
  cert: string
  key: string
}

export interface NodeServerHandlers {
  /** A node's agent has called; throw to refuse it. */
  onConnect(nodeName: string, stream: MessageStream<AgentMessage, ServerMessage>): void
  /** An agent has dialled a stream; throw to refuse it. */
  onStream(nodeName: string, streamId: string, stream: FrameStream): void
}

export interface NodeServer {
  /** Resolves with the port once it listens. */
  listen(host: string, port: number): Promise<number>
  /** Ends all calls and stops listening. */
  close(): Promise<void>
}

const NODE_PREFIX = 'system:node:'
const NODE_ORGANIZATION = 'system:nodes'

/** The subject of a peer certificate, as Node's TLS gives it: a repeated field is a list. */
interface Subject {
  CN?: string | string[]
  O?: string | string[]
}

/** The node that a certificate stands for. Throws `forbidden` for any other certificate. */
export function nodeNameOfSubject(subject: Subject | undefined): string {
  const name = [subject?.CN ?? []].flat()[0] ?? ''
  if (![subject?.O ?? []].flat().includes(NODE_ORGANIZATION) || !name.startsWith(NODE_PREFIX)) {
    throw new DroverError(
      'forbidden',
      `certificate "${name}" is not a node's: its organization must be ${NODE_ORGANIZATION}, its name ${NODE_PREFIX}NAME`,
    )
  }
  return name.slice(NODE_PREFIX.length)
}

function refuse(call: ServerDuplexStream<unknown, unknown>, error: unknown): void {
  call.on('error', () => undefined)
  call.emit('error', grpcStatusOf(error))
}

function nodeOf(call: ServerDuplexStream<never, never>): string {
  return nodeNameOfSubject(call.getAuthContext()?.sslPeerCertificate?.subject as Subject | undefined)
}

export function createNodeServer(tls: TlsFiles, handlers: NodeServerHandlers): NodeServer {
  const server = new Server({ ...CHANNEL_OPTIONS, 'grpc.keepalive_permit_without_calls': 1 })
  server.addService(NODE_SERVICE, {
    connect(call: ServerDuplexStream<AgentMessage, ServerMessage>) {
      try {
        handlers.onConnect(nodeOf(call as ServerDuplexStream<never, never>), fromServerCall(call))
      } catch (error) {
        refuse(call, error)
      }
    },
    stream(call: ServerDuplexStream<StreamFrameMessage, StreamFrameMessage>) {
      try {
        const streamId = String(call.metadata.get(STREAM_ID_KEY)[0] ?? '')
        const nodeName = nodeOf(call as ServerDuplexStream<never, never>)
        handlers.onStream(nodeName, streamId, createFrameStream(fromServerCall(call)))
      } catch (error) {
        refuse(call, error)
      }
    },
  })
  const credentials = ServerCredentials.createSsl(
    Buffer.from(tls.ca),
    [{ cert_chain: Buffer.from(tls.cert), private_key: Buffer.from(tls.key) }],
    true,
  )
  return {
    listen: (host, port) =>
      new Promise((resolve, reject) => {
        const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
        server.bindAsync(address, credentials, (error, bound) => {
          if (error === null) resolve(bound)
          else reject(new DroverError('unavailable', `cannot listen for nodes on ${address}: ${error.message}`))
        })
      }),
    close: () =>
      new Promise((resolve) => {
        server.forceShutdown()
        resolve()
      }),
  }
}
