/**
 * Volumes that outlive pods: directories below dataDir/pv, or what a volume that a user declared names. A pod gets a bind mount of
 * its volume below its own tree, so that sub-paths are pinned and everything is unmounted as for any other volume.
 */
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { LOCAL_PROVISIONER } from '../../api/names.ts'
import type { PersistentVolume } from '../../api/persistentvolume.ts'
import type { Volume } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import { parseMountinfo } from '../../base/mountinfo.ts'
import { runOk } from '../../base/process.ts'
import { readText, removeTree } from '../../base/records.ts'
import { ensureHostPath } from './host_path.ts'
import { checkName } from './layout.ts'
import { type FsGroup, giveToGroup } from './ownership.ts'
import type { VolumeSources } from './volumes.ts'

export interface PersistentVolumes {
  initialize(): Promise<void>
  /** Host path of the volume's data, made when it is ours and not there yet. */
  ensure(volume: PersistentVolume): Promise<string>
  remove(name: string): Promise<void>
}

const mountinfo = (): string => readText('/proc/self/mountinfo') ?? ''

export function persistentVolumes(dataDir: string): PersistentVolumes {
  const root = join(dataDir, 'pv')
  const directoryOf = (name: string): string => {
    checkName(name, 'volume')
    return join(root, name)
  }
  return {
    async initialize() {
      await mkdir(root, { recursive: true, mode: 0o711 })
    },
    async ensure({ metadata, spec }) {
      const name = metadata.name ?? ''
      if (spec.local !== undefined) return ensureHostPath(name, { path: spec.local.path, type: 'Directory' })
      if (spec.hostPath !== undefined) {
        const { path, type } = spec.hostPath
        return ensureHostPath(name, type === undefined ? { path } : { path, type })
      }
      if (spec.csi?.driver !== LOCAL_PROVISIONER) {
        throw new DroverError(
          'unsupported',
          `volume ${name} is of driver ${spec.csi?.driver}, which this node does not have`,
        )
      }
      const directory = directoryOf(spec.csi.volumeHandle)
      // Whoever runs in the pod may write: the mode is set only once, it is the user's to change afterwards.
      if ((await mkdir(directory, { recursive: true })) !== undefined) await chmod(directory, 0o777)
      return directory
    },
    async remove(name) {
      const directory = directoryOf(name)
      const suffix = `/pv/${name}`
      const users = parseMountinfo(mountinfo()).filter((mount) => mount.root.endsWith(suffix))
      if (users.length > 0) {
        throw new DroverError('unavailable', `volume ${name} is still mounted at ${users[0]?.mountPoint}`)
      }
      await removeTree(directory)
    },
  }
}

export interface ClaimMount {
  volume: Volume
  namespace: string
  sources: VolumeSources
  target: string
  group: FsGroup | undefined
}

/** Mounts a claim's volume at `target`, once. */
export async function ensureClaim(
  persistent: PersistentVolumes,
  { volume: { name, persistentVolumeClaim }, namespace, sources, target, group }: ClaimMount,
): Promise<string> {
  const { claimName = '', readOnly = false } = persistentVolumeClaim ?? {}
  const found = sources.volume(claimName)
  if (found === undefined) {
    const message = `volume ${name}: claim ${namespace}/${claimName} is not bound to a volume on this node`
    throw new DroverError('notFound', message)
  }
  const source = await persistent.ensure(found)
  const mounted = parseMountinfo(mountinfo()).findLast(({ mountPoint }) => mountPoint === target)
  // Cut off before the second of the two it would be writable for good.
  const makeReadOnly = () => runOk('mount', ['-o', 'remount,bind,ro', '--', target])
  if (mounted !== undefined) {
    if (readOnly && !mounted.options.includes('ro')) await makeReadOnly()
    return target
  }
  if (group !== undefined && !readOnly && found.spec.hostPath === undefined) await giveToGroup(source, group)
  await mkdir(target, { recursive: true, mode: 0o711 })
  await runOk('mount', ['--bind', '--', source, target])
  if (readOnly) await makeReadOnly()
  return target
}
