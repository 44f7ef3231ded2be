/**
 * Replaces all files of a volume at one moment, so that a reader sees the old set or the new, never a mix. The layout is the
 * one that programs which watch Kubernetes volumes know:
 *
 *   volume/config.yaml → ..data/config.yaml        links of the user's names
 *   volume/..data      → ..2026_11_21_02_08_47.x   the one link that is swapped, by rename
 *   volume/..2026_11_21_02_08_47.x/config.yaml     the files themselves
 *
 * Killed half-way it leaves a directory that nothing points to; the next write removes it.
 */
import type { Dirent } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Clock, timestamp } from '../../base/clock.ts'
import { type FileCalls, onDisk } from '../../base/file_calls.ts'
import type { Payload } from './payload.ts'

const DATA = '..data'
const DATA_NEW = '..data_tmp'

export interface WriteOptions {
  clock: Clock
  /** Group that owns the files; undefined: root's. */
  fsGroup: number | undefined
  /** On disk unless said. */
  calls?: FileCalls
}

/** Returns whether anything changed. */
export async function writeAtomically(volume: string, files: Payload, options: WriteOptions): Promise<boolean> {
  const { calls = onDisk } = options
  const { chmod, mkdtemp, rename, rm, symlink } = calls
  await calls.mkdir(volume, { recursive: true })
  await chmod(volume, 0o755)
  const current = await calls.readlink(join(volume, DATA)).catch(() => undefined)
  if (current !== undefined && (await isSame(calls, join(volume, current), files))) {
    await linkNames(calls, volume, files)
    await removeOthers(calls, volume, current)
    return false
  }
  const stamp = timestamp(options.clock.now()).replace(/\D/g, '_').replace(/_+$/, '')
  const fresh = await mkdtemp(join(volume, `..${stamp}.`))
  await chmod(fresh, 0o755)
  for (const [path, file] of files) await writeOne(calls, join(fresh, path), file, options.fsGroup)
  await rm(join(volume, DATA_NEW), { force: true })
  const name = fresh.slice(volume.length + 1)
  await symlink(name, join(volume, DATA_NEW))
  await rename(join(volume, DATA_NEW), join(volume, DATA))
  await linkNames(calls, volume, files)
  await removeOthers(calls, volume, name)
  return true
}

async function writeOne(
  { chmod, chown, mkdir, writeFile }: FileCalls,
  target: string,
  file: { data: Buffer; mode: number },
  fsGroup: number | undefined,
): Promise<void> {
  await mkdir(dirname(target), { recursive: true, mode: 0o755 })
  await writeFile(target, file.data, { mode: 0o600 })
  if (fsGroup !== undefined) await chown(target, 0, fsGroup)
  // Not through open's mode: the umask would take its share.
  await chmod(target, file.mode)
}

/** Whether the directory holds exactly these files, byte for byte and mode for mode. */
async function isSame({ readdir, readFile, stat }: FileCalls, directory: string, files: Payload): Promise<boolean> {
  const found = await readdir(directory, { recursive: true, withFileTypes: true }).catch((): Dirent[] => [])
  const paths = found
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
  if (paths.length !== files.size) return false
  for (const path of paths) {
    const wanted = files.get(path)
    if (wanted === undefined) return false
    const [stats, data] = await Promise.all([stat(join(directory, path)), readFile(join(directory, path))])
    if ((stats.mode & 0o7777) !== wanted.mode || !data.equals(wanted.data)) return false
  }
  return true
}

/** Links for the first component of each path; links of names that are no longer wanted go. What is no link of ours is mounted on. */
async function linkNames({ readdir, readlink, rm, symlink }: FileCalls, volume: string, files: Payload): Promise<void> {
  const wanted = new Set([...files.keys()].map((path) => path.split('/')[0] ?? ''))
  for (const name of await readdir(volume)) {
    if (name.startsWith('..')) continue
    if (wanted.delete(name)) continue
    const target = await readlink(join(volume, name)).catch(() => '')
    if (target.startsWith(`${DATA}/`)) await rm(join(volume, name), { force: true })
  }
  for (const name of wanted) await symlink(join(DATA, name), join(volume, name))
}

async function removeOthers({ readdir, rm }: FileCalls, volume: string, current: string): Promise<void> {
  for (const name of await readdir(volume)) {
    const keep = !name.startsWith('..') || name === DATA || name === current
    if (!keep) await rm(join(volume, name), { recursive: true, force: true })
  }
}
