/**
 * The volume driver. Idempotent throughout: it looks at what is there and completes it, so it can be killed anywhere and
 * called again. What is mounted is unmounted before a tree is removed, and a tree in which something stays mounted is left.
 */
import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { chmod, chown, mkdir, readdir, readFile, readlink, rename, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Pod, Volume } from '../../api/pod.ts'
import type { Clock } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import { inMemory, onDisk } from '../../base/file_calls.ts'
import { bindCall, kernelCalls, MOUNT, mountCall, tryUnmount } from '../../base/kernel_calls.ts'
import type { Logger } from '../../base/log.ts'
import { mountsBelow } from '../../base/mountinfo.ts'
import { parseQuantity } from '../../base/quantity.ts'
import { readText, removeTree } from '../../base/records.ts'
import { settleAll } from '../../base/settle.ts'
import { makeFileCall, makePathCall } from '../../base/tree_calls.ts'
import { writeAtomically } from './atomic_writer.ts'
import { ensureHostPath } from './host_path.ts'
import { checkName, isMountPoint, type PodLayout, podLayout, podOfPath } from './layout.ts'
import type { FsGroup } from './ownership.ts'
import { isSensitive, volumeFiles } from './payload.ts'
import { ensureClaim, type PersistentVolumes, persistentVolumes } from './persistent.ts'
import { makeInside, openInside, readInside } from './sub_path.ts'
import type { VolumeDriver, VolumeSources } from './volumes.ts'

export interface VolumeDriverOptions {
  dataDir: string
  /** A directory in memory for small files of every pod; below dataDir, a tmpfs each, unless said. */
  memoryDir?: string
  clock: Clock
  log: Logger
}

/** Far above what a pod's secrets can hold (1 MiB each); a bound on what they may take of the node's memory. */
const SECRETS_OPTIONS = 'size=64m,mode=0711'
const ACCESS_MODE = 0o644
const ETC_MODE = 0o644

interface PodContext {
  layout: PodLayout
  namespace: string
  group: FsGroup | undefined
  sources: VolumeSources
}

export function createVolumeDriver(options: VolumeDriverOptions): VolumeDriver {
  const { dataDir, memoryDir, clock, log } = options
  const root = join(dataDir, 'v')
  const persistent: PersistentVolumes = persistentVolumes(dataDir)

  async function ensureVolume(volume: Volume, pod: PodContext): Promise<string> {
    checkName(volume.name, 'volume name')
    const { layout, group, namespace, sources } = pod
    const fsGroup = group?.id
    if (volume.hostPath !== undefined) return ensureHostPath(volume.name, volume.hostPath)
    if (volume.persistentVolumeClaim !== undefined) {
      const target = join(layout.volumes, volume.name)
      return ensureClaim(persistent, { volume, namespace, sources, target, group })
    }
    const directory = join(isSensitive(volume) ? layout.secrets : layout.volumes, volume.name)
    const files = await volumeFiles(volume, {
      namespace,
      volumeName: volume.name,
      fsGroup: group !== undefined,
      sources,
      current: (path) => readInside(directory, path).catch(() => undefined),
    })
    if (files !== undefined) {
      if (isSensitive(volume)) await ensureTmpfs(layout.secrets, SECRETS_OPTIONS)
      const calls = isSensitive(volume) ? inMemory : onDisk
      if (await writeAtomically(directory, files, { clock, fsGroup, calls })) {
        log.debug({ volume: volume.name, files: files.size }, 'volume files written')
      }
      return directory
    }
    return ensureEmptyDir(volume, join(layout.volumes, volume.name), fsGroup)
  }

  async function removePod(podUid: string): Promise<void> {
    const { root: directory } = podLayout(dataDir, podUid)
    // On a node with a hundred pods the list is long: it is read again only where something was mounted.
    const mounted = (): string[] => mountsBelow(readText('/proc/self/mountinfo') ?? '', directory)
    let left = mounted()
    for (const lazily of [false, true]) {
      if (left.length === 0) break
      await tryUnmount(left, lazily)
      left = mounted()
    }
    if (left.length > 0) {
      throw new DroverError('unavailable', `volumes of pod ${podUid} cannot be unmounted: ${left.join(', ')}`)
    }
    if (memoryDir !== undefined) await removeTree(join(memoryDir, podUid))
    await removeTree(directory)
  }

  async function ensureAccess(
    pod: Pod,
    make: (token: string | undefined) => Promise<Record<string, string>>,
    onDirectory?: (path: string) => void,
  ): Promise<string> {
    const { layout } = contextOf(pod, dataDir, undefined)
    const parent = memoryDir === undefined ? layout.secrets : join(memoryDir, pod.metadata.uid ?? '')
    const directory = join(parent, '.access')
    if (memoryDir === undefined) await ensureTmpfs(parent, SECRETS_OPTIONS)
    await inMemory.mkdir(directory, { recursive: true, mode: 0o755 })
    onDirectory?.(directory)
    const current = await inMemory.readFile(join(directory, 'token'), 'utf8').catch(() => undefined)
    const files = Object.entries(await make(current))
    const payload = files.map(([name, text]) => [name, { data: Buffer.from(text), mode: ACCESS_MODE }] as const)
    await writeAtomically(directory, new Map(payload), { clock, fsGroup: undefined, calls: inMemory })
    return directory
  }

  function emptyDirs(pod: Pod): ReadonlyMap<string, string> {
    const { volumes } = podLayout(dataDir, pod.metadata.uid ?? '')
    const onDisk = (pod.spec.volumes ?? []).filter(({ emptyDir }) => emptyDir && emptyDir.medium !== 'Memory')
    return new Map(onDisk.map(({ name }) => [name, join(volumes, name)]))
  }

  /** Pins what the path leads to by a bind mount, so that no link can be slipped in before the runtime mounts it. */
  async function pinSubPath(podUid: string, volumePath: string, subPath: string): Promise<string> {
    const { subPaths } = podLayout(dataDir, podUid)
    const name = createHash('sha256').update(`${volumePath}\0${subPath}`).digest('hex').slice(0, 16)
    const target = join(subPaths, name)
    const { handle, isDirectory } = await openInside(volumePath, subPath)
    try {
      const mounted = () => mountsBelow(readText('/proc/self/mountinfo') ?? '', target)
      if (mounted().length > 0) await tryUnmount(mounted(), true)
      // What is mounted there is the volume itself: removing it would remove the user's files.
      if (mounted().length > 0) throw new DroverError('unavailable', `${target} cannot be unmounted`)
      await removeTree(target)
      await mkdir(isDirectory ? target : subPaths, { recursive: true, mode: 0o711 })
      if (!isDirectory) await writeFile(target, '')
      // As a slave: what is mounted on the host comes in, and what is unmounted here stays mounted there.
      const bind = bindCall(`/proc/${process.pid}/fd/${handle.fd}`, target)
      await kernelCalls([bind, mountCall({ source: 'none', target, flags: MOUNT.slave })])
      return target
    } finally {
      await handle.close()
    }
  }

  return {
    async initialize() {
      await mkdir(root, { recursive: true, mode: 0o711 })
      if (memoryDir !== undefined) await mkdir(memoryDir, { recursive: true, mode: 0o711 })
      await persistent.initialize()
    },
    async ensureVolumes(pod, sources) {
      const context = contextOf(pod, dataDir, sources)
      const { volumes = [] } = pod.spec
      if (volumes.length > 0) await mkdir(context.layout.volumes, { recursive: true, mode: 0o711 })
      const paths = new Map<string, string>()
      for (const volume of volumes) paths.set(volume.name, await ensureVolume(volume, context))
      return paths
    },
    async resolveSubPath(volumePath, subPath, forPod) {
      const podUid = forPod ?? podOfPath(dataDir, volumePath)
      if (podUid !== undefined) return pinSubPath(podUid, volumePath, subPath)
      const { handle } = await openInside(volumePath, subPath)
      try {
        return await pathOf(handle.fd)
      } finally {
        await handle.close()
      }
    },
    async makeMountPoint(volumePath, path, hostPath) {
      const isDirectory = hostPath !== undefined && (await stat(hostPath)).isDirectory()
      await makeInside(volumePath, path, isDirectory)
    },
    async ensureEtcFiles(podUid, files, onKnown) {
      const { etc } = podLayout(dataDir, podUid)
      const paths = new Map(Object.keys(files).map((name) => [name, join(etc, basename(name))] as const))
      for (const path of paths.values()) checkName(basename(path), 'file')
      onKnown?.(paths)
      const contents = [...paths].map(([name, path]) => [path, files[name] ?? ''] as const)
      const isNew = statSync(etc, { throwIfNoEntry: false }) === undefined
      if (isNew) {
        const made = contents.map(([path, text]) => makeFileCall(path, text, ETC_MODE))
        await kernelCalls([makePathCall(etc, 0o711), ...made])
      } else await settleAll(contents.map(([path, text]) => writeInPlace(path, text)))
      return paths
    },
    removeVolume: (name) => persistent.remove(name),
    ensureAccess,
    emptyDirs,
    async listPods() {
      const inMemory = memoryDir === undefined ? [] : await readdir(memoryDir)
      return [...new Set([...(await readdir(root)), ...inMemory])]
    },
    removePod,
  }
}

function contextOf<S>(pod: Pod, dataDir: string, sources: S): Omit<PodContext, 'sources'> & { sources: S } {
  const { uid, namespace = 'default' } = pod.metadata
  if (uid === undefined) throw new DroverError('internal', `pod ${pod.metadata.name} has no uid`)
  return { layout: podLayout(dataDir, uid), namespace, group: groupOf(pod), sources }
}

function groupOf({ spec }: Pod): FsGroup | undefined {
  const { fsGroup, fsGroupChangePolicy } = spec.securityContext ?? {}
  return fsGroup === undefined ? undefined : { id: fsGroup, onRootMismatch: fsGroupChangePolicy === 'OnRootMismatch' }
}

/** Mode and group are set when it is made: from then on they are the pod's, which may have made it private. */
async function ensureEmptyDir(volume: Volume, directory: string, fsGroup: number | undefined): Promise<string> {
  const { medium = '', sizeLimit = 0 } = volume.emptyDir ?? {}
  const SET_GROUP_ID = 0o2000
  const mode = fsGroup === undefined ? 0o777 : 0o777 | SET_GROUP_ID
  if (medium === 'Memory') {
    // As in Kubernetes a limit of 0 is none.
    const limitBytes = Math.ceil(parseQuantity(sizeLimit))
    const size = limitBytes > 0 ? `,size=${Math.max(4096, limitBytes)}` : ''
    await ensureTmpfs(directory, `mode=${mode.toString(8)},gid=${fsGroup ?? 0}${size}`)
    return directory
  }
  if (statSync(directory, { throwIfNoEntry: false }) !== undefined) return directory
  const unfinished = join(dirname(directory), `.${basename(directory)}.new`)
  await mkdir(unfinished, { recursive: true })
  if (fsGroup !== undefined) await chown(unfinished, 0, fsGroup)
  await chmod(unfinished, mode)
  await rename(unfinished, directory)
  return directory
}

async function ensureTmpfs(directory: string, data: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o711 })
  if (await isMountPoint(directory)) return
  const flags = MOUNT.nosuid | MOUNT.nodev
  await kernelCalls([mountCall({ source: 'tmpfs', target: directory, type: 'tmpfs', flags, data })])
}

/** A file that containers have mounted is rewritten, not replaced: they hold on to the file, not to its name. */
async function writeInPlace(path: string, content: string): Promise<void> {
  const current = await readFile(path, 'utf8').catch(() => undefined)
  if (current === content) return
  // Cut off half-way it is written again before anything mounts it.
  await writeFile(path, content, { mode: ETC_MODE })
}

function pathOf(fd: number): Promise<string> {
  return readlink(`/proc/self/fd/${fd}`)
}
