/**
 * Drover's own acts on a deployment, judged as they are committed:
 *
 *  - a write that grows a ReplicaSet never brings the sum of all sets above replicas + maxSurge;
 *  - a pod that is created never brings its set above the set's size;
 *  - a ready pod that Drover deletes leaves at least replicas - maxUnavailable ready ones, unless a drain exchanges it for one
 *    that its set has more than it should;
 *
 *  - a ready pod that leaves a drained node leaves its set whole, unless it may not run twice;
 *  - a healthy pod that a drain or an eviction takes leaves what its disruption budget wants.
 *
 * Ready means here: ready and routed to, for longer than KNOWN_MS.
 *
 * Whoever acts sees the world a moment late. So an act is excused when, within KNOWN_MS before it, somebody else
 * changed what it was based on: a user the deployment, a fault or a user the readiness of its pods. Deletions by
 * users, and evictions from nodes that are lost or tainted, are no acts on the deployment.
 */
import { findCondition, isPodFinished, isPodReady, isTerminating } from '../../src/api/conditions.ts'
import type { Deployment } from '../../src/api/deployment.ts'
import { isInBudget } from '../../src/api/disruption.ts'
import { isExclusive } from '../../src/api/exclusive.ts'
import type { KubeObject, Stored } from '../../src/api/meta.ts'
import { POD_CONDITION } from '../../src/api/names.ts'
import { isDraining, isNodeReady, type Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { PodDisruptionBudget } from '../../src/api/poddisruptionbudget.ts'
import type { ReplicaSet } from '../../src/api/replicaset.ts'
import { jsonEqual } from '../../src/base/json.ts'
import type { Change, Watcher } from './watcher.ts'
import type { World } from './world.ts'

const KNOWN_MS = 2_500

const isActive = (pod: Stored<Pod>): boolean => !isTerminating(pod) && !isPodFinished(pod)

const isHealthy = (pod: Stored<Pod>): boolean => isPodReady(pod) && isActive(pod)

/** Ready, and not known to be missing from some node's service table. */
const isServing = (pod: Stored<Pod>): boolean =>
  isPodReady(pod) && findCondition(pod.status?.conditions, POD_CONDITION.routed)?.status !== 'False'

function ownerUid(object: Stored<KubeObject>): string | undefined {
  return object.metadata.ownerReferences?.find(({ controller }) => controller === true)?.uid
}

function share(value: number | string | undefined, of: number, round: (x: number) => number): number {
  if (typeof value === 'number') return value
  return round((Number.parseFloat(value ?? '25%') / 100) * of)
}

export function boundsOf({ spec }: Deployment): { replicas: number; most: number; least: number } {
  const replicas = spec.replicas ?? 1
  if (spec.strategy?.type === 'Recreate') return { replicas, most: replicas, least: 0 }
  const surge = isExclusive(spec.template) ? 0 : share(spec.strategy?.rollingUpdate?.maxSurge, replicas, Math.ceil)
  const unavailable = share(spec.strategy?.rollingUpdate?.maxUnavailable, replicas, Math.floor)
  return { replicas, most: replicas + surge, least: replicas - (surge === 0 && unavailable === 0 ? 1 : unavailable) }
}

export class Rollouts {
  readonly #world: World
  readonly #watcher: Watcher
  /** When users or faults last changed what Drover's acts are based on, by uid of the deployment or set. */
  readonly #disturbedMs = new Map<string, number>()
  readonly #cordonedMs = new Map<string, number>()
  /** When a drain last began or ended anywhere. */
  #drainMs = Number.NEGATIVE_INFINITY
  /** When something other than a drain or an eviction last took a ready pod from an app, by namespace and label. */
  readonly #lostMs = new Map<string, number>()
  /** When leave was last written for a pod, by name: what went wrong later was not known. */
  readonly #leaveMs = new Map<string, number>()
  /** When users last changed a budget, by uid. */
  readonly #budgetMs = new Map<string, number>()
  /** Pods that users evict, with leave. */
  readonly evicted = new Set<string>()
  /** Since when a pod has been ready and routed to, by uid. */
  readonly #servingSinceMs = new Map<string, number>()
  /** A Node that somebody deletes takes its pods with it, even when its agent makes it anew at once. */
  readonly #nodeGoneMs = new Map<string, number>()
  /** Pods that users delete. */
  readonly deletedByUsers = new Set<string>()

  constructor(world: World, watcher: Watcher) {
    this.#world = world
    this.#watcher = watcher
  }

  cordonedSinceMs(nodeName: string): number | undefined {
    return this.#cordonedMs.get(nodeName)
  }

  check(change: Change): void {
    if (change.kind === 'deployments') this.#onDeployment(change)
    else if (change.kind === 'replicasets') this.#onSet(change as Change & { object: Stored<ReplicaSet> | undefined })
    else if (change.kind === 'pods') this.#onPod(change.old as Stored<Pod> | undefined, change.object as Stored<Pod>)
    else if (change.kind === 'poddisruptionbudgets') this.#onBudgetChange(change)
    else if (change.kind === 'nodes') this.#onNode(change.old as Stored<Node>, change.object as Stored<Node>)
  }

  #onBudgetChange({ old, object }: Change): void {
    const { spec, status } = (old ?? {}) as Partial<PodDisruptionBudget>
    for (const name of Object.keys((object as Stored<PodDisruptionBudget> | undefined)?.status?.disruptedPods ?? {})) {
      if (status?.disruptedPods?.[name] === undefined) this.#leaveMs.set(name, this.#world.time.nowMs)
    }
    if (object !== undefined && !jsonEqual(spec, (object as Stored<PodDisruptionBudget>).spec)) {
      this.#budgetMs.set(object.metadata.uid, this.#world.time.nowMs)
    }
  }

  #onNode(old: Stored<Node> | undefined, node: Stored<Node> | undefined): void {
    const name = (node ?? old)?.metadata.name ?? ''
    if (node === undefined) this.#nodeGoneMs.set(name, this.#world.time.nowMs)
    if (node?.spec?.unschedulable !== true) this.#cordonedMs.delete(name)
    else if (old?.spec?.unschedulable !== true) this.#cordonedMs.set(name, this.#world.time.nowMs)
    if (isDraining(old) !== isDraining(node)) this.#drainMs = this.#world.time.nowMs
  }

  #disturb(uid: string | undefined): void {
    if (uid !== undefined) this.#disturbedMs.set(uid, this.#world.time.nowMs)
  }

  #isDisturbed(uid: string): boolean {
    return this.#world.time.nowMs - (this.#disturbedMs.get(uid) ?? Number.NEGATIVE_INFINITY) <= KNOWN_MS
  }

  #deployment(uid: string | undefined): Stored<Deployment> | undefined {
    return this.#watcher.list<Deployment>('deployments').find(({ metadata }) => metadata.uid === uid)
  }

  #set(uid: string | undefined): Stored<ReplicaSet> | undefined {
    return this.#watcher.list<ReplicaSet>('replicasets').find(({ metadata }) => metadata.uid === uid)
  }

  #onDeployment({ old, object }: Change): void {
    const before = (old as Stored<Deployment> | undefined)?.spec
    if (object === undefined || !jsonEqual(before, (object as Stored<Deployment>).spec) || isTerminating(object)) {
      this.#disturb((object ?? old)?.metadata.uid)
    }
  }

  #onSet({ old, object }: Change): void {
    const set = object as Stored<ReplicaSet> | undefined
    const before = (old as Stored<ReplicaSet> | undefined)?.spec.replicas ?? 0
    const after = set?.spec.replicas ?? 0
    if (after < before) this.#disturb(old?.metadata.uid)
    if (set === undefined || after <= before) return
    const deployment = this.#deployment(ownerUid(set))
    if (deployment === undefined || this.#isDisturbed(deployment.metadata.uid)) return
    const sets = this.#watcher.list<ReplicaSet>('replicasets')
    const total = sets
      .filter((each) => ownerUid(each) === deployment.metadata.uid)
      .reduce((sum, each) => sum + (each.spec.replicas ?? 1), 0)
    const { most } = boundsOf(deployment)
    if (total > most) {
      this.#world.fail(
        'never above surge',
        `sets of ${deployment.metadata.name} want ${total} pods, ${most} are allowed`,
      )
    }
  }

  #onPod(old: Stored<Pod> | undefined, pod: Stored<Pod> | undefined): void {
    const some = pod ?? old
    if (some === undefined) return
    this.#onBudget(old, pod)
    const set = this.#set(ownerUid(some))
    if (set === undefined) return
    if (old === undefined && pod !== undefined) this.#onMade(pod, set)
    const ended = old !== undefined && isActive(old) && (pod === undefined || isTerminating(pod))
    if (pod !== undefined && isServing(pod) && (old === undefined || !isServing(old))) {
      this.#servingSinceMs.set(pod.metadata.uid, this.#world.time.nowMs)
    }
    if (ended && isServing(old)) this.#onDeleted(old, set)
    const unready = old !== undefined && pod !== undefined && isPodReady(old) && !isPodReady(pod) && isActive(pod)
    if (unready) this.#disturb(ownerUid(set))
  }

  #onMade(pod: Stored<Pod>, set: Stored<ReplicaSet>): void {
    if (this.#world.time.nowMs - this.#drainMs <= KNOWN_MS) return
    const active = this.#watcher.pods.filter(
      (each) => ownerUid(each) === set.metadata.uid && isActive(each) && !this.#isLeaving(each),
    )
    const size = set.spec.replicas ?? 1
    if (active.length <= size || this.#isDisturbed(set.metadata.uid)) return
    this.#world.fail('sets keep their size', `${pod.metadata.name} is pod ${active.length} of a set of ${size}`)
  }

  #onDeleted(pod: Stored<Pod>, set: Stored<ReplicaSet>): void {
    const deployment = this.#deployment(ownerUid(set))
    if (deployment === undefined || isTerminating(deployment) || isTerminating(set)) return
    if (this.deletedByUsers.has(pod.metadata.uid) || this.#isEviction(pod)) {
      this.#disturb(deployment.metadata.uid)
      return
    }
    // One that has only just come to serve was given up while it did not.
    const servedMs = this.#world.time.nowMs - (this.#servingSinceMs.get(pod.metadata.uid) ?? 0)
    if (this.#isDisturbed(deployment.metadata.uid) || servedMs <= KNOWN_MS) return
    const sets = new Set(
      this.#watcher
        .list<ReplicaSet>('replicasets')
        .filter((each) => ownerUid(each) === deployment.metadata.uid)
        .map(({ metadata }) => metadata.uid),
    )
    const left = this.#watcher.pods.filter(
      (each) => sets.has(ownerUid(each) ?? '') && isActive(each) && isServing(each),
    ).length
    this.#onDrained(pod, set)
    const { least } = boundsOf(deployment)
    // A drain exchanges pods within a set. Where other sets' pods do not serve, it leaves the deployment as far below as it was.
    const exchanged = this.#isLeaving(pod) && this.#servingOf(set) >= (set.spec.replicas ?? 1)
    if (left < least && !exchanged) {
      this.#world.fail(
        'never below availability',
        `${pod.metadata.name} was deleted: ${left} of ${deployment.metadata.name} are ready, ${least} must be`,
      )
    }
  }

  /** A pod that leaves a drained node, and could have been replaced first, leaves its set whole. */
  #onDrained(pod: Stored<Pod>, set: Stored<ReplicaSet>): void {
    if (!this.#isLeaving(pod) || isExclusive(pod) || this.#isDisturbed(set.metadata.uid)) return
    const left = this.#servingOf(set)
    const size = set.spec.replicas ?? 1
    if (left >= size) return
    this.#world.fail('drains surge first', `${pod.metadata.name} left its node, and ${left} of ${size} serve`)
  }

  #servingOf(set: Stored<ReplicaSet>): number {
    return this.#watcher.pods.filter((each) => ownerUid(each) === set.metadata.uid && isActive(each) && isServing(each))
      .length
  }

  #isLeaving({ spec }: Pod): boolean {
    return isDraining(this.#watcher.list<Node>('nodes').find(({ metadata }) => metadata.name === spec.nodeName))
  }

  /** What drains and evictions take leaves what a budget wants. Rollouts and scale-downs are none of its business. */
  #onBudget(old: Stored<Pod> | undefined, pod: Stored<Pod> | undefined): void {
    if (old === undefined || !isHealthy(old) || (pod !== undefined && isHealthy(pod))) return
    const app = `${old.metadata.namespace}/${old.metadata.labels?.app}`
    const ends = pod === undefined || isTerminating(pod)
    const { uid, name } = old.metadata
    const set = this.#set(ownerUid(old))
    const drained = set !== undefined && this.#isLeaving(old) && (set.spec.replicas ?? 1) > 0 && !isTerminating(set)
    const byLeave =
      ends && (this.evicted.has(uid) || (drained && !this.deletedByUsers.has(uid) && !this.#isEviction(old)))
    const { nowMs } = this.#world.time
    if (!byLeave) {
      this.#lostMs.set(app, nowMs)
      return
    }
    const decidedMs = this.#leaveMs.get(name) ?? nowMs
    if ((this.#lostMs.get(app) ?? Number.NEGATIVE_INFINITY) >= decidedMs - KNOWN_MS) return
    for (const budget of this.#watcher.list<PodDisruptionBudget>('poddisruptionbudgets')) {
      if (!isInBudget(budget, old) || (this.#budgetMs.get(budget.metadata.uid) ?? 0) >= decidedMs - KNOWN_MS) continue
      const left = this.#watcher.pods.filter((each) => isInBudget(budget, each) && isHealthy(each)).length
      const least = Number(budget.spec.minAvailable ?? 0)
      if (left < least) {
        this.#world.fail(
          'budgets hold',
          `${name} was let go: ${left} are healthy, ${budget.metadata.name} wants ${least}`,
        )
      }
    }
  }

  #isEviction({ spec }: Stored<Pod>): boolean {
    const node = this.#watcher.list<Node>('nodes').find(({ metadata }) => metadata.name === spec.nodeName)
    const goneMs = this.#nodeGoneMs.get(spec.nodeName ?? '') ?? Number.NEGATIVE_INFINITY
    if (this.#world.time.nowMs - goneMs <= KNOWN_MS) return true
    return (
      node === undefined || !isNodeReady(node) || (node.spec?.taints ?? []).some(({ effect }) => effect === 'NoExecute')
    )
  }
}
