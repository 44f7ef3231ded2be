/** Joining and renewal as grpc-js takes them. */
import type { MethodDefinition } from '@grpc/grpc-js'
import {
  decodeJoinRequest,
  decodeJoinResponse,
  decodeRenewRequest,
  decodeRenewResponse,
  encodeJoinRequest,
  encodeJoinResponse,
  encodeRenewRequest,
  encodeRenewResponse,
  type JoinRequest,
  type JoinResponse,
  type RenewRequest,
  type RenewResponse,
} from './join_messages.ts'

const PREFIX = '/drover.node.v1.NodeJoin'

const join: MethodDefinition<JoinRequest, JoinResponse> = {
  path: `${PREFIX}/Join`,
  requestStream: false,
  responseStream: false,
  requestSerialize: encodeJoinRequest,
  requestDeserialize: decodeJoinRequest,
  responseSerialize: encodeJoinResponse,
  responseDeserialize: decodeJoinResponse,
}

const renew: MethodDefinition<RenewRequest, RenewResponse> = {
  path: `${PREFIX}/Renew`,
  requestStream: false,
  responseStream: false,
  requestSerialize: encodeRenewRequest,
  requestDeserialize: decodeRenewRequest,
  responseSerialize: encodeRenewResponse,
  responseDeserialize: decodeRenewResponse,
}

export const JOIN_SERVICE = { join, renew }
