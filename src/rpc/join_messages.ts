/** Messages of joining and renewal, and their wire form; see messages.ts. */
import { drover } from './gen/node.js'
import { bytes, numberOf } from './messages.ts'

const wire = drover.node.v1
const EMPTY = new Uint8Array(0)

export interface JoinRequest {
  tokenId: string
  tokenSecret: string
  nodeName: string
  /** DER SubjectPublicKeyInfo. */
  publicKey: Uint8Array
  clockMs: number
  machineId: string
  /** Labels and taints of the Node. */
  nodeJson: Uint8Array
}

export interface JoinResponse {
  /** PEM. */
  certificate: string
  ca: string
  /** `host:port` each. */
  servers: string[]
  clusterName: string
}

export interface RenewRequest {
  publicKey: Uint8Array
  clockMs: number
}

export interface RenewResponse {
  certificate: string
  ca: string
  servers: string[]
}

export const encodeJoinRequest = (message: JoinRequest): Buffer => bytes(wire.JoinRequest.encode(message).finish())

export function decodeJoinRequest(buffer: Buffer): JoinRequest {
  const message = wire.JoinRequest.decode(buffer)
  return {
    tokenId: message.tokenId ?? '',
    tokenSecret: message.tokenSecret ?? '',
    nodeName: message.nodeName ?? '',
    publicKey: message.publicKey ?? EMPTY,
    clockMs: numberOf(message.clockMs),
    machineId: message.machineId ?? '',
    nodeJson: message.nodeJson ?? EMPTY,
  }
}

export const encodeJoinResponse = (message: JoinResponse): Buffer => bytes(wire.JoinResponse.encode(message).finish())

export function decodeJoinResponse(buffer: Buffer): JoinResponse {
  const { certificate, ca, servers, clusterName } = wire.JoinResponse.decode(buffer)
  return { certificate: certificate ?? '', ca: ca ?? '', servers: servers ?? [], clusterName: clusterName ?? '' }
}

export const encodeRenewRequest = (message: RenewRequest): Buffer => bytes(wire.RenewRequest.encode(message).finish())

export function decodeRenewRequest(buffer: Buffer): RenewRequest {
  const { publicKey, clockMs } = wire.RenewRequest.decode(buffer)
  return { publicKey: publicKey ?? EMPTY, clockMs: numberOf(clockMs) }
}

export const encodeRenewResponse = (message: RenewResponse): Buffer =>
  bytes(wire.RenewResponse.encode(message).finish())

export function decodeRenewResponse(buffer: Buffer): RenewResponse {
  const { certificate, ca, servers } = wire.RenewResponse.decode(buffer)
  return { certificate: certificate ?? '', ca: ca ?? '', servers: servers ?? [] }
}
