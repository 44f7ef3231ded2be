/**
 * Garbage: follows owner references over every kind. Keys are `<resource>|<namespace>/<name>`.
 *
 * An owner is older than the reference to it. So once the cache has reached the dependent's own revision, an owner that is
 * not in it does not exist: that is the confirmation before a deletion, and it costs no read of the store.
 */
import { isTerminating } from '../../api/conditions.ts'
import { type KindDefinition, keyOf, resourceName, splitKey } from '../../api/kind.ts'
import { findKindByName, KINDS } from '../../api/kinds.ts'
import type { KubeObject, OwnerReference, Stored } from '../../api/meta.ts'
import { jsonEqual } from '../../base/json.ts'
import type { WorkQueue } from '../../base/queue.ts'
import type { Service } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import type { ResourceEvent } from '../../resources/resources.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { withoutOwner } from '../common/owners.ts'
import { changeObject, deleteObject } from '../common/writes.ts'
import { FOREGROUND, ORPHAN, type OwnerState, planDependent, planOwner } from './plan.ts'

type AnyObject = Stored<KubeObject>

const CACHE_WAIT_MS = 10_000
const CONCURRENCY = 64

const queueKey = (kind: KindDefinition, object: AnyObject): string => `${resourceName(kind)}|${keyOf(object)}`

export function createGarbageController(context: ControllerContext): Service {
  const { resources } = context
  const kinds = new Map(KINDS.map((kind) => [resourceName(kind), kind]))

  async function reconcile(key: string): Promise<undefined> {
    const bar = key.indexOf('|')
    const kind = kinds.get(key.slice(0, bar))
    const { namespace, name } = splitKey(key.slice(bar + 1))
    const object = kind && resources.get(kind, namespace, name)
    if (kind === undefined || object === undefined) return undefined
    if (isTerminating(object)) await reconcileOwner(context, kind, object)
    else await reconcileDependent(context, kind, object)
    return undefined
  }

  return queueService({
    id: 'garbage-controller',
    context,
    concurrency: CONCURRENCY,
    reconcile,
    watch: (queue) => KINDS.map((kind) => watchKind(context, kind, queue)),
  })
}

function watchKind(context: ControllerContext, kind: KindDefinition, queue: WorkQueue): () => void {
  const { resources } = context
  const look = (object: AnyObject): void => {
    const { ownerReferences = [], finalizers = [] } = object.metadata
    const holds = isTerminating(object) && finalizers.some((name) => name === FOREGROUND || name === ORPHAN)
    if (ownerReferences.length > 0 || holds) queue.add(queueKey(kind, object))
  }
  const wakeOwners = ({ metadata }: AnyObject): void => {
    for (const reference of metadata.ownerReferences ?? []) {
      const owner = ownerOf(context, metadata.namespace ?? '', reference)
      if (owner !== undefined && isTerminating(owner.object)) queue.add(queueKey(owner.kind, owner.object))
    }
  }
  const onEvent = (event: ResourceEvent): void => {
    if (event.type === 'MODIFIED') {
      const { metadata: before } = event.old
      const { metadata: after } = event.object
      const deleting = before.deletionTimestamp !== after.deletionTimestamp
      if (!jsonEqual(before.ownerReferences, after.ownerReferences)) {
        look(event.object)
        wakeOwners(event.old)
      } else if (deleting || !jsonEqual(before.finalizers, after.finalizers)) look(event.object)
    } else if (event.type === 'ADDED') look(event.object)
    else {
      for (const { kind: other, object } of dependentsOf(context, event.object)) queue.add(queueKey(other, object))
      wakeOwners(event.object)
    }
  }
  const stop = resources.subscribe(kind, onEvent)
  for (const object of resources.list(kind)) look(object)
  return stop
}

interface Found {
  kind: KindDefinition
  object: AnyObject
}

function dependentsOf({ resources }: ControllerContext, owner: AnyObject): Found[] {
  return KINDS.flatMap((kind) => resources.ownedBy(kind, owner.metadata.uid).map((object) => ({ kind, object })))
}

/** The object that has the reference's name, whatever its uid. */
function ownerOf({ resources }: ControllerContext, namespace: string, reference: OwnerReference): Found | undefined {
  const kind = findKindByName(reference.apiVersion, reference.kind)
  const object = kind && resources.get(kind, kind.namespaced ? namespace : '', reference.name)
  return kind === undefined || object === undefined ? undefined : { kind, object }
}

function stateOf(context: ControllerContext, dependent: AnyObject, reference: OwnerReference): OwnerState {
  const { namespace = '' } = dependent.metadata
  const kind = findKindByName(reference.apiVersion, reference.kind)
  // A namespaced owner of a cluster-wide object cannot be looked up: such a reference means nothing.
  if (kind === undefined || (kind.namespaced && namespace === '')) return 'present'
  const owner = ownerOf(context, namespace, reference)?.object
  if (owner === undefined || owner.metadata.uid !== reference.uid) return 'absent'
  return isTerminating(owner) && (owner.metadata.finalizers ?? []).includes(FOREGROUND) ? 'waiting' : 'present'
}

async function reconcileDependent(context: ControllerContext, kind: KindDefinition, object: AnyObject): Promise<void> {
  const { resources } = context
  const plan = (of: AnyObject) =>
    planDependent(of, (reference) => stateOf(context, of, reference), dependentsOf(context, of).length > 0)
  if (plan(object).type === 'keep') return
  await resources.waitForRevision(Number(object.metadata.resourceVersion), CACHE_WAIT_MS)
  const current = resources.get(kind, object.metadata.namespace ?? '', object.metadata.name)
  if (current === undefined) return
  const confirmed = plan(current)
  if (confirmed.type === 'delete') {
    await deleteObject(context, kind, current, {
      propagation: confirmed.foreground ? 'Foreground' : 'Background',
      // Whoever gave it another owner since then has saved it.
      preconditions: { resourceVersion: current.metadata.resourceVersion },
    })
  } else if (confirmed.type === 'disown') {
    await changeObject(context, kind, current, {
      part: 'main',
      change: (latest) => confirmed.uids.reduce<KubeObject>((next, uid) => withoutOwner(next, uid) ?? next, latest),
    })
  }
}

async function reconcileOwner(context: ControllerContext, kind: KindDefinition, object: AnyObject): Promise<void> {
  const found = dependentsOf(context, object)
  const plan = planOwner(
    object,
    found.map((dependent) => dependent.object),
  )
  if (plan.type === 'none') return
  if (plan.type === 'orphan') {
    await settleAll(
      found.map((dependent) =>
        changeObject(context, dependent.kind, dependent.object, {
          part: 'main',
          change: (current) => withoutOwner(current, object.metadata.uid),
        }),
      ),
    )
    await dropFinalizer(context, kind, object, ORPHAN)
    return
  }
  await settleAll(found.map((dependent) => reconcileDependent(context, dependent.kind, dependent.object)))
  if (!plan.blocked) await dropFinalizer(context, kind, object, FOREGROUND)
}

async function dropFinalizer(
  context: ControllerContext,
  kind: KindDefinition,
  object: AnyObject,
  finalizer: string,
): Promise<void> {
  await changeObject(context, kind, object, {
    part: 'main',
    change: (current) => {
      const finalizers = (current.metadata.finalizers ?? []).filter((name) => name !== finalizer)
      const { finalizers: _old, ...metadata } = current.metadata
      return { ...current, metadata: finalizers.length > 0 ? { ...metadata, finalizers } : metadata }
    },
  })
}
