/**
 * The REST server: HTTPS with HTTP/2 and HTTP/1.1 on one port, client certificates asked for but not demanded (a bearer
 * token will do). Kubernetes clients speak HTTP/2 for requests and HTTP/1.1 for upgrades.
 */
import { setMaxListeners } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { createSecureServer, type Http2SecureServer, Http2ServerRequest } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { SecretKeysPort } from '../api/maintenance.ts'
import type { PlacementPort } from '../api/why.ts'
import type { Clock } from '../base/clock.ts'
import { sleep } from '../base/clock.ts'
import type { DatabasePort } from '../base/database.ts'
import { DroverError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Registry } from '../base/metrics.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import type { NodeGateway } from '../base/stream.ts'
import type { Resources } from '../resources/resources.ts'
import type { ServiceAccountTokens } from '../resources/service_account_tokens.ts'
import { createAuthenticator, createTokenAuthenticator, type TokenUser } from './authentication.ts'
import { Authorizer } from './authorization/authorizer.ts'
import type { ApiContext, NetworkLimits, ReadinessCheck } from './context.ts'
import { createDiscovery } from './discovery.ts'
import { withEndpoints } from './endpoints_view.ts'
import { FairQueue } from './fair_queue.ts'
import { Freshness } from './freshness.ts'
import { createHandler, type HandleRequest } from './handler.ts'
import { LiveSessions } from './live_sessions.ts'
import { createApiMetrics } from './metrics.ts'
import { createOpenApi } from './openapi.ts'
import { createUpgradeHandler, type HandleUpgrade } from './upgrade.ts'

export interface TlsMaterial {
  /** PEM: the server's certificate, its key, and the CA that signs clients. */
  cert: string
  key: string
  clientCa: string
}

export interface ListenAddress {
  host: string
  /** 0 for any free one; `addresses()` tells which it became. */
  port: number
}

export interface ApiServerOptions {
  resources: Resources
  gateway: NodeGateway
  tls: TlsMaterial
  listen: readonly ListenAddress[]
  /** Bearer tokens and whose they are. */
  tokens: ReadonlyMap<string, TokenUser>
  /** Signs and verifies tokens of service accounts. */
  serviceAccounts?: ServiceAccountTokens
  /** For administrators. */
  secretKeys?: SecretKeysPort
  database?: DatabasePort
  clock: Clock
  random: Random
  log: Logger
  registry: Registry
  version: string
  readiness: () => Promise<ReadinessCheck[]>
  network?: NetworkLimits
  /** For `why` and `plan`. */
  placement?: PlacementPort
}

export interface ApiServer extends Service {
  /** Where it listens, with real ports; empty until `listening` resolves. */
  addresses(): ListenAddress[]
  /** Resolves once all addresses are bound; rejects when one cannot be. */
  listening(): Promise<void>
  /** Takes a renewed certificate for new connections. */
  setTls(tls: TlsMaterial): void
}

/** Time for open requests to end when the server stops. */
const DRAIN_MS = 2_000
const SESSION_WINDOW_BYTES = 4 << 20
const SETTINGS = { initialWindowSize: 1 << 20, maxConcurrentStreams: 1_000, enablePush: false } as const
const HEADERS_TIMEOUT_MS = 20_000
const TCP_KEEP_ALIVE_MS = 30_000
const KEEP_ALIVE_MS = 120_000

export function createApiServer(options: ApiServerOptions): ApiServer {
  return new HttpsServer(options)
}

/** Everything between TLS and the handlers; one value a run. */
class HttpsServer implements ApiServer {
  readonly id = 'apiserver'
  readonly #options: ApiServerOptions
  readonly #stopping = new AbortController()
  readonly #authorizer: Authorizer
  readonly #handle: HandleRequest
  readonly #upgrade: HandleUpgrade
  readonly #servers: Http2SecureServer[] = []
  readonly #sessions: LiveSessions
  readonly #sockets = new Set<TLSSocket>()
  #bound: ListenAddress[] = []
  #tls: TlsMaterial
  readonly #ready: Promise<void>
  #setReady: () => void = () => undefined
  #setFailed: (error: DroverError) => void = () => undefined

  constructor(options: ApiServerOptions) {
    this.#options = options
    this.#tls = options.tls
    // Every watch and session listens for the end of the server.
    setMaxListeners(0, this.#stopping.signal)
    const { resources, gateway, clock, random, log, version, readiness, registry, tokens, network } = options
    this.#authorizer = new Authorizer(resources)
    this.#sessions = new LiveSessions(clock)
    const authenticateToken = createTokenAuthenticator(tokens, options.serviceAccounts)
    const context: ApiContext = {
      resources,
      endpoints: withEndpoints(resources),
      gateway,
      authenticateToken,
      authorizer: this.#authorizer,
      serviceAccounts: options.serviceAccounts,
      secretKeys: options.secretKeys,
      database: options.database,
      freshness: new Freshness(resources),
      watchLines: new WeakMap(),
      clock,
      random,
      log,
      version,
      readiness,
      network,
      ...(options.placement === undefined ? {} : { placement: options.placement }),
      stopping: this.#stopping.signal,
    }
    const authenticate = createAuthenticator(authenticateToken)
    const metrics = createApiMetrics(registry)
    this.#upgrade = createUpgradeHandler({ context, authenticate, metrics })
    this.#handle = createHandler({
      context,
      authenticate,
      discovery: createDiscovery(),
      openApi: createOpenApi(version),
      metrics,
      registry,
      queue: new FairQueue(clock),
    })
    this.#ready = new Promise((resolve, reject) => {
      this.#setReady = resolve
      this.#setFailed = reject
    })
    this.#ready.catch(() => undefined)
  }

  addresses(): ListenAddress[] {
    return [...this.#bound]
  }

  listening(): Promise<void> {
    return this.#ready
  }

  setTls(tls: TlsMaterial): void {
    this.#tls = tls
    for (const server of this.#servers) server.setSecureContext({ cert: tls.cert, key: tls.key, ca: tls.clientCa })
  }

  async run(signal: AbortSignal): Promise<void> {
    try {
      for (const address of this.#options.listen) this.#bound.push(await this.#listen(address))
      this.#setReady()
    } catch (thrown) {
      const error = DroverError.from(thrown)
      this.#setFailed(error)
      await this.#close()
      throw error
    }
    this.#options.log.info({ addresses: this.#bound }, 'serving')
    if (!signal.aborted)
      await new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
    await this.#stop()
  }

  #listen({ host, port }: ListenAddress): Promise<ListenAddress> {
    const { cert, key, clientCa } = this.#tls
    const server = createSecureServer({
      allowHTTP1: true,
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.2',
      cert,
      key,
      ca: clientCa,
      settings: SETTINGS,
    })
    this.#servers.push(server)
    // Uploads of images take as long as they take; bodies of other requests have a bound of their own.
    Object.assign(server, { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: 0, keepAliveTimeout: KEEP_ALIVE_MS })
    server.on('request', (request: Http2ServerRequest | IncomingMessage, response) => {
      const socket = request instanceof Http2ServerRequest ? request.stream.session?.socket : request.socket
      this.#handle(request, response, socket instanceof TLSSocket ? socket : undefined)
    })
    server.on('upgrade', this.#upgrade)
    let arriving: TLSSocket | undefined
    // Before Node's own listener, which makes a session of the socket and says so at once.
    server.prependListener('secureConnection', (socket: TLSSocket) => {
      arriving = socket
    })
    server.on('session', (session) => {
      this.#sessions.add(session, arriving)
      session.setLocalWindowSize(SESSION_WINDOW_BYTES)
      session.on('error', (error) => this.#options.log.debug({ err: error }, 'session ended'))
    })
    server.on('secureConnection', (socket) => {
      this.#sockets.add(socket)
      // A peer that vanished without a word is noticed.
      socket.setKeepAlive(true, TCP_KEEP_ALIVE_MS)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    return new Promise((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)))
      server.listen(port, host, () => {
        server.on('error', (error) => this.#options.log.error({ err: error }, 'server error'))
        const { port: actual } = server.address() as AddressInfo
        resolve({ host, port: actual })
      })
    })
  }

  async #stop(): Promise<void> {
    this.#stopping.abort()
    await this.#close()
    this.#authorizer.close()
  }

  async #close(): Promise<void> {
    const closed = this.#servers.map((server) => new Promise<void>((done) => server.close(() => done())))
    this.#sessions.close()
    const drained = new AbortController()
    const all = Promise.all(closed).then(() => drained.abort())
    await sleep(this.#options.clock, DRAIN_MS, drained.signal).catch(() => undefined)
    this.#sessions.destroy()
    for (const socket of this.#sockets) socket.destroy()
    await all
    this.#bound = []
    this.#servers.length = 0
  }
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): DroverError {
  const at = `${host}:${port}`
  if (error.code === 'EADDRINUSE') {
    return new DroverError(
      'unavailable',
      `cannot listen on ${at}: the port is in use; stop what uses it or choose another`,
      {
        cause: error,
      },
    )
  }
  return new DroverError('internal', `cannot listen on ${at}: ${error.message}`, { cause: error })
}
