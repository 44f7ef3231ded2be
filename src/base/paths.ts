/** Where a local cluster keeps its things; shared by what makes them and what only reads the kubeconfig. */
import { join } from 'node:path'

export const LOCAL_STATE_ROOT = '/var/lib/drover/clusters'
/** Short, because Unix socket paths are bound by 107 characters. */
export const LOCAL_RUN_ROOT = '/run/drover'

export function localStateDir(cluster: string): string {
  return join(LOCAL_STATE_ROOT, cluster)
}

export function localRunDir(cluster: string): string {
  return join(LOCAL_RUN_ROOT, cluster)
}

export function localKubeconfig(cluster: string): string {
  return join(localStateDir(cluster), 'kubeconfig')
}
