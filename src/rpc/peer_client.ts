/**
 * Between servers: a stream to a node that another server holds. The first frame says which node and what for; what
 * follows is the node's own stream. Rejected: the request in the call's metadata, which is bound to some kilobytes.
 */
import { Client, type MethodDefinition } from '@grpc/grpc-js'
import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { Frame, NodeStreamVerb } from '../base/stream.ts'
import { nodeSecurity } from './client.ts'
import { type CancellableFrameStream, createFrameStream } from './frames.ts'
import { fromClientCall } from './message_stream.ts'
import { decodeStreamFrame, encodeStreamFrame, jsonBytes, parseJson, type StreamFrameMessage } from './messages.ts'
import type { TlsFiles } from './server.ts'

const forward: MethodDefinition<StreamFrameMessage, StreamFrameMessage> = {
  path: '/drover.node.v1.Peers/Forward',
  requestStream: true,
  responseStream: true,
  requestSerialize: encodeStreamFrame,
  requestDeserialize: decodeStreamFrame,
  responseSerialize: encodeStreamFrame,
  responseDeserialize: decodeStreamFrame,
}

export const PEER_SERVICE = { forward }

export interface NodeRequest {
  nodeName: string
  verb: NodeStreamVerb
  request: unknown
}

/** The request as the other server reads it, with the frames that follow. */
export interface PeerRequest extends NodeRequest {
  frames: AsyncIterable<Frame>
}

export interface PeerClient {
  open(request: NodeRequest): CancellableFrameStream
  close(): void
}

const REQUEST_CHANNEL = 0

export function createPeerClient(address: string, tls: TlsFiles): PeerClient {
  const { credentials, options } = nodeSecurity(address, tls)
  const client = new Client(address, credentials, options)
  return {
    open(request) {
      const call = client.makeBidiStreamRequest(forward.path, forward.requestSerialize, forward.responseDeserialize)
      const stream = createFrameStream(fromClientCall(call))
      // Frames leave in order: whatever the caller sends comes after it. A failure shows in the stream's own frames.
      stream.send({ channel: REQUEST_CHANNEL, data: jsonBytes(request) }).catch(() => undefined)
      return stream
    },
    close: () => client.close(),
  }
}

/** Reads the first frame of a forwarded stream. */
export async function readPeerRequest(stream: CancellableFrameStream): Promise<PeerRequest> {
  const iterator = stream.frames[Symbol.asyncIterator]()
  const first = await iterator.next()
  if (first.done === true) throw new DroverError('invalid', 'the forwarded stream ended before its request')
  const request = parseJson(first.value.data, 'the forwarded request')
  if (!isObject(request) || typeof request.nodeName !== 'string' || typeof request.verb !== 'string') {
    throw new DroverError('invalid', 'a forwarded request names a node and a verb')
  }
  const { nodeName, verb } = request
  const frames = { [Symbol.asyncIterator]: () => iterator }
  return { nodeName, verb: verb as NodeStreamVerb, request: request.request, frames }
}
