/**
 * Watches: a stream of JSON lines. All events of one revision leave in one chunk. A client that does not keep up is told
 * `Expired` and cut off when its backlog in the cache passes its bound; one that takes nothing at all is broken off.
 *
 * Starts, by what the request says:
 *
 *   resourceVersion=N                       events after N
 *   none, or 0                              the present objects as ADDED, then events
 *   sendInitialEvents=true (a "watch list") the same, with a bookmark between them that ends the initial part
 *   sendInitialEvents=false                 events from now on
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { ListFilter, ResourceEvent } from '../resources/resources.ts'
import { negotiateForm } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { reach } from './list.ts'
import { boolParam, countParam, listFilter, type RevisionParams, revisionParams } from './query.ts'
import type { Target } from './router.ts'
import { toStatus } from './status_error.ts'
import { createWatchEncoder, type WatchEncoder } from './watch_encoder.ts'

const INITIAL_END = 'k8s.io/initial-events-end'
const BOOKMARK_EVERY_MS = 30_000
const MIN_TIMEOUT_SECONDS = 1_800
/** Initial objects that go out in one write. */
const INITIAL_BATCH = 100

type Start = { type: 'state' } | { type: 'now' } | { type: 'after'; revision: number }

interface WatchRequest {
  kind: KindDefinition
  filter: ListFilter
  start: Start
  revision: RevisionParams
  initialBookmark: boolean
  bookmarks: boolean
  timeoutMs: number
}

function readRequest(exchange: Exchange, target: Target, random: number): WatchRequest {
  const { query } = exchange
  const revision = revisionParams(query)
  const initial = query.has('sendInitialEvents') ? boolParam(query, 'sendInitialEvents') : undefined
  if (initial !== undefined && revision.match !== 'NotOlderThan') {
    const message = 'sendInitialEvents needs resourceVersionMatch=NotOlderThan'
    const path = 'resourceVersionMatch'
    throw new DroverError('invalid', message, { fields: [{ path, reason: 'Forbidden', message }] })
  }
  if (initial === undefined && revision.match !== '') {
    const message = 'resourceVersionMatch is for watches with sendInitialEvents'
    const path = 'resourceVersionMatch'
    throw new DroverError('invalid', message, { fields: [{ path, reason: 'Forbidden', message }] })
  }
  const given = revision.revision ?? 0
  const withState = initial ?? given === 0
  const bookmarks = boolParam(query, 'allowWatchBookmarks')
  return {
    kind: target.kind,
    filter: listFilter(target, query),
    start: withState ? { type: 'state' } : given === 0 ? { type: 'now' } : { type: 'after', revision: given },
    revision,
    initialBookmark: initial === true && bookmarks,
    bookmarks,
    timeoutMs: (countParam(query, 'timeoutSeconds') || MIN_TIMEOUT_SECONDS * (1 + random)) * 1000,
  }
}

export async function handleWatch(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const form = negotiateForm(exchange.headers.accept)
  const request = readRequest(exchange, target, context.random.next())
  const encoder = createWatchEncoder({ context, query: exchange.query, kind: target.kind, form })
  if (request.start.type !== 'after') await reach(context, request.revision.revision)
  const stop = new AbortController()
  const onClose = (): void => stop.abort()
  for (const signal of [exchange.signal, context.stopping]) signal.addEventListener('abort', onClose, { once: true })
  try {
    await streamEvents({ context, exchange, request, encoder, signal: stop.signal })
    exchange.end()
  } catch (thrown) {
    const error = DroverError.from(thrown)
    if (!exchange.begun) throw error
    if (exchange.signal.aborted || error.code === 'cancelled') return
    await exchange.write(`${JSON.stringify({ type: 'ERROR', object: toStatus(error) })}\n`).catch(() => undefined)
    exchange.end()
  } finally {
    stop.abort()
    for (const signal of [exchange.signal, context.stopping]) signal.removeEventListener('abort', onClose)
  }
}

interface Stream {
  context: ApiContext
  exchange: Exchange
  request: WatchRequest
  encoder: WatchEncoder
  signal: AbortSignal
}

/** The next batch, asked for; `settled` says whether it has come, without waiting. */
interface Pull {
  batch: Promise<IteratorResult<readonly ResourceEvent[]>>
  settled: boolean
}

/** Events and time in one place to wait: a watch keeps one timer, however many events pass. */
class Pulse {
  readonly #clock: Clock
  readonly #batches: AsyncIterator<readonly ResourceEvent[]>
  #wake: () => void = () => undefined
  #timer: Timer | undefined
  /** Set when the timer has fired; the reader sets it back. */
  isDue = false

  constructor(clock: Clock, batches: AsyncIterator<readonly ResourceEvent[]>) {
    this.#clock = clock
    this.#batches = batches
  }

  pull(): Pull {
    const asked: Pull = { batch: this.#batches.next(), settled: false }
    const settle = (): void => {
      asked.settled = true
      this.#wake()
    }
    asked.batch.then(settle, settle)
    return asked
  }

  setTimer(delayMs: number): void {
    this.#timer?.cancel()
    this.isDue = false
    this.#timer = this.#clock.schedule(
      delayMs,
      () => {
        this.isDue = true
        this.#wake()
      },
      true,
    )
  }

  /** Until the batch has come or the timer has fired. */
  async wait(next: Pull): Promise<void> {
    if (next.settled || this.isDue) return
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
  }

  stop(): void {
    this.#timer?.cancel()
  }
}

async function streamEvents(stream: Stream): Promise<void> {
  const { context, exchange, request, signal } = stream
  const { resources, clock } = context
  const { start } = request
  const state = start.type === 'state' ? resources.snapshot(request.kind, request.filter) : undefined
  const after = start.type === 'after' ? start.revision : (state?.revision ?? resources.revision())
  const pulse = new Pulse(clock, resources.watch(request.kind, request.filter, after, signal)[Symbol.asyncIterator]())
  // Asked for in the same turn as the list: the iterator must hold its place before anything is awaited.
  const next = pulse.pull()
  try {
    await turn(clock)
    // A start that is too old fails here, before the status line: clients then see a plain 410.
    if (next.settled) await next.batch
    exchange.begin(200, 'application/json')
    exchange.flush()
    // Its answer is complete.
    if (exchange.method === 'HEAD') return
    await sendInitial(stream, state?.items ?? [], after)
    await follow(stream, pulse, next)
  } finally {
    pulse.stop()
  }
}

/** Events as they come, and bookmarks in between, to the end of the watch's time. */
async function follow(stream: Stream, pulse: Pulse, first: Pull): Promise<void> {
  const { exchange, request, encoder, signal } = stream
  let next = first
  let leftMs = request.timeoutMs
  let atEnd = setPulse(pulse, request, leftMs)
  while (!signal.aborted) {
    await pulse.wait(next)
    if (pulse.isDue) {
      if (request.bookmarks) await sendBookmark(stream, next)
      if (atEnd && !next.settled) return
      leftMs -= BOOKMARK_EVERY_MS
      atEnd = setPulse(pulse, request, Math.max(0, leftMs))
    }
    if (!next.settled) continue
    const result = await next.batch
    if (result.done === true) return
    next = pulse.pull()
    await exchange.write(encoder.events(result.value))
  }
}

/** True when the next beat is the last. The beats decide when the time is over, not the clock: timers fire a little early. */
function setPulse(pulse: Pulse, { bookmarks }: WatchRequest, leftMs: number): boolean {
  const isLast = !bookmarks || leftMs <= BOOKMARK_EVERY_MS
  pulse.setTimer(isLast ? leftMs : BOOKMARK_EVERY_MS)
  return isLast
}

/** Lets everything run that is ready to run. */
function turn(clock: Clock): Promise<void> {
  return new Promise((resolve) => void clock.schedule(0, resolve))
}

async function sendInitial(stream: Stream, present: Stored<KubeObject>[], revision: number): Promise<void> {
  const { exchange, request, encoder } = stream
  for (let at = 0; at < present.length; at += INITIAL_BATCH) {
    const events = present.slice(at, at + INITIAL_BATCH).map((object) => ({ type: 'ADDED' as const, object, revision }))
    await exchange.write(encoder.events(events))
  }
  if (request.initialBookmark) await exchange.write(encoder.bookmark(revision, { [INITIAL_END]: 'true' }))
}

/** Tells how far the cache has come, once it is certain that this watcher has been sent all up to there. */
async function sendBookmark({ context, exchange, encoder }: Stream, next: Pull): Promise<void> {
  const revision = context.resources.revision()
  await turn(context.clock)
  if (!next.settled) await exchange.write(encoder.bookmark(revision, {}))
}
