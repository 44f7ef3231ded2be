/**
 * Our own watcher over etcd's raw watch stream. It delivers each revision's changes whole, in order and once, however
 * often the connection drops, or ends with `gone`.
 *
 *  - It resumes from the last *event* it has delivered (or from progress that etcd is known to report in order), never
 *    from a response's header: those can be ahead of the events.
 *  - It asks for history from the last delivered revision on, not from the one after, and drops what it has seen: etcd
 *    before 3.4.36 serves a watch that starts exactly at the compacted revision, but has forgotten deletions there.
 *  - A revision that goes backwards (etcd before 3.4.25, after a member was restored from a snapshot) ends the stream;
 *    the next resumes from what was delivered.
 *  - Large answers come in fragments: the last revision of a fragment is held back until it is known to be whole.
 *  - A stream that stays silent though asked for progress is dead, whatever TCP says.
 *
 * Rejected: the etcd3 package's Watcher, which resumes from response headers and ends on compaction without a word.
 */
import type { IEvent, IWatchRequest, IWatchResponse } from 'etcd3'
import { backoffDelayMs, reconnectPolicy } from '../../base/backoff.ts'
import { type Clock, sleep, throwIfAborted } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { StoreEvent, WatchBatch } from '../store.ts'
import { AnsweredError, type EtcdConnection, toDroverError } from './connection.ts'
import { optionalItem, prefixEnd, rangeStart, toItem } from './convert.ts'
import type { StoreMetrics } from './metrics.ts'
import { RawStream } from './raw_stream.ts'

export interface WatchOptions {
  connection: EtcdConnection
  clock: Clock
  random: Random
  log: Logger
  metrics: StoreMetrics
  /** Whether answers to a progress request are in order with events: from etcd 3.4.25 and 3.5.8 on. */
  progressInOrder: () => boolean
  /** Ends all watches. */
  closing: AbortSignal
}

const PROGRESS_MS = 2_000
/** Silence this long, though asked for progress, means that the stream is dead. */
const DEAD_MS = 7_000
const DIAL_MS = 5_000

type WatchStream = RawStream<IWatchRequest, IWatchResponse>

/** What stays the same over one stream after another. */
interface Target {
  prefix: string
  signal: AbortSignal
}

export async function* watchPrefix(
  options: WatchOptions,
  prefix: string,
  afterRevision: number,
  signal: AbortSignal,
): AsyncIterable<WatchBatch> {
  const { clock, random, log, metrics, closing } = options
  const target = { prefix, signal: AbortSignal.any([signal, closing]) }
  let delivered = afterRevision
  let failures = 0
  while (!signal.aborted) {
    if (closing.aborted) throw new DroverError('unavailable', 'the store is closed')
    try {
      for await (const batch of followStream(options, target, delivered)) {
        delivered = batch.revision
        failures = 0
        yield batch
      }
    } catch (thrown) {
      if (target.signal.aborted) continue
      if (thrown instanceof AnsweredError) throw thrown
      failures += 1
      metrics.watchRestarted()
      log.debug({ prefix, delivered, failures, err: thrown }, 'watch stream ended; resuming')
      await sleep(clock, backoffDelayMs(reconnectPolicy, failures, random), target.signal).catch(() => undefined)
    }
  }
}

/** One stream, from its start to its end, which is always an error or the signal. */
async function* followStream(options: WatchOptions, target: Target, afterRevision: number): AsyncIterable<WatchBatch> {
  const { connection } = options
  const { client, failed } = connection.stream()
  const stream = new RawStream(await client.watchClient.watch())
  const onAbort = () => stream.close()
  target.signal.addEventListener('abort', onAbort, { once: true })
  try {
    throwIfAborted(target.signal)
    stream.write(createRequest(target.prefix, afterRevision))
    const assembler = new RevisionAssembler(afterRevision)
    let timeoutMs = DIAL_MS
    for (;;) {
      const response = await nextResponse(options, stream, timeoutMs)
      timeoutMs = DEAD_MS
      yield* deliver(options, assembler, response)
    }
  } catch (thrown) {
    const error = toDroverError(thrown, connection.endpoint)
    if (!(error instanceof AnsweredError)) failed()
    throw error
  } finally {
    target.signal.removeEventListener('abort', onAbort)
    stream.close()
  }
}

function createRequest(prefix: string, afterRevision: number): IWatchRequest {
  return {
    create_request: {
      key: rangeStart(prefix, undefined),
      range_end: prefixEnd(prefix),
      start_revision: Math.max(1, afterRevision),
      progress_notify: true,
      prev_kv: true,
      fragment: true,
    },
  }
}

/** The next response; asks for progress while there is none, and fails after `timeoutMs` of silence. */
async function nextResponse(options: WatchOptions, stream: WatchStream, timeoutMs: number): Promise<IWatchResponse> {
  const { clock } = options
  const sinceMs = clock.monotonicMs()
  const tick = () => {
    if (clock.monotonicMs() - sinceMs >= timeoutMs) {
      stream.close(new DroverError('unavailable', `no word on a watch for ${timeoutMs} ms`))
      return
    }
    stream.write({ progress_request: {} })
    timer = clock.schedule(PROGRESS_MS, tick, true)
  }
  let timer = clock.schedule(PROGRESS_MS, tick, true)
  try {
    return await stream.next()
  } finally {
    timer.cancel()
  }
}

function* deliver(options: WatchOptions, assembler: RevisionAssembler, response: IWatchResponse): Iterable<WatchBatch> {
  if (response.canceled) throw cancelledError(response)
  if (response.created) return
  if (response.events.length > 0) {
    yield* assembler.add(response.events, response.fragment)
    return
  }
  // Periodic progress (it carries the watch's id) passes through the same queue as events; an answer to a request (-1)
  // does so only in fixed versions, and else merely shows that the stream lives.
  const inOrder = response.watch_id !== '-1' || options.progressInOrder()
  yield assembler.progress(inOrder ? Number(response.header.revision) : 0)
}

function cancelledError(response: IWatchResponse): DroverError {
  if (Number(response.compact_revision) > 0) {
    return new AnsweredError('gone', `history before revision ${response.compact_revision} is compacted; list again`)
  }
  if (response.cancel_reason.includes('permission denied'))
    return new AnsweredError('forbidden', response.cancel_reason)
  return new DroverError('unavailable', `etcd cancelled the watch: ${response.cancel_reason || 'no reason given'}`)
}

/** Groups events into whole revisions, each greater than the one before. */
export class RevisionAssembler {
  /** Everything up to here has been delivered. */
  #delivered: number
  /** The greatest revision seen on this stream. */
  #seen: number
  #pending: WatchBatch | undefined

  constructor(afterRevision: number) {
    this.#delivered = afterRevision
    this.#seen = afterRevision
  }

  /** Takes one response's events; with `more`, its last revision goes on in the next response. */
  *add(events: readonly IEvent[], more: boolean): Iterable<WatchBatch> {
    for (const event of events) {
      const revision = Number(event.kv.mod_revision)
      if (revision < this.#seen) {
        throw new DroverError('unavailable', `the watch went back from revision ${this.#seen} to ${revision}`)
      }
      this.#seen = revision
      if (revision <= this.#delivered) continue
      if (this.#pending !== undefined && this.#pending.revision !== revision) yield* this.#flush()
      this.#pending ??= { revision, events: [] }
      this.#pending.events.push(toEvent(event))
    }
    if (!more) yield* this.#flush()
  }

  progress(revision: number): WatchBatch {
    // Only ahead of whole revisions: a fragment under way is not progress.
    if (this.#pending === undefined && revision > this.#delivered) {
      this.#delivered = revision
      this.#seen = Math.max(this.#seen, revision)
    }
    return { revision: this.#delivered, events: [] }
  }

  *#flush(): Iterable<WatchBatch> {
    const batch = this.#pending
    if (batch === undefined) return
    this.#pending = undefined
    this.#delivered = batch.revision
    yield batch
  }
}

function toEvent(event: IEvent): StoreEvent {
  // The package's types spell the enum "Put", the wire's names are "PUT" and "DELETE".
  if (String(event.type).toUpperCase() === 'PUT') return { type: 'put', item: toItem(event.kv) }
  const key = event.kv.key.toString('utf8')
  const modRevision = Number(event.kv.mod_revision)
  const previous = optionalItem(event.prev_kv)
  return previous === undefined ? { type: 'delete', key, modRevision } : { type: 'delete', key, modRevision, previous }
}
