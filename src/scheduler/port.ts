/**
 * The scheduler's view for those who ask: what would become of pods, worked out on the cache of any server and written
 * nowhere. Joined with the API server in the composition root.
 */
import { isPodFinished } from '../api/conditions.ts'
import type { Stored } from '../api/meta.ts'
import { nodeKind } from '../api/node.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { replicaSetKind } from '../api/replicaset.ts'
import type { PlacementPort, PlannedWorkload, PlanWorkload } from '../api/why.ts'
import type { Resources } from '../resources/resources.ts'
import { type PlaceResult, place } from './place.ts'
import { Snapshot } from './snapshot.ts'
import { explainPlacement } from './why.ts'

/** The same question is answered the same way. */
const SEED = 1

export function createPlacementPort(resources: Resources): PlacementPort {
  const snapshotWithout = (isLeftOut: (pod: Stored<Pod>) => boolean): Snapshot => {
    const snapshot = new Snapshot()
    for (const node of resources.list(nodeKind)) snapshot.putNode(node)
    for (const pod of resources.list(podKind)) {
      if (pod.spec.nodeName && !isPodFinished(pod) && !isLeftOut(pod)) snapshot.putPod(pod, pod.spec.nodeName)
    }
    return snapshot
  }
  return {
    explain: (pod) =>
      explainPlacement(
        snapshotWithout(({ metadata }) => metadata.uid === pod.metadata.uid),
        pod,
      ),
    plan(workloads) {
      const present = snapshotWithout(() => false)
      return workloads.map((workload) => planOne(resources, present, workload))
    },
  }
}

/** First beside what runs, as the rollout's first step; then in its place. */
function planOne(resources: Resources, present: Snapshot, workload: PlanWorkload): PlannedWorkload {
  const { name, count, surge } = workload
  const first = place(present, podsOf(workload, Math.min(surge, count)), SEED)
  for (const uid of replacedPods(resources, workload)) present.removePod(uid)
  const whole = place(present, podsOf(workload, count), SEED)
  for (const { pod, nodeName } of whole.placements) present.putPod(pod, nodeName)
  return {
    name,
    placements: countByNode(whole),
    refused: whole.refusals.length,
    message: whole.refusals[0]?.message ?? '',
    surge: {
      wanted: Math.min(surge, count),
      placed: first.placements.length,
      message: first.refusals[0]?.message ?? '',
    },
  }
}

function podsOf({ name, namespace, template }: PlanWorkload, count: number): Stored<Pod>[] {
  return Array.from({ length: count }, (_, index) => ({
    apiVersion: 'v1' as const,
    kind: 'Pod' as const,
    metadata: {
      name: `${name}-${index}`,
      namespace,
      uid: `plan ${namespace}/${name} ${index}`,
      resourceVersion: '0',
      creationTimestamp: '',
      labels: template.metadata?.labels ?? {},
      // Siblings, as the real ones will be.
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'ReplicaSet', name, uid: `plan ${namespace}/${name}`, controller: true },
      ],
    },
    spec: template.spec as Pod['spec'],
  }))
}

function replacedPods(resources: Resources, { replaces }: PlanWorkload): string[] {
  if (replaces === undefined) return []
  const sets = resources.ownedBy(replicaSetKind, replaces).map(({ metadata }) => metadata.uid)
  return [replaces, ...sets].flatMap((uid) => resources.ownedBy(podKind, uid).map(({ metadata }) => metadata.uid))
}

function countByNode({ placements }: PlaceResult): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { nodeName } of placements) counts[nodeName] = (counts[nodeName] ?? 0) + 1
  return counts
}
