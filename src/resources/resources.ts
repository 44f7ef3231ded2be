/**
 * Typed objects over the store: what the API server, controllers, scheduler and dispatch share. Reads come from the
 * watch cache and never wait; the result of a write is in the cache when the write resolves, so a controller that
 * reads after it wrote sees its own work. Objects that are returned are frozen: copy before you change.
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject, LabelSelector, Stored } from '../api/meta.ts'
import type { FieldRequirement } from '../api/selector.ts'
import type { DroverError } from '../base/errors.ts'
import type { Fence } from '../store/store.ts'

export type Propagation = 'Background' | 'Foreground' | 'Orphan'

export interface FieldManager {
  name: string
  /** The sub-resource through which it writes; empty for the object itself. */
  subresource: string
}

export interface ApplyOptions extends WriteOptions {
  manager: FieldManager
  /** Takes fields from other managers instead of refusing. */
  force?: boolean
}

export interface WriteOptions {
  /** Leader's proof; see `Fence`. */
  fence?: Fence
  /** Run everything but the write; the result is what would have been stored. */
  dryRun?: boolean
  /** Collects what the user should be told: unknown or unhonoured fields, doubtful values. */
  warn?: (message: string) => void
  /** What to do with unknown fields. Default `Warn`. */
  fieldValidation?: 'Ignore' | 'Warn' | 'Strict'
  /**
   * Who writes, for `metadata.managedFields`. Given for clients alone: what controllers derive is written again and again,
   * and book-keeping of it would cost every object more bytes than it holds.
   */
  manager?: FieldManager
  /** Looks at what would be stored before it is, and throws if it may not be. `base` is what stands there. */
  guard?: (next: KubeObject, base: KubeObject | undefined) => void
  /** Nobody waits for it: see `Write` of the store. */
  patient?: boolean
  /** The machinery's own writes: a status given at creation is kept instead of dropped. */
  internal?: boolean
}

/** Of the machinery's own creations. */
export interface CreateOptions extends WriteOptions {
  /**
   * Has the last word on an object that has been admitted and is about to be written. Not asked in a dry run, nor of what
   * is refused before.
   */
  desk?: PlacementDesk | undefined
}

/** Where pods get their node while they are being made: the scheduler, for whoever makes pods beside it. */
export interface PlacementDesk {
  /** May change the pod, a private copy, and holds for it what the change takes. Undefined: the pod is as it was. */
  reserve(pod: KubeObject): Promise<Reservation | undefined>
}

/** What is held for an object until its write has ended. One of the two is called, once, and neither throws. */
export interface Reservation {
  /** The object stands as it was given. */
  kept(stored: Stored<KubeObject>): void
  /** It was not written; with `timeout` it may have been. */
  lost(error: DroverError): void
}

export interface DeleteOptions extends WriteOptions {
  gracePeriodSeconds?: number
  propagation?: Propagation
  preconditions?: { uid?: string; resourceVersion?: string }
}

export interface ListFilter {
  namespace?: string
  labels?: LabelSelector
  fields?: readonly FieldRequirement[]
}

export type PatchType = 'merge' | 'strategic' | 'json'

/**
 * Which part of the object a write may change: the user's, the status sub-resource, or `all` for the control plane's
 * own writes that must change both at once (a binding sets `spec.nodeName` and the condition PodScheduled).
 */
export type Part = 'main' | 'status' | 'all'

export type ResourceEvent<T extends KubeObject = KubeObject> =
  | { type: 'ADDED'; object: Stored<T>; revision: number }
  | { type: 'MODIFIED'; object: Stored<T>; old: Stored<T>; revision: number }
  /** The last state, with `resourceVersion` set to the revision of the deletion. */
  | { type: 'DELETED'; object: Stored<T>; revision: number }

export interface Resources {
  /** Resolves when the cache has been filled. */
  ready(): Promise<void>
  /** Revision up to which all events have been delivered; `get` and `list` may know of newer writes of our own. */
  revision(): number
  /** Resolves when the cache shows at least this revision; rejects with `timeout`. */
  waitForRevision(revision: number, timeoutMs: number): Promise<void>
  /** The store's revision now, for reads that must see all that was acknowledged anywhere. */
  currentRevision(): Promise<number>

  get<T extends KubeObject>(kind: KindDefinition<T>, namespace: string, name: string): Stored<T> | undefined
  /** By namespace and name. */
  list<T extends KubeObject>(kind: KindDefinition<T>, filter?: ListFilter): Stored<T>[]
  /**
   * The objects exactly as of one revision: what a client lists before it watches from there. Own writes that the watch
   * has not brought yet are missing; wait for their revision first. With `atRevision`, as of that one: throws `gone` when
   * the events since then are not kept.
   */
  snapshot<T extends KubeObject>(
    kind: KindDefinition<T>,
    filter?: ListFilter,
    atRevision?: number,
  ): { items: Stored<T>[]; revision: number }
  /** Objects whose controller (or any owner) has this uid. */
  ownedBy<T extends KubeObject>(kind: KindDefinition<T>, ownerUid: string): Stored<T>[]
  /** Pods bound to this node. */
  podsOnNode(nodeName: string): Stored<KubeObject>[]
  /** The object's JSON, encoded once and kept for as long as the cache holds the object. */
  encoded(object: Stored<KubeObject>): Buffer

  create<T extends KubeObject>(kind: KindDefinition<T>, object: T, options?: CreateOptions): Promise<Stored<T>>
  /** Replaces; with a `resourceVersion` in the object it must still be current, or `conflict`. */
  update<T extends KubeObject>(
    kind: KindDefinition<T>,
    object: T,
    part: Part,
    options?: WriteOptions,
  ): Promise<Stored<T>>
  /**
   * Reads, changes, writes, and again on conflict (a bounded number of times). `change` gets a private copy and
   * returns the new object, or undefined to leave it as it is. Rejects with `notFound`.
   */
  modify<T extends KubeObject>(
    kind: KindDefinition<T>,
    namespace: string,
    name: string,
    part: Part,
    change: (object: T) => T | undefined,
    options?: WriteOptions,
  ): Promise<Stored<T>>
  /** Applies a patch; tried again on conflict unless the patch names a `resourceVersion`. Rejects with `notFound`. */
  patch<T extends KubeObject>(
    kind: KindDefinition<T>,
    namespace: string,
    name: string,
    part: Part,
    patchType: PatchType,
    patch: unknown,
    options?: WriteOptions,
  ): Promise<Stored<T>>
  /**
   * Server-side apply: the object has what `config` says, loses what its manager applied before and does not any more,
   * and is made when it is not there. Rejects with `conflict` that names the other managers of a field, unless forced.
   */
  apply<T extends KubeObject>(
    kind: KindDefinition<T>,
    config: T,
    part: Part,
    options: ApplyOptions,
  ): Promise<{ object: Stored<T>; created: boolean }>
  /**
   * Starts or finishes a deletion. Objects with finalizers, and bound pods with a grace period, stay with a
   * `deletionTimestamp` until what holds them is done; the result is the object as it then stands.
   */
  delete<T extends KubeObject>(
    kind: KindDefinition<T>,
    namespace: string,
    name: string,
    options?: DeleteOptions,
  ): Promise<Stored<T>>

  /**
   * Changes of a kind, synchronously, in order, as the cache takes them in. Returns how to stop. The callback may not
   * throw and should only put keys into a queue.
   */
  subscribe<T extends KubeObject>(kind: KindDefinition<T>, listener: (event: ResourceEvent<T>) => void): () => void
  /**
   * Events after a revision from the ring, then live ones. Throws `gone` when the ring no longer reaches back.
   * The backlog of a reader that does not keep up is bounded in bytes; past it the iteration throws `gone`.
   */
  watch<T extends KubeObject>(
    kind: KindDefinition<T>,
    filter: ListFilter,
    afterRevision: number,
    signal: AbortSignal,
  ): AsyncIterable<readonly ResourceEvent<T>[]>
}

/** Events about objects, for people. Never throws and never blocks: losing one must not stop work. */
export interface EventRecorder {
  record(about: KubeObject, type: 'Normal' | 'Warning', reason: string, message: string): void
}
