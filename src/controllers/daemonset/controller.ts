/** Keeps a pod of each DaemonSet on each of its nodes, a planned step at a time. */
import { type DaemonSet, daemonSetKind } from '../../api/daemonset.ts'
import { keyOf, splitKey } from '../../api/kind.ts'
import type { Stored } from '../../api/meta.ts'
import { type Node, nodeKind } from '../../api/node.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { REVISION_HASH_LABEL } from '../../api/statefulset.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ReconcileResult, WorkQueue } from '../../base/queue.ts'
import { randomSuffix } from '../../base/random.ts'
import type { Service } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import { writeStatus } from '../common/collisions.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { OrphanIndex } from '../common/owners.ts'
import { ensureRevision, trimHistory } from '../common/revisions.ts'
import { claimPods, createPod, deletePod, ownPods, podFromTemplate, watchOwners } from '../common/workload.ts'
import { specForNode } from './nodes.ts'
import { planDaemonSet } from './plan.ts'

/** Room for `-` and the suffix within a host name's 63 characters. */
const MAX_NAME_BASE = 57

export function createDaemonSetController(context: ControllerContext): Service {
  const { resources } = context
  const orphans = new OrphanIndex<Pod>()

  async function reconcile(key: string): Promise<ReconcileResult> {
    const { namespace, name } = splitKey(key)
    const set = resources.get(daemonSetKind, namespace, name)
    if (set === undefined) return undefined
    await claimPods(context, { kind: daemonSetKind, owner: set, orphans })
    const revision = await ensureRevision(context, daemonSetKind, set)
    const before = plan(context, set, revision.hash)
    try {
      await settleAll([
        ...before.create.map((nodeName) => createPod(context, set, newPod(context, set, nodeName, revision.hash))),
        ...before.delete.map(({ pod, why }) => deletePod(context, set, pod, why)),
      ])
    } finally {
      await writeStatus(context, daemonSetKind, set, plan(context, set, revision.hash).status)
    }
    const used = new Set(ownPods(context, set).map(({ metadata }) => metadata.labels?.[REVISION_HASH_LABEL]))
    await trimHistory(context, set, ({ metadata }) => {
      return metadata.name === revision.name || used.has(metadata.labels?.[REVISION_HASH_LABEL])
    })
    return before.againAfterMs === undefined ? undefined : { againAfterMs: before.againAfterMs }
  }

  return queueService({
    id: 'daemonset-controller',
    context,
    reconcile,
    watch: (queue) => [
      orphans.watch(resources, podKind),
      ...watchOwners(context, daemonSetKind, queue),
      watchNodes(context, queue),
    ],
  })
}

/** Which nodes there are, and what decides whether they are eligible. */
function watchNodes({ resources }: ControllerContext, queue: WorkQueue): () => void {
  const facts = ({ metadata, spec }: Node): unknown => [metadata.labels, spec?.taints]
  return resources.subscribe(nodeKind, (event) => {
    if (event.type === 'MODIFIED' && jsonEqual(facts(event.old), facts(event.object))) return
    for (const set of resources.list(daemonSetKind)) queue.add(keyOf(set))
  })
}

function plan(context: ControllerContext, set: Stored<DaemonSet>, updateHash: string) {
  const { resources, clock } = context
  return planDaemonSet({
    set,
    pods: ownPods(context, set),
    nodes: resources.list(nodeKind),
    updateHash,
    nowMs: clock.now(),
  })
}

function newPod(context: ControllerContext, set: Stored<DaemonSet>, nodeName: string, hash: string): Pod {
  const base = set.metadata.name.slice(0, MAX_NAME_BASE).replace(/[-.]+$/, '')
  const pod = podFromTemplate(daemonSetKind, set, set.spec.template, `${base}-${randomSuffix(context.random)}`)
  pod.metadata.labels[REVISION_HASH_LABEL] = hash
  return { ...pod, spec: specForNode(pod.spec, nodeName) }
}
