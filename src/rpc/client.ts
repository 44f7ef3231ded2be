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

export type ClientTls = TlsFiles

export interface Security {
  credentials: ChannelCredentials
  options: ChannelOptions
}

/** The host of `host:port` or `[ipv6]:port`. */
export function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
}

/** The certificate is checked against the address that was dialled, whatever name the handshake carries. */
function secure(address: string, ca: string, own?: { key: string; cert: string }): Security {
  const host = hostOf(address)
  const key = own === undefined ? null : Buffer.from(own.key)
  const cert = own === undefined ? null : Buffer.from(own.cert)
  const credentials = ChannelCredentials.createSsl(Buffer.from(ca), key, cert, {
    checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
  })
  const named: ChannelOptions = isIP(host) === 0 ? {} : { 'grpc.ssl_target_name_override': SERVER_NAME }
  return {
    credentials,
    options: { ...CHANNEL_OPTIONS, ...named, 'grpc.use_local_subchannel_pool': 1, 'grpc.enable_http_proxy': 0 },
  }
}

export const nodeSecurity = (address: string, tls: ClientTls): Security => secure(address, tls.ca, tls)

/** For who has no certificate yet. */
export const caOnlySecurity = (address: string, ca: string): Security => secure(address, ca)

/** `address` is host:port. Nothing is dialled before the first call. */
export function createNodeClient(address: string, tls: TlsFiles): NodeClient {
  const { credentials, options } = nodeSecurity(address, tls)
  const client = new Client(address, credentials, {
    ...options,
    // The session has its own back-off; gRPC's, which grows to minutes, must not stand in its way.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1_000,
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
