/**
 * The store on etcd: reads and lists are linearizable and retried freely; writes go through group commit (commit.ts),
 * watches through our own watcher (watch.ts), leadership through leases (election.ts).
 */

import { type Clock, throwIfAborted } from '../../base/clock.ts'
import type { DatabasePort } from '../../base/database.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Registry } from '../../base/metrics.ts'
import type { Random } from '../../base/random.ts'
import type {
  Election,
  Fence,
  ListOptions,
  ListResult,
  Store,
  StoredItem,
  WatchBatch,
  Write,
  WriteOutcome,
} from '../store.ts'
import { Committer } from './commit.ts'
import { closedError, EtcdConnection, type EtcdTls, outOfSpace } from './connection.ts'
import { optionalItem, prefixEnd, rangeStart, toItem } from './convert.ts'
import { createDatabase } from './database.ts'
import { campaign } from './election.ts'
import { createStoreMetrics, type StoreMetrics } from './metrics.ts'
import { progressIsInOrder } from './version.ts'
import { type WatchOptions, watchPrefix } from './watch.ts'

export interface EtcdStoreOptions {
  /** `http://host:port` without, `https://host:port` with `tls`. */
  endpoints: readonly string[]
  tls?: EtcdTls
  /** Names this process among those that write to the store; no two that live at once may share it. */
  writerId: string
  clock: Clock
  random: Random
  log: Logger
  registry?: Registry
  /** How long a dead leader's place stays taken. Default 5 s; etcd's least is about 2. */
  electionTtlSeconds?: number
  /** How long to wait for etcd at the start. Default 15 s. */
  connectTimeoutMs?: number
  /** A write that could not be sent for this long is refused. Default 10 s. */
  queueTimeoutMs?: number
  /** How long to look for the fate of writes whose answer was lost; then they reject with `timeout`. Default 30 s. */
  fateTimeoutMs?: number
}

/** Pages hold fewer items where items are large, so that a page stays far below gRPC's usual 4 MiB. */
const PAGE_ITEMS = 500
const PAGE_BYTES = 2 << 20
const LIST_ATTEMPTS = 3
const CLOSE_GRACE_MS = 3_000

export interface RenewableStore extends Store {
  /** Takes a renewed certificate for new connections. */
  setTls(tls: EtcdTls): void
  /** The members' own keeping. `quotaBytes`: where it is known, for etcd does not tell it. */
  database(quotaBytes?: number): DatabasePort
}

/** Rejects with `unavailable` when no endpoint answers in time. */
export async function createEtcdStore(options: EtcdStoreOptions): Promise<RenewableStore> {
  const store = new EtcdStore(options)
  try {
    await store.open(options.connectTimeoutMs ?? 15_000)
  } catch (error) {
    await store.close()
    throw error
  }
  return store
}

class EtcdStore implements RenewableStore {
  readonly #options: EtcdStoreOptions
  readonly #connection: EtcdConnection
  readonly #committer: Committer
  readonly #metrics: StoreMetrics
  readonly #watchOptions: WatchOptions
  readonly #closing = new AbortController()
  #progressInOrder = false

  constructor(options: EtcdStoreOptions) {
    const { clock, random, log } = options
    this.#options = options
    this.#connection = new EtcdConnection(options)
    this.#metrics = createStoreMetrics(options.registry)
    const parts = { connection: this.#connection, metrics: this.#metrics, clock, random, log }
    this.#committer = new Committer({ ...options, ...parts })
    this.#watchOptions = {
      ...parts,
      progressInOrder: () => this.#progressInOrder,
      closing: this.#closing.signal,
    }
  }

  async open(timeoutMs: number): Promise<void> {
    const status = await this.#connection.retry((client, call) => client.maintenance.status(call), {
      budgetMs: timeoutMs,
    })
    this.#progressInOrder = progressIsInOrder(status.version)
    try {
      await this.#committer.takeOver(timeoutMs)
    } catch (error) {
      // A full database serves reads, and must be mended through us: the first write takes over, once writes are taken.
      if (!isCode(error, 'outOfSpace')) throw error
      this.#options.log.error({ err: error }, 'the database is full')
    }
  }

  setTls(tls: EtcdTls): void {
    this.#connection.setTls(tls)
  }

  database(quotaBytes?: number): DatabasePort {
    return createDatabase(this.#connection, quotaBytes)
  }

  async get(key: string): Promise<StoredItem | undefined> {
    const response = await this.#connection.retry((client, call) => client.kv.range({ key: Buffer.from(key) }, call))
    return optionalItem(response.kvs[0])
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListResult> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#listOnce(prefix, options)
      } catch (error) {
        // Compacted between two pages of a list that did not ask for a revision: take a newer one.
        const retry = isCode(error, 'gone') && options.revision === undefined && attempt < LIST_ATTEMPTS
        if (!retry) throw error
      }
    }
  }

  async #listOnce(prefix: string, options: ListOptions): Promise<ListResult> {
    const { limit = Number.POSITIVE_INFINITY } = options
    const items: StoredItem[] = []
    let { after, revision } = options
    let pageItems = PAGE_ITEMS
    for (;;) {
      const request = {
        key: rangeStart(prefix, after),
        range_end: prefixEnd(prefix),
        limit: Math.min(pageItems, limit - items.length),
        ...(revision === undefined ? {} : { revision }),
      }
      const page = await this.#connection.retry((client, call) => client.kv.range(request, call))
      revision ??= Number(page.header.revision)
      let bytes = 1
      for (const kv of page.kvs) {
        items.push(toItem(kv))
        bytes += kv.key.length + kv.value.length
      }
      if (!page.more || items.length >= limit) return { items, revision, more: page.more }
      after = items.at(-1)?.key
      pageItems = Math.max(1, Math.min(PAGE_ITEMS, Math.floor((PAGE_BYTES * page.kvs.length) / bytes)))
    }
  }

  write(write: Write, fence?: Fence): Promise<WriteOutcome> {
    return this.#committer.submit(write, fence)
  }

  watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch> {
    return watchPrefix(this.#watchOptions, prefix, afterRevision, signal)
  }

  async campaign(electionKey: string, id: string, signal: AbortSignal): Promise<Election> {
    throwIfAborted(signal)
    const { clock, random, log, electionTtlSeconds = 5 } = this.#options
    return campaign(
      {
        connection: this.#connection,
        clock,
        random,
        log,
        ttlSeconds: electionTtlSeconds,
        list: (prefix) => this.list(prefix),
        watch: (prefix, afterRevision, until) => this.watch(prefix, afterRevision, until),
      },
      electionKey,
      id,
      AbortSignal.any([signal, this.#closing.signal]),
    )
  }

  async compact(revision: number): Promise<void> {
    try {
      await this.#connection.retry((client, call) => client.kv.compact({ revision }, call))
    } catch (error) {
      // Someone else has compacted as far, or an earlier attempt of ours whose answer was lost.
      if (!isCode(error, 'gone')) throw error
    }
  }

  async health(): Promise<{ revision: number; sizeBytes: number }> {
    if (this.#closing.signal.aborted) throw closedError()
    // `status` is one member's word; the read goes through the whole cluster.
    const budget = { budgetMs: 3_000 }
    const status = await this.#connection.retry((client, call) => client.maintenance.status(call), budget)
    const read = await this.#connection.retry(
      (client, call) => client.kv.range({ key: Buffer.from('/drover-meta/health'), count_only: true }, call),
      budget,
    )
    const sizeBytes = Number(status.dbSize)
    this.#metrics.databaseBytes(sizeBytes)
    if (status.errors.some((text) => text.includes('NOSPACE'))) {
      throw new DroverError('outOfSpace', outOfSpace(this.#connection.endpoint))
    }
    return { revision: Number(read.header.revision), sizeBytes }
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    await this.#committer.close(CLOSE_GRACE_MS)
    this.#connection.close()
  }
}
