/** The agent's end: one channel to one server, with mutual TLS. */
import { isIP } from 'node:net'
import { checkServerIdentity } from 'node:tls'
import { ChannelCredentials, type ChannelOptions, Client, Metadata } from '@grpc/grpc-js'
import { type CancellableFrameStream, createFrameStream } from './frames.ts'
import { fromClientCall, type MessageStream } from './message_stream.ts'
import type { AgentMessage, ServerMessage } from './messages.ts'
import { CHANNEL_OPTIONS, NODE_SERVICE, STREAM_ID_KEY } from './node_service.ts'
import type { TlsFiles } from './server.ts'

export interface NodeClient {
  connect(): MessageStream<ServerMessage, AgentMessage>
  stream(streamId: string): CancellableFrameStream
  close(): void
}

/** Stands in for an IP address in the TLS handshake, where RFC 6066 allows names alone. */
const SERVER_NAME = 'drover-server'

/** The certificate is checked against the address that was dialled, whatever name the handshake carries. */
function security(address: string, tls: TlsFiles): { credentials: ChannelCredentials; options: ChannelOptions } {
  const host = address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
  const credentials = ChannelCredentials.createSsl(Buffer.from(tls.ca), Buffer.from(tls.key), Buffer.from(tls.cert), {
    checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
  })
  return { credentials, options: isIP(host) === 0 ? {} : { 'grpc.ssl_target_name_override': SERVER_NAME } }
}

/** `address` is host:port. Nothing is dialled before the first call. */
export function createNodeClient(address: string, tls: TlsFiles): NodeClient {
  const { credentials, options } = security(address, tls)
  const client = new Client(address, credentials, {
    ...CHANNEL_OPTIONS,
    ...options,
    // The session has its own back-off; gRPC's, which grows to minutes, must not stand in its way.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1_000,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
  })
  const { connect, stream } = NODE_SERVICE
  return {
    connect: () =>
      fromClientCall(client.makeBidiStreamRequest(connect.path, connect.requestSerialize, connect.responseDeserialize)),
    stream(streamId) {
      const metadata = new Metadata()
      metadata.set(STREAM_ID_KEY, streamId)
      return createFrameStream(
        fromClientCall(
          client.makeBidiStreamRequest(stream.path, stream.requestSerialize, stream.responseDeserialize, metadata),
        ),
      )
    },
    close: () => client.close(),
  }
}
