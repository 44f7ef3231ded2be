/**
 * One request and its answer, the same over HTTP/2 and HTTP/1.1. Handlers see only this: bodies are bounded, writes
 * wait for a slow client and give up on one that stands still, and the signal is raised when the client has gone.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type { Readable, Writable } from 'node:stream'
import type { Clock } from '../base/clock.ts'
import { withTimeout } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { ANONYMOUS, type User } from './authentication.ts'
import type { WriteGuard } from './authorization/escalation.ts'
import { type Status, type Subject, toStatus } from './status_error.ts'

/** What `IncomingMessage` and `Http2ServerRequest` share. */
export type RawRequest = Readable & {
  /** Of HTTP/2 alone. */
  stream?: { on(event: 'close', listener: () => void): unknown } | undefined
  method?: string | undefined
  url?: string | undefined
  headers: IncomingHttpHeaders
}
/** What `ServerResponse` and `Http2ServerResponse` share. */
export type RawResponse = Writable & {
  statusCode: number
  readonly headersSent: boolean
  setHeader(name: string, value: string | number | readonly string[]): unknown
  flushHeaders?(): void
}

export const MAX_BODY_BYTES = 3 << 20
/** Members and items of one body: twenty times a large pod's, and few enough to be walked in a moment. */
export const MAX_BODY_VALUES = 100_000
/** A body of that size that takes longer is an attack or a broken line. */
const BODY_TIMEOUT_MS = 60_000
/** A client that takes nothing for so long is cut off. */
const STALLED_WRITE_MS = 60_000
/** More warnings than these help nobody, and headers are bounded at the other end. */
const MAX_WARNINGS = 32
const MAX_WARNING_CHARS = 512

export type Headers = Readonly<Record<string, string>>

export interface ExchangeOptions {
  id: string
  clock: Clock
  request: RawRequest
  response: RawResponse
}

/** One for all: an exception of its own for every answer would cost more than the answer's headers. */
const CLIENT_GONE = new DroverError('cancelled', 'the client has gone')

export class Exchange {
  readonly id: string
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** Raised when the answer is complete or the client has gone. */
  readonly signal: AbortSignal
  /** Set once the client is known. */
  user: User = { name: ANONYMOUS, groups: [] }
  /** Judges what this user would store. */
  guard: WriteGuard | undefined
  /** Set once the path is understood; errors name it. */
  subject: Subject | undefined
  responseBytes = 0
  readonly #clock: Clock
  readonly #request: RawRequest
  readonly #response: RawResponse
  readonly #closed = new AbortController()
  readonly #warnings: string[] = []

  constructor({ id, clock, request, response }: ExchangeOptions) {
    this.id = id
    this.#clock = clock
    this.#request = request
    this.#response = response
    this.method = request.method ?? 'GET'
    const { path, query } = splitUrl(request.url ?? '/')
    this.path = path
    this.query = query
    this.headers = request.headers
    this.signal = this.#closed.signal
    const onGone = (): void => this.#closed.abort(CLIENT_GONE)
    response.on('close', onGone)
    // Node tells nothing of a HEAD whose stream is closed before its answer was ended: a watch would go on for an hour.
    request.stream?.on('close', onGone)
    response.on('error', onGone)
    request.on('error', onGone)
  }

  get begun(): boolean {
    return this.#response.headersSent
  }

  get statusCode(): number {
    return this.#response.statusCode
  }

  warn(message: string): void {
    if (this.#warnings.length >= MAX_WARNINGS || this.#warnings.includes(message)) return
    this.#warnings.push(message)
  }

  /** The body as it arrives, for those who stream it on. */
  get input(): AsyncIterable<Buffer> {
    return this.#request
  }

  /** The whole body. Rejects with `tooLarge` past the limit. */
  body(limitBytes = MAX_BODY_BYTES): Promise<Buffer> {
    const declared = Number(this.headers['content-length'] ?? 0)
    if (declared > limitBytes) return Promise.reject(tooLarge(limitBytes))
    const read = new Promise<Buffer>((resolve, reject) => {
      const chunks: Buffer[] = []
      let size = 0
      this.#request.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size <= limitBytes) chunks.push(chunk)
        else reject(tooLarge(limitBytes))
      })
      this.#request.on('end', () => resolve(Buffer.concat(chunks)))
      const cut = (): void => reject(new DroverError('cancelled', 'the client went away before it had sent the body'))
      this.#request.on('close', cut)
      this.#request.on('error', cut)
    })
    return withTimeout(this.#clock, read, BODY_TIMEOUT_MS, 'the request body')
  }

  /** Status line and headers; then `write` and `end`. */
  begin(status: number, contentType: string, headers: Headers = {}): void {
    const response = this.#response
    response.statusCode = status
    response.setHeader('content-type', contentType)
    response.setHeader('audit-id', this.id)
    response.setHeader('cache-control', 'no-cache, private')
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    if (this.#warnings.length > 0) response.setHeader('warning', this.#warnings.map(warningHeader))
  }

  /** Sends the headers now, though no body is at hand. */
  flush(): void {
    this.#response.flushHeaders?.()
  }

  /** Resolves when the client may be sent more; rejects with `cancelled` when it has gone or stands still. */
  async write(chunk: Buffer | string): Promise<void> {
    if (this.signal.aborted) throw new DroverError('cancelled', 'the client has gone')
    this.responseBytes += chunk.length
    if (this.#response.write(chunk)) return
    await this.#drained()
  }

  #drained(): Promise<void> {
    const response = this.#response
    return new Promise((resolve, reject) => {
      const done = (error?: DroverError): void => {
        timer.cancel()
        response.removeListener('drain', onDrain)
        this.signal.removeEventListener('abort', onAbort)
        if (error === undefined) resolve()
        else reject(error)
      }
      const onDrain = (): void => done()
      const onAbort = (): void => done(new DroverError('cancelled', 'the client has gone'))
      const timer = this.#clock.schedule(STALLED_WRITE_MS, () => {
        done(new DroverError('cancelled', `the client took nothing for ${STALLED_WRITE_MS / 1000} s`))
        this.destroy()
      })
      response.once('drain', onDrain)
      this.signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  end(chunk?: Buffer | string): void {
    if (chunk === undefined) {
      this.#response.end()
      return
    }
    this.responseBytes += chunk.length
    this.#response.end(chunk)
  }

  /** Breaks the answer off, so that the client cannot take what it has for the whole. */
  destroy(): void {
    this.#response.destroy()
  }

  /** A complete answer. */
  send(status: number, body: Buffer | string, contentType: string, headers: Headers = {}): void {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    this.begin(status, contentType, { 'content-length': String(bytes.length), ...headers })
    if (this.method === 'HEAD') this.end()
    else this.end(bytes)
  }

  sendJson(status: number, value: unknown, headers: Headers = {}): void {
    const body = value instanceof Uint8Array ? Buffer.from(value) : Buffer.from(JSON.stringify(value))
    this.send(status, body, 'application/json', headers)
  }

  sendStatus(status: Status): void {
    const after = status.details?.retryAfterSeconds
    const headers: Record<string, string> = after === undefined ? {} : { 'retry-after': String(after) }
    if (status.code === 401) headers['www-authenticate'] = 'Bearer realm="drover"'
    this.sendJson(status.code, status, headers)
    // The rest of a refused body is not read: HTTP/1.1 would take it for the next request.
    if (!this.#request.readableEnded) this.#request.resume()
  }

  /** Answers with the error, or breaks off what has begun. */
  fail(error: DroverError): void {
    if (this.begun) this.destroy()
    else this.sendStatus(toStatus(error, this.subject))
  }
}

export function tooManyValues(): DroverError {
  return new DroverError('tooLarge', `the body has more than ${MAX_BODY_VALUES} members and items`)
}

function tooLarge(limitBytes: number): DroverError {
  return new DroverError('tooLarge', `the request body is larger than the limit of ${limitBytes} bytes`)
}

function splitUrl(url: string): { path: string; query: URLSearchParams } {
  const mark = url.indexOf('?')
  if (mark < 0) return { path: url, query: new URLSearchParams() }
  return { path: url.slice(0, mark), query: new URLSearchParams(url.slice(mark + 1)) }
}

/** RFC 7234 §5.5: code 299, no agent, quoted text. Header values are Latin-1 without control characters. */
function warningHeader(message: string): string {
  const plain = message.replace(/[^\x20-\x7e]/g, ' ').slice(0, MAX_WARNING_CHARS)
  return `299 - "${plain.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
}
