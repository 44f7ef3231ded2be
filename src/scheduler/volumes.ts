/**
 * Claims that wait for their pod: the node that was chosen is written to the claim, the volume controller binds a free volume
 * that can be used there, or makes one, and the pod is bound when its claims are. Meanwhile its place in the snapshot and the
 * volumes promised to it are kept, so that no other pod takes them. All of it stands in stored objects: a new leader finds a
 * claim that says where, or a bound one.
 */
import { isPodFinished } from '../api/conditions.ts'
import { keyOf } from '../api/kind.ts'
import type { Stored } from '../api/meta.ts'
import { nodeKind } from '../api/node.ts'
import { type PersistentVolume, persistentVolumeKind, VOLUME_NODE_LABEL, volumeBytes } from '../api/persistentvolume.ts'
import {
  type PersistentVolumeClaim,
  persistentVolumeClaimKind,
  SELECTED_NODE_ANNOTATION,
} from '../api/persistentvolumeclaim.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { storageClassKind } from '../api/storageclass.ts'
import { admitsNode, isUnclaimed } from '../api/volume_fit.ts'
import { withTimeout } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import { jsonEqual } from '../base/json.ts'
import type { Resources } from '../resources/resources.ts'
import type { SchedulerOptions } from './loop.ts'
import type { Snapshot } from './snapshot.ts'
import { claimNames, type PodVolumes, type VolumeLookup, volumesOf } from './volume_facts.ts'

/** Making a volume is a few writes; past this the pod goes back and is tried again. */
const BIND_TIMEOUT_MS = 10_000

/** Of each pod that names claims, by uid. `assumed`: pods that are being bound, by uid, with the volumes promised to them. */
export function surveyVolumes(
  options: SchedulerOptions,
  pods: readonly Stored<Pod>[],
  assumed: ReadonlyMap<string, readonly string[]>,
): Map<string, PodVolumes> {
  const { resources } = options
  let unclaimed: Map<string, Stored<PersistentVolume>[]> | undefined
  const lookup: VolumeLookup = {
    claim: (namespace, name) => resources.get(persistentVolumeClaimKind, namespace, name),
    volume: (name) => resources.get(persistentVolumeKind, '', name),
    storageClass: (name) => resources.get(storageClassKind, '', name),
    unclaimed(className) {
      unclaimed ??= unclaimedByClass(resources.list(persistentVolumeKind), new Set([...assumed.values()].flat()))
      return unclaimed.get(className) ?? []
    },
    userOf: (claim, other) =>
      resources
        .list(podKind, { namespace: claim.metadata.namespace ?? '' })
        .find(
          (pod) =>
            pod.metadata.uid !== other.metadata.uid &&
            (Boolean(pod.spec.nodeName) || assumed.has(pod.metadata.uid)) &&
            !isPodFinished(pod) &&
            claimNames(pod).includes(claim.metadata.name),
        ),
  }
  const found = new Map<string, PodVolumes>()
  for (const pod of pods) if (claimNames(pod).length > 0) found.set(pod.metadata.uid, volumesOf(pod, lookup))
  return found
}

function unclaimedByClass(
  volumes: readonly Stored<PersistentVolume>[],
  promised: ReadonlySet<string>,
): Map<string, Stored<PersistentVolume>[]> {
  const byClass = new Map<string, Stored<PersistentVolume>[]>()
  for (const volume of volumes) {
    if (!isUnclaimed(volume) || promised.has(volume.metadata.name)) continue
    const className = volume.spec.storageClassName ?? ''
    const known = byClass.get(className)
    if (known === undefined) byClass.set(className, [volume])
    else known.push(volume)
  }
  return byClass
}

/** Keeps the snapshot's disks current, and says when a change may help pods that wait. Returns how to stop. */
export function watchVolumes(options: SchedulerOptions, snapshot: Snapshot, retry: () => void): (() => void)[] {
  const { resources } = options
  const put = (volume: Stored<PersistentVolume>): void => {
    const nodeName = volume.metadata.labels?.[VOLUME_NODE_LABEL]
    if (nodeName !== undefined) snapshot.putVolume(volume.metadata.name, { nodeName, bytes: volumeBytes(volume) })
  }
  const stops = [
    resources.subscribe(persistentVolumeKind, (event) => {
      const { type, object } = event
      if (type === 'DELETED') snapshot.removeVolume(object.metadata.name)
      else put(object)
      if (type !== 'MODIFIED' || isOfferedAnew(event.old, object)) retry()
    }),
    resources.subscribe(persistentVolumeClaimKind, retry),
    resources.subscribe(storageClassKind, retry),
  ]
  for (const volume of resources.snapshot(persistentVolumeKind).items) put(volume)
  return stops
}

/** A phase makes no room; a volume that was let go or was described otherwise does. */
function isOfferedAnew(old: PersistentVolume, volume: PersistentVolume): boolean {
  if (!isUnclaimed(volume)) return false
  return !jsonEqual([old.spec, old.metadata.labels], [volume.spec, volume.metadata.labels])
}

/** Resolves when all claims are bound to what the node can use. Throws `conflict` when one cannot be had on this node. */
export async function bindVolumes(
  options: SchedulerOptions,
  { claims, nodeName, signal }: { claims: PodVolumes['unbound']; nodeName: string; signal: AbortSignal },
): Promise<void> {
  await Promise.all(claims.map((claim) => selectNode(options, claim, nodeName)))
  await Promise.all(claims.map((claim) => waitUntilBound(options, claim, { nodeName, signal })))
}

async function selectNode(
  { resources, fence }: SchedulerOptions,
  claim: Stored<PersistentVolumeClaim>,
  nodeName: string,
): Promise<void> {
  const { namespace = '', name, uid } = claim.metadata
  await resources.modify(
    persistentVolumeClaimKind,
    namespace,
    name,
    'main',
    (current) => {
      const selected = current.metadata.annotations?.[SELECTED_NODE_ANNOTATION]
      if (current.metadata.uid !== uid || (selected !== undefined && selected !== nodeName)) {
        throw new DroverError('conflict', `claim ${keyOf(claim)} is being bound elsewhere`)
      }
      if (selected === nodeName || current.status?.phase === 'Bound') return undefined
      const annotations = { ...current.metadata.annotations, [SELECTED_NODE_ANNOTATION]: nodeName }
      return { ...current, metadata: { ...current.metadata, annotations } }
    },
    { fence },
  )
}

function canUse(resources: Resources, volume: PersistentVolume, nodeName: string): boolean {
  const labels = resources.get(nodeKind, '', nodeName)?.metadata.labels ?? {}
  return admitsNode(volume, { name: nodeName, labels })
}

async function waitUntilBound(
  { resources, clock }: SchedulerOptions,
  claim: Stored<PersistentVolumeClaim>,
  { nodeName, signal }: { nodeName: string; signal: AbortSignal },
): Promise<void> {
  const { namespace = '', name, uid } = claim.metadata
  let stop = (): void => undefined
  const bound = new Promise<void>((resolve, reject) => {
    const look = (): void => {
      if (signal.aborted) reject(new DroverError('cancelled', 'the scheduler stops'))
      const current = resources.get(persistentVolumeClaimKind, namespace, name)
      const volume = resources.get(persistentVolumeKind, '', current?.spec.volumeName ?? '')
      if (current?.metadata.uid === uid && current.status?.phase === 'Bound') {
        // The caches of two kinds are not of one moment: a volume that is not here yet comes.
        if (volume === undefined) return
        if (canUse(resources, volume, nodeName)) resolve()
        else reject(new DroverError('conflict', `claim ${keyOf(claim)} was bound to a volume away from ${nodeName}`))
      } else if (current?.metadata.annotations?.[SELECTED_NODE_ANNOTATION] !== nodeName) {
        reject(new DroverError('conflict', `claim ${keyOf(claim)} cannot have a volume on ${nodeName}`))
      }
    }
    const stops = [
      resources.subscribe(persistentVolumeClaimKind, look),
      resources.subscribe(persistentVolumeKind, look),
    ]
    signal.addEventListener('abort', look, { once: true })
    stop = () => {
      for (const each of stops) each()
      signal.removeEventListener('abort', look)
    }
    look()
  })
  try {
    await withTimeout(clock, bound, BIND_TIMEOUT_MS, `the volume of claim ${keyOf(claim)}`)
  } finally {
    stop()
  }
}
