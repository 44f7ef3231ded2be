/**
 * Directories that a layer implies but does not describe (`tmp/x` without `tmp/`). overlayfs shows the attributes of the
 * topmost layer that has a directory, so one made up with 0755 would hide the 1777 of the layer below. A layer that
 * comes with its first image therefore takes over what that image has beneath it, as containerd does.
 * Layers are shared by content: were two images ever to differ here, the first decides.
 */
import { chmodSync, lchownSync, lstatSync, type Stats, utimesSync } from 'node:fs'
import { breather, type Clock } from '../../base/clock.ts'
import { toBinary, toNative } from './tar_reader.ts'

export interface InheritingLayer {
  /** Of its root. */
  path: string
  /** Relative, binary strings. */
  implicitDirectories: readonly string[]
  /** False for one that an image uses already. */
  fresh: boolean
}

/** Works on a whole stack, lowest first. All of its layers must be held meanwhile. */
export async function inheritAttributes(stack: readonly InheritingLayer[], clock: Clock): Promise<void> {
  const breathe = breather(clock)
  for (const [i, layer] of stack.entries()) {
    if (!layer.fresh) continue
    const below = stack.slice(0, i).reverse()
    for (const name of layer.implicitDirectories) {
      await breathe()
      const stats = seenFrom(below, name.split('/'))
      if (stats === undefined) continue
      const path = toNative(`${toBinary(layer.path)}/${name}`)
      lchownSync(path, stats.uid, stats.gid)
      chmodSync(path, stats.mode & 0o7777)
      utimesSync(path, stats.atime, stats.mtime)
    }
  }
}

/** The directory as the layers show it, from the top; no link is followed, and what is no directory ends the search. */
function seenFrom(topDown: readonly InheritingLayer[], parts: readonly string[]): Stats | undefined {
  for (const layer of topDown) {
    let path = toBinary(layer.path)
    let found: Stats | undefined
    for (const part of parts) {
      path = `${path}/${part}`
      found = lstatSync(toNative(path), { throwIfNoEntry: false })
      if (found === undefined) break
      if (!found.isDirectory()) return undefined
    }
    if (found !== undefined) return found
  }
  return undefined
}
