/** The service as grpc-js takes it, and the options that both ends share. */
import type { ChannelOptions, MethodDefinition } from '@grpc/grpc-js'
import {
  type AgentMessage,
  decodeAgentMessage,
  decodeServerMessage,
  decodeStreamFrame,
  encodeAgentMessage,
  encodeServerMessage,
  encodeStreamFrame,
  type ServerMessage,
  type StreamFrameMessage,
} from './messages.ts'

export const STREAM_ID_KEY = 'drover-stream-id'
export const MAX_MESSAGE_BYTES = 16 << 20
/** HTTP/2's own 64 KiB make many small messages wait for each other; measured on loopback. */
const FLOW_CONTROL_WINDOW_BYTES = 1 << 20

export const CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
  // A peer that vanished without a word: the session's own heartbeats see it first, this frees the connection.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
}

const PREFIX = '/drover.node.v1.NodeSession'

const connect: MethodDefinition<AgentMessage, ServerMessage> = {
  path: `${PREFIX}/Connect`,
  requestStream: true,
  responseStream: true,
  requestSerialize: encodeAgentMessage,
  requestDeserialize: decodeAgentMessage,
  responseSerialize: encodeServerMessage,
  responseDeserialize: decodeServerMessage,
}

const stream: MethodDefinition<StreamFrameMessage, StreamFrameMessage> = {
  path: `${PREFIX}/Stream`,
  requestStream: true,
  responseStream: true,
  requestSerialize: encodeStreamFrame,
  requestDeserialize: decodeStreamFrame,
  responseSerialize: encodeStreamFrame,
  responseDeserialize: decodeStreamFrame,
}

export const NODE_SERVICE = { connect, stream }
