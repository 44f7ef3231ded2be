/** The volume driver: directories that hold a pod's volumes, and files made for it. */
import type { ConfigMap } from '../../api/configmap.ts'
import type { PersistentVolume } from '../../api/persistentvolume.ts'
import type { Pod } from '../../api/pod.ts'
import type { Secret } from '../../api/secret.ts'

export interface ResourceReference {
  containerName?: string
  resource: string
  divisor?: string | number
}

export interface VolumeSources {
  configMap(name: string): ConfigMap | undefined
  secret(name: string): Secret | undefined
  /** The volume that is bound to a claim of the pod's namespace, if it can be mounted on this node. */
  volume(claimName: string): PersistentVolume | undefined
  /** What a fieldRef names, as a file holds it. Throws `invalid` for a path that is not offered. */
  field(path: string): string
  resource(reference: ResourceReference): string
  /** A token to be written; `current` is the one that stands there, which stays while it is good. */
  token(wish: { audience?: string; expirationSeconds?: number }, current: string | undefined): Promise<string>
}

export interface VolumeDriver {
  initialize(): Promise<void>
  /**
   * Makes or completes all volumes of the pod and returns the host path of each by volume name. Called again, it
   * brings files of ConfigMaps, Secrets, fields and tokens up to date atomically (readers see the old set or the new).
   * Rejects with `notFound` naming what is missing.
   */
  ensureVolumes(pod: Pod, sources: VolumeSources): Promise<ReadonlyMap<string, string>>
  /**
   * A directory in memory with the files by which the pod speaks to the API. `make` is given the token that stands there
   * and returns all files by name. Returns the host path; `onDirectory` hears it as soon as it can be mounted, before
   * there are files.
   */
  ensureAccess(
    pod: Pod,
    make: (token: string | undefined) => Promise<Record<string, string>>,
    onDirectory?: (path: string) => void,
  ): Promise<string>
  /** Host paths of the pod's volumes of type emptyDir that take of the node's disk, by name, made or not. */
  emptyDirs(pod: Pod): ReadonlyMap<string, string>
  /**
   * Host path of a mount inside a volume, safe against links that lead out of it, also when it is mounted later: it pins what
   * it found for the pod. Without a pod a path of the host is given back as it was found. Rejects with `invalid`.
   */
  resolveSubPath(volumePath: string, subPath: string, podUid?: string): Promise<string>
  /** Inside a volume: a directory to mount `hostPath` on, or a file where that is one or undefined. Kept when its files change. */
  makeMountPoint(volumePath: string, path: string, hostPath: string | undefined): Promise<void>
  /**
   * Files of the pod that are no volume: /etc/hosts, /etc/resolv.conf, /etc/hostname. Returns host paths, which `onKnown` hears
   * before the files are written.
   */
  ensureEtcFiles(
    podUid: string,
    files: Readonly<Record<string, string>>,
    onKnown?: (paths: ReadonlyMap<string, string>) => void,
  ): Promise<ReadonlyMap<string, string>>
  /** Removes the data of a volume that Drover made. Idempotent; rejects with `unavailable` while a pod has it mounted. */
  removeVolume(name: string): Promise<void>
  /** Pods that have anything on disk. */
  listPods(): Promise<string[]>
  /** Removes everything of the pod but the contents of hostPath. Idempotent. */
  removePod(podUid: string): Promise<void>
}
