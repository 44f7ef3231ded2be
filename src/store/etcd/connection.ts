/**
 * The way to etcd: one client of the etcd3 package per endpoint, its retries and circuit breakers switched off, since a
 * retried compare-and-swap that had succeeded would report a conflict. Who calls decides what may be tried again.
 *
 * An attempt goes to the present endpoint; one that fails moves on to the next. A call that runs out of time also drops
 * its connection, so that the next attempt does not wait on a dead one.
 */
import {
  Etcd3,
  EtcdLeaseInvalidError,
  EtcdPermissionDeniedError,
  GRPCInvalidArgumentError,
  GRPCOutOfRangeError,
  GRPCResourceExhastedError,
  GRPCUnauthenticatedError,
  type IOptions,
} from 'etcd3'
import { type BackoffPolicy, backoffDelayMs } from '../../base/backoff.ts'
import { type Clock, sleep } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Random } from '../../base/random.ts'

export interface EtcdTls {
  /** PEM. */
  ca: Buffer | string
  cert: Buffer | string
  key: Buffer | string
  /** The name to look for in etcd's certificate instead of the endpoint's host: for endpoints that are addresses. */
  serverName?: string
}

export interface ConnectionOptions {
  endpoints: readonly string[]
  tls?: EtcdTls
  clock: Clock
  random: Random
}

export interface CallOptions {
  deadline: number
}

/** A failure whose request etcd has answered: it is not under way any more, though it may have been applied. */
export class AnsweredError extends DroverError {}

const CALL_TIMEOUT_MS = 5_000
const READ_BUDGET_MS = 15_000
const RETRY: BackoffPolicy = { initialMs: 20, maxMs: 1_000, factor: 2, jitter: 0.5 }
/** etcd sends a list page or a transaction's answer as one message; ours are paged far below this. */
const MAX_MESSAGE_BYTES = 512 << 20

type FaultPolicy = NonNullable<NonNullable<IOptions['faultHandling']>['global']>

/**
 * Runs the call once and keeps out of it otherwise. (The type asks for a phantom member that no value can have.)
 */
const noPolicy = {
  onSuccess: () => ({ dispose: () => undefined }),
  onFailure: () => ({ dispose: () => undefined }),
  execute: async (work: (context: { signal: AbortSignal }) => unknown) =>
    work({ signal: new AbortController().signal }),
} as unknown as FaultPolicy

export class EtcdConnection {
  #clients: readonly Etcd3[]
  /** Of certificates that were replaced: streams live on them until they break. One set a renewal, which is months. */
  readonly #retired: Etcd3[] = []
  readonly #endpoints: readonly string[]
  readonly #clock: Clock
  readonly #random: Random
  #current = 0
  #closed = false

  constructor(options: ConnectionOptions) {
    const { endpoints, tls } = options
    if (endpoints.length === 0) throw new DroverError('invalid', 'no etcd endpoint is given')
    for (const endpoint of endpoints) checkEndpoint(endpoint, tls)
    this.#endpoints = endpoints
    this.#clock = options.clock
    this.#random = options.random
    this.#clients = endpoints.map((endpoint) => createClient(endpoint, tls))
  }

  get endpoint(): string {
    return this.#endpoints[this.#current] ?? ''
  }

  get closed(): boolean {
    return this.#closed
  }

  /** One attempt. Rejects with a coded error; an `AnsweredError` when etcd itself refused. */
  async call<T>(
    work: (client: Etcd3, options: CallOptions) => Promise<T>,
    timeoutMs: number = CALL_TIMEOUT_MS,
  ): Promise<T> {
    const index = this.#current
    const client = this.#clients[index]
    if (this.#closed || client === undefined) throw closedError()
    try {
      return await work(client, { deadline: this.#clock.now() + timeoutMs })
    } catch (thrown) {
      const error = toDroverError(thrown, this.#endpoints[index] ?? '')
      if (!(error instanceof AnsweredError)) this.#moveOn(index)
      throw error
    }
  }

  /** Attempts until one is answered; only for what is safe to do twice. */
  async retry<T>(
    work: (client: Etcd3, options: CallOptions) => Promise<T>,
    options: { signal?: AbortSignal; budgetMs?: number } = {},
  ): Promise<T> {
    const deadline = this.#clock.monotonicMs() + (options.budgetMs ?? READ_BUDGET_MS)
    for (let failures = 1; ; failures++) {
      const leftMs = deadline - this.#clock.monotonicMs()
      try {
        return await this.call(work, Math.max(1, Math.min(CALL_TIMEOUT_MS, leftMs)))
      } catch (thrown) {
        const delayMs = backoffDelayMs(RETRY, failures, this.#random)
        const over = this.#clock.monotonicMs() + delayMs >= deadline
        if (thrown instanceof AnsweredError || this.#closed || over) throw thrown
        await sleep(this.#clock, delayMs, options.signal)
      }
    }
  }

  /** The client for a stream, which its caller watches over. `failed` moves the next one to another endpoint. */
  stream(): { client: Etcd3; failed: () => void } {
    const index = this.#current
    const client = this.#clients[index]
    if (this.#closed || client === undefined) throw closedError()
    return { client, failed: () => this.#moveOn(index) }
  }

  /** Every endpoint by itself, for what concerns one member: no moving on, and as long as it takes. */
  async each<T>(
    work: (client: Etcd3, options: CallOptions, endpoint: string) => Promise<T>,
    timeoutMs: number = CALL_TIMEOUT_MS,
  ): Promise<T[]> {
    const results: T[] = []
    for (const [index, endpoint] of this.#endpoints.entries()) {
      const client = this.#clients[index]
      if (this.#closed || client === undefined) throw closedError()
      try {
        results.push(await work(client, { deadline: this.#clock.now() + timeoutMs }, endpoint))
      } catch (thrown) {
        throw toDroverError(thrown, endpoint)
      }
    }
    return results
  }

  /** For connections from now on. Those that stand go on: a certificate is looked at only when one begins. */
  setTls(tls: EtcdTls): void {
    for (const endpoint of this.#endpoints) checkEndpoint(endpoint, tls)
    this.#retired.push(...this.#clients)
    this.#clients = this.#endpoints.map((endpoint) => createClient(endpoint, tls))
  }

  close(): void {
    this.#closed = true
    for (const client of [...this.#clients, ...this.#retired]) client.close()
  }

  #moveOn(from: number): void {
    if (this.#current === from) this.#current = (from + 1) % this.#endpoints.length
  }
}

function createClient(endpoint: string, tls: EtcdTls | undefined): Etcd3 {
  return new Etcd3({
    hosts: endpoint,
    ...(tls === undefined
      ? {}
      : {
          credentials: {
            rootCertificate: Buffer.from(tls.ca),
            certChain: Buffer.from(tls.cert),
            privateKey: Buffer.from(tls.key),
          },
        }),
    faultHandling: { global: noPolicy, host: () => noPolicy },
    grpcOptions: {
      'grpc.enable_retries': 0,
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      // etcd ends connections that ping oftener than every 5 s.
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 3_000,
      // A connection of its own for each service: a list does not hold up a commit, and dropping one drops no other.
      'grpc.use_local_subchannel_pool': 1,
      'grpc-node.flow_control_window': 4 << 20,
      ...(tls?.serverName === undefined ? {} : { 'grpc.ssl_target_name_override': tls.serverName }),
    },
  })
}

function checkEndpoint(endpoint: string, tls: EtcdTls | undefined): void {
  const scheme = tls === undefined ? 'http://' : 'https://'
  if (!endpoint.startsWith(scheme) || !/^https?:\/\/[^/]+:\d+$/.test(endpoint)) {
    const why = tls === undefined ? 'no certificates are given' : 'certificates are given'
    throw new DroverError('invalid', `etcd endpoint "${endpoint}" must look like ${scheme}host:2379, since ${why}`)
  }
}

export function closedError(): DroverError {
  return new DroverError('unavailable', 'the store is closed')
}

const ANSWERS: readonly (readonly [new (...args: never[]) => Error, DroverError['code']])[] = [
  [GRPCResourceExhastedError, 'tooManyRequests'],
  [EtcdLeaseInvalidError, 'gone'],
  [EtcdPermissionDeniedError, 'forbidden'],
  [GRPCUnauthenticatedError, 'unauthorized'],
  [GRPCInvalidArgumentError, 'invalid'],
  [GRPCOutOfRangeError, 'invalid'],
]

export function outOfSpace(endpoint: string): string {
  return (
    `etcd at ${endpoint} has used up its space quota and takes no writes; reads go on. ` +
    'To mend it: `drover etcd compact`, then `drover etcd defrag`; if little is freed, give it a larger quota, then `drover etcd defrag`'
  )
}

/** Gives what etcd or gRPC said a code and words that say what to do. */
export function toDroverError(thrown: unknown, endpoint: string): DroverError {
  if (thrown instanceof DroverError) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  const options = { cause: thrown }
  const answered = (code: DroverError['code'], text: string) => new AnsweredError(code, text, options)
  if (message.includes('has been compacted')) return answered('gone', 'that revision is compacted; list again')
  if (message.includes('future revision')) return answered('invalid', 'that revision is in the future')
  if (message.includes('database space exceeded')) {
    return answered('outOfSpace', outOfSpace(endpoint))
  }
  if (message.includes('too large') || message.includes('received message larger than max')) {
    return answered('tooLarge', `etcd at ${endpoint} refuses a request of that size`)
  }
  // gRPC uses the same codes for broken connections: only what etcd itself says is an answer.
  if (message.includes('etcdserver:')) {
    for (const [type, code] of ANSWERS)
      if (thrown instanceof type) return answered(code, `etcd at ${endpoint}: ${message}`)
  }
  return new DroverError('unavailable', `etcd at ${endpoint} does not answer: ${message}`, options)
}
