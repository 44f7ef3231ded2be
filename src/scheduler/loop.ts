/**
 * The scheduler: keeps a snapshot from the cache's changes, places what waits, binds by group commit.
 *
 *     pod or node changes ─► snapshot, pending ─► wake ─► one cycle per batch of changes ─► bindings, side by side
 *
 * A placement counts in the snapshot from the moment it is made (assumed), so the next cycle may start while bindings are still
 * being written. A binding that does not take is taken out again and the pod goes back to the queue. Nothing polls.
 * Pods that are made beside it are placed before they are written: see births.ts.
 */
import { isPodFinished, isTerminating } from '../api/conditions.ts'
import type { Stored } from '../api/meta.ts'
import { type Node, nodeKind } from '../api/node.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import type { Logger } from '../base/log.ts'
import type { Registry } from '../base/metrics.ts'
import { type Random, randomInt } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import type { EventRecorder, PlacementDesk, ResourceEvent, Resources } from '../resources/resources.ts'
import type { Fence } from '../store/store.ts'
import { bind, isReported, recordBinding, report } from './bind.ts'
import { BirthDesk, type BirthLoop, catchUp } from './births.ts'
import { explainFault } from './explain.ts'
import { type SchedulerMetrics, schedulerMetrics } from './metrics.ts'
import { PendingPods } from './pending.ts'
import { type Placement, type PlaceResult, place, type Refusal } from './place.ts'
import { Snapshot } from './snapshot.ts'
import type { PodVolumes } from './volume_facts.ts'
import { bindVolumes, surveyVolumes, watchVolumes } from './volumes.ts'

export interface SchedulerOptions {
  resources: Resources
  events: EventRecorder
  clock: Clock
  random: Random
  log: Logger
  /** The leader's proof, carried by every write. */
  fence: Fence
  registry?: Registry
}

export const SCHEDULER_NAME = 'default-scheduler'
/** Bindings under way, those of pods that are being made too; more pods wait for the next cycle. */
const MAX_BINDINGS = 2000
/** A pod's refusal is rewritten at most this often, however often its numbers change. */
const REPORT_INTERVAL_MS = 2_000

export interface Scheduler extends Service {
  /** For those who make pods under the same fence. */
  desk: PlacementDesk
}

export function createScheduler(options: SchedulerOptions): Scheduler {
  const desk = new BirthDesk(options.clock)
  return {
    id: 'scheduler',
    desk,
    async run(signal) {
      await options.resources.ready()
      if (signal.aborted) return
      const loop = new SchedulerLoop(options, signal)
      const stops = loop.watch()
      // A pod that waits is seen when the cache is as new as the pod; one that is being made could be placed by a cache that
      // does not know yet what the leader before has bound.
      void catchUp(options, signal).then((done) => done && desk.open(loop))
      await new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
      desk.close()
      for (const stop of stops) stop()
      await loop.end()
    },
  }
}

class SchedulerLoop implements BirthLoop {
  readonly #options: SchedulerOptions
  readonly #signal: AbortSignal
  readonly #metrics: SchedulerMetrics | undefined
  readonly #snapshot = new Snapshot()
  readonly #pending: PendingPods
  /** Pods whose placement the cache has not shown yet, by uid, with the volumes that were promised to them. */
  readonly #assumed = new Map<string, readonly string[]>()
  readonly #writes = new Set<Promise<void>>()
  #bindings = 0
  #woken = false

  constructor(options: SchedulerOptions, signal: AbortSignal) {
    this.#options = options
    this.#signal = signal
    this.#metrics = options.registry && schedulerMetrics(options.registry)
    const { clock, random } = options
    this.#pending = new PendingPods({ clock, random, wake: () => this.#wake() })
  }

  watch(): (() => void)[] {
    const { resources } = this.#options
    const stops = [
      resources.subscribe(nodeKind, (event) => this.#onNode(event)),
      resources.subscribe(podKind, (event) => this.#onPod(event)),
      ...watchVolumes(this.#options, this.#snapshot, () => this.#pending.retryRefused()),
    ]
    for (const node of resources.snapshot(nodeKind).items) this.#snapshot.putNode(node)
    for (const pod of resources.snapshot(podKind).items) this.#see(pod, false)
    return stops
  }

  async end(): Promise<void> {
    this.#pending.stop()
    await Promise.all(this.#writes)
  }

  #onNode(event: ResourceEvent<Node>): void {
    const { type, object } = event
    if (type === 'DELETED') {
      this.#snapshot.removeNode(object.metadata.name)
      return
    }
    this.#snapshot.putNode(object)
    if (type === 'ADDED' || concernsPlacing(event.old, object)) this.#pending.retryRefused()
  }

  #onPod(event: ResourceEvent<Pod>): void {
    const { object } = event
    if (event.type === 'MODIFIED' && this.#isOldNews(event.old, object)) return
    if (event.type !== 'DELETED') {
      // Its own spec or labels changed; the scheduler's own note in the status is no reason to try again.
      const changed = event.type === 'MODIFIED' && !isSameRequest(event.old, object)
      this.#see(object, changed)
      return
    }
    this.#forget(object.metadata.uid)
  }

  /** A bound pod whose containers come and go takes what it took. */
  #isOldNews(old: Pod, pod: Stored<Pod>): boolean {
    const { uid, deletionTimestamp } = pod.metadata
    if (!old.spec.nodeName || !this.#snapshot.hasPod(uid) || this.#assumed.has(uid) || isPodFinished(pod)) return false
    return old.metadata.deletionTimestamp === deletionTimestamp && isSameRequest(old, pod)
  }

  #see(pod: Stored<Pod>, retry: boolean): void {
    const { uid } = pod.metadata
    const { nodeName } = pod.spec
    if (isPodFinished(pod)) {
      this.#forget(uid)
      return
    }
    if (nodeName) {
      this.#assumed.delete(uid)
      this.#pending.remove(uid)
      this.#snapshot.putPod(pod, nodeName)
      return
    }
    if (this.isOurs(pod) && !isTerminating(pod)) this.#pending.put(pod, retry)
    else this.#forget(uid)
  }

  #forget(uid: string): void {
    this.#assumed.delete(uid)
    this.#pending.remove(uid)
    if (!this.#snapshot.hasPod(uid)) return
    this.#snapshot.removePod(uid)
    this.#pending.retryRefused()
  }

  /** Many changes of one moment share a cycle: it runs when the code that delivers them has finished. */
  #wake(): void {
    if (this.#woken) return
    this.#woken = true
    queueMicrotask(() => {
      this.#woken = false
      if (!this.#signal.aborted) this.#cycle()
    })
  }

  #cycle(): void {
    const pods = this.#pending.active(MAX_BINDINGS - this.#bindings)
    if (pods.length === 0) return
    const volumes = surveyVolumes(this.#options, pods, this.#assumed)
    const faultOf = (pod: Stored<Pod>): string | undefined => volumes.get(pod.metadata.uid)?.fault
    const placeable = volumes.size === 0 ? pods : pods.filter((pod) => faultOf(pod) === undefined)
    const { placements, refusals } = this.#place(placeable, volumes)
    for (const pod of pods) {
      const fault = faultOf(pod)
      if (fault === undefined) continue
      refusals.push({ pod, counts: new Map(), message: explainFault(this.#snapshot.nodeCount, fault) })
    }
    this.#metrics?.attempts.inc({ result: 'unschedulable' }, refusals.length)
    for (const placement of placements) this.#startBinding(placement, volumes.get(placement.pod.metadata.uid))
    for (const refusal of refusals) this.#refuse(refusal)
    this.#metrics?.pending.set(this.#pending.size)
  }

  #place(pods: readonly Stored<Pod>[], volumes?: ReadonlyMap<string, PodVolumes>): PlaceResult {
    const { clock, random } = this.#options
    const startedMs = clock.monotonicMs()
    const result = place(this.#snapshot, pods, randomInt(random, 2 ** 32), volumes)
    this.#metrics?.duration.observe((clock.monotonicMs() - startedMs) / 1000)
    this.#metrics?.attempts.inc({ result: 'scheduled' }, result.placements.length)
    return result
  }

  #assume({ pod, nodeName, promised = [] }: Placement): void {
    this.#snapshot.putPod(pod, nodeName)
    this.#assumed.set(pod.metadata.uid, promised)
    this.#bindings++
  }

  isOurs({ spec }: Pod): boolean {
    return (spec.schedulerName ?? SCHEDULER_NAME) === SCHEDULER_NAME
  }

  /**
   * No pod is overtaken that could have gone first: those that wait to be tried are, before any that is not even written.
   * If some of them still wait (too many bindings are under way), the newborn join them. Refused ones wait for a change, as
   * they do when pods come the ordinary way; whatever makes room wakes them, and then they are among the first.
   */
  placeNewborn(pods: readonly Stored<Pod>[]): Placement[] {
    if (this.#signal.aborted) return []
    this.#cycle()
    if (this.#pending.active(1).length > 0) return []
    // What is refused here is not counted: it is tried again at once, when it has been written.
    const { placements } = this.#place(pods.slice(0, Math.max(0, MAX_BINDINGS - this.#bindings)))
    for (const placement of placements) this.#assume(placement)
    return placements
  }

  born({ nodeName }: Placement, stored: Stored<Pod>): void {
    const { uid, resourceVersion } = stored.metadata
    this.#endBinding()
    recordBinding(this.#options, { pod: stored, nodeName })
    void this.#releaseUnlessShown(uid, Number(resourceVersion))
  }

  unborn({ pod }: Placement, error: DroverError): void {
    const { uid } = pod.metadata
    this.#endBinding()
    // It may stand all the same: its room is kept until the cache must have shown it.
    if (error.code === 'timeout') void this.#releaseUnlessShown(uid)
    else this.#release(uid)
  }

  /** Past a revision at which the pod stands, if it ever did, the cache has shown it, unless it went before. */
  async #releaseUnlessShown(uid: string, revision?: number): Promise<void> {
    if (this.#assumed.has(uid) && (await catchUp(this.#options, this.#signal, revision))) this.#release(uid)
  }

  #startBinding(placement: Placement, volumes: PodVolumes | undefined): void {
    this.#assume(placement)
    this.#pending.markBinding(placement.pod.metadata.uid)
    this.#track(this.#bind(placement, volumes?.unbound ?? []))
  }

  /** Pods may have been left out of a cycle because all bindings were taken. */
  #endBinding(): void {
    if (this.#bindings-- >= MAX_BINDINGS) this.#wake()
  }

  async #bind(placement: Placement, unbound: PodVolumes['unbound']): Promise<void> {
    const { uid } = placement.pod.metadata
    try {
      if (unbound.length > 0) {
        const { nodeName } = placement
        await bindVolumes(this.#options, { claims: unbound, nodeName, signal: this.#signal })
      }
      // A pod that was bound keeps its place here until the cache shows it: a change from before may still arrive.
      if (!(await bind(this.#options, placement))) this.#putBack(uid)
    } catch (thrown) {
      this.#putBack(uid)
      this.#complain(thrown, placement.pod, 'binding failed; will retry')
    } finally {
      this.#endBinding()
    }
  }

  /** The placement did not take. If the pod still waits, it is tried again; the cache tells if it does not. */
  #putBack(uid: string): void {
    this.#release(uid)
    this.#pending.markFailed(uid)
  }

  /** Gives back what is held for a placement that the cache has not shown. */
  #release(uid: string): void {
    if (!this.#assumed.delete(uid)) return
    this.#snapshot.removePod(uid)
    this.#pending.retryRefused()
  }

  #refuse(refusal: Refusal): void {
    const { uid } = refusal.pod.metadata
    if (!this.#pending.markRefused(uid, !isReported(refusal), REPORT_INTERVAL_MS)) return
    this.#track(
      report(this.#options, refusal).catch((thrown: unknown) => {
        this.#pending.markFailed(uid)
        this.#complain(thrown, refusal.pod, 'reporting a refusal failed; will retry')
      }),
    )
  }

  #complain(thrown: unknown, pod: Stored<Pod>, message: string): void {
    if (this.#signal.aborted) return
    const err = DroverError.from(thrown)
    const level = err.temporary ? 'debug' : 'warn'
    this.#options.log[level]({ pod: `${pod.metadata.namespace}/${pod.metadata.name}`, err }, message)
  }

  #track(work: Promise<void>): void {
    this.#writes.add(work)
    void work.finally(() => this.#writes.delete(work))
  }
}

function isSameRequest(old: Pod, pod: Pod): boolean {
  if (old.metadata.generation === pod.metadata.generation && old.metadata.labels === pod.metadata.labels) return true
  return jsonEqual(old.spec, pod.spec) && jsonEqual(old.metadata.labels, pod.metadata.labels)
}

/** Heartbeats, images and addresses make no room. */
function concernsPlacing(old: Node, node: Node): boolean {
  const facts = ({ metadata, spec, status }: Node): unknown => [
    metadata.labels,
    spec,
    status?.allocatable ?? status?.capacity,
    status?.conditions?.map(({ type, status: is }) => [type, is]),
  ]
  return !jsonEqual(facts(old), facts(node))
}
