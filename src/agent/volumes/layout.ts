/**
 * Where a pod's volumes lie:
 *
 *   dataDir/v/<podUid>/volumes/<name>   emptyDir (a tmpfs when in memory) and ConfigMaps
 *   dataDir/v/<podUid>/secrets/<name>   one tmpfs for all of the pod's secrets: they never touch a disk
 *   dataDir/v/<podUid>/subpaths/<hash>  bind mounts that pin what a subPath led to
 *   dataDir/v/<podUid>/volumes/<name>   the same for claims: a bind mount of the claim's volume
 *   dataDir/pv/<name>                   volumes that outlive pods
 *   dataDir/v/<podUid>/etc/<file>       /etc/hosts and the like
 *   memoryDir/<podUid>/access           the pod's token for the API: small, and of every pod, so it has no mount of its own
 *
 * Nothing of a hostPath lies below it, so a pod's tree may be removed once nothing is mounted in it.
 */
import { stat } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
import { DroverError } from '../../base/errors.ts'

export interface PodLayout {
  root: string
  volumes: string
  secrets: string
  subPaths: string
  etc: string
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

export function podLayout(dataDir: string, podUid: string): PodLayout {
  checkName(podUid, 'pod uid')
  const root = join(dataDir, 'v', podUid)
  return {
    root,
    volumes: join(root, 'volumes'),
    secrets: join(root, 'secrets'),
    subPaths: join(root, 'subpaths'),
    etc: join(root, 'etc'),
  }
}

export function checkName(text: string, what: string): void {
  if (!NAME.test(text)) throw new DroverError('invalid', `${what} ${JSON.stringify(text)} cannot name a file`)
}

/** The pod whose volume the path is, or undefined for a path outside (a hostPath). */
export function podOfPath(dataDir: string, path: string): string | undefined {
  const prefix = `${join(dataDir, 'v')}${sep}`
  return path.startsWith(prefix) ? path.slice(prefix.length).split(sep)[0] : undefined
}

/** Whether something is mounted exactly there: it has another device than the directory around it. */
export async function isMountPoint(path: string): Promise<boolean> {
  const [inner, outer] = await Promise.all([stat(path), stat(dirname(path))]).catch(() => [undefined, undefined])
  return inner !== undefined && outer !== undefined && inner.dev !== outer.dev
}
