/**
 * One kind's objects in the cache, as two views of one set of entries.
 *
 *  - The read view (`object`, `revision`) is the newest state that anything has told us: a watch event, the result of
 *    our own write, or what a refused write found. It never goes back: what is older than `revision` is ignored, and a
 *    deletion leaves a tombstone until the watch has caught up, so that a late event cannot raise the dead.
 *  - The ordered view (`ordered`) moves with the store's watch alone. Events are derived from it, so every watcher sees
 *    each change once and in order, whatever the read view already knew.
 *
 * In the common case both are one frozen object; they differ only while an event is on its way.
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, Stored } from '../api/meta.ts'

export type AnyObject = Stored<KubeObject>

export interface Entry {
  readonly namespace: string
  readonly name: string
  object: AnyObject | undefined
  revision: number
  ordered: AnyObject | undefined
}

interface Bucket {
  entries: Map<string, Entry>
  /** Entries by name; dropped when an entry comes or goes. */
  sorted: Entry[] | undefined
}

const compareNames = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

export class Table {
  readonly kind: KindDefinition
  readonly #buckets = new Map<string, Bucket>()
  readonly #byOwner = new Map<string, Set<Entry>>()
  readonly #byNode = new Map<string, Set<Entry>>()
  readonly #tombstones = new Set<Entry>()
  #sortedNamespaces: string[] | undefined
  #size = 0

  constructor(kind: KindDefinition) {
    this.kind = kind
  }

  /** Objects in the read view. */
  get size(): number {
    return this.#size
  }

  get(namespace: string, name: string): Entry | undefined {
    return this.#buckets.get(namespace)?.entries.get(name)
  }

  /** Entries of one namespace or of all, by namespace and name, tombstones among them. */
  *entries(namespace?: string): Generator<Entry> {
    if (namespace !== undefined) {
      yield* this.#sorted(namespace)
      return
    }
    this.#sortedNamespaces ??= [...this.#buckets.keys()].sort(compareNames)
    for (const each of this.#sortedNamespaces) yield* this.#sorted(each)
  }

  ownedBy(uid: string): AnyObject[] {
    return objectsOf(this.#byOwner.get(uid))
  }

  onNode(node: string): AnyObject[] {
    return objectsOf(this.#byNode.get(node))
  }

  /** Takes a newer state into the read view; false when it is not newer. Undefined means "is not there". */
  see(namespace: string, name: string, object: AnyObject | undefined, revision: number): boolean {
    const known = this.get(namespace, name)
    if (known !== undefined && known.revision >= revision) return false
    const entry = known ?? this.#add(namespace, name)
    this.#show(entry, object)
    entry.revision = revision
    return true
  }

  /** Moves the ordered view. Returns what stood there before. */
  advance(namespace: string, name: string, object: AnyObject | undefined): AnyObject | undefined {
    const entry = this.get(namespace, name) ?? (object === undefined ? undefined : this.#add(namespace, name))
    if (entry === undefined) return undefined
    const old = entry.ordered
    entry.ordered = object
    if (entry.object === undefined) this.#tombstones.add(entry)
    return old
  }

  /** Forgets tombstones that no event can contradict any more. */
  prune(orderedRevision: number): void {
    for (const entry of this.#tombstones) {
      if (entry.object !== undefined) this.#tombstones.delete(entry)
      else if (entry.ordered === undefined && entry.revision <= orderedRevision) this.#remove(entry)
    }
  }

  #show(entry: Entry, object: AnyObject | undefined): void {
    if (entry.object !== undefined) {
      this.#size--
      this.#unindex(entry, entry.object)
    }
    entry.object = object
    if (object === undefined) {
      this.#tombstones.add(entry)
      return
    }
    this.#size++
    for (const { uid } of object.metadata.ownerReferences ?? []) addTo(this.#byOwner, uid, entry)
    const node = nodeNameOf(this.kind, object)
    if (node !== undefined) addTo(this.#byNode, node, entry)
  }

  #unindex(entry: Entry, object: AnyObject): void {
    for (const { uid } of object.metadata.ownerReferences ?? []) removeFrom(this.#byOwner, uid, entry)
    const node = nodeNameOf(this.kind, object)
    if (node !== undefined) removeFrom(this.#byNode, node, entry)
  }

  #sorted(namespace: string): readonly Entry[] {
    const bucket = this.#buckets.get(namespace)
    if (bucket === undefined) return []
    bucket.sorted ??= [...bucket.entries.values()].sort((a, b) => compareNames(a.name, b.name))
    return bucket.sorted
  }

  #add(namespace: string, name: string): Entry {
    const entry: Entry = { namespace, name, object: undefined, revision: 0, ordered: undefined }
    let bucket = this.#buckets.get(namespace)
    if (bucket === undefined) {
      bucket = { entries: new Map(), sorted: undefined }
      this.#buckets.set(namespace, bucket)
      this.#sortedNamespaces = undefined
    }
    bucket.entries.set(name, entry)
    bucket.sorted = undefined
    return entry
  }

  #remove(entry: Entry): void {
    this.#tombstones.delete(entry)
    const bucket = this.#buckets.get(entry.namespace)
    if (bucket === undefined) return
    bucket.entries.delete(entry.name)
    bucket.sorted = undefined
    if (bucket.entries.size > 0) return
    this.#buckets.delete(entry.namespace)
    this.#sortedNamespaces = undefined
  }
}

function objectsOf(entries: ReadonlySet<Entry> | undefined): AnyObject[] {
  const objects: AnyObject[] = []
  for (const { object } of entries ?? []) if (object !== undefined) objects.push(object)
  return objects
}

export function nodeNameOf(kind: KindDefinition, object: KubeObject): string | undefined {
  if (kind.kind !== 'Pod' || kind.group !== '') return undefined
  const { nodeName } = (object.spec ?? {}) as { nodeName?: string }
  return nodeName === '' ? undefined : nodeName
}

function addTo(index: Map<string, Set<Entry>>, key: string, entry: Entry): void {
  const entries = index.get(key)
  if (entries === undefined) index.set(key, new Set([entry]))
  else entries.add(entry)
}

function removeFrom(index: Map<string, Set<Entry>>, key: string, entry: Entry): void {
  const entries = index.get(key)
  entries?.delete(entry)
  if (entries?.size === 0) index.delete(key)
}
