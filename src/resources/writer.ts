/**
 * Every write: prepare (pure), admit, compare-and-swap, show the result in the cache. What the store finds in the way of
 * a write is newer than the cache, so the next attempt starts from there and never reads twice.
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { namespaceKind } from '../api/namespace.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { DroverError, isCode } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import { type Random, randomInt, randomSuffix } from '../base/random.ts'
import type { Store, Write, WriteOutcome } from '../store/store.ts'
import type { Admission } from './admission.ts'
import type { WatchCache } from './cache.ts'
import { atRevision, cleanCopy, encodeStored } from './codec.ts'
import { isReleased, planDeletion } from './deletion.ts'
import { alreadyExists, conflict, forbidden, invalidObject, MODIFIED, notFound } from './errors.ts'
import { type ParsedKey, parseKey, storeKey } from './keys.ts'
import { applyConfig, type ManagedEntry, trackUpdate } from './managed_fields.ts'
import { adopt, prepareApply, prepareCreate, prepareUpdate } from './prepare.ts'
import type { ApplyOptions, CreateOptions, DeleteOptions, Part, Reservation, WriteOptions } from './resources.ts'
import type { AnyObject } from './table.ts'

export interface WriterOptions {
  store: Store
  cache: WatchCache
  clock: Clock
  random: Random
  admission: Admission
}

/** Each lost race means that another writer got through; this many in a row mean that something is wrong. */
const MAX_ATTEMPTS = 32
const FREE_ATTEMPTS = 3
const MAX_RETRY_DELAY_MS = 20
const NAME_ATTEMPTS = 8
/** With its suffix a generated name stays within 63 characters. */
const MAX_NAME_PREFIX = 58

/** One object's place, worked out once per request. */
interface Place extends ParsedKey {
  kind: KindDefinition
  key: string
}

type Refusal = Extract<WriteOutcome, { ok: false }>

/** What to do next with the object as it stands; undefined leaves it. */
type Step = { put: KubeObject } | { remove: true } | undefined

export class ResourceWriter {
  readonly #options: WriterOptions

  constructor(options: WriterOptions) {
    this.#options = options
  }

  async create(kind: KindDefinition, given: KubeObject, options: CreateOptions): Promise<AnyObject> {
    const asked = adopt(kind, given)
    const { name, generateName, namespace = '' } = asked.metadata
    if (name) return this.#createNamed(kind, asked, { name }, options)
    if (typeof generateName !== 'string' || generateName === '') {
      throw invalidObject(kind, '', [
        { path: 'metadata.name', reason: 'Required', message: 'name or generateName is required' },
      ])
    }
    for (let attempt = 1; ; attempt++) {
      const made = generateName.slice(0, MAX_NAME_PREFIX) + randomSuffix(this.#options.random)
      if (this.#options.cache.table(kind).get(namespace, made)?.object !== undefined) continue
      try {
        return await this.#createNamed(kind, cleanCopy(asked), { name: made }, options)
      } catch (error) {
        if (!(error instanceof DroverError && error.code === 'alreadyExists') || attempt >= NAME_ATTEMPTS) throw error
      }
    }
  }

  async update(kind: KindDefinition, given: KubeObject, part: Part, options: WriteOptions): Promise<AnyObject> {
    this.#checkPart(kind, part)
    const asked = adopt(kind, given)
    const { namespace = '', name = '', resourceVersion, uid } = asked.metadata
    return this.#change(place(kind, namespace, name), options, resourceVersion, (base) => {
      if (uid && uid !== base.metadata.uid) {
        throw conflict(kind, name, uidMismatch(uid, base.metadata.uid))
      }
      return this.#updated(kind, base, cleanCopy(asked), part, options)
    })
  }

  /** `change` gets a private copy; `revision`, when given, must be current. */
  async modify(
    kind: KindDefinition,
    at: { namespace: string; name: string; part: Part; revision?: string | undefined },
    change: (object: KubeObject) => KubeObject | undefined,
    options: WriteOptions,
  ): Promise<AnyObject> {
    this.#checkPart(kind, at.part)
    return this.#change(place(kind, at.namespace, at.name), options, at.revision, (base) => {
      const changed = change(cleanCopy(base))
      if (changed === undefined) return undefined
      return this.#updated(kind, base, cleanCopy(changed), at.part, options)
    })
  }

  async delete(kind: KindDefinition, namespace: string, name: string, options: DeleteOptions): Promise<AnyObject> {
    return this.#change(place(kind, namespace, name), options, undefined, (base) => {
      const plan = planDeletion(kind, base, options, this.#options.clock.now())
      if (plan.step === 'remove') return { remove: true }
      return plan.step === 'mark' ? { put: plan.object } : undefined
    })
  }

  /** Server-side apply; again from the start when the object came or went in between. */
  async apply(
    kind: KindDefinition,
    given: KubeObject,
    part: Part,
    options: ApplyOptions,
  ): Promise<{ object: AnyObject; created: boolean }> {
    this.#checkPart(kind, part)
    const asked = adopt(kind, given)
    const { namespace = '', name = '', resourceVersion, uid } = asked.metadata
    const config = prepareApply(kind, asked, part, options)
    // The fragment has been judged, with its warnings; the merged object is only checked.
    const { warn: _warn, ...quiet } = options
    const common = { kind, config, part, options, nowMs: this.#options.clock.now() }
    const step = (base: AnyObject): Step => {
      if (uid && uid !== base.metadata.uid) throw conflict(kind, name, uidMismatch(uid, base.metadata.uid))
      const { object, entries } = applyConfig({ ...common, live: base })
      const next = prepareUpdate(kind, base, cleanCopy(object), part, quiet)
      if (entries.length > 0) next.metadata.managedFields = [...entries]
      return isReleased(kind, next) ? { remove: true } : { put: next }
    }
    for (let attempt = 1; ; attempt++) {
      try {
        return {
          object: await this.#change(place(kind, namespace, name), options, resourceVersion, step),
          created: false,
        }
      } catch (error) {
        if (!isCode(error, 'notFound') || part === 'status') throw error
      }
      if (uid || resourceVersion)
        throw conflict(kind, name, 'a uid or resourceVersion was given, and there is no such object')
      const { object, entries } = applyConfig({ ...common, live: undefined })
      try {
        return { object: await this.#createNamed(kind, cleanCopy(object), { name, entries }, quiet), created: true }
      } catch (error) {
        if (!isCode(error, 'alreadyExists') || attempt >= NAME_ATTEMPTS) throw error
      }
    }
  }

  #checkPart(kind: KindDefinition, part: Part): void {
    if (part === 'status' && !kind.hasStatus) {
      throw new DroverError('unsupported', `${kind.plural} have no status of their own; write the object`)
    }
  }

  #updated(kind: KindDefinition, base: AnyObject, asked: KubeObject, part: Part, options: WriteOptions): Step {
    asked.metadata = { ...asked.metadata, name: base.metadata.name }
    if (base.metadata.namespace !== undefined) asked.metadata.namespace = base.metadata.namespace
    const given = part === 'main' ? asked.metadata.managedFields : undefined
    const next = prepareUpdate(kind, base, asked, part, options)
    const nowMs = this.#options.clock.now()
    trackUpdate({ kind, before: base, after: next, part, given, manager: options.manager, nowMs })
    return isReleased(kind, next) ? { remove: true } : { put: next }
  }

  /** `entries` say who owns what, where that is known already. */
  async #createNamed(
    kind: KindDefinition,
    asked: KubeObject,
    { name, entries }: { name: string; entries?: readonly ManagedEntry[] },
    options: CreateOptions,
  ): Promise<AnyObject> {
    const { clock, random, admission } = this.#options
    const nowMs = clock.now()
    const object = prepareCreate(kind, asked, { name, uid: random.uuid(), nowMs }, options)
    const { manager } = options
    if (entries !== undefined) object.metadata.managedFields = [...entries]
    else if (manager !== undefined) {
      trackUpdate({ kind, before: undefined, after: object, part: 'main', given: undefined, manager, nowMs })
    }
    const at = place(kind, object.metadata.namespace ?? '', name)
    await this.#checkNamespace(at)
    if (options.dryRun === true) {
      if ((await this.#load(at)) !== undefined) throw alreadyExists(kind, name)
      await admission.admit(kind, object, undefined, options)
      // Nothing was stored: what is shown can be created as it is.
      const shown = atRevision(object, 0)
      return { ...shown, metadata: { ...shown.metadata, resourceVersion: '' } }
    }
    const admitted = await admission.admit(kind, object, undefined, options)
    let held: Reservation | undefined
    try {
      held = await options.desk?.reserve(object)
      const write: Write = { type: 'put', key: at.key, value: encodeStored(object), expect: { modRevision: 0 } }
      const outcome = await this.#options.store.write(write, options.fence)
      if (!outcome.ok) {
        this.#learn(at, outcome)
        throw alreadyExists(kind, name)
      }
      const stored = this.#show(at, object, outcome.revision)
      held?.kept(stored)
      return stored
    } catch (error) {
      held?.lost(DroverError.from(error))
      await admitted?.undo()
      throw error
    }
  }

  async #checkNamespace({ kind, namespace, name }: Place): Promise<void> {
    if (!kind.namespaced) return
    const found = await this.#find(place(namespaceKind, '', namespace))
    if (found === undefined) throw notFound(namespaceKind, namespace)
    if (found.metadata.deletionTimestamp === undefined) return
    throw forbidden(kind, name, `unable to create new content in namespace ${namespace} because it is being terminated`)
  }

  /** Reads, steps, writes; again from what the store found in the way. `revision` turns a lost race into `conflict`. */
  async #change(
    at: Place,
    options: WriteOptions,
    revision: string | undefined,
    step: (base: AnyObject) => Step,
  ): Promise<AnyObject> {
    const { kind, name } = at
    let fromStore = false
    let base = this.#cached(at)
    for (let attempt = 1; ; attempt++) {
      if (base === undefined && !fromStore) {
        base = await this.#load(at)
        fromStore = true
      }
      if (base === undefined) throw notFound(kind, name)
      if (revision && revision !== base.metadata.resourceVersion) {
        if (fromStore) throw conflict(kind, name, MODIFIED)
        base = undefined
        continue
      }
      const wanted = step(base)
      if (wanted === undefined) return base
      if ('put' in wanted && jsonEqual(wanted.put, base)) {
        if (fromStore || options.dryRun === true) return base
        // The cache may be behind: what is no change to it may be one to the object as it stands.
        const seen = base.metadata.resourceVersion
        base = await this.#load(at)
        fromStore = true
        if (base?.metadata.resourceVersion === seen) return base
        continue
      }
      const result = await this.#write(at, base, wanted, options)
      if ('done' in result) return result.done
      if (revision) throw conflict(kind, name, MODIFIED)
      if (attempt >= MAX_ATTEMPTS) throw conflict(kind, name, `${MAX_ATTEMPTS} attempts met other writers`)
      base = this.#learn(at, result.refused)
      fromStore = true
      if (attempt > FREE_ATTEMPTS) await this.#pause()
    }
  }

  /** The object as written, or what refused it. */
  async #write(
    at: Place,
    base: AnyObject,
    wanted: { put: KubeObject } | { remove: true },
    options: WriteOptions,
  ): Promise<{ done: AnyObject } | { refused: Refusal }> {
    const { store, admission } = this.#options
    const expect = { modRevision: Number(base.metadata.resourceVersion) }
    if ('remove' in wanted) {
      if (options.dryRun === true) return { done: base }
      const outcome = await store.write({ type: 'delete', key: at.key, expect }, options.fence)
      if (!outcome.ok) return { refused: outcome }
      this.#options.cache.see(at.kind, at, undefined, outcome.revision)
      await admission.release(at.kind, base, undefined)
      return { done: atRevision(base, outcome.revision) }
    }
    const next = wanted.put
    const admitted = await admission.admit(at.kind, next, base, options)
    if (options.dryRun === true) return { done: atRevision(next, expect.modRevision) }
    let outcome: WriteOutcome
    try {
      const write: Write = { type: 'put', key: at.key, value: encodeStored(next), expect }
      outcome = await store.write(options.patient === true ? { ...write, patient: true } : write, options.fence)
    } catch (error) {
      await admitted?.undo()
      throw error
    }
    if (!outcome.ok) {
      await admitted?.undo(outcome.current && this.#options.cache.seeItem(at.kind, outcome.current))
      return { refused: outcome }
    }
    const object = this.#show(at, next, outcome.revision)
    await admission.release(at.kind, base, object)
    return { done: object }
  }

  #cached({ kind, namespace, name }: Place): AnyObject | undefined {
    return this.#options.cache.table(kind).get(namespace, name)?.object
  }

  async #find(at: Place): Promise<AnyObject | undefined> {
    return this.#cached(at) ?? (await this.#load(at))
  }

  /** A list of one, because it tells as of when an object is not there, so that no late event brings it back. */
  async #load(at: Place): Promise<AnyObject | undefined> {
    const { store, cache } = this.#options
    const { items, revision } = await store.list(at.key, { limit: 1 })
    const [item] = items
    if (item?.key === at.key) return cache.seeItem(at.kind, item)
    cache.see(at.kind, at, undefined, revision)
    return undefined
  }

  /** Frozen, in the cache, as of its revision. */
  #show(at: Place, object: KubeObject, revision: number): AnyObject {
    const stored = atRevision(object, revision)
    const shown = this.#options.cache.see(at.kind, at, stored, revision)
    // The watch may have been quicker: one object per revision.
    return shown?.metadata.resourceVersion === stored.metadata.resourceVersion ? shown : stored
  }

  /** What stood in the way of a write is news. */
  #learn(at: Place, outcome: Refusal): AnyObject | undefined {
    const { cache } = this.#options
    if (outcome.current !== undefined) return cache.seeItem(at.kind, outcome.current)
    cache.see(at.kind, at, undefined, outcome.revision)
    return undefined
  }

  #pause(): Promise<void> {
    return sleep(this.#options.clock, randomInt(this.#options.random, MAX_RETRY_DELAY_MS))
  }
}

function place(kind: KindDefinition, namespace: string, name: string): Place {
  if (name === '') throw new DroverError('invalid', `the name of a ${kind.kind} must be given`)
  const key = storeKey(kind, namespace, name)
  const parsed = parseKey(key)
  if (parsed === undefined) throw new DroverError('internal', `the key ${key} cannot be read back`)
  return { kind, key, ...parsed }
}

function uidMismatch(asked: string, has: string): string {
  return `Precondition failed: UID in precondition: ${asked}, UID in object meta: ${has}`
}
