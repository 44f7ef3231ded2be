/**
 * Messages of the node session as discriminated unions, and their wire form. The generated classes stay behind this
 * file: with `oneof` as optional fields they cannot be switched over, and their 64-bit numbers may be Long objects.
 */
import { DroverError } from '../base/errors.ts'
import { drover } from './gen/node.js'

const wire = drover.node.v1

export type TableName = 'assignments' | 'services' | 'peers' | 'policies'

export const TABLES: readonly TableName[] = ['assignments', 'services', 'peers', 'policies']

export interface PodStatusReport {
  namespace: string
  name: string
  uid: string
  /** PodStatus, JSON; empty when there is nothing to say but `removed`. */
  statusJson: Uint8Array
  removed: boolean
}

export interface NodeEvent {
  kind: string
  namespace: string
  name: string
  uid: string
  type: string
  reason: string
  message: string
  fieldPath: string
}

export type AgentMessage =
  | { type: 'hello'; nodeName: string; nodeJson: Uint8Array; bootId: string; agentVersion: string }
  | { type: 'heartbeat'; programmedRevision: number; peersRevision: number; sentAtMs?: number }
  | { type: 'podStatuses'; reports: PodStatusReport[] }
  | { type: 'nodeStatus'; statusJson: Uint8Array }
  | { type: 'events'; events: NodeEvent[] }
  | { type: 'resync'; table: TableName }
  | TokenRequest

/** Asks for a token by which a pod of the sending node speaks. */
export interface TokenRequest {
  type: 'tokenRequest'
  requestId: number
  namespace: string
  podName: string
  podUid: string
  serviceAccount: string
  /** None: the API. */
  audiences: string[]
  /** 0: the server chooses. */
  expirationSeconds: number
}

export interface TokenAnswer {
  type: 'tokenAnswer'
  requestId: number
  token: string
  /** Empty: there is a token. */
  errorCode: string
  errorMessage: string
}

export interface TableChange {
  key: string
  /** Empty: the row is gone. */
  json: Uint8Array
}

export interface TableChanges {
  type: 'changes'
  table: TableName
  complete: boolean
  baseSequence: number
  sequence: number
  changes: TableChange[]
  last: boolean
}

export type ServerMessage =
  | {
      type: 'welcome'
      heartbeatIntervalMs: number
      clusterConfigJson: Uint8Array
      serverId: string
      exclusiveLeaseMs?: number
    }
  | TableChanges
  | { type: 'openStream'; streamId: string; verb: string; requestJson: Uint8Array }
  | { type: 'heartbeatAck'; grantedMs?: number; servers?: readonly string[] }
  | TokenAnswer

export interface StreamFrameMessage {
  channel: number
  data: Uint8Array
  end: boolean
  errorCode: string
  errorMessage: string
}

const EMPTY = new Uint8Array(0)

const TABLE_NUMBERS = {
  assignments: wire.Table.TABLE_ASSIGNMENTS,
  services: wire.Table.TABLE_SERVICES,
  peers: wire.Table.TABLE_PEERS,
  policies: wire.Table.TABLE_POLICIES,
} as const

function tableOf(number: number | null | undefined): TableName {
  const table = TABLES.find((name) => TABLE_NUMBERS[name] === number)
  if (table === undefined) throw new DroverError('invalid', `the node session has no table number ${number}`)
  return table
}

/** protobufjs gives Long objects where the package `long` happens to be installed, whatever its types say. */
export function numberOf(value: unknown): number {
  if (typeof value === 'number') return value
  if (typeof value === 'object' && value !== null && 'low' in value && 'high' in value) {
    return Number(value.high) * 2 ** 32 + (Number(value.low) >>> 0)
  }
  return 0
}

export function bytes(encoded: Uint8Array): Buffer {
  return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength)
}

export function encodeAgentMessage(message: AgentMessage): Buffer {
  switch (message.type) {
    case 'hello':
      return bytes(wire.AgentMessage.encode({ hello: message }).finish())
    case 'heartbeat':
      return bytes(wire.AgentMessage.encode({ heartbeat: message }).finish())
    case 'podStatuses':
      return bytes(wire.AgentMessage.encode({ podStatuses: message }).finish())
    case 'nodeStatus':
      return bytes(wire.AgentMessage.encode({ nodeStatus: message }).finish())
    case 'events':
      return bytes(wire.AgentMessage.encode({ events: message }).finish())
    case 'resync':
      return bytes(wire.AgentMessage.encode({ resync: { table: TABLE_NUMBERS[message.table] } }).finish())
    case 'tokenRequest':
      return bytes(wire.AgentMessage.encode({ tokenRequest: message }).finish())
  }
}

export function decodeAgentMessage(buffer: Buffer): AgentMessage {
  const { hello, heartbeat, podStatuses, nodeStatus, events, resync, tokenRequest } = wire.AgentMessage.decode(buffer)
  if (heartbeat) {
    return {
      type: 'heartbeat',
      programmedRevision: numberOf(heartbeat.programmedRevision),
      peersRevision: numberOf(heartbeat.peersRevision),
      sentAtMs: numberOf(heartbeat.sentAtMs),
    }
  }
  if (podStatuses) return { type: 'podStatuses', reports: (podStatuses.reports ?? []).map(reportOf) }
  if (events) return { type: 'events', events: (events.events ?? []).map(eventOf) }
  if (nodeStatus) return { type: 'nodeStatus', statusJson: nodeStatus.statusJson ?? EMPTY }
  if (resync) return { type: 'resync', table: tableOf(resync.table) }
  if (tokenRequest) {
    return {
      type: 'tokenRequest',
      requestId: numberOf(tokenRequest.requestId),
      namespace: tokenRequest.namespace ?? '',
      podName: tokenRequest.podName ?? '',
      podUid: tokenRequest.podUid ?? '',
      serviceAccount: tokenRequest.serviceAccount ?? '',
      audiences: tokenRequest.audiences ?? [],
      expirationSeconds: numberOf(tokenRequest.expirationSeconds),
    }
  }
  if (hello) {
    return {
      type: 'hello',
      nodeName: hello.nodeName ?? '',
      nodeJson: hello.nodeJson ?? EMPTY,
      bootId: hello.bootId ?? '',
      agentVersion: hello.agentVersion ?? '',
    }
  }
  throw new DroverError('invalid', 'the agent sent a message of a kind that this server does not know')
}

function reportOf(report: drover.node.v1.PodStatusReport.$Properties): PodStatusReport {
  return {
    namespace: report.namespace ?? '',
    name: report.name ?? '',
    uid: report.uid ?? '',
    statusJson: report.statusJson ?? EMPTY,
    removed: report.removed ?? false,
  }
}

function eventOf(event: drover.node.v1.NodeEvent.$Properties): NodeEvent {
  return {
    kind: event.kind ?? '',
    namespace: event.namespace ?? '',
    name: event.name ?? '',
    uid: event.uid ?? '',
    type: event.type ?? '',
    reason: event.reason ?? '',
    message: event.message ?? '',
    fieldPath: event.fieldPath ?? '',
  }
}

export function encodeServerMessage(message: ServerMessage): Buffer {
  switch (message.type) {
    case 'welcome':
      return bytes(wire.ServerMessage.encode({ welcome: message }).finish())
    case 'changes': {
      const { Type } = wire.Changes
      const type = message.complete ? Type.COMPLETE : Type.INCREMENTAL
      return bytes(
        wire.ServerMessage.encode({ changes: { ...message, table: TABLE_NUMBERS[message.table], type } }).finish(),
      )
    }
    case 'openStream':
      return bytes(wire.ServerMessage.encode({ openStream: message }).finish())
    case 'tokenAnswer':
      return bytes(wire.ServerMessage.encode({ tokenAnswer: message }).finish())
    case 'heartbeatAck':
      return bytes(
        wire.ServerMessage.encode({
          heartbeatAck: { grantedMs: message.grantedMs ?? 0, servers: [...(message.servers ?? [])] },
        }).finish(),
      )
  }
}

export function decodeServerMessage(buffer: Buffer): ServerMessage {
  const { welcome, changes, openStream, heartbeatAck, tokenAnswer } = wire.ServerMessage.decode(buffer)
  if (tokenAnswer) {
    const { requestId, token, errorCode, errorMessage } = tokenAnswer
    return {
      type: 'tokenAnswer',
      requestId: numberOf(requestId),
      token: token ?? '',
      errorCode: errorCode ?? '',
      errorMessage: errorMessage ?? '',
    }
  }
  if (heartbeatAck) {
    const { grantedMs, servers } = heartbeatAck
    return { type: 'heartbeatAck', grantedMs: numberOf(grantedMs), servers: servers ?? [] }
  }
  if (changes) {
    return {
      type: 'changes',
      table: tableOf(changes.table),
      complete: changes.type === wire.Changes.Type.COMPLETE,
      baseSequence: numberOf(changes.baseSequence),
      sequence: numberOf(changes.sequence),
      changes: (changes.changes ?? []).map(({ key, json }) => ({ key: key ?? '', json: json ?? EMPTY })),
      last: changes.last ?? false,
    }
  }
  if (openStream) {
    const { streamId, verb, requestJson } = openStream
    return { type: 'openStream', streamId: streamId ?? '', verb: verb ?? '', requestJson: requestJson ?? EMPTY }
  }
  if (welcome) {
    return {
      type: 'welcome',
      heartbeatIntervalMs: welcome.heartbeatIntervalMs ?? 0,
      clusterConfigJson: welcome.clusterConfigJson ?? EMPTY,
      serverId: welcome.serverId ?? '',
      exclusiveLeaseMs: welcome.exclusiveLeaseMs ?? 0,
    }
  }
  throw new DroverError('invalid', 'the server sent a message of a kind that this agent does not know')
}

export function encodeStreamFrame(frame: StreamFrameMessage): Buffer {
  return bytes(wire.StreamFrame.encode(frame).finish())
}

export function decodeStreamFrame(buffer: Buffer): StreamFrameMessage {
  const { channel, data, end, errorCode, errorMessage } = wire.StreamFrame.decode(buffer)
  return {
    channel: channel ?? 0,
    data: data ?? EMPTY,
    end: end ?? false,
    errorCode: errorCode ?? '',
    errorMessage: errorMessage ?? '',
  }
}

/** What `json` holds, or `invalid` in words that name what it should be. */
export function parseJson(json: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString('utf8'))
  } catch (error) {
    throw new DroverError('invalid', `${what} is not JSON`, { cause: error })
  }
}

export function jsonBytes(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value), 'utf8')
}
