/**
 * What a DaemonSet needs next: pure. Each eligible node has one pod; an update takes the old pod first (maxUnavailable) or makes
 * the new one first (maxSurge). A pod that does not serve costs nothing to replace, so it is replaced at once.
 *
 * Without surge a new pod is made only when nothing of the old one is left on its node: daemons hold ports, sockets and files there.
 */
import { isPodFinished, isPodReady, isTerminating } from '../../api/conditions.ts'
import type { DaemonSet } from '../../api/daemonset.ts'
import { resolveIntOrPercent } from '../../api/deployment.ts'
import type { Stored } from '../../api/meta.ts'
import type { Node } from '../../api/node.ts'
import type { Pod } from '../../api/pod.ts'
import { REVISION_HASH_LABEL } from '../../api/statefulset.ts'
import { availableInMs } from '../common/pods.ts'
import { eligibility, nodeOfPod } from './nodes.ts'

/** Creations of one pass; the rest follows when these have been written. */
export const MAX_IN_FLIGHT = 500
/** A pod that fails right after its start is not made anew in a tight loop. */
const FAILED_POD_AGE_MS = 10_000

export interface DaemonSetSnapshot {
  set: Stored<DaemonSet>
  /** Pods that the set controls, terminating ones too. */
  pods: readonly Stored<Pod>[]
  nodes: readonly Stored<Node>[]
  /** Hash of the present template's revision. */
  updateHash: string
  nowMs: number
}

export interface DaemonSetPlan {
  /** Names of nodes that need a pod. */
  create: string[]
  delete: { pod: Stored<Pod>; why: string }[]
  status: NonNullable<DaemonSet['status']>
  againAfterMs: number | undefined
}

/** What stands on one node. */
interface Place {
  nodeName: string
  runs: boolean
  stays: boolean
  all: Stored<Pod>[]
  /** Neither terminating nor finished; the oldest first. */
  old: Stored<Pod>[]
  fresh: Stored<Pod>[]
  available(pod: Stored<Pod>): boolean
}

interface Bounds {
  maxUnavailable: number
  maxSurge: number
}

export function planDaemonSet(snapshot: DaemonSetSnapshot): DaemonSetPlan {
  const { set } = snapshot
  const waits: number[] = []
  const { places, homeless } = survey(snapshot, waits)
  const plan: DaemonSetPlan = {
    create: [],
    delete: homeless.map((pod) => ({ pod, why: 'its node has gone' })),
    status: planStatus(snapshot, places),
    againAfterMs: undefined,
  }
  if (!isTerminating(set)) {
    for (const place of places) planPlace(snapshot, place, plan, waits)
    if (set.spec.updateStrategy?.type !== 'OnDelete') planUpdate(places, boundsOf(set, places), plan)
    plan.create = [...new Set(plan.create)]
    plan.delete = [...new Map(plan.delete.map((entry) => [entry.pod.metadata.uid, entry])).values()]
    if (plan.create.length > MAX_IN_FLIGHT) waits.push(0)
    plan.create.splice(MAX_IN_FLIGHT)
  }
  plan.againAfterMs = waits.length > 0 ? Math.min(...waits) : undefined
  return plan
}

function survey(
  { set, pods, nodes, updateHash, nowMs }: DaemonSetSnapshot,
  waits: number[],
): { places: Place[]; homeless: Stored<Pod>[] } {
  const byNode = new Map<string, Stored<Pod>[]>()
  const known = new Set(nodes.map(({ metadata }) => metadata.name))
  const homeless: Stored<Pod>[] = []
  for (const pod of [...pods].sort(byAge)) {
    const nodeName = nodeOfPod(pod)
    if (nodeName !== undefined && known.has(nodeName)) {
      const there = byNode.get(nodeName)
      if (there === undefined) byNode.set(nodeName, [pod])
      else there.push(pod)
    } else if (!pod.spec.nodeName && !isTerminating(pod)) homeless.push(pod)
  }
  const available = (pod: Stored<Pod>): boolean => {
    const wait = availableInMs(pod, set.spec.minReadySeconds ?? 0, nowMs)
    if (wait !== undefined && wait > 0) waits.push(wait)
    return wait === 0
  }
  const places = nodes.map((node): Place => {
    const nodeName = node.metadata.name
    const all = byNode.get(nodeName) ?? []
    const active = all.filter((pod) => !isTerminating(pod) && !isPodFinished(pod))
    const isFresh = (pod: Pod): boolean => pod.metadata.labels?.[REVISION_HASH_LABEL] === updateHash
    return {
      nodeName,
      ...eligibility(set.spec.template.spec, node),
      all,
      old: active.filter((pod) => !isFresh(pod)),
      fresh: active.filter(isFresh),
      available,
    }
  })
  return { places, homeless }
}

/** Older first; the name decides between pods of one second. */
function byAge(a: Stored<Pod>, b: Stored<Pod>): number {
  const [first, second] = [a.metadata.creationTimestamp, b.metadata.creationTimestamp]
  if (first !== second) return first < second ? -1 : 1
  return a.metadata.name < b.metadata.name ? -1 : 1
}

/** One pod where one is wanted, none where none may be; updates aside. */
function planPlace({ nowMs }: DaemonSetSnapshot, place: Place, plan: DaemonSetPlan, waits: number[]): void {
  const { all, old, fresh, runs, stays, nodeName } = place
  if (!stays) {
    for (const pod of all.filter((each) => !isTerminating(each))) plan.delete.push({ pod, why: 'not for this node' })
    return
  }
  let ended = 0
  for (const pod of all.filter((each) => isPodFinished(each) && !isTerminating(each))) {
    const restMs = Date.parse(pod.metadata.creationTimestamp) + FAILED_POD_AGE_MS - nowMs
    if (restMs > 0) waits.push(restMs)
    else plan.delete.push({ pod, why: 'it has ended' })
    ended++
  }
  // Pods of one template that stand twice: the first stays.
  for (const pod of [...fresh.slice(1), ...old.slice(1)]) plan.delete.push({ pod, why: 'one is enough' })
  if (runs && all.length === 0 && ended === 0) plan.create.push(nodeName)
}

function boundsOf({ spec }: DaemonSet, places: readonly Place[]): Bounds {
  const wanted = places.filter(({ runs }) => runs).length
  const { maxUnavailable = 1, maxSurge = 0 } = spec.updateStrategy?.rollingUpdate ?? {}
  const surge = resolveIntOrPercent(maxSurge, wanted, 'up') ?? 0
  const unavailable = resolveIntOrPercent(maxUnavailable, wanted, 'up') ?? 0
  // Both percentages may come to nothing: then one at a time, or it could never move.
  return { maxSurge: surge, maxUnavailable: surge === 0 && unavailable === 0 ? 1 : unavailable }
}

function planUpdate(places: readonly Place[], { maxUnavailable, maxSurge }: Bounds, plan: DaemonSetPlan): void {
  const rolling = places.filter(({ runs }) => runs)
  const serves = ({ old, fresh, available }: Place): boolean => [...old, ...fresh].some(available)
  let away = rolling.filter((place) => !serves(place)).length
  let surging = rolling.filter(({ old, fresh }) => old.length > 0 && fresh.length > 0).length
  for (const { old, fresh, available, nodeName } of rolling) {
    const [pod] = old
    if (pod === undefined) continue
    const replaced = fresh[0] !== undefined && available(fresh[0])
    if (replaced || !available(pod)) plan.delete.push({ pod, why: 'its template has changed' })
    else if (maxSurge > 0) {
      if (fresh.length > 0 || surging >= maxSurge) continue
      plan.create.push(nodeName)
      surging++
    } else if (away < maxUnavailable) {
      plan.delete.push({ pod, why: 'its template has changed' })
      away++
    }
  }
}

function planStatus({ set }: DaemonSetSnapshot, places: readonly Place[]): DaemonSetPlan['status'] {
  const wanted = places.filter(({ runs }) => runs)
  const count = (test: (place: Place) => boolean): number => wanted.filter(test).length
  const active = ({ old, fresh }: Place): Stored<Pod>[] => [...old, ...fresh]
  const available = count((place) => active(place).some(place.available))
  return {
    ...set.status,
    ...(set.metadata.generation !== undefined && { observedGeneration: set.metadata.generation }),
    desiredNumberScheduled: wanted.length,
    currentNumberScheduled: count((place) => active(place).length > 0),
    numberMisscheduled: places.filter((place) => !place.runs && active(place).length > 0).length,
    numberReady: count((place) => active(place).some(isPodReady)),
    updatedNumberScheduled: count(({ fresh }) => fresh.length > 0),
    numberAvailable: available,
    numberUnavailable: wanted.length - available,
  }
}
