/**
 * A lease, renewed on our own timing. `lost` is raised before etcd can have let it run out: etcd counts from when it
 * handles a renewal, we count from when we sent it, on the monotonic clock, and stop at four fifths.
 */
import type { ILeaseKeepAliveRequest, ILeaseKeepAliveResponse } from 'etcd3'
import { type Clock, sleep, type Timer, throwIfAborted, withTimeout } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { type EtcdConnection, toDroverError } from './connection.ts'
import { RawStream } from './raw_stream.ts'

export interface LeaseOptions {
  connection: EtcdConnection
  clock: Clock
  log: Logger
  ttlSeconds: number
}

export interface Lease {
  readonly id: string
  readonly lost: AbortSignal
  /** Gives the lease up; its keys go. Raises `lost` first. */
  revoke(): Promise<void>
  /** Raises `lost` for a reason that only the caller sees. */
  fail(error: DroverError): void
}

const TRUST = 0.8
const RENEW_RETRY_MS = 150
const REVOKE_BUDGET_MS = 1_500

export async function grantLease(options: LeaseOptions, signal: AbortSignal): Promise<Lease> {
  const { connection, clock, ttlSeconds } = options
  throwIfAborted(signal)
  let sentMs = 0
  const granted = await connection.retry(
    (client, call) => {
      sentMs = clock.monotonicMs()
      return client.leaseClient.leaseGrant({ TTL: ttlSeconds }, call)
    },
    { signal },
  )
  // etcd may grant more than was asked (its least is 1.5 election timeouts); never trust more than was asked.
  return new RenewedLease(options, granted.ID, { ttlMs: Math.min(ttlSeconds, Number(granted.TTL)) * 1_000, sentMs })
}

class RenewedLease implements Lease {
  readonly id: string
  readonly #options: LeaseOptions
  readonly #ttlMs: number
  readonly #lost = new AbortController()
  #expiry: Timer | undefined

  constructor(options: LeaseOptions, id: string, grant: { ttlMs: number; sentMs: number }) {
    this.#options = options
    this.id = id
    this.#ttlMs = grant.ttlMs
    this.#trustFrom(grant.sentMs)
    void this.#renewUntilLost()
  }

  get lost(): AbortSignal {
    return this.#lost.signal
  }

  fail(error: DroverError): void {
    this.#expiry?.cancel()
    this.#lost.abort(error)
  }

  async revoke(): Promise<void> {
    this.fail(new DroverError('cancelled', 'the lease was given up'))
    const { connection, log } = this.#options
    try {
      await connection.retry((client, call) => client.leaseClient.leaseRevoke({ ID: this.id }, call), {
        budgetMs: REVOKE_BUDGET_MS,
      })
    } catch (error) {
      // It runs out by itself.
      log.debug({ lease: this.id, err: error }, 'could not revoke a lease')
    }
  }

  #trustFrom(sentMs: number): void {
    const { clock } = this.#options
    this.#expiry?.cancel()
    const leftMs = sentMs + this.#ttlMs * TRUST - clock.monotonicMs()
    const expire = () => this.fail(new DroverError('unavailable', 'the lease could not be renewed in time'))
    this.#expiry = clock.schedule(leftMs, expire, true)
  }

  async #renewUntilLost(): Promise<void> {
    const { clock, log } = this.#options
    let pauseMs = this.#ttlMs / 3
    while (!this.#lost.signal.aborted) {
      try {
        await sleep(clock, pauseMs, this.#lost.signal)
        const sentMs = clock.monotonicMs()
        const ttl = await this.#renewOnce()
        if (ttl <= 0) this.fail(new DroverError('unavailable', 'the lease has expired'))
        else this.#trustFrom(sentMs)
        pauseMs = this.#ttlMs / 3
      } catch (error) {
        log.debug({ lease: this.id, err: error }, 'lease renewal failed')
        pauseMs = RENEW_RETRY_MS
      }
    }
  }

  /** One stream a renewal: there is nothing to resume and nothing to mistake for an answer to another. */
  async #renewOnce(): Promise<number> {
    const { connection, clock } = this.#options
    const { client, failed } = connection.stream()
    let stream: RawStream<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse> | undefined
    try {
      stream = new RawStream(await client.leaseClient.leaseKeepAlive())
      stream.write({ ID: this.id })
      const renewed = await withTimeout(clock, stream.next(), this.#ttlMs / 4, 'lease renewal')
      return Number(renewed.TTL)
    } catch (thrown) {
      failed()
      throw toDroverError(thrown, connection.endpoint)
    } finally {
      stream?.close()
    }
  }
}
