/**
 * What a pod takes of the node's disk: what its containers have written to their own layers, their logs, and its volumes of type
 * emptyDir that are not in memory. What is over a limit is judged as the kubelet does. Source: Kubernetes "Local ephemeral storage".
 */
import { dirname } from 'node:path'
import type { Container, Pod } from '../../api/pod.ts'
import { formatBytes, parseBytes } from '../../base/quantity.ts'
import { NOTE } from '../pod/facts.ts'
import type { ContainerState, RuntimeDriver } from '../runtime/runtime.ts'
import type { VolumeDriver } from '../volumes/volumes.ts'

export const EPHEMERAL_STORAGE = 'ephemeral-storage'

export interface StoragePaths {
  /** Layers and logs, by the container's name. */
  containers: ReadonlyMap<string, readonly string[]>
  /** By the volume's name. */
  emptyDirs: ReadonlyMap<string, string>
}

export interface StorageUse {
  containers: ReadonlyMap<string, number>
  emptyDirs: ReadonlyMap<string, number>
  bytes: number
}

/** `containers`: all of the node, dead ones too: their layers and logs are there until they are removed. */
export function storagePaths(
  pod: Pod,
  containers: readonly ContainerState[],
  { runtime, volumes }: { runtime: Pick<RuntimeDriver, 'writableLayerOf'>; volumes: Pick<VolumeDriver, 'emptyDirs'> },
): StoragePaths {
  const paths = new Map<string, string[]>()
  for (const { id, name, podUid, annotations } of containers) {
    if (podUid !== pod.metadata.uid) continue
    const own = paths.get(name) ?? []
    const layer = runtime.writableLayerOf(id)
    const logs = annotations[NOTE.logPath]
    paths.set(name, [...own, ...(layer === undefined ? [] : [layer]), ...(logs === undefined ? [] : [dirname(logs)])])
  }
  return { containers: paths, emptyDirs: volumes.emptyDirs(pod) }
}

export function allPaths({ containers, emptyDirs }: StoragePaths): string[] {
  return [...[...containers.values()].flat(), ...emptyDirs.values()]
}

export function storageUse({ containers, emptyDirs }: StoragePaths, sizes: ReadonlyMap<string, number>): StorageUse {
  const sum = (amounts: Iterable<number>): number => [...amounts].reduce((total, bytes) => total + bytes, 0)
  const sizeOf = (path: string): number => sizes.get(path) ?? 0
  const ofContainers = new Map(
    // A container's attempts share a directory of logs.
    [...containers].map(([name, paths]) => [name, sum([...new Set(paths)].map(sizeOf))]),
  )
  const ofVolumes = new Map([...emptyDirs].map(([name, path]) => [name, sizeOf(path)]))
  return {
    containers: ofContainers,
    emptyDirs: ofVolumes,
    bytes: sum(ofContainers.values()) + sum(ofVolumes.values()),
  }
}

function limitOf({ resources }: Container): number | undefined {
  const limit = resources?.limits?.[EPHEMERAL_STORAGE]
  return limit === undefined ? undefined : parseBytes(limit)
}

function diskLimits({ spec }: Pod): { name: string; text: string | number }[] {
  return (spec.volumes ?? []).flatMap(({ name, emptyDir }) =>
    // A limit in memory is the size of its file system.
    emptyDir?.sizeLimit === undefined || emptyDir.medium === 'Memory' ? [] : [{ name, text: emptyDir.sizeLimit }],
  )
}

/** Of containers and sidecars together, or of one init container with the sidecars before it; undefined: none has a limit. */
export function podStorageLimit({ spec }: Pod): number | undefined {
  const { containers, initContainers = [] } = spec
  if (![...containers, ...initContainers].some((each) => limitOf(each) !== undefined)) return undefined
  let beside = 0
  let peak = 0
  for (const each of initContainers) {
    const together = beside + (limitOf(each) ?? 0)
    peak = Math.max(peak, together)
    if (each.restartPolicy === 'Always') beside = together
  }
  return Math.max(
    peak,
    containers.reduce((total, each) => total + (limitOf(each) ?? 0), beside),
  )
}

export function hasStorageLimit(pod: Pod): boolean {
  return diskLimits(pod).length > 0 || podStorageLimit(pod) !== undefined
}

/** What takes more than its limit, in the kubelet's words; undefined: nothing. */
export function overLimit(pod: Pod, use: StorageUse): string | undefined {
  for (const { name, text } of diskLimits(pod)) {
    if ((use.emptyDirs.get(name) ?? 0) > parseBytes(text))
      return `Usage of EmptyDir volume "${name}" exceeds the limit "${text}".`
  }
  const limit = podStorageLimit(pod)
  if (limit !== undefined && use.bytes > limit) {
    return `Pod ephemeral local storage usage exceeds the total limit of containers ${formatBytes(limit)}.`
  }
  for (const container of [...pod.spec.containers, ...(pod.spec.initContainers ?? [])]) {
    const own = limitOf(container)
    if (own === undefined || (use.containers.get(container.name) ?? 0) <= own) continue
    const text = container.resources?.limits?.[EPHEMERAL_STORAGE] ?? ''
    return `Container ${container.name} exceeded its local ephemeral storage limit "${text}".`
  }
  return undefined
}
