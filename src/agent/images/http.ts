/**
 * One HTTP request, bounded in time, directly or through a proxy (plain HTTP in absolute form, HTTPS through CONNECT).
 * No redirects, no retries: those are the registry's matter. A look-up of a name can hang for long, hence the bound on
 * the way to a connection, which Node itself does not have.
 * Source: RFC 9110 §9.3.6 (CONNECT), RFC 9112 §3.2.2 (absolute form).
 */
import { type ClientRequest, type IncomingMessage, request as plainRequest, type RequestOptions } from 'node:http'
import { request as tlsRequest } from 'node:https'
import type { Socket } from 'node:net'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { type Clock, throwIfAborted } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'

export interface ProxyOptions {
  /** `http://host:port` */
  url: string
  /** The whole value of Proxy-Authorization. */
  authorization?: string
}

export interface HttpOptions {
  clock: Clock
  proxy?: ProxyOptions | undefined
  /** To a connection, TLS and proxy included. Default 10 s. */
  connectTimeoutMs?: number
  /** Between pieces of what is sent, from its last to the head of the answer, and between pieces of that. Default 60 s. */
  idleTimeoutMs?: number
}

export interface HttpRequest {
  url: URL
  headers: Readonly<Record<string, string>>
  verifyTls: boolean
  signal: AbortSignal
  /** GET unless said otherwise. */
  method?: 'HEAD' | 'POST' | 'PATCH' | 'PUT'
  /** Small enough to be held whole. */
  body?: Uint8Array
}

export interface HttpResponse {
  status: number
  header(name: string): string | undefined
  /** May be read once; one that is not read must be discarded. */
  body: AsyncIterable<Uint8Array>
  discard(): void
}

const CONNECT_TIMEOUT_MS = 10_000
const IDLE_TIMEOUT_MS = 60_000
/** Of a body, in one piece: a connection that takes one a minute is not silent. */
const SENT_BYTES = 64 << 10

export class HttpClient {
  readonly #options: HttpOptions
  readonly #proxy: URL | undefined

  constructor(options: HttpOptions) {
    this.#options = options
    if (options.proxy === undefined) return
    this.#proxy = URL.canParse(options.proxy.url) ? new URL(options.proxy.url) : undefined
    if (this.#proxy?.protocol !== 'http:') {
      throw new DroverError('invalid', `"${options.proxy.url}" is not a proxy's address; write http://host:port`)
    }
  }

  /** Rejects with `unavailable` or `timeout` when there is no answer; any answer is one, whatever its status. */
  async send(request: HttpRequest): Promise<HttpResponse> {
    throwIfAborted(request.signal)
    const own = new AbortController()
    const onAbort = () => own.abort(request.signal.reason)
    request.signal.addEventListener('abort', onAbort, { once: true })
    const stop = () => request.signal.removeEventListener('abort', onAbort)
    try {
      const response = await this.#send(request, own)
      return {
        status: response.statusCode ?? 0,
        header: (name) => {
          const value = response.headers[name]
          return Array.isArray(value) ? value.join(', ') : value
        },
        body: this.#body(request, response, stop),
        discard: () => {
          stop()
          response.destroy()
        },
      }
    } catch (error) {
      stop()
      throw explained(error, request)
    }
  }

  async #send(request: HttpRequest, own: AbortController): Promise<IncomingMessage> {
    const { url, headers, verifyTls } = request
    const { clock, proxy, connectTimeoutMs = CONNECT_TIMEOUT_MS, idleTimeoutMs = IDLE_TIMEOUT_MS } = this.#options
    const secure = url.protocol === 'https:'
    const late = (what: string, ms: number) => () =>
      own.abort(new DroverError('timeout', `${what} took longer than ${ms / 1000} s`))
    const connecting = clock.schedule(connectTimeoutMs, late('connecting', connectTimeoutMs), true)
    let answering = clock.schedule(connectTimeoutMs + idleTimeoutMs, late('the answer', idleTimeoutMs), true)
    let answered = false
    // What the connection takes of the body starts the time anew, so that a slow one may take long over it.
    const onTaken = (): void => {
      if (answered) return
      answering.cancel()
      answering = clock.schedule(idleTimeoutMs, late('the answer', idleTimeoutMs), true)
    }
    try {
      const { method = 'GET', body } = request
      const length = body === undefined ? {} : { 'content-length': body.length }
      const options: RequestOptions = {
        method,
        headers: { ...headers, ...length, host: url.host },
        agent: false,
        signal: own.signal,
      }
      if (!secure && this.#proxy !== undefined) {
        Object.assign(options, address(this.#proxy), { path: url.href })
        options.headers = { ...options.headers, ...proxyHeaders(proxy) }
      } else {
        Object.assign(options, address(url), { path: `${url.pathname}${url.search}` })
      }
      let tunnel: TLSSocket | undefined
      if (secure && this.#proxy !== undefined) {
        tunnel = await this.#tunnel(url, { verifyTls, signal: own.signal })
        Object.assign(options, { createConnection: () => tunnel })
      }
      return await new Promise<IncomingMessage>((resolve, reject) => {
        const sent = secure ? tlsRequest({ ...options, rejectUnauthorized: verifyTls }) : plainRequest(options)
        sent.on('socket', (socket: Socket) => {
          if (!socket.connecting && tunnel !== undefined) connecting.cancel()
          else socket.once(secure ? 'secureConnect' : 'connect', () => connecting.cancel())
        })
        sent.on('error', reject)
        sent.on('response', (response) => {
          response.once('close', () => (tunnel ?? response.socket)?.destroy())
          resolve(response)
        })
        sendBody(sent, body, onTaken)
      })
    } catch (error) {
      throw own.signal.reason instanceof DroverError ? own.signal.reason : error
    } finally {
      answered = true
      connecting.cancel()
      answering.cancel()
    }
  }

  async #tunnel(url: URL, options: { verifyTls: boolean; signal: AbortSignal }): Promise<TLSSocket> {
    const target = `${url.hostname}:${url.port === '' ? 443 : url.port}`
    const { signal, verifyTls } = options
    const socket = await new Promise<Socket>((resolve, reject) => {
      const asked = plainRequest({
        ...address(this.#proxy as URL),
        method: 'CONNECT',
        path: target,
        headers: { host: target, ...proxyHeaders(this.#options.proxy) },
        agent: false,
        signal,
      })
      asked.on('error', reject)
      asked.on('response', (response) => {
        response.destroy()
        reject(
          new DroverError(
            'unavailable',
            `the proxy answered ${response.statusCode} to CONNECT ${target}: ${response.statusMessage}`,
          ),
        )
      })
      asked.on('connect', (response, connected: Socket) => {
        if (response.statusCode === 200) resolve(connected)
        else {
          connected.destroy()
          reject(
            new DroverError(
              'unavailable',
              `the proxy answered ${response.statusCode} to CONNECT ${target}: ${response.statusMessage}`,
            ),
          )
        }
      })
      asked.end()
    })
    const host = bare(url.hostname)
    return new Promise<TLSSocket>((resolve, reject) => {
      // Node leaves the socket below open when the one above closes or fails.
      const secured = tlsConnect({
        socket,
        host,
        rejectUnauthorized: verifyTls,
        ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
      })
      secured.once('close', () => socket.destroy())
      const onAbort = () => secured.destroy(new Error('aborted'))
      signal.addEventListener('abort', onAbort, { once: true })
      secured.once('error', reject)
      secured.once('secureConnect', () => {
        signal.removeEventListener('abort', onAbort)
        resolve(secured)
      })
    })
  }

  async *#body(request: HttpRequest, response: IncomingMessage, stop: () => void): AsyncGenerator<Uint8Array> {
    const { clock, idleTimeoutMs = IDLE_TIMEOUT_MS } = this.#options
    const late = () =>
      response.destroy(new DroverError('timeout', `${request.url.host} sent nothing for ${idleTimeoutMs / 1000} s`))
    const onAbort = () => response.destroy(new DroverError('cancelled', 'cancelled'))
    request.signal.addEventListener('abort', onAbort, { once: true })
    let idle = clock.schedule(idleTimeoutMs, late, true)
    try {
      for await (const chunk of response) {
        idle.cancel()
        // The consumer's own time does not count as the server's silence.
        yield chunk as Buffer
        idle = clock.schedule(idleTimeoutMs, late, true)
      }
      if (!response.complete) throw new DroverError('unavailable', `${request.url.host} broke the transfer off`)
    } catch (error) {
      throw explained(error, request)
    } finally {
      idle.cancel()
      request.signal.removeEventListener('abort', onAbort)
      stop()
      response.destroy()
    }
  }
}

/** Piece by piece, each when the connection has taken the one before it. */
function sendBody(sent: ClientRequest, body: Uint8Array | undefined, onTaken: () => void): void {
  let offset = 0
  const next = (error?: Error | null): void => {
    if (error || sent.destroyed) return
    if (offset > 0) onTaken()
    const piece = body?.subarray(offset, offset + SENT_BYTES)
    offset += SENT_BYTES
    if (piece === undefined || piece.length === 0) sent.end()
    else sent.write(piece, next)
  }
  next()
}

/** A whole body, of at most `maxBytes`. */
export async function readBody(response: HttpResponse, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.length
    if (bytes > maxBytes) throw new DroverError('tooLarge', `the answer is larger than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function address(url: URL): RequestOptions {
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
  return { host: bare(url.hostname), port }
}

/** Without the brackets that URLs put around IPv6 addresses. */
function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '')
}

function proxyHeaders(proxy: ProxyOptions | undefined): Record<string, string> {
  return proxy?.authorization === undefined ? {} : { 'proxy-authorization': proxy.authorization }
}

const CAUSES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name cannot be resolved now',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'network unreachable',
  ETIMEDOUT: 'no answer',
}

function explained(thrown: unknown, request: HttpRequest): DroverError {
  if (thrown instanceof DroverError) {
    if (thrown.code === 'cancelled' || thrown.message.includes(request.url.host)) return thrown
    return new DroverError(thrown.code, `${request.url.host}: ${thrown.message}`, { cause: thrown })
  }
  if (request.signal.aborted) return new DroverError('cancelled', 'cancelled', { cause: request.signal.reason })
  const { code = '', message } = thrown as NodeJS.ErrnoException
  const certificate = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY/.test(code)
  const hint = certificate ? '; trust its CA (NODE_EXTRA_CA_CERTS) or list it as an insecure registry' : ''
  return new DroverError('unavailable', `${request.url.host}: ${CAUSES[code] ?? message}${hint}`, { cause: thrown })
}
