/** The CLI's way to the API: HTTPS with keep-alive, JSON in and out, Status answers turned into coded errors. */

import type { IncomingMessage } from 'node:http'
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https'
import type { Readable } from 'node:stream'
import { apiVersionOf, type KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { DroverError, type ErrorCode, type FieldError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { ConnectionConfig } from './kubeconfig.ts'

export interface CallOptions {
  query?: Readonly<Record<string, string | number | boolean | undefined>>
  body?: unknown
  contentType?: string
  accept?: string
  signal?: AbortSignal
  /** Time to the answer's head; 0 waits for ever. Default 30 s. */
  timeoutMs?: number
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  NotFound: 'notFound',
  AlreadyExists: 'alreadyExists',
  Conflict: 'conflict',
  Invalid: 'invalid',
  BadRequest: 'invalid',
  Unauthorized: 'unauthorized',
  Forbidden: 'forbidden',
  Expired: 'gone',
  Gone: 'gone',
  TooManyRequests: 'tooManyRequests',
  RequestEntityTooLarge: 'tooLarge',
  ServiceUnavailable: 'unavailable',
  Timeout: 'timeout',
  InsufficientStorage: 'outOfSpace',
  MethodNotAllowed: 'unsupported',
  UnsupportedMediaType: 'unsupported',
  NotAcceptable: 'unsupported',
}

/** What a refusal alone does not tell: whose credentials they were, and what to do. */
export function refusalHint(code: ErrorCode, source: string, message: string): string {
  if (code === 'unauthorized') return `; the credentials in ${source} are not (or no longer) valid here`
  // Admission refuses by the same code (pod security, quota, an unknown runtime class): no role would help there.
  if (code !== 'forbidden' || !/\bUser ".*" cannot /.test(message)) return ''
  return `; the credentials in ${source} lack a role for it: "kubectl auth can-i --list" shows what they allow, an administrator binds roles`
}

/** Path of a kind's collection, or of one object. */
export function resourcePath(kind: KindDefinition, namespace: string | undefined, name?: string): string {
  const root = kind.group === '' ? '/api/v1' : `/apis/${apiVersionOf(kind)}`
  const scope = kind.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : ''
  return `${root}${scope}/${kind.plural}${name === undefined ? '' : `/${encodeURIComponent(name)}`}`
}

export class RestClient {
  readonly config: ConnectionConfig
  readonly #agent: Agent
  readonly #onWarning: (text: string) => void

  constructor(config: ConnectionConfig, onWarning: (text: string) => void) {
    this.config = config
    this.#onWarning = onWarning
    this.#agent = new Agent({ keepAlive: true, ...this.tlsOptions() })
  }

  /** TLS settings, for connections that this client does not make itself. */
  tlsOptions(): { ca?: string; cert?: string; key?: string; rejectUnauthorized: boolean } {
    const { ca, cert, key, insecure } = this.config
    return {
      rejectUnauthorized: !insecure,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
    }
  }

  authorizationHeaders(): Record<string, string> {
    return this.config.token === undefined ? {} : { authorization: `Bearer ${this.config.token}` }
  }

  /** Sends a request and reads the JSON answer. Throws the coded error that a Status answer tells. */
  async call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const response = await this.open(method, path, options)
    const text = await readAll(response)
    try {
      return JSON.parse(text) as T
    } catch (error) {
      throw new DroverError('internal', `${method} ${path}: the answer is not JSON: ${text.slice(0, 200)}`, {
        cause: error,
      })
    }
  }

  /** Sends a request and returns the answer to be streamed, once its head says that all is well. */
  async open(method: string, path: string, options: CallOptions = {}): Promise<IncomingMessage> {
    const response = await this.#send(method, path, options)
    for (const warning of [response.headers.warning ?? []].flat()) this.#warn(warning)
    const status = response.statusCode ?? 0
    if (status >= 200 && status < 300) return response
    throw this.#failure(status, await readAll(response), `${method} ${path}`)
  }

  close(): void {
    this.#agent.destroy()
  }

  #warn(header: string): void {
    // Several warnings may share one header: `299 - "text", 299 - "text"`.
    for (const [, text] of header.matchAll(/299 \S+ "((?:[^"\\]|\\.)*)"/g)) {
      this.#onWarning((text ?? '').replace(/\\(.)/g, '$1'))
    }
  }

  #send(method: string, path: string, options: CallOptions): Promise<IncomingMessage> {
    const { query = {}, body, signal, timeoutMs = 30_000 } = options
    const url = new URL(this.config.server)
    url.pathname = `${url.pathname.replace(/\/$/, '')}${path}`
    for (const [key, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(key, String(value))
    const streamed = isReadable(body)
    const payload = body === undefined || streamed ? undefined : JSON.stringify(body)
    const headers: Record<string, string> = {
      accept: options.accept ?? 'application/json',
      'user-agent': 'drover',
      ...this.authorizationHeaders(),
    }
    if (body !== undefined) headers['content-type'] = options.contentType ?? 'application/json'
    if (payload !== undefined) headers['content-length'] = String(Buffer.byteLength(payload))
    return new Promise((resolve, reject) => {
      const requestOptions: RequestOptions = { method, agent: this.#agent, headers, ...(signal ? { signal } : {}) }
      const request = httpsRequest(url, requestOptions, (response) => {
        request.setTimeout(0)
        resolve(response)
      })
      if (timeoutMs > 0) {
        request.setTimeout(timeoutMs, () =>
          request.destroy(new DroverError('timeout', `${url.host} did not answer within ${timeoutMs / 1000} s`)),
        )
      }
      request.on('error', (error: NodeJS.ErrnoException) => reject(this.#unreachable(error)))
      if (streamed) body.on('error', (error) => request.destroy(error)).pipe(request)
      else request.end(payload)
    })
  }

  #unreachable(error: NodeJS.ErrnoException): DroverError {
    if (error instanceof DroverError) return error
    if (error.name === 'AbortError') return new DroverError('cancelled', 'cancelled', { cause: error })
    const { server, source } = this.config
    const certificate =
      error.code?.includes('CERT') || error.code?.includes('SELF_SIGNED') || error.code?.includes('SSL')
    const hint = certificate
      ? `the certificates in ${source} do not fit this server: the kubeconfig is stale or of another cluster; get a new one with: drover kubeconfig`
      : `is the cluster up? (kubeconfig: ${source}; start a local cluster with: drover up)`
    return new DroverError('unavailable', `cannot reach ${server.href}: ${error.message || error.code}; ${hint}`, {
      cause: error,
    })
  }

  #failure(status: number, text: string, what: string): DroverError {
    let parsed: unknown
    try {
      parsed = JSON.parse(text)
    } catch {
      parsed = undefined
    }
    if (!isObject(parsed) || parsed.kind !== 'Status') {
      return new DroverError('internal', `${what}: HTTP ${status}: ${text.slice(0, 500)}`)
    }
    const code = CODES[String(parsed.reason)] ?? (status === 404 ? 'notFound' : 'internal')
    const details = isObject(parsed.details) && Array.isArray(parsed.details.causes) ? parsed.details.causes : []
    const fields: FieldError[] = details.filter(isObject).map((cause) => ({
      path: String(cause.field ?? ''),
      reason: 'Invalid',
      message: String(cause.message ?? ''),
    }))
    const message = String(parsed.message ?? text)
    return new DroverError(code, `${message}${refusalHint(code, this.config.source, message)}`, { fields })
  }
}

function isReadable(body: unknown): body is Readable {
  return typeof body === 'object' && body !== null && 'pipe' in body
}

export async function readAll(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

/** One JSON value a line, as watches and progress come. */
export async function* jsonLines<T>(stream: Readable): AsyncGenerator<T> {
  let rest = ''
  stream.setEncoding('utf8')
  for await (const chunk of stream) {
    const lines = (rest + (chunk as string)).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line.trim() !== '') yield JSON.parse(line) as T
  }
  if (rest.trim() !== '') yield JSON.parse(rest) as T
}

export interface ObjectList<T extends KubeObject> {
  items: T[]
  metadata: { resourceVersion: string; continue?: string }
}

export interface WatchEvent<T> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  object: T
}
