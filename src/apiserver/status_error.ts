/**
 * Errors as Kubernetes' `metav1.Status`: clients decide by `reason`, people read `message`, and kubectl prints the causes.
 * Source: k8s.io/apimachinery/pkg/apis/meta/v1 `Status`, `StatusReason`, `CauseType`.
 */
import { DroverError, type ErrorCode, type FieldError } from '../base/errors.ts'

export interface StatusDetails {
  name?: string
  group?: string
  kind?: string
  uid?: string
  causes?: { reason: string; message: string; field: string }[]
  retryAfterSeconds?: number
}

export interface Status {
  kind: 'Status'
  apiVersion: 'v1'
  metadata: Record<string, never>
  status: 'Success' | 'Failure'
  message?: string
  reason?: string
  details?: StatusDetails
  code: number
}

/** What a request was about: the resource's plural name, and its kind where the body is at fault. */
export interface Subject {
  group: string
  plural: string
  kind: string
  name: string
}

/** An answer that has no code of ours because only HTTP knows it (405, 415, 501). */
export class HttpError extends DroverError {
  readonly status: number
  readonly reason: string

  constructor(status: number, reason: string, message: string, code: ErrorCode = 'unsupported') {
    super(code, message)
    this.status = status
    this.reason = reason
  }
}

const BY_CODE: Readonly<Record<ErrorCode, readonly [number, string]>> = {
  invalid: [400, 'BadRequest'],
  notFound: [404, 'NotFound'],
  alreadyExists: [409, 'AlreadyExists'],
  conflict: [409, 'Conflict'],
  unauthorized: [401, 'Unauthorized'],
  forbidden: [403, 'Forbidden'],
  gone: [410, 'Expired'],
  tooLarge: [413, 'RequestEntityTooLarge'],
  tooManyRequests: [429, 'TooManyRequests'],
  outOfSpace: [507, 'InsufficientStorage'],
  unsupported: [501, 'NotImplemented'],
  unavailable: [503, 'ServiceUnavailable'],
  timeout: [504, 'Timeout'],
  cancelled: [499, 'ClientClosedRequest'],
  internal: [500, 'InternalError'],
}

const CAUSES: Readonly<Record<FieldError['reason'], string>> = {
  Required: 'FieldValueRequired',
  Invalid: 'FieldValueInvalid',
  NotSupported: 'FieldValueNotSupported',
  Duplicate: 'FieldValueDuplicate',
  Forbidden: 'FieldValueForbidden',
  TooLong: 'FieldValueTooLong',
  Unknown: 'FieldValueInvalid',
  Conflict: 'FieldManagerConflict',
}

/** Unknown fields are a matter of decoding (400), the rest of `fields` one of meaning (422): Kubernetes' split. */
function isInvalidObject(error: DroverError): boolean {
  return error.code === 'invalid' && error.fields.some(({ reason }) => reason !== 'Unknown')
}

function statusOf(error: DroverError): readonly [number, string] {
  if (error instanceof HttpError) return [error.status, error.reason]
  return isInvalidObject(error) ? [422, 'Invalid'] : BY_CODE[error.code]
}

function details(error: DroverError, subject: Subject | undefined): StatusDetails | undefined {
  const found: StatusDetails = {}
  if (subject !== undefined) {
    if (subject.name !== '') found.name = subject.name
    if (subject.group !== '') found.group = subject.group
    found.kind = isInvalidObject(error) ? subject.kind : subject.plural
  }
  if (error.fields.length > 0) {
    found.causes = error.fields.map(({ path, reason, message }) => ({ reason: CAUSES[reason], message, field: path }))
  }
  if (error.retryAfterSeconds !== undefined) found.retryAfterSeconds = error.retryAfterSeconds
  return Object.keys(found).length > 0 ? found : undefined
}

export function toStatus(error: DroverError, subject?: Subject): Status {
  const [code, reason] = statusOf(error)
  const about = details(error, subject)
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: error.message,
    reason,
    ...(about === undefined ? {} : { details: about }),
    code,
  }
}

export function successStatus(details: StatusDetails, code = 200): Status {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details, code }
}

/** In the words that kubectl users know. */
export function notFound(resource: string, name: string): DroverError {
  return new DroverError('notFound', `${resource} "${name}" not found`)
}

export function methodNotAllowed(message: string): HttpError {
  return new HttpError(405, 'MethodNotAllowed', message)
}

export function unsupportedMediaType(message: string): HttpError {
  return new HttpError(415, 'UnsupportedMediaType', message)
}
