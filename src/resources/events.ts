/**
 * Events for people. Recording never blocks and never fails its caller: what cannot be written is dropped and counted
 * in the log. Repeats of one event (same object, type, reason and words) count up one stored object, and are written
 * at most once in a while. Old events are swept, and so are the oldest when there are too many.
 */
import { type Event, eventKind } from '../api/event.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { type Clock, sleep, type Timer, timestamp, withTimeout } from '../base/clock.ts'
import { DroverError, isCode } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import type { Fence } from '../store/store.ts'
import type { EventRecorder, Resources } from './resources.ts'

export interface EventRecorderOptions {
  resources: Resources
  clock: Clock
  random: Random
  log: Logger
  /** Who speaks, e.g. `scheduler`. */
  component: string
  /** How long an event may wait before it is written, so that it does not go ahead of the work it tells of. Default 0. */
  gatherMs?: number
}

/** Events that wait to be written; more are dropped. */
const MAX_WAITING = 1000
/** Events whose repeats are recognized; past it the one that was quiet longest is forgotten. */
const MAX_KNOWN = 1024
/** Repeats within this time are written together. */
const REPEAT_INTERVAL_MS = 5_000
const MAX_MESSAGE = 1024
const MAX_NAME = 230

interface Known {
  about: KubeObject
  type: 'Normal' | 'Warning'
  reason: string
  message: string
  firstMs: number
  lastMs: number
  /** Occurrences that the stored object does not count yet. */
  pending: number
  /** Waits in the queue, or for its interval. */
  waiting: boolean
  writtenMs: number
  /** The stored object's name, once there is one. */
  name: string | undefined
}

/** Records from the start; running it only sees to it that what waits is written when the program stops. */
export interface RunningRecorder extends EventRecorder, Service {
  /** Resolves when what waits has been written or dropped. */
  flush(): Promise<void>
}

const LAST_FLUSH_MS = 2_000

export function createEventRecorder(options: EventRecorderOptions): RunningRecorder {
  return new Recorder(options)
}

class Recorder implements RunningRecorder {
  readonly id: string
  readonly #options: EventRecorderOptions
  readonly #known = new Map<string, Known>()
  readonly #queue: Known[] = []
  #working: Promise<void> | undefined
  #gathering: Timer | undefined
  #dropped = 0

  constructor(options: EventRecorderOptions) {
    this.#options = options
    this.id = `events-${options.component}`
  }

  async run(signal: AbortSignal): Promise<void> {
    if (!signal.aborted)
      await new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
    const { clock, log } = this.#options
    await withTimeout(clock, this.flush(), LAST_FLUSH_MS, 'writing the last events').catch((err: unknown) => {
      log.warn({ err }, 'the last events were dropped')
    })
  }

  record(about: KubeObject, type: 'Normal' | 'Warning', reason: string, message: string): void {
    const nowMs = this.#options.clock.now()
    const { uid = '', namespace = '', name = '' } = about.metadata
    const key = [uid, about.kind, namespace, name, type, reason, message].join('\0')
    let known = this.#known.get(key)
    if (known === undefined) {
      const text = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE - 1)}…` : message
      const times = { firstMs: nowMs, lastMs: nowMs, pending: 0, waiting: false, writtenMs: -REPEAT_INTERVAL_MS }
      // Only what the reference needs: the recorder must not keep objects alive.
      const subject = { apiVersion: about.apiVersion, kind: about.kind, metadata: referenceMeta(about) }
      known = { about: subject, type, reason, message: text, ...times, name: undefined }
    }
    // Most recently used last.
    this.#known.delete(key)
    this.#known.set(key, known)
    if (this.#known.size > MAX_KNOWN) {
      const oldest = this.#known.keys().next().value
      if (oldest !== undefined) this.#known.delete(oldest)
    }
    known.pending++
    known.lastMs = nowMs
    if (known.waiting) return
    const waitMs = known.writtenMs + REPEAT_INTERVAL_MS - this.#options.clock.monotonicMs()
    known.waiting = true
    if (known.name === undefined || waitMs <= 0) this.#enqueue(known)
    else this.#options.clock.schedule(waitMs, () => this.#enqueue(known), true)
  }

  async flush(): Promise<void> {
    if (this.#gathering !== undefined) this.#begin()
    while (this.#working !== undefined) await this.#working
  }

  #enqueue(known: Known): void {
    if (this.#queue.length >= MAX_WAITING) {
      known.waiting = false
      this.#dropped++
      return
    }
    this.#queue.push(known)
    if (this.#working !== undefined || this.#gathering !== undefined) return
    const { clock, gatherMs = 0 } = this.#options
    if (gatherMs === 0) this.#begin()
    else this.#gathering = clock.schedule(gatherMs, () => this.#begin(), true)
  }

  #begin(): void {
    this.#gathering?.cancel()
    this.#gathering = undefined
    this.#working = this.#work()
  }

  async #work(): Promise<void> {
    for (let known = this.#queue.shift(); known !== undefined; known = this.#queue.shift()) {
      known.waiting = false
      const occurrences = known.pending
      known.pending = 0
      known.writtenMs = this.#options.clock.monotonicMs()
      try {
        await this.#write(known, occurrences)
      } catch (err) {
        // Events in a namespace that ends are refused; nobody could read them there either.
        const level = isCode(err, 'forbidden') || isCode(err, 'notFound') ? 'debug' : 'warn'
        this.#options.log[level]({ err, reason: known.reason }, 'an event was dropped')
      }
    }
    if (this.#dropped > 0) this.#options.log.warn({ dropped: this.#dropped }, 'too many events; some were dropped')
    this.#dropped = 0
    this.#working = undefined
  }

  async #write(known: Known, occurrences: number): Promise<void> {
    const namespace = known.about.metadata.namespace || 'default'
    if (known.name !== undefined && (await this.#countUp(known, namespace, known.name, occurrences))) return
    const made = await this.#options.resources.create(eventKind, this.#event(known, namespace, occurrences))
    known.name = made.metadata.name
  }

  /** False when the stored event has been swept. */
  async #countUp(known: Known, namespace: string, name: string, occurrences: number): Promise<boolean> {
    try {
      await this.#options.resources.modify(eventKind, namespace, name, 'main', (event) => ({
        ...event,
        count: (event.count ?? 1) + occurrences,
        lastTimestamp: timestamp(known.lastMs),
      }))
      return true
    } catch (error) {
      if (!isCode(error, 'notFound')) throw error
      known.firstMs = known.lastMs
      return false
    }
  }

  #event(known: Known, namespace: string, occurrences: number): Event {
    const { component, random } = this.#options
    const { about, type, reason, message } = known
    const suffix = random.uuid().replaceAll('-', '').slice(0, 16)
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { namespace, name: `${(about.metadata.name ?? 'unnamed').slice(0, MAX_NAME)}.${suffix}` },
      involvedObject: { apiVersion: about.apiVersion, kind: about.kind, ...about.metadata },
      type,
      reason,
      message,
      count: occurrences,
      firstTimestamp: timestamp(known.firstMs),
      lastTimestamp: timestamp(known.lastMs),
      source: { component },
      reportingComponent: component,
    }
  }
}

function referenceMeta({ metadata }: KubeObject): { name?: string; namespace?: string; uid?: string } {
  const { name, namespace, uid } = metadata
  return {
    ...(name === undefined ? {} : { name }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
  }
}

export interface EventSweeperOptions {
  resources: Resources
  clock: Clock
  log: Logger
  fence?: Fence
  /** How long an event is kept after it was last seen. */
  ttlMs?: number
  maxEvents?: number
}

export const EVENT_TTL_MS = 60 * 60_000
const MAX_EVENTS = 5000
const SWEEP_INTERVAL_MS = 60_000
/** Deletions that travel together. */
const SWEEP_BATCH = 64

/** Events to remove: those past their time, and the oldest beyond the bound. Pure. */
export function planSweep(
  events: readonly Stored<Event>[],
  nowMs: number,
  bounds: { ttlMs: number; maxEvents: number },
): Stored<Event>[] {
  const seenMs = (event: Stored<Event>): number =>
    Date.parse(event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp)
  const byAge = [...events].sort((a, b) => seenMs(a) - seenMs(b))
  const excess = byAge.length - bounds.maxEvents
  return byAge.filter((event, index) => index < excess || nowMs - seenMs(event) > bounds.ttlMs)
}

export function createEventSweeper(options: EventSweeperOptions): Service {
  const { resources, clock, log, fence, ttlMs = EVENT_TTL_MS, maxEvents = MAX_EVENTS } = options

  async function remove(event: Stored<Event>): Promise<void> {
    const { namespace = '', name, resourceVersion } = event.metadata
    try {
      const preconditions = { resourceVersion }
      await resources.delete(eventKind, namespace, name, { preconditions, ...(fence === undefined ? {} : { fence }) })
    } catch (error) {
      // It was seen again, or is gone already.
      if (!isCode(error, 'conflict') && !isCode(error, 'notFound')) throw error
    }
  }

  return {
    id: 'event-sweeper',
    async run(signal) {
      while (!signal.aborted) {
        const old = planSweep(resources.list(eventKind), clock.now(), { ttlMs, maxEvents })
        for (let start = 0; start < old.length && !signal.aborted; start += SWEEP_BATCH) {
          await Promise.all(old.slice(start, start + SWEEP_BATCH).map(remove))
        }
        if (old.length > 0) log.debug({ events: old.length }, 'swept old events')
        await sleep(clock, SWEEP_INTERVAL_MS, signal).catch((error: unknown) => {
          if (!(error instanceof DroverError && error.code === 'cancelled')) throw error
        })
      }
    },
  }
}
