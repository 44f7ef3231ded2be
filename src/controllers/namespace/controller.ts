/**
 * Ends namespaces: deletes what is in one that is being deleted, waits until the last object has gone, then takes away
 * what holds the namespace. Content that slipped in beside the end (another server's cache was a moment behind) is
 * deleted as well: a namespaced object in no namespace is nobody's.
 */
import { isTerminating } from '../../api/conditions.ts'
import { KINDS } from '../../api/kinds.ts'
import type { KubeObject, Stored } from '../../api/meta.ts'
import { NAMESPACE_FINALIZER, type Namespace, namespaceKind } from '../../api/namespace.ts'
import type { ReconcileResult, WorkQueue } from '../../base/queue.ts'
import type { Service } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { changeObject, deleteObject } from '../common/writes.ts'
import { type Content, remainingConditions } from './remaining.ts'

const CACHE_WAIT_MS = 10_000
/** Deletions of one pass; what is left comes up again as these are seen to be gone. */
const MAX_IN_FLIGHT = 500
/** What takes longer to end is worth words. */
const SILENT_MS = 2_000

const namespacedKinds = KINDS.filter((kind) => kind.namespaced)

export function createNamespaceController(context: ControllerContext): Service {
  const { resources } = context

  async function reconcile(name: string): Promise<ReconcileResult> {
    const namespace = resources.get(namespaceKind, '', name)
    if (namespace !== undefined && !isTerminating(namespace)) return undefined
    const content = contentOf(context, name)
    if (namespace === undefined) {
      if (content.length === 0) return undefined
      const newest = Math.max(...content.map(({ object }) => Number(object.metadata.resourceVersion)))
      await resources.waitForRevision(newest, CACHE_WAIT_MS)
      if (resources.get(namespaceKind, '', name) !== undefined) return undefined
    }
    const open = content.filter(({ object }) => !isTerminating(object))
    await settleAll(
      open
        .slice(0, MAX_IN_FLIGHT)
        .map(({ kind, object }) => deleteObject(context, kind, object, { propagation: 'Background' })),
    )
    if (open.length > MAX_IN_FLIGHT) return { againAfterMs: 0 }
    if (namespace === undefined) return undefined
    const left = contentOf(context, name)
    if (left.length > 0) return await tellWhatIsLeft(context, namespace, left)
    await changeObject(context, namespaceKind, namespace, {
      part: 'main',
      change: (current) => ({
        ...current,
        spec: { finalizers: (current.spec?.finalizers ?? []).filter((held) => held !== NAMESPACE_FINALIZER) },
      }),
    })
    return undefined
  }

  return queueService({
    id: 'namespace-controller',
    context,
    reconcile,
    watch: (queue) => watchAll(context, queue),
  })
}

/** People ask why a namespace does not end; most end before anybody could. */
async function tellWhatIsLeft(
  context: ControllerContext,
  namespace: Stored<Namespace>,
  left: readonly Content[],
): Promise<ReconcileResult> {
  const nowMs = context.clock.now()
  const waitMs = Date.parse(namespace.metadata.deletionTimestamp ?? '') + SILENT_MS - nowMs
  if (waitMs > 0) return { againAfterMs: waitMs }
  await changeObject(context, namespaceKind, namespace, {
    part: 'status',
    change(current) {
      const before = current.status?.conditions
      const conditions = remainingConditions(left, before, nowMs)
      return conditions === before
        ? undefined
        : { ...current, status: { ...current.status, conditions: [...conditions] } }
    },
  })
  return undefined
}

function contentOf({ resources }: ControllerContext, namespace: string): Content[] {
  return namespacedKinds.flatMap((kind) => resources.list(kind, { namespace }).map((object) => ({ kind, object })))
}

function watchAll({ resources }: ControllerContext, queue: WorkQueue): (() => void)[] {
  const isEnding = (name: string): boolean => {
    const namespace = resources.get(namespaceKind, '', name)
    return namespace === undefined || isTerminating(namespace)
  }
  const stops = [resources.subscribe(namespaceKind, ({ object }) => queue.add(object.metadata.name))]
  for (const kind of namespacedKinds) {
    const look = ({ metadata: { namespace = '' } }: Stored<KubeObject>): void => {
      if (isEnding(namespace)) queue.add(namespace)
    }
    stops.push(
      resources.subscribe(kind, ({ type, object }) => {
        if (type !== 'MODIFIED') look(object)
      }),
    )
    for (const object of resources.list(kind)) look(object)
  }
  for (const namespace of resources.list(namespaceKind)) queue.add(namespace.metadata.name)
  return stops
}
