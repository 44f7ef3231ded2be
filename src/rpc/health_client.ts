/**
 * Asks a program for its health over gRPC, in plain text. Source: the GRPC Health Checking Protocol (grpc.health.v1).
 * The two messages hold one field each, so they are written and read here rather than generated.
 */
import { Client, credentials, status as grpcStatus, Metadata, type ServiceError } from '@grpc/grpc-js'
import type { Clock } from '../base/clock.ts'
import { hostPort } from '../base/host_port.ts'

export interface HealthRequest {
  host: string
  port: number
  /** Empty: the program as a whole. */
  service: string
  timeoutMs: number
  clock: Clock
}

export interface HealthAnswer {
  ok: boolean
  message: string
}

const METHOD = '/grpc.health.v1.Health/Check'
const SERVING = 1
const STATUS_NAMES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN']
/** Wire type 2 of field 1, `HealthCheckRequest.service`. */
const SERVICE_TAG = 0x0a
/** Wire type 0 of field 1, `HealthCheckResponse.status`. */
const STATUS_TAG = 0x08
const MAX_ANSWER_BYTES = 4_096

/** Never rejects: what went wrong stands in the message. */
export function checkHealth({ host, port, service, timeoutMs, clock }: HealthRequest): Promise<HealthAnswer> {
  const address = hostPort(host, port)
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
    'grpc.enable_retries': 0,
    // The environment's proxy is for the world outside, not for pods.
    'grpc.enable_http_proxy': 0,
    'grpc.primary_user_agent': 'drover-probe',
    // Each probe looks at the program itself: no connection is kept from one to the next.
    'grpc.use_local_subchannel_pool': 1,
  })
  return new Promise((resolve) => {
    const done = (error: ServiceError | null, number: number | undefined): void => {
      bound.cancel()
      client.close()
      resolve(error === null ? answerOf(number ?? 0) : { ok: false, message: failureOf(error, address, service) })
    }
    const call = client.makeUnaryRequest(METHOD, encodeRequest, decodeStatus, { service }, new Metadata(), done)
    const bound = clock.schedule(timeoutMs, () => {
      resolve({ ok: false, message: `no answer from ${address} within ${timeoutMs} ms` })
      call.cancel()
    })
  })
}

function answerOf(number: number): HealthAnswer {
  return { ok: number === SERVING, message: `service is ${STATUS_NAMES[number] ?? `in state ${number}`}` }
}

function failureOf(error: ServiceError, address: string, service: string): string {
  switch (error.code) {
    case grpcStatus.UNIMPLEMENTED:
      return `${address} does not offer the gRPC health service`
    case grpcStatus.NOT_FOUND:
      return `${address} knows no service "${service}"`
    default:
      return `${address}: ${error.details || error.message}`
  }
}

export function encodeRequest({ service }: Pick<HealthRequest, 'service'>): Buffer {
  const text = Buffer.from(service, 'utf8')
  return text.length === 0 ? text : Buffer.concat([Buffer.from([SERVICE_TAG, ...varint(text.length)]), text])
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)]
}

/** An absent field is 0, as everywhere in protocol buffers; fields that are not known make the answer unknown. */
export function decodeStatus(message: Buffer): number {
  return message[0] === STATUS_TAG ? (message[1] ?? 0) : 0
}
