/**
 * The contract of the store: a map of keys to bytes with one global revision, as etcd has it. `etcd/` and `memory.ts`
 * pass the same suite (test/support/store_contract.ts).
 *
 * Promises every implementation keeps:
 *  - A write that resolves is durable and was applied once. One that rejects with `unavailable` was not applied and
 *    never will be: the implementation finds out which before it answers.
 *  - A write succeeds or conflicts alone, though many travel together; several may share one revision.
 *  - A watch delivers every change after its start revision, in order, all changes of one revision in one batch,
 *    none twice, across any number of lost connections; or it ends with `gone`.
 */

export interface StoredItem {
  key: string
  value: string
  /** Revision of the last write to the key. */
  modRevision: number
  /** Revision of the write that created it. */
  createRevision: number
}

/** What a write expects of the key's present state: the revision of its last write, or 0 for "is not there". */
export interface Expectation {
  modRevision: number
}

export type Write = (
  | { type: 'put'; key: string; value: string; expect?: Expectation }
  | { type: 'delete'; key: string; expect?: Expectation }
) & {
  /** Nobody waits for it: it may wait some milliseconds for another write to go with. */
  patient?: boolean
}

export type WriteOutcome =
  /** `previous` is what a delete removed; absent when there was nothing (deleting nothing succeeds without `expect`). */
  | { ok: true; revision: number; previous?: StoredItem }
  /** The expectation did not hold; `current` is what stands there, if anything. */
  | { ok: false; revision: number; current?: StoredItem }

/**
 * Proof of leadership: a write that carries one is applied only while that election is held. A batch whose fence fails
 * is refused whole with `forbidden`.
 */
export interface Fence {
  key: string
  createRevision: number
}

export interface ListOptions {
  /** At most this many items; the rest is had by listing on from `after`. */
  limit?: number
  /** Only keys that sort after this one. */
  after?: string
  /** The state as of this revision; `gone` when compacted. Default: now, linearizable. */
  revision?: number
}

export interface ListResult {
  items: StoredItem[]
  /** The revision that the whole list shows. */
  revision: number
  more: boolean
}

export type StoreEvent =
  | { type: 'put'; item: StoredItem }
  /** `item.modRevision` is the revision of the deletion; the value is the last one, where the store still knows it. */
  | { type: 'delete'; key: string; modRevision: number; previous?: StoredItem }

/** All changes of one revision under the prefix, or none and only news of how far the watch has come. */
export interface WatchBatch {
  revision: number
  events: StoreEvent[]
}

export interface Election {
  readonly fence: Fence
  /** Raised when leadership is lost or can no longer be proved, judged by the monotonic clock. */
  readonly lost: AbortSignal
  /** Gives leadership up at once, so that another need not wait for the lease to run out. */
  resign(): Promise<void>
}

export interface Store {
  /** Linearizable. */
  get(key: string): Promise<StoredItem | undefined>
  list(prefix: string, options?: ListOptions): Promise<ListResult>
  write(write: Write, fence?: Fence): Promise<WriteOutcome>
  /**
   * Changes under `prefix` with a revision greater than `afterRevision`. Ends when the signal is raised; throws `gone`
   * when that revision is compacted. Empty batches report progress, at least every few seconds.
   */
  watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch>
  /** Waits until this candidate leads. `id` is written into the election key for people to read. */
  campaign(electionKey: string, id: string, signal: AbortSignal): Promise<Election>
  /** Forgets history up to and including `revision`. */
  compact(revision: number): Promise<void>
  /** Answers when the store does; rejects with `unavailable`. */
  health(): Promise<{ revision: number; sizeBytes: number }>
  close(): Promise<void>
}
