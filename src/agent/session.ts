/**
 * The agent's end of the session: dials one of the servers, says Hello, beats, and hands on what comes. A session
 * that breaks or falls silent is replaced, by the next server in turn, with jitter so that a server's death does not
 * bring all agents to the others in one instant.
 */
import { type BackoffPolicy, backoffDelayMs, reconnectPolicy } from '../base/backoff.ts'
import { type Clock, sleep, type Timer } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import { createNodeClient, type NodeClient } from '../rpc/client.ts'
import type { MessageStream } from '../rpc/message_stream.ts'
import {
  type AgentMessage,
  parseJson,
  type ServerMessage,
  type TableChanges,
  type TokenAnswer,
} from '../rpc/messages.ts'
import type { TlsFiles } from '../rpc/server.ts'
import type { ClusterConfig } from '../rpc/tables.ts'
import { KnownServers } from './known_servers.ts'

export type Hello = Extract<AgentMessage, { type: 'hello' }>
export type OpenStream = Extract<ServerMessage, { type: 'openStream' }>

export interface SessionHandlers {
  hello(): Promise<Hello>
  heartbeat(): { programmedRevision: number; peersRevision: number; sentAtMs?: number }
  /** The server has taken us: tables follow. */
  onWelcome(cluster: ClusterConfig, exclusiveLeaseMs: number): void
  /** A beat was answered; with the `sentAtMs` of the beat that renews the right to run exclusive pods, or 0. */
  onGranted?(grantedMs: number): void
  onChanges(changes: TableChanges): void
  onOpenStream(request: OpenStream, client: NodeClient): void
  onTokenAnswer?(answer: TokenAnswer): void
  /** Other servers live than before; all that may be called from now on. */
  onServers?(servers: readonly string[]): void
  /** The cluster says that this node is no longer part of it. */
  onRemoved?(): void
}

export interface SessionOptions {
  /** `host:port` each. */
  servers: readonly string[]
  /** Asked at each dialling, so that a renewed certificate is taken. */
  tls: () => TlsFiles
  /** By gRPC unless said otherwise. */
  dial?: (address: string) => NodeClient
  clock: Clock
  random: Random
  log: Logger
  handlers: SessionHandlers
}

/**
 * The longest wait from one call of a server to the next of the same, give or take jitter. A server that starts takes a node for
 * lost that has not called it within `--not-ready-after`, 4 s: who waited longer would lose its pods without being ill.
 */
const MAX_ROUND_MS = 2_000
/** From dialling to Welcome. */
const WELCOME_TIMEOUT_MS = 10_000
/** The same where there are other servers to turn to; twice as long each time that none has taken us. */
const FIRST_WELCOME_TIMEOUT_MS = 2_500
/**
 * Beats without any answer after which the session is given up. Where another server may answer, this is done before the
 * one that has fallen silent calls the node lost.
 */
const SILENT_BEATS = { only: 5, oneOfSeveral: 1 } as const

type ServerStream = MessageStream<ServerMessage, AgentMessage>

export class Session implements Service {
  readonly id = 'session'
  readonly #options: SessionOptions
  readonly #servers: KnownServers
  #live: ServerStream | undefined
  #lastHeardMs = 0
  #sessions = 0

  constructor(options: SessionOptions) {
    if (options.servers.length === 0) throw new DroverError('invalid', 'name at least one server, as HOST:PORT')
    this.#options = options
    this.#servers = new KnownServers(options.servers, options.random)
  }

  get connected(): boolean {
    return this.#live !== undefined
  }

  /** How many sessions there have been. */
  get sessions(): number {
    return this.#sessions
  }

  /** All that it may call. */
  get servers(): readonly string[] {
    return this.#servers.all()
  }

  get #hasChoice(): boolean {
    return this.#servers.all().length > 1
  }

  /** Sends if there is a session; says whether there was. What is lost with a session is sent anew in the next. */
  send(message: AgentMessage): boolean {
    this.#live?.write(message)
    return this.#live !== undefined
  }

  beat(): void {
    this.send({ type: 'heartbeat', ...this.#options.handlers.heartbeat() })
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#options
    let failures = 0
    while (!signal.aborted) {
      const address = this.#servers.next(failures)
      const before = this.#sessions
      const error = await this.#runOne(address, failures, signal)
      if (signal.aborted) return
      if (error.code === 'gone') this.#options.handlers.onRemoved?.()
      failures = this.#sessions > before ? 1 : failures + 1
      const delayMs = backoffDelayMs(this.#redialPolicy(), failures, random)
      log.warn({ server: address, err: error, delayMs: Math.round(delayMs) }, 'no session; dialling again')
      await sleep(clock, delayMs, signal).catch(() => undefined)
    }
  }

  #redialPolicy(): BackoffPolicy {
    const maxMs = Math.max(reconnectPolicy.initialMs, MAX_ROUND_MS / this.#servers.all().length)
    return { ...reconnectPolicy, maxMs }
  }

  /** One session from dialling to its end; resolves with what ended it. */
  async #runOne(address: string, failures: number, signal: AbortSignal): Promise<DroverError> {
    const { tls, clock, handlers, dial = (to: string) => createNodeClient(to, tls()) } = this.#options
    const hello = await handlers.hello()
    if (signal.aborted) return new DroverError('cancelled', 'stopping')
    const client = dial(address)
    const stream = client.connect()
    const timers = new Set<Timer>()
    try {
      return await new Promise<DroverError>((resolve) => {
        const end = (error: DroverError): void => {
          stream.close(error)
          resolve(error)
        }
        const onAbort = (): void => end(new DroverError('cancelled', 'stopping'))
        signal.addEventListener('abort', onAbort, { once: true })
        const welcomeMs = this.#hasChoice
          ? Math.min(WELCOME_TIMEOUT_MS, FIRST_WELCOME_TIMEOUT_MS * 2 ** Math.max(0, failures - 1))
          : WELCOME_TIMEOUT_MS
        const welcomeTimer = clock.schedule(welcomeMs, () =>
          end(new DroverError('timeout', `${address} did not take the session within ${welcomeMs / 1000} s`)),
        )
        timers.add(welcomeTimer)
        stream.onClose((error) => {
          signal.removeEventListener('abort', onAbort)
          resolve(error ?? new DroverError('unavailable', 'the server ended the session'))
        })
        stream.onEnd(() => end(new DroverError('unavailable', 'the server ended the session')))
        stream.onMessage((message) => {
          this.#lastHeardMs = clock.monotonicMs()
          try {
            if (message.type === 'welcome') welcomeTimer.cancel()
            this.#onMessage(message, stream, client, { timers, end })
          } catch (error) {
            end(DroverError.from(error))
          }
        })
        stream.write(hello)
      })
    } finally {
      if (this.#live === stream) this.#live = undefined
      for (const timer of timers) timer.cancel()
      client.close()
    }
  }

  #onMessage(
    message: ServerMessage,
    stream: ServerStream,
    client: NodeClient,
    { timers, end }: { timers: Set<Timer>; end: (error: DroverError) => void },
  ): void {
    const { handlers, log } = this.#options
    switch (message.type) {
      case 'welcome':
        this.#live = stream
        this.#sessions++
        log.info({ server: message.serverId }, 'session began')
        handlers.onWelcome(
          parseJson(message.clusterConfigJson, 'the cluster configuration') as ClusterConfig,
          message.exclusiveLeaseMs ?? 0,
        )
        this.#startBeating(message.heartbeatIntervalMs, timers, end)
        return
      case 'changes':
        handlers.onChanges(message)
        return
      case 'openStream':
        handlers.onOpenStream(message, client)
        return
      case 'tokenAnswer':
        handlers.onTokenAnswer?.(message)
        return
      case 'heartbeatAck':
        if (this.#live === stream) handlers.onGranted?.(message.grantedMs ?? 0)
        if (this.#servers.tell(message.servers ?? [])) handlers.onServers?.(this.#servers.all())
        return
    }
  }

  #startBeating(intervalMs: number, timers: Set<Timer>, end: (error: DroverError) => void): void {
    const { clock } = this.#options
    let current: Timer | undefined
    let silentBeats = 0
    let heardMs = this.#lastHeardMs
    const beat = (): void => {
      if (current !== undefined) timers.delete(current)
      // Counted in beats, not in time: an agent that itself stood still must not blame the server.
      silentBeats = this.#lastHeardMs === heardMs ? silentBeats + 1 : 0
      heardMs = this.#lastHeardMs
      const limit = this.#hasChoice ? SILENT_BEATS.oneOfSeveral : SILENT_BEATS.only
      if (silentBeats > limit) {
        end(new DroverError('timeout', `the server has not answered ${limit + 1} heartbeats`))
        return
      }
      this.beat()
      current = clock.schedule(intervalMs, beat)
      timers.add(current)
    }
    beat()
  }
}
