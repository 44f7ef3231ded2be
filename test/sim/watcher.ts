/**
 * The eye of the simulation: sees every change of the store as it is committed and every container as it starts and
 * ends, keeps the truth, and hands each change to the invariants. It never touches the world.
 */
import { isTerminating } from '../../src/api/conditions.ts'
import type { KubeObject, Stored } from '../../src/api/meta.ts'
import type { Pod } from '../../src/api/pod.ts'
import { decodeStored } from '../../src/resources/codec.ts'
import { parseKey, WATCH_PREFIX } from '../../src/resources/keys.ts'
import type { StoreEvent } from '../../src/store/store.ts'
import { Exclusives } from './exclusives.ts'
import { checkChange, checkContainer, checkPassing } from './invariants.ts'
import { Jobs } from './jobs.ts'
import { Rollouts } from './rollouts.ts'
import type { SimContainer, SimHost } from './sim_host.ts'
import type { World } from './world.ts'

/** One change of one object, as committed. */
export interface Change {
  key: string
  kind: string
  old: Stored<KubeObject> | undefined
  object: Stored<KubeObject> | undefined
  revision: number
}

const OURS = 'drover.dev/'
const LOOK_EVERY_MS = 1_000

export class Watcher {
  readonly #world: World
  /** By store key. */
  readonly objects = new Map<string, Stored<KubeObject>>()
  /** The same by kind's plural, then store key. */
  readonly #kinds = new Map<string, Map<string, Stored<KubeObject>>>()
  readonly #podsByUid = new Map<string, Stored<Pod>>()
  /** The revision of each key's last change, deletions too. */
  readonly revisions = new Map<string, number>()
  /** When a pod's object went, by uid. */
  readonly goneSinceMs = new Map<string, number>()
  /** Since when a pod's object is being deleted, by uid. */
  readonly endingSinceMs = new Map<string, number>()
  readonly rollouts: Rollouts
  readonly exclusives: Exclusives
  readonly jobs: Jobs
  /** How many changes of objects there were, events aside. */
  changes = 0

  constructor(world: World) {
    this.#world = world
    this.rollouts = new Rollouts(world, this)
    this.exclusives = new Exclusives(world)
    this.jobs = new Jobs(world, this)
  }

  start(): void {
    const follow = async (): Promise<void> => {
      for await (const { events, revision } of this.#world.store.watch(WATCH_PREFIX, 0, new AbortController().signal)) {
        for (const event of events) this.#take(event, revision)
      }
    }
    follow().catch((error: unknown) => this.#world.fail('watcher', String(error)))
    const look = (): void => {
      checkPassing(this.#world)
      this.#world.time.schedule(LOOK_EVERY_MS, look)
    }
    this.#world.time.schedule(LOOK_EVERY_MS, look)
  }

  /** All objects of a kind, by its plural. */
  list<T extends KubeObject>(plural: string): Stored<T>[] {
    return [...(this.#kinds.get(plural)?.values() ?? [])] as Stored<T>[]
  }

  get pods(): Stored<Pod>[] {
    return this.list<Pod>('pods')
  }

  podOfUid(uid: string): Stored<Pod> | undefined {
    return this.#podsByUid.get(uid)
  }

  containerStarted(host: SimHost, container: SimContainer): void {
    this.#world.trace.add(
      `${host.name} runs ${container.state.name}#${container.state.attempt} of ${this.#nameOf(container)}`,
    )
    checkContainer(this.#world, host, container)
    this.exclusives.check(host, container.state.podUid)
  }

  containerEnded(host: SimHost, container: SimContainer): void {
    const { name, attempt, exit } = container.state
    this.#world.trace.add(`${host.name} ended ${name}#${attempt} of ${this.#nameOf(container)} with ${exit?.code}`)
  }

  #nameOf({ state }: SimContainer): string {
    return this.podOfUid(state.podUid)?.metadata.name ?? state.podUid
  }

  #keep(kind: string, key: string, object: Stored<KubeObject> | undefined): void {
    const ofKind = this.#kinds.get(kind) ?? new Map<string, Stored<KubeObject>>()
    this.#kinds.set(kind, ofKind)
    const old = this.objects.get(key)
    if (kind === 'pods' && old !== undefined) this.#podsByUid.delete(old.metadata.uid)
    if (object === undefined) {
      this.objects.delete(key)
      ofKind.delete(key)
      return
    }
    this.objects.set(key, object)
    ofKind.set(key, object)
    if (kind !== 'pods') return
    this.#podsByUid.set(object.metadata.uid, object as Stored<Pod>)
    this.exclusives.note(object as Stored<Pod>)
  }

  #take(event: StoreEvent, revision: number): void {
    const key = event.type === 'put' ? event.item.key : event.key
    const parsed = parseKey(key)
    const before = this.revisions.get(key) ?? 0
    if (revision <= before) this.#world.fail('revisions grow', `${key} went from ${before} to ${revision}`)
    this.revisions.set(key, revision)
    if (parsed === undefined) return
    const kind = parsed.table.slice(parsed.table.indexOf('/') + 1)
    // Events tell people; no invariant reads them.
    if (kind === 'events') return
    const old = this.objects.get(key)
    const object = event.type === 'put' ? decodeStored(event.item.value, event.item.modRevision) : undefined
    this.#keep(kind, key, object)
    const change: Change = { key, kind, old, object: object as Stored<KubeObject> | undefined, revision }
    this.changes++
    this.#world.trace.add(describe(change))
    if (kind === 'pods' && change.object !== undefined && isTerminating(change.object)) {
      const { uid } = change.object.metadata
      if (!this.endingSinceMs.has(uid)) this.endingSinceMs.set(uid, this.#world.time.nowMs)
    }
    if (kind === 'pods' && change.object === undefined && old !== undefined) {
      this.goneSinceMs.set(old.metadata.uid, this.#world.time.nowMs)
    }
    checkChange(this.#world, change)
    this.rollouts.check(change)
    this.jobs.check(change)
  }
}

function describe({ kind, old, object, revision, key }: Change): string {
  const name = key.split('/').at(-1)
  const verb = object === undefined ? 'gone' : old === undefined ? 'made' : 'changed'
  return `r${revision} ${kind}/${name} ${verb}${object === undefined ? '' : details(kind, object)}`
}

function details(kind: string, object: Stored<KubeObject>): string {
  if (kind === 'pods') {
    const { metadata, spec, status } = object as Stored<Pod>
    const ready = status?.conditions?.find(({ type }) => type === 'Ready')?.status ?? '-'
    const ending = metadata.deletionTimestamp === undefined ? '' : ' ending'
    const ours = (status?.conditions ?? []).filter(({ type }) => type.startsWith(OURS))
    const said = ours
      .map(({ type, status: is, reason }) => ` ${type.slice(OURS.length)}=${is}/${reason ?? ''}`)
      .join('')
    return ` on ${spec.nodeName ?? '-'} ${status?.phase ?? ''} ready=${ready}${said}${ending}`
  }
  const { spec, status } = object as { spec?: { replicas?: number }; status?: Record<string, unknown> }
  if (kind === 'replicasets' || kind === 'deployments') {
    return ` wants ${spec?.replicas} has ${status?.replicas} available ${status?.availableReplicas}`
  }
  if (kind === 'statefulsets' || kind === 'daemonsets' || kind === 'jobs' || kind === 'poddisruptionbudgets') {
    return ` ${JSON.stringify(status, (key, value: unknown) => (key === 'conditions' ? undefined : value))}`
  }
  if (kind === 'nodes') {
    const conditions = (status?.conditions ?? []) as { type: string; status: string }[]
    return ` ready=${conditions.find(({ type }) => type === 'Ready')?.status ?? '-'}`
  }
  return ''
}
