/**
 * The store in memory: what tests and simulation run on. It keeps every promise of store.ts, passes the same suite as
 * the store on etcd, and holds its state in one map and one log of changes, oldest first.
 *
 * Writes that are asked for in one turn of the event loop share a revision, as group commit has it, so that code which
 * wrongly takes revisions for unique fails here as it would on etcd.
 */
import { type Clock, throwIfAborted } from '../base/clock.ts'
import { assert, DroverError } from '../base/errors.ts'
import { atEndOfTurn } from '../base/turn.ts'
import type {
  Election,
  Fence,
  ListOptions,
  ListResult,
  Store,
  StoredItem,
  StoreEvent,
  WatchBatch,
  Write,
  WriteOutcome,
} from './store.ts'

export interface MemoryStoreOptions {
  clock: Clock
  /** History is compacted by itself beyond this many changes. Default 200,000. */
  historyLimit?: number
}

/** One change of one key; `item` is absent for a deletion. */
interface Change {
  revision: number
  key: string
  item?: StoredItem
  previous?: StoredItem
}

interface Waiting {
  write: Write
  fence: Fence | undefined
  resolve(outcome: WriteOutcome): void
  reject(error: DroverError): void
}

const PROGRESS_MS = 2_000
const HISTORY_LIMIT = 200_000

export function createMemoryStore(options: MemoryStoreOptions): Store {
  return new MemoryStore(options)
}

class MemoryStore implements Store {
  readonly #clock: Clock
  readonly #historyLimit: number
  readonly #items = new Map<string, StoredItem>()
  #history: Change[] = []
  /** A fresh etcd stands at revision 1, too. */
  #revision = 1
  #compacted = 0
  #candidates = 0
  #waiting: Waiting[] = []
  readonly #wakers = new Set<() => void>()
  #closed = false

  constructor(options: MemoryStoreOptions) {
    this.#clock = options.clock
    this.#historyLimit = options.historyLimit ?? HISTORY_LIMIT
  }

  async get(key: string): Promise<StoredItem | undefined> {
    this.#assertOpen()
    return this.#items.get(key)
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListResult> {
    this.#assertOpen()
    const { after, limit, revision = this.#revision } = options
    const state = this.#stateAt(revision)
    const keys: string[] = []
    for (const key of state.keys()) {
      if (key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0)) keys.push(key)
    }
    keys.sort(compareKeys)
    const chosen = limit === undefined ? keys : keys.slice(0, limit)
    const items = chosen.flatMap((key) => state.get(key) ?? [])
    return { items, revision, more: chosen.length < keys.length }
  }

  write(write: Write, fence?: Fence): Promise<WriteOutcome> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(closedError())
        return
      }
      if (this.#waiting.length === 0) atEndOfTurn(() => this.#commit())
      this.#waiting.push({ write, fence, resolve, reject })
    })
  }

  async *watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch> {
    let delivered = afterRevision
    while (!signal.aborted) {
      this.#assertOpen()
      if (delivered < this.#compacted) {
        throw new DroverError('gone', `revision ${delivered} is compacted; history starts after ${this.#compacted}`)
      }
      const batch = this.#nextBatch(prefix, delivered)
      if (batch !== undefined) {
        delivered = batch.revision
        yield batch
        continue
      }
      delivered = Math.max(delivered, this.#revision)
      if (!(await this.#changed(signal, PROGRESS_MS))) {
        if (signal.aborted) return
        yield { revision: delivered, events: [] }
      }
    }
  }

  async campaign(electionKey: string, id: string, signal: AbortSignal): Promise<Election> {
    throwIfAborted(signal)
    this.#candidates += 1
    // Fixed width, so that keys sort in the order of arrival: only people read that.
    const key = `${electionKey}/${String(this.#candidates).padStart(12, '0')}`
    const entered = await this.write({ type: 'put', key, value: id, expect: { modRevision: 0 } })
    assert(entered.ok, `election key ${key} is new`)
    for (;;) {
      const own = this.#items.get(key)
      if (own === undefined) throw new DroverError('unavailable', `candidate ${key} was removed by someone else`)
      if (this.#leads(electionKey, own)) return this.#lead(own)
      await this.#changed(signal)
      if (signal.aborted) {
        await this.write({ type: 'delete', key })
        throwIfAborted(signal)
      }
    }
  }

  async compact(revision: number): Promise<void> {
    this.#assertOpen()
    if (revision > this.#revision) {
      throw new DroverError('invalid', `cannot compact revision ${revision}: the store is at ${this.#revision}`)
    }
    if (revision <= this.#compacted) return
    this.#compacted = revision
    this.#history = this.#history.slice(this.#firstAfter(revision))
    this.#wake()
  }

  async health(): Promise<{ revision: number; sizeBytes: number }> {
    this.#assertOpen()
    let sizeBytes = 0
    for (const item of this.#items.values()) sizeBytes += item.key.length + item.value.length
    return { revision: this.#revision, sizeBytes }
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const { reject } of this.#waiting.splice(0)) reject(closedError())
    this.#wake()
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError()
  }

  /** Commits what waits: one revision for as many as may share it (no key twice, one fence). */
  #commit(): void {
    const waiting = this.#waiting.splice(0)
    for (let start = 0; start < waiting.length; ) {
      const fence = waiting[start]?.fence
      const keys = new Set<string>()
      let end = start
      for (; end < waiting.length; end++) {
        const next = waiting[end]
        if (next === undefined || keys.has(next.write.key) || !sameFence(fence, next.fence)) break
        keys.add(next.write.key)
      }
      this.#commitTogether(waiting.slice(start, end), fence)
      start = end
    }
  }

  #commitTogether(batch: readonly Waiting[], fence: Fence | undefined): void {
    if (fence !== undefined && this.#items.get(fence.key)?.createRevision !== fence.createRevision) {
      for (const { reject } of batch) reject(new DroverError('forbidden', `leadership ${fence.key} is lost`))
      return
    }
    const revision = this.#revision + 1
    const changes: Change[] = []
    const outcomes = batch.map(({ write }) => this.#apply(write, revision, changes))
    if (changes.length > 0) {
      this.#revision = revision
      this.#history.push(...changes)
      this.#boundHistory()
    }
    batch.forEach(({ resolve }, i) => {
      const outcome = outcomes[i]
      // A batch that changed nothing made no revision.
      if (outcome !== undefined) resolve({ ...outcome, revision: this.#revision })
    })
    if (changes.length > 0) this.#wake()
  }

  #apply(write: Write, revision: number, changes: Change[]): WriteOutcome {
    const { key, expect } = write
    const previous = this.#items.get(key)
    if (expect !== undefined && expect.modRevision !== (previous?.modRevision ?? 0)) {
      return previous === undefined ? { ok: false, revision } : { ok: false, revision, current: previous }
    }
    if (write.type === 'put') {
      const item = Object.freeze({
        key,
        value: write.value,
        modRevision: revision,
        createRevision: previous?.createRevision ?? revision,
      })
      this.#items.set(key, item)
      changes.push(previous === undefined ? { revision, key, item } : { revision, key, item, previous })
      return { ok: true, revision }
    }
    if (previous === undefined) return { ok: true, revision }
    this.#items.delete(key)
    changes.push({ revision, key, previous })
    return { ok: true, revision, previous }
  }

  #boundHistory(): void {
    const excess = this.#history.length - this.#historyLimit
    if (excess <= 0) return
    // A quarter at once, so that the copy is paid rarely.
    const last = this.#history[Math.min(this.#history.length - 1, excess + Math.floor(this.#historyLimit / 4))]
    if (last !== undefined) this.#compacted = last.revision
    this.#history = this.#history.slice(this.#firstAfter(this.#compacted))
  }

  /** Index of the first change with a greater revision. */
  #firstAfter(revision: number): number {
    let low = 0
    let high = this.#history.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#history[middle]?.revision ?? 0) > revision) high = middle
      else low = middle + 1
    }
    return low
  }

  /** The next revision after `revision` that changed something under the prefix, whole. */
  #nextBatch(prefix: string, revision: number): WatchBatch | undefined {
    const events: StoreEvent[] = []
    let found = 0
    for (let i = this.#firstAfter(revision); i < this.#history.length; i++) {
      const change = this.#history[i]
      if (change === undefined || (found !== 0 && change.revision !== found)) break
      if (!change.key.startsWith(prefix)) continue
      found = change.revision
      events.push(toEvent(change))
    }
    return found === 0 ? undefined : { revision: found, events }
  }

  /** Resolves with true at the next change, with false when the time is up or the signal raised. */
  #changed(signal: AbortSignal, timeoutMs?: number): Promise<boolean> {
    return new Promise((resolve) => {
      if (signal.aborted) {
        resolve(false)
        return
      }
      const finish = (changed: boolean) => {
        this.#wakers.delete(onChange)
        signal.removeEventListener('abort', onEnd)
        timer?.cancel()
        resolve(changed)
      }
      const onChange = () => finish(true)
      const onEnd = () => finish(false)
      const timer = timeoutMs === undefined ? undefined : this.#clock.schedule(timeoutMs, onEnd, true)
      this.#wakers.add(onChange)
      signal.addEventListener('abort', onEnd, { once: true })
    })
  }

  #wake(): void {
    for (const waker of [...this.#wakers]) waker()
  }

  #stateAt(revision: number): ReadonlyMap<string, StoredItem> {
    if (revision === this.#revision) return this.#items
    if (revision > this.#revision) {
      throw new DroverError('invalid', `revision ${revision} is in the future: the store is at ${this.#revision}`)
    }
    if (revision < this.#compacted) throw new DroverError('gone', `revision ${revision} is compacted`)
    const state = new Map(this.#items)
    for (let i = this.#history.length - 1; i >= this.#firstAfter(revision); i--) {
      const change = this.#history[i]
      if (change === undefined) continue
      if (change.previous === undefined) state.delete(change.key)
      else state.set(change.key, change.previous)
    }
    return state
  }

  #leads(electionKey: string, own: StoredItem): boolean {
    for (const item of this.#items.values()) {
      if (item.key.startsWith(`${electionKey}/`) && item.createRevision < own.createRevision) return false
    }
    return true
  }

  #lead(own: StoredItem): Election {
    const lost = new AbortController()
    // No lease runs out in here; leadership ends when its key goes: by `resign`, or by a test that takes it away.
    const onChange = () => {
      if (!this.#closed && this.#items.get(own.key)?.createRevision === own.createRevision) return
      this.#wakers.delete(onChange)
      lost.abort(new DroverError('forbidden', `leadership ${own.key} is lost`))
    }
    this.#wakers.add(onChange)
    return {
      fence: { key: own.key, createRevision: own.createRevision },
      lost: lost.signal,
      resign: async () => {
        if (!lost.signal.aborted) {
          await this.write({ type: 'delete', key: own.key, expect: { modRevision: own.modRevision } })
        }
      },
    }
  }
}

function closedError(): DroverError {
  return new DroverError('unavailable', 'the store is closed')
}

function sameFence(a: Fence | undefined, b: Fence | undefined): boolean {
  return a?.key === b?.key && a?.createRevision === b?.createRevision
}

/** etcd sorts keys by their bytes; UTF-16 order differs from that only outside the basic plane. */
function compareKeys(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

function toEvent(change: Change): StoreEvent {
  const { key, revision, item, previous } = change
  if (item !== undefined) return { type: 'put', item }
  return previous === undefined
    ? { type: 'delete', key, modRevision: revision }
    : { type: 'delete', key, modRevision: revision, previous }
}
