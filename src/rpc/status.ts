/** gRPC statuses and our codes. Source: grpc.io "Status codes and their use in gRPC". */
import { type ServiceError, status } from '@grpc/grpc-js'
import { DroverError, type ErrorCode } from '../base/errors.ts'

const TO_STATUS: Readonly<Record<ErrorCode, status>> = {
  invalid: status.INVALID_ARGUMENT,
  notFound: status.NOT_FOUND,
  alreadyExists: status.ALREADY_EXISTS,
  conflict: status.ABORTED,
  unauthorized: status.UNAUTHENTICATED,
  forbidden: status.PERMISSION_DENIED,
  gone: status.OUT_OF_RANGE,
  tooLarge: status.RESOURCE_EXHAUSTED,
  tooManyRequests: status.RESOURCE_EXHAUSTED,
  outOfSpace: status.RESOURCE_EXHAUSTED,
  unsupported: status.UNIMPLEMENTED,
  unavailable: status.UNAVAILABLE,
  timeout: status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  internal: status.INTERNAL,
}

const FROM_STATUS = new Map<number, ErrorCode>(
  // The first of two codes with one status is what the status means when it comes back.
  Object.entries(TO_STATUS)
    .reverse()
    .map(([code, number]) => [number, code as ErrorCode]),
)

export function grpcStatusOf(error: unknown): { code: status; details: string } {
  const { code, message } = DroverError.from(error)
  return { code: TO_STATUS[code], details: message }
}

export function errorFromGrpc(error: unknown): DroverError {
  if (error instanceof DroverError) return error
  const { code, details } = error as Partial<ServiceError>
  if (code === undefined) return DroverError.from(error, 'unavailable')
  const ours = FROM_STATUS.get(code) ?? 'unavailable'
  return new DroverError(ours, details || String(error), { cause: error })
}

const CODES = new Set<string>(Object.keys(TO_STATUS))

/** An error code that came as text; what we do not know is `internal`. */
export function errorCodeOf(text: string): ErrorCode {
  return CODES.has(text) ? (text as ErrorCode) : 'internal'
}
