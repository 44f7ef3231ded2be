/**
 * The watch cache: fills itself with one list, follows one watch, and derives every event from that watch alone.
 *
 *     own write, rev 105 ──────────► read view (get, list)        at once, newest revision wins
 *     store's watch 101,102,…,105 ─► ordered view ─► events       each once, in order; meets 105 and keeps that object
 *
 * Rejected: putting own writes straight into the event stream. Revisions 101 to 104 may still be under way, and a
 * watcher that saw 105 first would have resumed after it and missed them.
 *
 * When the store has forgotten our revision, or its watch goes back in time (etcd before 3.4.25 can), the cache lists
 * again and turns the difference into events.
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'
import { type Clock, withTimeout } from '../base/clock.ts'
import { DroverError, isCode } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Service } from '../base/service.ts'
import type { Store, StoredItem, StoreEvent, WatchBatch } from '../store/store.ts'
import { atRevision, decodeStored } from './codec.ts'
import { type Delivery, Hub } from './hub.ts'
import { OBJECT_PREFIX, type ParsedKey, parseKey, tableId, WATCH_PREFIX } from './keys.ts'
import type { ResourceEvent } from './resources.ts'
import { type AnyObject, Table } from './table.ts'

export interface WatchCacheOptions {
  store: Store
  clock: Clock
  log: Logger
  kinds: readonly KindDefinition[]
  ringEvents: number
}

const LIST_PAGE = 500
/** What a deletion weighs in a backlog; the store's watch does not always tell how long its value was. */
const DELETED_BYTES = 4096

interface Shelf {
  table: Table
  hub: Hub
}

interface Waiter {
  revision: number
  resolve: () => void
}

export class WatchCache implements Service {
  readonly id = 'watch-cache'
  readonly #options: WatchCacheOptions
  readonly #shelves = new Map<string, Shelf>()
  readonly #filled: Promise<void>
  #markFilled: () => void = () => undefined
  #isFilled = false
  #relists = 0
  #revision = 0
  #waiters = new Set<Waiter>()

  constructor(options: WatchCacheOptions) {
    this.#options = options
    this.#filled = new Promise((resolve) => {
      this.#markFilled = resolve
    })
    for (const kind of options.kinds) {
      const hub = new Hub(options.ringEvents, (err) => {
        options.log.error({ kind: kind.kind, err }, 'a listener failed; it may have missed an event')
      })
      this.#shelves.set(tableId(kind), { table: new Table(kind), hub })
    }
  }

  /** How often it had to list again after its first time. */
  get relists(): number {
    return this.#relists
  }

  get revision(): number {
    return this.#revision
  }

  ready(): Promise<void> {
    return this.#filled
  }

  table(kind: KindDefinition): Table {
    return this.#shelf(kind).table
  }

  hub(kind: KindDefinition): Hub {
    return this.#shelf(kind).hub
  }

  shelves(): Iterable<Shelf> {
    return this.#shelves.values()
  }

  async waitForRevision(revision: number, timeoutMs: number): Promise<void> {
    if (this.#revision >= revision) return
    let waiter: Waiter | undefined
    const reached = new Promise<void>((resolve) => {
      waiter = { revision, resolve }
      this.#waiters.add(waiter)
    })
    try {
      await withTimeout(this.#options.clock, reached, timeoutMs, `waiting for revision ${revision}`)
    } finally {
      if (waiter !== undefined) this.#waiters.delete(waiter)
    }
  }

  /** Takes what a write answered into the read view; returns what the view then shows. */
  see(kind: KindDefinition, key: ParsedKey, object: AnyObject | undefined, revision: number): AnyObject | undefined {
    const { table } = this.#shelf(kind)
    table.see(key.namespace, key.name, object, revision)
    return table.get(key.namespace, key.name)?.object
  }

  /** The object of an item that the store has just shown us, from the cache when it is the same. */
  seeItem(kind: KindDefinition, item: StoredItem): AnyObject {
    const key = parseKey(item.key)
    if (key === undefined) throw new DroverError('internal', `no object key: ${item.key}`)
    const object = this.#decode(this.#shelf(kind).table, key, item)
    this.see(kind, key, object, item.modRevision)
    return object
  }

  async run(signal: AbortSignal): Promise<void> {
    if (!this.#isFilled) await this.#relist()
    while (!signal.aborted) {
      try {
        for await (const batch of this.#options.store.watch(WATCH_PREFIX, this.#revision, signal)) this.#take(batch)
        if (!signal.aborted) throw new DroverError('unavailable', "the store's watch ended")
      } catch (error) {
        if (signal.aborted) return
        if (!isCode(error, 'gone')) throw error
        this.#options.log.warn({ err: error, revision: this.#revision }, 'the watch cache lists again')
        await this.#relist()
      }
    }
  }

  #shelf(kind: KindDefinition): Shelf {
    const shelf = this.#shelves.get(tableId(kind))
    if (shelf === undefined) throw new DroverError('internal', `kind ${kind.kind} is not in the cache's table`)
    return shelf
  }

  #take(batch: WatchBatch): void {
    if (batch.events.length > 0 && batch.revision <= this.#revision) {
      throw new DroverError('gone', `the store's watch went back to revision ${batch.revision} from ${this.#revision}`)
    }
    const deliveries = new Map<Shelf, Delivery[]>()
    for (const event of batch.events) this.#apply(event, deliveries)
    this.#reach(batch.revision)
    for (const [shelf, list] of deliveries) shelf.hub.deliver(list)
  }

  #apply(stored: StoreEvent, deliveries: Map<Shelf, Delivery[]>): void {
    const key = parseKey(stored.type === 'put' ? stored.item.key : stored.key)
    const shelf = key === undefined ? undefined : this.#shelves.get(key.table)
    if (key === undefined || shelf === undefined) return
    const delivery =
      stored.type === 'put' ? putEvent(this.#put(shelf, key, stored.item)) : this.#gone(shelf, key, stored)
    if (delivery === undefined) return
    const list = deliveries.get(shelf)
    if (list === undefined) deliveries.set(shelf, [delivery])
    else list.push(delivery)
  }

  #put(shelf: Shelf, key: ParsedKey, item: StoredItem): Change {
    const object = this.#decode(shelf.table, key, item)
    shelf.table.see(key.namespace, key.name, object, item.modRevision)
    const old = shelf.table.advance(key.namespace, key.name, object)
    return { object, old, revision: item.modRevision, bytes: item.value.length }
  }

  #gone(shelf: Shelf, key: ParsedKey, stored: { modRevision: number }): Delivery | undefined {
    shelf.table.see(key.namespace, key.name, undefined, stored.modRevision)
    const old = shelf.table.advance(key.namespace, key.name, undefined)
    return old === undefined ? undefined : deletedEvent(old, stored.modRevision)
  }

  /** One object per revision of a key, whoever brings it first. */
  #decode(table: Table, key: ParsedKey, item: StoredItem): AnyObject {
    const entry = table.get(key.namespace, key.name)
    if (entry?.object !== undefined && entry.revision === item.modRevision) return entry.object
    return decodeStored(item.value, item.modRevision)
  }

  #reach(revision: number): void {
    if (revision <= this.#revision) return
    this.#revision = revision
    for (const { table } of this.#shelves.values()) table.prune(revision)
    for (const waiter of this.#waiters) if (waiter.revision <= revision) waiter.resolve()
  }

  async #relist(): Promise<void> {
    const { items, revision } = await this.#listAll()
    if (this.#isFilled) this.#relists++
    const from = this.#revision
    const changes: { shelf: Shelf; delivery: Delivery }[] = []
    const present = new Set<string>()
    for (const item of items) {
      const key = parseKey(item.key)
      const shelf = key === undefined ? undefined : this.#shelves.get(key.table)
      if (key === undefined || shelf === undefined) continue
      present.add(item.key)
      for (const delivery of this.#diff(shelf, key, item)) changes.push({ shelf, delivery })
    }
    for (const shelf of this.#shelves.values()) {
      for (const delivery of this.#vanished(shelf, present, revision)) changes.push({ shelf, delivery })
      shelf.hub.skip(from, revision)
    }
    // Stable: a deletion stays before the creation that took its place.
    changes.sort((a, b) => a.delivery.event.revision - b.delivery.event.revision)
    this.#reach(revision)
    for (const { shelf, delivery } of changes) shelf.hub.deliver([delivery])
    this.#isFilled = true
    this.#markFilled()
  }

  #diff(shelf: Shelf, key: ParsedKey, item: StoredItem): Delivery[] {
    const known = shelf.table.get(key.namespace, key.name)?.ordered
    if (known?.metadata.resourceVersion === String(item.modRevision)) return []
    const change = this.#put(shelf, key, item)
    const { old } = change
    if (old === undefined || old.metadata.uid === change.object.metadata.uid) return [putEvent(change)]
    return [deletedEvent(old, item.modRevision), putEvent({ ...change, old: undefined })]
  }

  *#vanished(shelf: Shelf, present: ReadonlySet<string>, revision: number): Generator<Delivery> {
    const table = tableId(shelf.table.kind)
    for (const { namespace, name } of [...shelf.table.entries()]) {
      if (present.has(`${OBJECT_PREFIX}${table}/${namespace || '_'}/${name}`)) continue
      const delivery = this.#gone(shelf, { table, namespace, name }, { modRevision: revision })
      if (delivery !== undefined) yield delivery
    }
  }

  async #listAll(): Promise<{ items: StoredItem[]; revision: number }> {
    const { store } = this.#options
    const first = await store.list(OBJECT_PREFIX, { limit: LIST_PAGE })
    const items = first.items
    let page = first
    while (page.more) {
      const after = page.items.at(-1)?.key
      if (after === undefined) throw new DroverError('internal', 'the store said that there is more but gave nothing')
      page = await store.list(OBJECT_PREFIX, { limit: LIST_PAGE, after, revision: first.revision })
      for (const item of page.items) items.push(item)
    }
    return { items, revision: first.revision }
  }
}

interface Change {
  object: Stored<KubeObject>
  old: Stored<KubeObject> | undefined
  revision: number
  bytes: number
}

function putEvent({ object, old, revision, bytes }: Change): Delivery {
  const event: ResourceEvent =
    old === undefined ? { type: 'ADDED', object, revision } : { type: 'MODIFIED', object, old, revision }
  return { event, bytes }
}

function deletedEvent(old: Stored<KubeObject>, revision: number): Delivery {
  return { event: { type: 'DELETED', object: atRevision(old, revision), revision }, bytes: DELETED_BYTES, ended: old }
}
