/**
 * The commit loop: takes what waits, sends it as one transaction, one at a time, and finds out what became of it.
 *
 * Exactly once, though answers get lost. Batches form a chain: each compares a marker key with the value that the one
 * before left there, and puts its own. When the answer to batch B after A is lost, a barrier is tried: "if the marker is
 * still A's, put a fresh value". Only one of B and the barrier can ever win:
 *
 *   marker A ──B applied──▶ marker B         B is done, at the revision of the marker; answers are read from history
 *        └───barrier────▶ marker barrier     B can never be applied: it is sent again, under the barrier's value
 *
 * Rejected: reading back each key (another writer may have written since), a token inside each value (deletes have
 * none), and retrying as the client package does (a write that succeeded would report a conflict).
 */
import type { ITxnRequest, ITxnResponse } from 'etcd3'
import { type BackoffPolicy, backoffDelayMs } from '../../base/backoff.ts'
import { type Clock, sleep, type Timer } from '../../base/clock.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import { atEndOfTurn } from '../../base/turn.ts'
import type { Fence, StoredItem, Write, WriteOutcome } from '../store.ts'
import { buildBatch, compareMarker, outcomeFromHistory, readMarker, readOutcomes, writeBytes } from './batch.ts'
import { AnsweredError, closedError, type EtcdConnection } from './connection.ts'
import { optionalItem } from './convert.ts'
import type { StoreMetrics } from './metrics.ts'

export interface CommitterOptions {
  connection: EtcdConnection
  /** Names the marker key; two living processes must not share it. */
  writerId: string
  clock: Clock
  random: Random
  log: Logger
  metrics: StoreMetrics
  /** A write that was not sent for this long is refused. Default 10 s. */
  queueTimeoutMs?: number
  /** How long to look for the fate of a batch whose answer was lost. Default 30 s. */
  fateTimeoutMs?: number
}

interface Waiting {
  write: Write
  fence: Fence | undefined
  bytes: number
  dueMs: number
  /** When it is sent even if it has to be alone. */
  hurriesAtMs: number
  resolve(outcome: WriteOutcome): void
  reject(error: DroverError): void
}

type Fate = { type: 'applied'; revision: number } | { type: 'never' } | { type: 'unknown'; error: DroverError }

/** etcd takes 128 operations a level by default (`--max-txn-ops`). */
const MAX_BATCH_WRITES = 120
const MAX_BATCH_BYTES = 1 << 20
/** etcd takes requests of 1.5 MiB by default (`--max-request-bytes`). */
const MAX_WRITE_BYTES = 1_400_000
/** Beyond this many waiting writes the next is refused with `tooManyRequests`. */
const MAX_WAITING = 20_000
const SWEEP_MS = 500
/** How long a patient write waits for company. A commit takes one to two, and what comes meanwhile waits for its end. */
const PATIENCE_MS = 10
const RETRY: BackoffPolicy = { initialMs: 20, maxMs: 1_000, factor: 2, jitter: 0.5 }

export class Committer {
  readonly #options: CommitterOptions
  readonly #markerKey: Buffer
  readonly #incarnation: string
  readonly #closing = new AbortController()
  #accepting = true
  #waiting: Waiting[] = []
  #number = 0
  /** The marker's value as we know it; `unknown` makes the next batch take the marker over first. */
  #chain: { known: true; value: string | undefined } | { known: false } = { known: false }
  #running: Promise<void> | undefined
  #sweeper: Timer | undefined
  #patience: Timer | undefined

  constructor(options: CommitterOptions) {
    this.#options = options
    this.#markerKey = Buffer.from(`/drover-meta/commit/${options.writerId}`)
    this.#incarnation = options.random.uuid()
  }

  submit(write: Write, fence: Fence | undefined): Promise<WriteOutcome> {
    const bytes = writeBytes(write)
    const { clock, queueTimeoutMs = 10_000 } = this.#options
    return new Promise((resolve, reject) => {
      if (!this.#accepting) reject(closedError())
      else if (write.key === '') reject(new DroverError('invalid', 'a key must not be empty'))
      else if (bytes > MAX_WRITE_BYTES) {
        reject(new DroverError('tooLarge', `${write.key} is too large to store: ${bytes} of ${MAX_WRITE_BYTES} bytes`))
      } else if (this.#waiting.length >= MAX_WAITING) {
        reject(new DroverError('tooManyRequests', `${MAX_WAITING} writes wait for etcd already; retry later`))
      } else {
        const nowMs = clock.monotonicMs()
        const hurriesAtMs = nowMs + (write.patient === true ? PATIENCE_MS : 0)
        this.#waiting.push({ write, fence, bytes, dueMs: nowMs + queueTimeoutMs, hurriesAtMs, resolve, reject })
        this.#start()
      }
    })
  }

  /** Makes sure that the chain can be held: fails early when etcd or its certificates are wrong. */
  async takeOver(budgetMs: number): Promise<void> {
    const value = this.#nextValue()
    await this.#options.connection.retry(
      async (client, options) => {
        const read = await client.kv.range({ key: this.#markerKey }, options)
        const previous = optionalItem(read.kvs[0])?.value
        if (previous !== value) {
          const answer = await client.kv.txn(this.#barrier(previous, value), options)
          if (!answer.succeeded) throw new DroverError('unavailable', 'another process moved the commit marker')
        }
        this.#chain = { known: true, value }
      },
      { budgetMs, signal: this.#closing.signal },
    )
  }

  /** Refuses what waits, and gives a batch under way a short time to end. */
  async close(graceMs: number): Promise<void> {
    this.#accepting = false
    for (const { reject } of this.#waiting.splice(0)) reject(closedError())
    const running = this.#running
    if (running !== undefined) {
      const grace = this.#options.clock.schedule(graceMs, () => this.#closing.abort())
      await running
      grace.cancel()
    }
    this.#closing.abort()
    this.#sweeper?.cancel()
    this.#patience?.cancel()
  }

  #start(): void {
    if (this.#running !== undefined) return
    this.#sweep()
    this.#patience?.cancel()
    const { clock } = this.#options
    const nowMs = clock.monotonicMs()
    const [oldest] = this.#waiting
    if (oldest !== undefined && this.#waiting.every(({ hurriesAtMs }) => hurriesAtMs > nowMs)) {
      this.#patience = clock.schedule(oldest.hurriesAtMs - nowMs, () => this.#start())
      return
    }
    // So that writes asked for in one turn leave together: two controllers that one event wakes get to theirs by paths of
    // different length. It costs nothing, for nothing is sent before the turn's end anyway.
    this.#running = new Promise<void>((resolve) => atEndOfTurn(resolve))
      .then(() => this.#run())
      .finally(() => {
        this.#running = undefined
        if (this.#waiting.length > 0) this.#start()
      })
  }

  async #run(): Promise<void> {
    while (true) {
      const { batch, rest } = takeBatch(this.#waiting, this.#options.clock.monotonicMs())
      if (batch.length === 0) return
      this.#waiting = rest
      try {
        await this.#commit(batch)
      } catch (thrown) {
        const error = DroverError.from(thrown)
        for (const { reject } of batch) reject(error)
      }
    }
  }

  /** Refuses writes that have waited too long: etcd is away, and their senders should know. */
  #sweep(): void {
    if (this.#sweeper !== undefined) return
    const { clock, connection } = this.#options
    this.#sweeper = clock.schedule(
      SWEEP_MS,
      () => {
        this.#sweeper = undefined
        const nowMs = clock.monotonicMs()
        const expired = this.#waiting.filter(({ dueMs }) => dueMs <= nowMs)
        if (expired.length > 0) this.#waiting = this.#waiting.filter(({ dueMs }) => dueMs > nowMs)
        for (const { reject } of expired) {
          reject(
            new DroverError('unavailable', `etcd at ${connection.endpoint} does not answer: the write was not sent`),
          )
        }
        if (this.#waiting.length > 0 || this.#running !== undefined) this.#sweep()
      },
      true,
    )
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    const { clock, connection, metrics, fateTimeoutMs = 30_000 } = this.#options
    const writes = batch.map(({ write }) => write)
    const fence = batch[0]?.fence
    const startedMs = clock.monotonicMs()
    const deadlineMs = startedMs + fateTimeoutMs
    for (let sent = false; ; sent = true) {
      if (!this.#chain.known) await this.takeOver(Math.max(1, deadlineMs - clock.monotonicMs()))
      const previous = this.#chain.known ? this.#chain.value : undefined
      const next = this.#nextValue()
      const request = buildBatch(writes, { key: this.#markerKey, previous, next }, fence)
      let response: ITxnResponse
      try {
        response = await connection.call((client, options) => client.kv.txn(request, options))
      } catch (thrown) {
        if (await this.#settleLost(batch, { thrown: DroverError.from(thrown), previous, lost: next, deadlineMs }))
          return
        continue
      }
      if (response.succeeded) {
        this.#chain = { known: true, value: next }
        answer(batch, readOutcomes(writes, response))
        metrics.committed(batch.length, clock.monotonicMs() - startedMs)
        return
      }
      const marker = readMarker(response)
      if (marker?.value === previous) {
        for (const { reject } of batch) reject(new DroverError('forbidden', `leadership ${fence?.key} is lost`))
        return
      }
      // Answered, hence not applied: go on from the marker as it stands.
      this.#options.log.warn({ sent, marker: marker?.value }, 'the commit marker was moved by another process')
      this.#chain = { known: true, value: marker?.value }
    }
  }

  /** Deals with a batch whose answer did not come; false when it must be sent again. */
  async #settleLost(
    batch: readonly Waiting[],
    attempt: { thrown: DroverError; previous: string | undefined; lost: string; deadlineMs: number },
  ): Promise<boolean> {
    const { thrown, deadlineMs } = attempt
    const { log, metrics, clock } = this.#options
    const fate = await this.#findFate(attempt)
    metrics.lostAnswer(fate.type)
    log.info({ writes: batch.length, fate: fate.type, err: thrown }, 'looked for the fate of a batch without an answer')
    if (fate.type === 'applied') {
      this.#chain = { known: true, value: attempt.lost }
      answer(batch, await this.#readHistory(batch, fate.revision))
      return true
    }
    if (fate.type === 'never' && !(thrown instanceof AnsweredError) && clock.monotonicMs() < deadlineMs) return false
    const error =
      fate.type === 'never'
        ? thrown
        : new DroverError('timeout', `${fate.error.message}; whether the write was applied is not known`, {
            cause: fate.error,
          })
    for (const { reject } of batch) reject(error)
    return true
  }

  async #findFate(attempt: {
    thrown: DroverError
    previous: string | undefined
    lost: string
    deadlineMs: number
  }): Promise<Fate> {
    const { thrown, previous, lost, deadlineMs } = attempt
    const { connection, clock, random } = this.#options
    // What etcd has answered is not under way any more: looking is enough. (Out of space it answers with an error, and
    // takes no barrier, though the batch that crossed the quota was applied.)
    const answered = thrown instanceof AnsweredError
    for (let failures = 1; ; failures++) {
      const barrier = this.#nextValue()
      const request: ITxnRequest = answered
        ? { compare: [], success: [{ request_range: { key: this.#markerKey } }], failure: [] }
        : this.#barrier(previous, barrier)
      try {
        const response = await connection.call((client, options) => client.kv.txn(request, options))
        if (response.succeeded && !answered) {
          this.#chain = { known: true, value: barrier }
          return { type: 'never' }
        }
        const marker = readMarker(response)
        if (marker?.value === lost) return { type: 'applied', revision: marker.modRevision }
        this.#chain = { known: true, value: marker?.value }
        // An earlier barrier of ours whose own answer was lost, or, for an answered batch, no change at all.
        if (marker?.value === previous || marker?.value.startsWith(this.#incarnation)) return { type: 'never' }
        return { type: 'unknown', error: new DroverError('unavailable', 'another process moved the commit marker') }
      } catch (error) {
        const delayMs = backoffDelayMs(RETRY, failures, random)
        const late = clock.monotonicMs() + delayMs > deadlineMs
        if (late || this.#closing.signal.aborted) {
          this.#chain = { known: false }
          return { type: 'unknown', error: DroverError.from(error) }
        }
        await sleep(clock, delayMs, this.#closing.signal).catch(() => undefined)
      }
    }
  }

  #barrier(previous: string | undefined, value: string): ITxnRequest {
    const key = this.#markerKey
    return {
      compare: [compareMarker(key, previous)],
      success: [{ request_put: { key, value: Buffer.from(value) } }],
      failure: [{ request_range: { key } }],
    }
  }

  #nextValue(): string {
    this.#number += 1
    return `${this.#incarnation}/${this.#number}`
  }

  async #readHistory(batch: readonly Waiting[], revision: number): Promise<WriteOutcome[]> {
    const deletes = batch.some(({ write }) => write.type === 'delete')
    try {
      const after = await this.#readAsOf(batch, revision)
      const before = deletes ? await this.#readAsOf(batch, revision - 1) : []
      return batch.map(({ write }, i) => outcomeFromHistory(write, revision, { before: before[i], after: after[i] }))
    } catch (error) {
      const why = isCode(error, 'gone') ? 'its revision is compacted already' : DroverError.from(error).message
      throw new DroverError('timeout', `the batch was applied, but its outcome cannot be read: ${why}`, {
        cause: error,
      })
    }
  }

  async #readAsOf(batch: readonly Waiting[], revision: number): Promise<(StoredItem | undefined)[]> {
    const success = batch.map(({ write }) => ({ request_range: { key: Buffer.from(write.key), revision } }))
    const response = await this.#options.connection.retry(
      (client, options) => client.kv.txn({ compare: [], success, failure: [] }, options),
      { signal: this.#closing.signal },
    )
    return batch.map((_, i) => optionalItem(response.responses[i]?.response_range?.kvs[0]))
  }
}

function answer(batch: readonly Waiting[], outcomes: readonly WriteOutcome[]): void {
  batch.forEach(({ resolve }, i) => {
    const outcome = outcomes[i]
    if (outcome !== undefined) resolve(outcome)
  })
}

/**
 * The longest batch that may leave now: one fence, no key twice, bounded. Writes of one key keep their order. What is patient
 * goes with the first that is not, or no more; without one nothing leaves.
 */
export function takeBatch<T extends Pick<Waiting, 'write' | 'fence' | 'bytes' | 'hurriesAtMs'>>(
  waiting: readonly T[],
  nowMs: number,
): { batch: T[]; rest: T[] } {
  const hurried = waiting.find(({ hurriesAtMs }) => hurriesAtMs <= nowMs)
  if (hurried === undefined) return { batch: [], rest: [...waiting] }
  // What has to go before it, if anything, leads.
  const fence = waiting.find(({ write }) => write.key === hurried.write.key)?.fence
  const batch: T[] = []
  const skipped: T[] = []
  const keys = new Set<string>()
  let bytes = 0
  let i = 0
  for (; i < waiting.length && batch.length < MAX_BATCH_WRITES; i++) {
    const next = waiting[i]
    if (next === undefined) break
    if (batch.length > 0 && bytes + next.bytes > MAX_BATCH_BYTES) break
    const fits = !keys.has(next.write.key) && sameFence(next.fence, fence)
    keys.add(next.write.key)
    if (!fits) {
      skipped.push(next)
      continue
    }
    batch.push(next)
    bytes += next.bytes
  }
  return { batch, rest: [...skipped, ...waiting.slice(i)] }
}

function sameFence(a: Fence | undefined, b: Fence | undefined): boolean {
  return a === b || (a?.key === b?.key && a?.createRevision === b?.createRevision)
}
