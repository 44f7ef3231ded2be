/** The volume driver: directories that hold a pod's volumes, and files made for it. */
import type { ConfigMap } from '../../api/configmap.ts'
import type { PersistentVolume } from '../../api/persistentvolume.ts'
import type { Pod } from '../../api/pod.ts'
import type { Secret } from '../../api/secret.ts'

export interface VolumeSources {
  configMap(name: string): ConfigMap | undefined
  secret(name: string): Secret | undefined
  /** The volume that is bound to a claim of the pod's namespace, if it can be mounted on this node. */
  volume(claimName: string): PersistentVolume | undefined
}

export interface VolumeDriver {
  initialize(): Promise<void>
  /**
   * Makes or completes all volumes of the pod and returns the host path of each by volume name. Called again, it
   * brings ConfigMap and Secret files up to date atomically (readers see the old set or the new). Rejects with
   * `notFound` naming what is missing.
   */
  ensureVolumes(pod: Pod, sources: VolumeSources): Promise<ReadonlyMap<string, string>>
  /** Host path of a mount inside a volume, safe against links that lead out of it. Rejects with `invalid`. */
  resolveSubPath(volumePath: string, subPath: string): Promise<string>
  /** Files of the pod that are no volume: /etc/hosts, /etc/resolv.conf, /etc/hostname. Returns host paths. */
  ensureEtcFiles(podUid: string, files: Readonly<Record<string, string>>): Promise<ReadonlyMap<string, string>>
  /** Removes the data of a volume that Drover made. Idempotent; rejects with `unavailable` while a pod has it mounted. */
  removeVolume(name: string): Promise<void>
  /** Pods that have anything on disk. */
  listPods(): Promise<string[]>
  /** Removes everything of the pod but the contents of hostPath. Idempotent. */
  removePod(podUid: string): Promise<void>
}
