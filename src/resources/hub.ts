/**
 * Who hears of changes: listeners in this process (synchronous), and watchers with a backlog. Each kind keeps a ring of
 * its last events, so that a watcher can resume a little in the past; quiet kinds are not pushed out by busy ones.
 * Watchers that do not keep up are cut off at a byte bound: they list again, and nobody else waits for them.
 */
import type { KubeObject, Stored } from '../api/meta.ts'
import { DroverError } from '../base/errors.ts'
import { type Matcher, seenThrough } from './filter.ts'
import type { ResourceEvent } from './resources.ts'

/** An event and roughly what it weighs as JSON. */
export interface Delivery {
  event: ResourceEvent
  bytes: number
  /** Of a deletion: the object as it stood, which the event shows at the revision of its end. */
  ended?: Stored<KubeObject>
}

export const DEFAULT_RING_EVENTS = 1024
export const MAX_BACKLOG_BYTES = 4 * 1024 * 1024

export type Listener = (event: ResourceEvent) => void

/** One watcher's queue. */
class Backlog {
  readonly matches: Matcher | undefined
  readonly afterRevision: number
  #events: ResourceEvent[] = []
  #bytes = 0
  #ended: DroverError | undefined
  #wake: (() => void) | undefined

  constructor(matches: Matcher | undefined, afterRevision: number) {
    this.matches = matches
    this.afterRevision = afterRevision
  }

  /** The replay of the ring is shared with it, so it does not count. */
  replay(events: readonly Delivery[]): void {
    for (const { event } of events) this.#take(event)
  }

  push(deliveries: readonly Delivery[]): void {
    if (this.#ended !== undefined) return
    for (const { event, bytes } of deliveries) if (this.#take(event)) this.#bytes += bytes
    if (this.#bytes > MAX_BACKLOG_BYTES) {
      this.#events = []
      this.end(new DroverError('gone', 'the watcher did not keep up; list again'))
    }
    if (this.#events.length > 0) this.wake()
  }

  end(error: DroverError): void {
    this.#ended ??= error
    this.wake()
  }

  wake(): void {
    this.#wake?.()
  }

  /** Everything that waits; empty when the signal was raised. */
  async next(signal: AbortSignal): Promise<readonly ResourceEvent[]> {
    while (this.#events.length === 0) {
      if (signal.aborted) return []
      if (this.#ended !== undefined) throw this.#ended
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = undefined
    }
    if (signal.aborted) return []
    const events = this.#events
    this.#events = []
    this.#bytes = 0
    return events
  }

  #take(event: ResourceEvent): boolean {
    if (event.revision <= this.afterRevision) return false
    const seen = seenThrough(this.matches, event)
    if (seen !== undefined) this.#events.push(seen)
    return seen !== undefined
  }
}

export class Hub {
  readonly #ringEvents: number
  readonly #onListenerError: (error: unknown) => void
  readonly #listeners = new Set<Listener>()
  readonly #backlogs = new Set<Backlog>()
  /** Oldest first from `#start`; grows to its bound, then each event takes the place of the oldest. */
  #ring: Delivery[] = []
  #start = 0
  /** A watch from before this revision could miss something. */
  #floor = Number.POSITIVE_INFINITY

  constructor(ringEvents: number, onListenerError: (error: unknown) => void) {
    this.#ringEvents = ringEvents
    this.#onListenerError = onListenerError
  }

  get watchers(): number {
    return this.#backlogs.size
  }

  subscribe(listener: Listener): () => void {
    // A wrapper of its own, so that a function that subscribes twice is heard twice and stopped once.
    const own: Listener = (event) => listener(event)
    this.#listeners.add(own)
    return () => this.#listeners.delete(own)
  }

  /** All changes of this kind in one revision. */
  deliver(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) this.#remember(delivery)
    for (const { event } of deliveries) {
      for (const listener of this.#listeners) {
        try {
          listener(event)
        } catch (error) {
          this.#onListenerError(error)
        }
      }
    }
    for (const backlog of this.#backlogs) backlog.push(deliveries)
  }

  /**
   * History between `fromRevision` and `toRevision` is not known, only its outcome. Watchers that were in step get the
   * outcome; those that claim to stand in between cannot be served.
   */
  skip(fromRevision: number, toRevision: number): void {
    this.#ring = []
    this.#start = 0
    this.#floor = toRevision
    for (const backlog of this.#backlogs) {
      if (backlog.afterRevision > fromRevision && backlog.afterRevision < toRevision) backlog.end(tooOld(toRevision))
    }
  }

  /** What happened after a revision, the last first. Throws `gone` when the ring no longer reaches back. */
  since(revision: number): Delivery[] {
    if (revision < this.#floor) throw tooOld(revision)
    return this.#inOrder()
      .filter(({ event }) => event.revision > revision)
      .reverse()
  }

  async *watch(
    matches: Matcher | undefined,
    afterRevision: number,
    signal: AbortSignal,
  ): AsyncGenerator<readonly ResourceEvent[]> {
    if (afterRevision < this.#floor) throw tooOld(afterRevision)
    const backlog = new Backlog(matches, afterRevision)
    backlog.replay(this.#inOrder())
    this.#backlogs.add(backlog)
    const onAbort = () => backlog.wake()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      for (;;) {
        const events = await backlog.next(signal)
        if (events.length === 0) return
        yield events
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.#backlogs.delete(backlog)
    }
  }

  #inOrder(): Delivery[] {
    return [...this.#ring.slice(this.#start), ...this.#ring.slice(0, this.#start)]
  }

  #remember(delivery: Delivery): void {
    if (this.#ring.length < this.#ringEvents) {
      this.#ring.push(delivery)
      return
    }
    const oldest = this.#ring[this.#start]
    if (oldest !== undefined) this.#floor = Math.max(this.#floor, oldest.event.revision)
    this.#ring[this.#start] = delivery
    this.#start = (this.#start + 1) % this.#ringEvents
  }
}

function tooOld(revision: number): DroverError {
  return new DroverError('gone', `too old resource version: ${revision}`)
}
