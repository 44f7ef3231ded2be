/**
 * Binds claims to volumes, makes volumes on the nodes that the scheduler chose, and lets go of those whose claim went. One key at
 * a time: what a node's disk has left is counted from the stored volumes, and two at once would both be told that there is room.
 *
 * Data is removed by the node itself, which says so in its status (`removedVolumes`); only then does the volume's object go.
 */
import { isPodFinished, isTerminating } from '../../api/conditions.ts'
import { keyOf, splitKey } from '../../api/kind.ts'
import type { Stored } from '../../api/meta.ts'
import { LOCAL_PROVISIONER, VOLUME_PROTECTION } from '../../api/names.ts'
import { type Node, nodeKind } from '../../api/node.ts'
import {
  LOCAL_DATA_FINALIZER,
  type PersistentVolume,
  persistentVolumeKind,
  VOLUME_NODE_LABEL,
} from '../../api/persistentvolume.ts'
import {
  CLAIM_PROTECTION,
  type PersistentVolumeClaim,
  persistentVolumeClaimKind,
  SELECTED_NODE_ANNOTATION,
} from '../../api/persistentvolumeclaim.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { DEFAULT_CLASS_ANNOTATION, LOCAL_CLASS, storageClassKind } from '../../api/storageclass.ts'
import { mayBind } from '../../api/volume_fit.ts'
import { timestamp } from '../../base/clock.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ReconcileResult, WorkQueue } from '../../base/queue.ts'
import type { Service } from '../../base/service.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { changeObject, deleteObject } from '../common/writes.ts'
import { planClaim, planVolume } from './plan.ts'

type Claim = Stored<PersistentVolumeClaim>
type Volume = Stored<PersistentVolume>

const CLASS_KEY = 'class'
const CLAIM = 'claim:'
const VOLUME = 'volume:'

export function createVolumeController(context: ControllerContext): Service {
  return queueService({
    id: 'volume-controller',
    context,
    concurrency: 1,
    async reconcile(key): Promise<ReconcileResult> {
      if (key === CLASS_KEY) await ensureClass(context)
      else if (key.startsWith(CLAIM)) await reconcileClaim(context, key.slice(CLAIM.length))
      else await reconcileVolume(context, key.slice(VOLUME.length))
      return undefined
    },
    watch: (queue) => watch(context, queue),
  })
}

function watch({ resources }: ControllerContext, queue: WorkQueue): (() => void)[] {
  const addClaims = (test: (claim: Claim) => boolean): void => {
    for (const claim of resources.list(persistentVolumeClaimKind)) if (test(claim)) queue.add(CLAIM + keyOf(claim))
  }
  const stops = [
    resources.subscribe(persistentVolumeClaimKind, ({ object }) => {
      queue.add(CLAIM + keyOf(object))
      if (object.spec.volumeName !== undefined) queue.add(VOLUME + object.spec.volumeName)
      else queue.add(`${VOLUME}pvc-${object.metadata.uid}`)
    }),
    resources.subscribe(persistentVolumeKind, ({ object }) => {
      queue.add(VOLUME + object.metadata.name)
      const { claimRef } = object.spec
      if (claimRef?.name !== undefined) queue.add(`${CLAIM}${claimRef.namespace ?? ''}/${claimRef.name}`)
      else addClaims(({ status }) => status?.phase !== 'Bound')
    }),
    resources.subscribe(storageClassKind, () => addClaims(({ status }) => status?.phase !== 'Bound')),
    resources.subscribe(podKind, (event) => {
      // A claim that ends waits for its last pod.
      const over = event.type === 'DELETED' || (event.type === 'MODIFIED' && isPodFinished(event.object))
      if (!over) return
      const namespace = event.object.metadata.namespace ?? ''
      for (const { persistentVolumeClaim } of event.object.spec.volumes ?? []) {
        if (persistentVolumeClaim !== undefined) queue.add(`${CLAIM}${namespace}/${persistentVolumeClaim.claimName}`)
      }
    }),
    resources.subscribe(nodeKind, (event) => {
      const removed = (node: Node): unknown => node.status?.removedVolumes
      if (event.type === 'MODIFIED' && jsonEqual(removed(event.old), removed(event.object))) return
      const { name } = event.object.metadata
      for (const volume of resources.list(persistentVolumeKind)) {
        if (volume.metadata.labels?.[VOLUME_NODE_LABEL] === name) queue.add(VOLUME + volume.metadata.name)
      }
    }),
  ]
  queue.add(CLASS_KEY)
  addClaims(() => true)
  for (const volume of resources.list(persistentVolumeKind)) queue.add(VOLUME + volume.metadata.name)
  return stops
}

/** The class that every cluster begins with; one that users have changed is theirs. */
async function ensureClass({ resources, fence }: ControllerContext): Promise<void> {
  if (resources.get(storageClassKind, '', LOCAL_CLASS) !== undefined) return
  const storage = {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: LOCAL_CLASS, annotations: { [DEFAULT_CLASS_ANNOTATION]: 'true' } },
    provisioner: LOCAL_PROVISIONER,
    reclaimPolicy: 'Delete' as const,
    volumeBindingMode: 'WaitForFirstConsumer' as const,
  }
  await resources.create(storageClassKind, storage, { fence }).catch((error: unknown) => {
    if (!isCode(error, 'alreadyExists')) throw error
  })
}

async function reconcileClaim(context: ControllerContext, key: string): Promise<void> {
  const { resources, events } = context
  const { namespace, name } = splitKey(key)
  const claim = resources.get(persistentVolumeClaimKind, namespace, name)
  if (claim === undefined) return
  if (isTerminating(claim)) {
    if (!isUsed(context, claim)) await unprotect(context, claim)
    return
  }
  const step = planClaim({
    claim,
    volumes: resources.list(persistentVolumeKind),
    classes: resources.list(storageClassKind),
    node: (nodeName) => resources.get(nodeKind, '', nodeName),
  })
  switch (step.type) {
    case 'done':
      return
    case 'wait':
      events.record(claim, step.reason.includes('Failed') ? 'Warning' : 'Normal', step.reason, step.message)
      return
    case 'setClass':
      await changeClaim(context, claim, (current) => ({
        ...current,
        spec: { ...current.spec, storageClassName: current.spec.storageClassName ?? step.name },
      }))
      return
    case 'unselect':
      events.record(claim, 'Warning', 'ProvisioningFailed', `${step.reason}; choosing another node`)
      await changeClaim(context, claim, unselected)
      return
    case 'lost':
      await setClaimStatus(context, claim, { ...claim.status, phase: 'Lost' })
      return
    case 'provision':
      await provision(context, claim, step.volume)
      return
    case 'bind':
      await bind(context, claim, step.volume)
  }
}

function isUsed({ resources }: ControllerContext, claim: Claim): boolean {
  const uses = (pod: Pod): boolean =>
    (pod.spec.volumes ?? []).some(
      ({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName === claim.metadata.name,
    )
  const pods = resources.list(podKind, { namespace: claim.metadata.namespace ?? '' })
  return pods.some((pod) => Boolean(pod.spec.nodeName) && !isPodFinished(pod) && uses(pod))
}

async function changeClaim(
  context: ControllerContext,
  claim: Claim,
  change: (claim: PersistentVolumeClaim) => PersistentVolumeClaim | undefined,
): Promise<void> {
  await changeObject(context, persistentVolumeClaimKind, claim, { part: 'main', change })
}

function unselected(claim: PersistentVolumeClaim): PersistentVolumeClaim {
  const { [SELECTED_NODE_ANNOTATION]: _node, ...annotations } = claim.metadata.annotations ?? {}
  return { ...claim, metadata: { ...claim.metadata, annotations } }
}

async function unprotect(context: ControllerContext, claim: Claim): Promise<void> {
  await changeClaim(context, claim, (current) => {
    const finalizers = (current.metadata.finalizers ?? []).filter((finalizer) => finalizer !== CLAIM_PROTECTION)
    return { ...current, metadata: { ...current.metadata, finalizers } }
  })
}

async function setClaimStatus(
  context: ControllerContext,
  claim: Claim,
  status: NonNullable<PersistentVolumeClaim['status']>,
): Promise<void> {
  await changeObject(context, persistentVolumeClaimKind, claim, {
    part: 'status',
    change: (current) => ({ ...current, status }),
  })
}

async function provision(context: ControllerContext, claim: Claim, wanted: PersistentVolume): Promise<void> {
  const { resources, events, fence } = context
  let volume: Volume | undefined
  try {
    volume = await resources.create(persistentVolumeKind, wanted, { fence })
    events.record(claim, 'Normal', 'ProvisioningSucceeded', `Successfully provisioned volume ${volume.metadata.name}`)
  } catch (error) {
    if (!isCode(error, 'alreadyExists')) throw error
    volume = resources.get(persistentVolumeKind, '', wanted.metadata.name ?? '')
  }
  if (volume !== undefined) await bind(context, claim, volume)
}

/** From the volume's side first: what a claim names is its own. */
async function bind(context: ControllerContext, claim: Claim, volume: Volume): Promise<void> {
  const { uid, name, namespace = '' } = claim.metadata
  if (volume.spec.claimRef?.uid !== uid) {
    const claimRef = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid }
    const claimed = await changeObject(context, persistentVolumeKind, volume, {
      part: 'main',
      // The cache may not show yet that another claim has it, or that it ends.
      change: (current) => (mayBind(current, claim) ? { ...current, spec: { ...current.spec, claimRef } } : undefined),
    })
    if (claimed?.spec.claimRef?.uid !== uid) {
      throw new DroverError('conflict', `volume ${volume.metadata.name} is no longer free for claim ${keyOf(claim)}`)
    }
  }
  await changeClaim(context, claim, (current) => ({
    ...current,
    spec: { ...current.spec, volumeName: volume.metadata.name },
  }))
  await setClaimStatus(context, claim, {
    phase: 'Bound',
    accessModes: volume.spec.accessModes ?? [],
    capacity: { storage: volume.spec.capacity?.storage ?? '0' },
  })
}

async function reconcileVolume(context: ControllerContext, name: string): Promise<void> {
  const { resources, events } = context
  const volume = resources.get(persistentVolumeKind, '', name)
  if (volume === undefined) return
  const step = planVolume({
    volume,
    claim: await findClaim(context, volume),
    node: resources.get(nodeKind, '', volume.metadata.labels?.[VOLUME_NODE_LABEL] ?? ''),
  })
  switch (step.type) {
    case 'wait':
      return
    case 'delete':
      await setPhase(context, volume, { phase: 'Released' })
      await deleteObject(context, persistentVolumeKind, volume)
      return
    case 'release':
      events.record(volume, 'Normal', 'VolumeReleased', `the volume goes: ${step.why}`)
      await changeFinalizers(context, volume, (held) => held.filter((one) => one !== LOCAL_DATA_FINALIZER))
      return
    case 'protect':
      await changeFinalizers(context, volume, (held) => [...held, VOLUME_PROTECTION])
      return
    case 'unprotect':
      await changeFinalizers(context, volume, (held) => held.filter((one) => one !== VOLUME_PROTECTION))
      return
    case 'phase':
      await setPhase(context, volume, step)
  }
}

async function changeFinalizers(
  context: ControllerContext,
  volume: Volume,
  change: (finalizers: string[]) => string[],
): Promise<void> {
  await changeObject(context, persistentVolumeKind, volume, {
    part: 'main',
    change: (current) => {
      const finalizers = [...new Set(change(current.metadata.finalizers ?? []))]
      return { ...current, metadata: { ...current.metadata, finalizers } }
    },
  })
}

/** The claim as the store has it: data is not given up for what a cache does not show. */
async function findClaim({ resources, fence }: ControllerContext, volume: Volume): Promise<Claim | undefined> {
  const { namespace, name } = volume.spec.claimRef ?? {}
  if (namespace === undefined || name === undefined) return undefined
  try {
    return await resources.modify(persistentVolumeClaimKind, namespace, name, 'status', () => undefined, { fence })
  } catch (error) {
    if (isCode(error, 'notFound')) return undefined
    throw error
  }
}

async function setPhase(
  context: ControllerContext,
  volume: Volume,
  { phase, message }: { phase: 'Available' | 'Bound' | 'Released' | 'Failed'; message?: string },
): Promise<void> {
  if (volume.status?.phase === phase && volume.status.message === message) return
  const lastPhaseTransitionTime = timestamp(context.clock.now())
  await changeObject(context, persistentVolumeKind, volume, {
    part: 'status',
    change: (current) => ({
      ...current,
      status: { phase, lastPhaseTransitionTime, ...(message !== undefined && { message }) },
    }),
  })
}
