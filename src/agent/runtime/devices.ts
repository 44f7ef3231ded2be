/** The host's device nodes, which privileged containers get. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { OciDevice } from './oci_types.ts'

/** Made by the container's own mounts. */
const OWN = new Set(['/dev/pts', '/dev/shm', '/dev/mqueue', '/dev/console', '/dev/ptmx', '/dev/fd'])
const S_IFMT = 0o170000
const S_IFCHR = 0o020000
const S_IFBLK = 0o060000

export function hostDevices(directory = '/dev'): OciDevice[] {
  const devices: OciDevice[] = []
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (OWN.has(path)) continue
    if (entry.isDirectory()) devices.push(...hostDevices(path))
    else if (entry.isCharacterDevice() || entry.isBlockDevice()) {
      const device = describe(path)
      if (device !== undefined) devices.push(device)
    }
  }
  return devices
}

/** Undefined when the device went away meanwhile. */
function describe(path: string): OciDevice | undefined {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined) return undefined
  const kind = stats.mode & S_IFMT
  if (kind !== S_IFCHR && kind !== S_IFBLK) return undefined
  // Linux packs device numbers as 12 bits of major around 20 bits of minor.
  const major = (stats.rdev >> 8) & 0xfff
  const minor = (stats.rdev & 0xff) | ((stats.rdev >> 12) & 0xfff00)
  const type = kind === S_IFBLK ? 'b' : 'c'
  return { path, type, major, minor, fileMode: stats.mode & 0o7777, uid: stats.uid, gid: stats.gid }
}
