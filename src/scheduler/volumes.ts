/**
 * Claims that wait for their pod: the node that was chosen is written to the claim, the volume controller makes the volume
 * there, and the pod is bound when its claims are. Meanwhile its place in the snapshot is kept, so that no other pod takes
 * the room next to the data. All of it stands in stored objects: a new leader finds a claim that says where, or a bound one.
 */
import { isPodFinished } from '../api/conditions.ts'
import { keyOf } from '../api/kind.ts'
import type { Stored } from '../api/meta.ts'
import { type PersistentVolume, persistentVolumeKind, VOLUME_NODE_LABEL, volumeBytes } from '../api/persistentvolume.ts'
import {
  type PersistentVolumeClaim,
  persistentVolumeClaimKind,
  SELECTED_NODE_ANNOTATION,
} from '../api/persistentvolumeclaim.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { storageClassKind } from '../api/storageclass.ts'
import { withTimeout } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { SchedulerOptions } from './loop.ts'
import type { Snapshot } from './snapshot.ts'
import { claimNames, type PodVolumes, type VolumeLookup, volumesOf } from './volume_facts.ts'

/** Making a volume is a few writes; past this the pod goes back and is tried again. */
const BIND_TIMEOUT_MS = 10_000

/** Of each pod that names claims, by uid. */
export function surveyVolumes(options: SchedulerOptions, pods: readonly Stored<Pod>[]): Map<string, PodVolumes> {
  const { resources } = options
  const lookup: VolumeLookup = {
    claim: (namespace, name) => resources.get(persistentVolumeClaimKind, namespace, name),
    volume: (name) => resources.get(persistentVolumeKind, '', name),
    storageClass: (name) => resources.get(storageClassKind, '', name),
    userOf: (claim, other) =>
      resources
        .list(podKind, { namespace: claim.metadata.namespace ?? '' })
        .find(
          (pod) =>
            pod.metadata.uid !== other.metadata.uid &&
            Boolean(pod.spec.nodeName) &&
            !isPodFinished(pod) &&
            claimNames(pod).includes(claim.metadata.name),
        ),
  }
  const found = new Map<string, PodVolumes>()
  for (const pod of pods) if (claimNames(pod).length > 0) found.set(pod.metadata.uid, volumesOf(pod, lookup))
  return found
}

/** Keeps the snapshot's disks current, and says when a change may help pods that wait. Returns how to stop. */
export function watchVolumes(options: SchedulerOptions, snapshot: Snapshot, retry: () => void): (() => void)[] {
  const { resources } = options
  const put = (volume: Stored<PersistentVolume>): void => {
    const nodeName = volume.metadata.labels?.[VOLUME_NODE_LABEL]
    if (nodeName !== undefined) snapshot.putVolume(volume.metadata.name, { nodeName, bytes: volumeBytes(volume) })
  }
  const stops = [
    resources.subscribe(persistentVolumeKind, ({ type, object }) => {
      if (type === 'DELETED') snapshot.removeVolume(object.metadata.name)
      else put(object)
      if (type !== 'MODIFIED') retry()
    }),
    resources.subscribe(persistentVolumeClaimKind, retry),
    resources.subscribe(storageClassKind, retry),
  ]
  for (const volume of resources.snapshot(persistentVolumeKind).items) put(volume)
  return stops
}

/** Resolves when all claims are bound. Throws `conflict` when one cannot be had on this node. */
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
      if (current?.metadata.uid === uid && current.status?.phase === 'Bound') resolve()
      else if (current?.metadata.annotations?.[SELECTED_NODE_ANNOTATION] !== nodeName) {
        reject(new DroverError('conflict', `the volume of claim ${keyOf(claim)} cannot be made on ${nodeName}`))
      }
    }
    const unsubscribe = resources.subscribe(persistentVolumeClaimKind, look)
    signal.addEventListener('abort', look, { once: true })
    stop = () => {
      unsubscribe()
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
