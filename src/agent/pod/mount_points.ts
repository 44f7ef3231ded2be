/**
 * Mounts inside what a container may not write. A runtime makes the places that it mounts on, but cannot there: they are made
 * in the volume before. Pure. Source: Kubernetes pkg/volume/util, `MakeNestedMountpoints`.
 */
import type { Volume } from '../../api/pod.ts'
import type { ContainerRequest } from '../runtime/runtime.ts'

/**
 * What the agent writes nobody in the pod may write: it comes back to these files, by their paths and as root, and a link in
 * their place would lead it anywhere on the host (CVE-2017-1002102).
 */
export function isWrittenByAgent({ configMap, secret, downwardAPI, projected }: Volume): boolean {
  return [configMap, secret, downwardAPI, projected].some((source) => source !== undefined)
}

export interface NestedMount {
  /** On the host: what is mounted outside. */
  outerPath: string
  /** In it: where the other is mounted. */
  path: string
  /** What is mounted there; undefined: a file. */
  hostPath: string | undefined
}

const clean = (path: string): string => `/${path.split('/').filter(Boolean).join('/')}`

/** `written`: paths in the container at which a volume is mounted that the agent writes. */
export function nestedMounts(
  { mounts, terminationMessagePath }: Pick<ContainerRequest, 'mounts' | 'terminationMessagePath'>,
  written: ReadonlySet<string>,
): NestedMount[] {
  if (written.size === 0) return []
  const all = mounts.map(({ containerPath, hostPath }) => ({ at: clean(containerPath), containerPath, hostPath }))
  const inner: { at: string; hostPath?: string }[] = [...all]
  if (terminationMessagePath !== undefined) inner.push({ at: clean(terminationMessagePath) })
  return inner.flatMap(({ at, hostPath }) => {
    const around = all.filter((outer) => at.startsWith(`${outer.at}/`)).sort((a, b) => b.at.length - a.at.length)[0]
    if (around === undefined || !written.has(around.containerPath)) return []
    return [{ outerPath: around.hostPath, path: at.slice(around.at.length + 1), hostPath }]
  })
}
