/**
 * A container's root file system: overlayfs over the image's layers, mounted on the host. Rejected: an overlay entry for
 * "/" in the OCI configuration, which needs no process and leaves no mount behind, but which runc refuses since it fixed
 * CVE-2025-52881.
 */
import { rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../base/errors.ts'
import { type KernelCall, mountCall, tryUnmount } from '../../base/kernel_calls.ts'
import { linkCall, makeDirectoryCall } from '../../base/tree_calls.ts'

/** mount(2) takes one page of options; upper and work directories need a little of it. */
const MAX_LOWER_BYTES = 3_800
/** What one page holds of the shortest names we can give. Docker's own bound is 125 layers. */
export const MAX_LAYERS = 500

/** Pure: the lowerdir option as is, or undefined when the layers must be named through short links. */
export function plainLowerDirectories(layers: readonly string[]): string | undefined {
  const text = [...layers].reverse().join(':')
  const special = layers.some((layer) => /[:,\\"]/.test(layer))
  return special || Buffer.byteLength(text) > MAX_LOWER_BYTES ? undefined : text
}

/** An overlay, to be made in the container's directory, where names are relative. */
export interface Overlay {
  /** Fill the directory, which is empty. */
  prepare: readonly KernelCall[]
  mount: KernelCall
}

/** Layers: lowest first. */
export function overlayOf(layers: readonly string[]): Overlay {
  if (layers.length > MAX_LAYERS) {
    throw new DroverError('unsupported', `the image has ${layers.length} layers; overlayfs takes at most ${MAX_LAYERS}`)
  }
  // The root of the merged tree takes its mode from the upper directory.
  const directories = [
    makeDirectoryCall('upper', 0o755),
    makeDirectoryCall('work', 0o700),
    makeDirectoryCall('rootfs', 0o755),
  ]
  const plain = plainLowerDirectories(layers)
  if (plain !== undefined) return { prepare: directories, mount: overlayCall(plain) }
  const names = layers.map((_, i) => `l/${i}`)
  const links = layers.map((layer, i) => linkCall(layer, `l/${i}`))
  return {
    prepare: [...directories, makeDirectoryCall('l', 0o755), ...links],
    mount: overlayCall([...names].reverse().join(':')),
  }
}

function overlayCall(lowerDirectories: string): KernelCall {
  const data = `lowerdir=${lowerDirectories},upperdir=upper,workdir=work`
  // By mount(2), not by fsconfig(2), which cuts each option at 256 bytes.
  return mountCall({ source: 'overlay', target: 'rootfs', type: 'overlay', data })
}

/** Unmounts if mounted; fails rather than leave a mount where a tree is about to be removed. */
export async function unmountOverlay(directory: string): Promise<void> {
  const rootfs = join(directory, 'rootfs')
  const gone = await removeEmpty(rootfs)
  if (gone) return
  await tryUnmount([rootfs])
  if (await removeEmpty(rootfs)) return
  await tryUnmount([rootfs], true)
  if (!(await removeEmpty(rootfs))) throw new DroverError('unavailable', `${rootfs} cannot be unmounted`)
}

/** A mount point cannot be removed and an unmounted one is empty: one system call asks and acts. */
async function removeEmpty(path: string): Promise<boolean> {
  return rmdir(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  )
}
