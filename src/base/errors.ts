/**
 * The one error class. A code is chosen where the error is thrown, so that callers never parse messages:
 * it decides the HTTP status, whether a work queue retries, and the CLI's exit code.
 */

export type ErrorCode =
  | 'invalid' // the input is wrong; `fields` says where
  | 'notFound'
  | 'alreadyExists'
  | 'conflict' // a precondition (revision, uid) no longer holds: read again, then retry
  | 'unauthorized'
  | 'forbidden'
  | 'gone' // the revision asked for is compacted away: list again
  | 'tooLarge'
  | 'tooManyRequests'
  | 'outOfSpace' // the store takes no writes until someone makes room
  | 'unsupported'
  | 'unavailable' // a peer cannot be reached or is not ready: retry later
  | 'timeout'
  | 'cancelled'
  | 'internal' // a defect of ours or of the machine

/** Codes that may pass by themselves; work queues and service runners retry only these. */
const TEMPORARY: ReadonlySet<ErrorCode> = new Set([
  'conflict',
  'unavailable',
  'timeout',
  'tooManyRequests',
  'outOfSpace',
  'gone',
])

/** One thing wrong with one field. `path` is in Kubernetes' notation, e.g. `spec.template.spec.containers[0].image`. */
export interface FieldError {
  path: string
  /** What kind of fault; becomes `reason` of a Status cause. */
  reason: 'Required' | 'Invalid' | 'NotSupported' | 'Duplicate' | 'Forbidden' | 'TooLong' | 'Unknown' | 'Conflict'
  message: string
}

export interface ErrorOptions {
  cause?: unknown
  fields?: readonly FieldError[]
  /** Seconds after which a retry makes sense, where known. */
  retryAfterSeconds?: number
}

export class DroverError extends Error {
  override readonly name = 'DroverError'
  readonly code: ErrorCode
  readonly fields: readonly FieldError[]
  readonly retryAfterSeconds: number | undefined

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.fields = options.fields ?? []
    this.retryAfterSeconds = options.retryAfterSeconds
  }

  get temporary(): boolean {
    return TEMPORARY.has(this.code)
  }

  /** Wraps anything thrown; an abort becomes `cancelled`, what is not known becomes `internal`. */
  static from(error: unknown, fallback: ErrorCode = 'internal'): DroverError {
    if (error instanceof DroverError) return error
    if (error instanceof Error) {
      const code = error.name === 'AbortError' ? 'cancelled' : fallback
      return new DroverError(code, error.message, { cause: error })
    }
    return new DroverError(fallback, String(error), { cause: error })
  }
}

export function isCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof DroverError && error.code === code
}

/** Asserts an invariant that holds unless the program is wrong. It stays on in production. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new DroverError('internal', `invariant broken: ${message}`)
}

/** Makes an unhandled member of a union a compile error. */
export function unreachable(value: never): never {
  throw new DroverError('internal', `unreachable: ${JSON.stringify(value)}`)
}
