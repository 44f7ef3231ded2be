/**
 * Talks to one registry about one repository: tokens, redirects, retries, resumed transfers. What it hands out has been
 * verified against its digest. A broken transfer goes on where it stopped, in the same stream, so that whoever unpacks
 * it need not know and nothing is spooled to disk.
 * Source: OCI distribution-spec v1.1; distribution "token authentication" (docs/spec/auth/token).
 */
import { createHash } from 'node:crypto'
import { type BackoffPolicy, backoffDelayMs } from '../../base/backoff.ts'
import { type Clock, sleep } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import type { Random } from '../../base/random.ts'
import { isRedirect } from '../../base/redirect.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import type { Endpoint } from './endpoint.ts'
import { type HttpClient, type HttpResponse, readBody } from './http.ts'
import { sha256 } from './image_store.ts'
import type { RegistryCredentials } from './images.ts'
import { type Descriptor, MANIFEST_TYPES } from './manifest.ts'

export interface SessionOptions {
  http: HttpClient
  clock: Clock
  random: Random
  endpoint: Endpoint
  repository: string
  credentials: RegistryCredentials | undefined
  signal: AbortSignal
}

const BACKOFF: BackoffPolicy = { initialMs: 250, maxMs: 4_000, factor: 2, jitter: 0.5 }
/** Tries of one request, or of a transfer without a byte of progress. */
const MAX_TRIES = 4
/** Connections for one blob, progress or not. */
const MAX_RESUMES = 100
const MAX_REDIRECTS = 5
const MAX_MANIFEST_BYTES = 4 << 20
const MAX_CONFIG_BYTES = 8 << 20
const MAX_ERROR_BYTES = 64 << 10
const MAX_RETRY_AFTER_SECONDS = 10

interface Asked {
  headers: Record<string, string>
  method?: 'HEAD' | 'POST' | 'PATCH' | 'PUT'
  body?: Uint8Array
}

/** An answer, and where it came from in the end. */
interface Answered {
  response: HttpResponse
  origin: string
}

/** A blob to be sent. It is read again from where the registry says that it stands. */
export interface Upload {
  digest: string
  sizeBytes: number
  /** In pieces as they are to be sent. */
  open(offset: number): AsyncIterable<Uint8Array>
}

/** How far an upload has come, and the URL that it goes on at. */
interface Standing {
  location: string
  offset: number
}

export class RegistrySession {
  readonly #options: SessionOptions
  #baseUrl: string | undefined
  #authorization: string | undefined

  constructor(options: SessionOptions) {
    this.#options = options
  }

  /** Who is asked, and as whom. Work is shared with the same only: another may get something else, later or never. */
  get peer(): string {
    const { endpoint, credentials } = this.#options
    const { username = '', password = '' } = credentials ?? {}
    return `${endpoint.baseUrls[0]} ${sha256(Buffer.from(JSON.stringify([username, password])))}`
  }

  /** The bytes of a manifest by tag or digest; a digest is verified. */
  async manifest(tagOrDigest: string): Promise<Buffer> {
    const path = `manifests/${tagOrDigest}`
    const bytes = await this.#retried(async () => {
      const response = await this.#get(path, { accept: [...MANIFEST_TYPES, '*/*;q=0.1'].join(', ') })
      return readBody(response, MAX_MANIFEST_BYTES)
    })
    if (tagOrDigest.includes(':')) this.#verify(tagOrDigest, sha256(bytes))
    return bytes
  }

  /** A small blob, whole. */
  async document(descriptor: Descriptor): Promise<Buffer> {
    if (descriptor.sizeBytes > MAX_CONFIG_BYTES) {
      throw new DroverError(
        'tooLarge',
        `${descriptor.digest} has ${descriptor.sizeBytes} bytes; too many for a document`,
      )
    }
    const chunks: Uint8Array[] = []
    for await (const chunk of this.blob(descriptor)) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  /** A blob as it comes. The last piece is followed by an error if the digest is wrong: trust nothing before the end. */
  async *blob(descriptor: Descriptor): AsyncGenerator<Uint8Array> {
    const { digest, sizeBytes } = descriptor
    const hash = createHash('sha256')
    let offset = 0
    let failures = 0
    for (let resumes = 0; resumes === 0 || offset < sizeBytes; resumes++) {
      try {
        for await (const chunk of this.#blobFrom(digest, offset)) {
          offset += chunk.length
          if (offset > sizeBytes) throw this.#corrupt(digest, `it is longer than the ${sizeBytes} bytes stated`)
          hash.update(chunk)
          failures = 0
          yield chunk
        }
        if (offset < sizeBytes) throw new DroverError('unavailable', `${this.#host}: ${digest} ended early`)
      } catch (thrown) {
        const error = DroverError.from(thrown)
        if (resumes >= MAX_RESUMES) throw error
        await this.#waitOut(error, ++failures)
      }
    }
    this.#verify(digest, `sha256:${hash.digest('hex')}`)
  }

  get #host(): string {
    return this.#options.endpoint.host
  }

  async *#blobFrom(digest: string, offset: number): AsyncGenerator<Uint8Array> {
    const headers = offset === 0 ? {} : { range: `bytes=${offset}-` }
    const response = await this.#get(`blobs/${digest}`, { accept: '*/*', ...headers })
    // A server that knows no ranges sends the whole again.
    let skip = response.status === 206 ? 0 : offset
    const start = /^bytes (\d+)-/.exec(response.header('content-range') ?? '')?.[1]
    if (response.status === 206 && Number(start) !== offset) {
      response.discard()
      throw new DroverError('unavailable', `${this.#host} sent another range of ${digest} than was asked for`)
    }
    for await (const chunk of response.body) {
      if (skip < chunk.length) yield skip === 0 ? chunk : chunk.subarray(skip)
      skip = Math.max(0, skip - chunk.length)
    }
  }

  #verify(expected: string, actual: string): void {
    if (expected !== actual) throw this.#corrupt(expected, `its content is ${actual}`)
  }

  #corrupt(digest: string, why: string): DroverError {
    return new DroverError('invalid', `registry ${this.#host} sent a wrong ${digest}: ${why}`)
  }

  async #retried<T>(work: () => Promise<T>): Promise<T> {
    for (let failures = 1; ; failures++) {
      try {
        return await work()
      } catch (thrown) {
        await this.#waitOut(DroverError.from(thrown), failures)
      }
    }
  }

  /** Waits for the back-off, and as long as the registry asks for; throws the error where that will not help. */
  async #waitOut(error: DroverError, failures: number): Promise<void> {
    const { clock, random, signal } = this.#options
    const { retryAfterSeconds = 0 } = error
    if (!mayPass(error) || failures >= MAX_TRIES || retryAfterSeconds > MAX_RETRY_AFTER_SECONDS) throw error
    await sleep(clock, Math.max(retryAfterSeconds * 1000, backoffDelayMs(BACKOFF, failures, random)), signal)
  }

  /** GET below the repository; resolves for 200 and 206 only. */
  async #get(path: string, headers: Record<string, string>): Promise<HttpResponse> {
    const response = await this.#ask(`/v2/${this.#options.repository}/${path}`, { headers })
    if (response.status === 200 || response.status === 206) return response
    throw await this.#refusal(response, path)
  }

  /** One request, with a new token where the registry asks for one. `target`: a path, or the URL that it gave. */
  async #ask(target: string, asked: Asked): Promise<HttpResponse> {
    const first = await this.#challenged(target, asked)
    if (first.status !== 401) return first
    const header = first.header('www-authenticate') ?? ''
    first.discard()
    this.#authorization = await this.#authorize(parseChallenges(header))
    return this.#challenged(target, asked)
  }

  /**
   * One request whose 401, if that is the answer, is the registry's own. Another host's is no challenge: it would name the
   * server that our password goes to. The URL that led there may have run out, so that the next try gets a fresh one.
   */
  async #challenged(target: string, asked: Asked): Promise<HttpResponse> {
    const { response, origin } = await this.#reach(target, asked)
    if (response.status !== 401 || origin === this.#origin) return response
    response.discard()
    throw new DroverError('unavailable', `registry ${this.#host} sends on to ${origin}, which asks for credentials`)
  }

  /** Of the registry itself: to no other go its credentials. */
  get #origin(): string | undefined {
    return this.#baseUrl === undefined ? undefined : new URL(this.#baseUrl).origin
  }

  /** Whether the registry has the blob. */
  async hasBlob(digest: string): Promise<boolean> {
    return this.#retried(async () => {
      const path = `blobs/${digest}`
      const response = await this.#ask(`/v2/${this.#options.repository}/${path}`, { headers: {}, method: 'HEAD' })
      if (response.status === 200 || response.status === 404) {
        response.discard()
        return response.status === 200
      }
      throw await this.#refusal(response, path)
    })
  }

  /** Sends a blob in pieces. After a failure that may pass it goes on from where the registry says that it stands. */
  async upload(upload: Upload): Promise<void> {
    let at: Standing | undefined
    let furthest = 0
    let failures = 0
    for (let tries = 1; ; tries++) {
      try {
        at = (at && (await this.#standing(at, upload.sizeBytes))) ?? (await this.#begin())
        for await (const piece of upload.open(at.offset)) {
          if (piece.length === 0) continue
          at = await this.#sendPiece(at, piece)
          if (at.offset > furthest) failures = 0
          furthest = Math.max(furthest, at.offset)
        }
        await this.#finish(at, upload.digest)
        return
      } catch (thrown) {
        const error = DroverError.from(thrown)
        if (tries > MAX_RESUMES) throw error
        await this.#waitOut(error, ++failures)
      }
    }
  }

  async #begin(): Promise<Standing> {
    const path = `/v2/${this.#options.repository}/blobs/uploads/`
    const response = await this.#ask(path, { headers: {}, method: 'POST', body: Buffer.alloc(0) })
    return { location: await this.#located(response, [202], 'blobs/uploads', this.#resolved('')), offset: 0 }
  }

  /** What the registry says of an upload; undefined where it has lost it, or does not say: it must begin anew. */
  async #standing(at: Standing, sizeBytes: number): Promise<Standing | undefined> {
    const response = await this.#ask(at.location, { headers: {} })
    if (response.status === 429 || response.status >= 500) throw await this.#refusal(response, 'blobs/uploads')
    response.discard()
    const last = /^(?:bytes=)?0-(\d+)$/.exec(response.header('range') ?? '')?.[1]
    if (response.status !== 204 || last === undefined) return undefined
    // Of none, registries say what they would say of one byte.
    const offset = last === '0' ? 0 : Number(last) + 1
    if (offset > sizeBytes) return undefined
    return { location: this.#resolved(response.header('location') ?? at.location), offset }
  }

  async #sendPiece({ location, offset }: Standing, piece: Uint8Array): Promise<Standing> {
    const end = offset + piece.length
    const headers = { 'content-type': 'application/octet-stream', 'content-range': `${offset}-${end - 1}` }
    const response = await this.#ask(location, { headers, method: 'PATCH', body: piece })
    if (response.status === 404 || response.status === 416) {
      response.discard()
      throw new DroverError('unavailable', `registry ${this.#host} does not stand at byte ${offset} of an upload`)
    }
    // AWS says 201 where the specification has 202.
    return { location: await this.#located(response, [201, 202, 204], 'blobs/uploads', location), offset: end }
  }

  async #finish({ location }: Standing, digest: string): Promise<void> {
    const url = new URL(location)
    url.searchParams.set('digest', digest)
    try {
      const response = await this.#ask(url.href, { headers: {}, method: 'PUT', body: Buffer.alloc(0) })
      await this.#located(response, [201, 204], `blobs/${digest}`, url.href)
    } catch (thrown) {
      const error = DroverError.from(thrown)
      // It may have come to its end, and the answer have been lost.
      const lies = error.code !== 'unauthorized' && (await this.hasBlob(digest).catch(() => false))
      if (!lies) throw error
    }
  }

  async putManifest(tagOrDigest: string, mediaType: string, bytes: Uint8Array): Promise<void> {
    const path = `manifests/${tagOrDigest}`
    await this.#retried(async () => {
      const headers = { 'content-type': mediaType }
      const response = await this.#ask(`/v2/${this.#options.repository}/${path}`, {
        headers,
        method: 'PUT',
        body: bytes,
      })
      await this.#located(response, [201], path, this.#resolved(''))
    })
  }

  /** Where the registry says that it goes on, in full, or else `here`; throws its refusal when the status is another. */
  async #located(response: HttpResponse, statuses: readonly number[], path: string, here: string): Promise<string> {
    if (!statuses.includes(response.status)) throw await this.#refusal(response, path)
    response.discard()
    return this.#resolved(response.header('location') ?? here)
  }

  #resolved(location: string): string {
    return new URL(location, `${this.#baseUrl}/`).href
  }

  /** Finds out which of the endpoint's base URLs answers, then stays with it. */
  async #reach(target: string, asked: Asked): Promise<Answered> {
    if (this.#baseUrl !== undefined) {
      return this.#follow(new URL(target.startsWith('/') ? this.#baseUrl + target : target), asked)
    }
    let failure: DroverError | undefined
    for (const baseUrl of this.#options.endpoint.baseUrls) {
      try {
        const answered = await this.#follow(new URL(baseUrl + target), asked)
        this.#baseUrl = baseUrl
        return answered
      } catch (thrown) {
        failure = DroverError.from(thrown)
        if (!failure.temporary) throw failure
      }
    }
    throw failure ?? new DroverError('internal', `no address for registry ${this.#host}`)
  }

  async #follow(start: URL, { headers, method, body }: Asked): Promise<Answered> {
    const { http, endpoint, signal } = this.#options
    const home = this.#baseUrl === undefined ? start : new URL(this.#baseUrl)
    let url = start
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      // Credentials are the registry's; where it sends us for its blobs they are nobody's business.
      const authorization = url.origin === home.origin ? this.#authorization : undefined
      const all = authorization === undefined ? headers : { ...headers, authorization }
      const verifyTls = endpoint.verifyTls || url.host !== home.host
      const sent = { ...(method === undefined ? {} : { method }), ...(body === undefined ? {} : { body }) }
      const response = await http.send({ url, headers: all, verifyTls, signal, ...sent })
      const location = response.header('location')
      if (!isRedirect(response.status) || location === undefined) {
        return { response, origin: url.origin }
      }
      response.discard()
      const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined
      const downgrade = url.protocol === 'https:' && next?.protocol !== 'https:'
      if (next === undefined || !/^https?:$/.test(next.protocol) || downgrade) {
        throw new DroverError('invalid', `registry ${this.#host} redirects to ${location}, which is not followed`)
      }
      url = next
    }
    throw new DroverError('invalid', `registry ${this.#host} redirects more than ${MAX_REDIRECTS} times`)
  }

  async #authorize(challenges: readonly Challenge[]): Promise<string> {
    const { credentials } = this.#options
    if (credentials !== undefined && this.#origin?.startsWith('http:') && this.#options.endpoint.verifyTls) {
      throw this.#unauthorized('it is not encrypted; credentials are sent there only if it is an insecure registry')
    }
    const basic =
      credentials && `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer')
    if (bearer !== undefined) return `Bearer ${await this.#token(bearer, basic)}`
    if (challenges.some(({ scheme }) => scheme === 'basic') && basic !== undefined) return basic
    throw this.#unauthorized(credentials === undefined ? 'it asks for credentials' : 'it offers no way that is known')
  }

  async #token(challenge: Challenge, basic: string | undefined): Promise<string> {
    const { http, endpoint, repository, credentials, signal } = this.#options
    const realm = challenge.parameters.get('realm') ?? ''
    if (!URL.canParse(realm) || !/^https?:/.test(realm)) {
      throw new DroverError('unavailable', `registry ${this.#host} names no usable token server: "${realm}"`)
    }
    const url = new URL(realm)
    if (url.protocol === 'http:' && endpoint.verifyTls && basic !== undefined) {
      throw this.#unauthorized(`its token server ${url.host} is not encrypted; credentials are not sent there`)
    }
    const service = challenge.parameters.get('service')
    if (service !== undefined) url.searchParams.set('service', service)
    url.searchParams.set('scope', challenge.parameters.get('scope') ?? `repository:${repository}:pull`)
    if (credentials !== undefined) url.searchParams.set('account', credentials.username)
    const headers = { accept: 'application/json', ...(basic === undefined ? {} : { authorization: basic }) }
    const response = await http.send({ url, headers, verifyTls: endpoint.verifyTls, signal })
    if (response.status !== 200) throw await this.#refusal(response, 'token')
    const document = parseObject(await readBody(response, MAX_ERROR_BYTES))
    const token = document?.token ?? document?.access_token
    if (typeof token !== 'string' || /[^\x21-\x7e]/.test(token)) {
      throw new DroverError('unavailable', `token server ${url.host} gave no token`)
    }
    return token
  }

  #unauthorized(why: string): DroverError {
    return new DroverError('unauthorized', `registry ${this.#host} refuses ${this.#options.repository}: ${why}`)
  }

  async #refusal(response: HttpResponse, path: string): Promise<DroverError> {
    const { status } = response
    const said = registryMessage(await readBody(response, MAX_ERROR_BYTES).catch(() => Buffer.alloc(0)))
    const words = said || `status ${status}`
    const { repository } = this.#options
    if (status === 401 || status === 403) return this.#unauthorized(words)
    if (status === 404) {
      const what = path.replace(/^manifests\/(sha256:.*)$/, '@$1').replace(/^manifests\//, ':')
      const name = /^[:@]/.test(what) ? `${this.#host}/${repository}${what}` : `${this.#host}/${repository} ${path}`
      return new DroverError('notFound', `registry says: ${words}: ${name}`)
    }
    // The registry's own clock is the one by which it names a date.
    const nowMs = httpDateMs(response.header('date')) ?? this.#options.clock.now()
    const asked = retryAfterOf(response.header('retry-after'), nowMs)
    const after = asked === undefined ? {} : { retryAfterSeconds: asked }
    if (status === 429) {
      const limits = `registry ${this.#host} limits pulls: ${words}`
      return new DroverError('tooManyRequests', limits, { retryAfterSeconds: 1, ...after })
    }
    const code = status >= 500 || status === 408 ? 'unavailable' : 'invalid'
    const answered = `registry ${this.#host} answered ${status}${said ? ` (${said})` : ''} for ${path}`
    return new DroverError(code, answered, after)
  }
}

/** Seconds until a Retry-After header says to come back, as a number or a date (RFC 9110 section 10.2.3). */
export function retryAfterOf(header: string | undefined, nowMs: number): number | undefined {
  if (header !== undefined && /^\d+$/.test(header)) return Math.min(Number(header), Number.MAX_SAFE_INTEGER)
  const dateMs = httpDateMs(header)
  return dateMs === undefined ? undefined : Math.max(0, Math.ceil((dateMs - nowMs) / 1000))
}

/** `Date.parse` alone takes almost anything: "-1" is a day of 2001. */
const HTTP_DATE = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/

/** The form that senders must use (RFC 9110 section 5.6.7, IMF-fixdate). */
function httpDateMs(header: string | undefined): number | undefined {
  const dateMs = header !== undefined && HTTP_DATE.test(header) ? Date.parse(header) : Number.NaN
  return Number.isNaN(dateMs) ? undefined : dateMs
}

function mayPass(error: DroverError): boolean {
  return error.code === 'unavailable' || error.code === 'timeout' || error.code === 'tooManyRequests'
}

function parseObject(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'))
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** The first message of an error document, on one line. */
function registryMessage(bytes: Buffer): string {
  const document = parseObject(bytes)
  const first: unknown = Array.isArray(document?.errors) ? document.errors[0] : undefined
  const message = (isObject(first) ? first.message || first.code : undefined) ?? document?.details ?? document?.message
  return typeof message === 'string' ? message.replace(/\s+/g, ' ').slice(0, 300) : ''
}
