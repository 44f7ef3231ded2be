/**
 * The one door through which an archive reaches the file system. Every path that comes out lies below the root, and
 * every directory on the way to it is a real one: a symbolic link is resolved as the container would see it, with the
 * root as `/`, so that `a -> /etc` followed by `a/passwd` writes the layer's own `etc/passwd`.
 *
 * Nobody else may write below the root meanwhile: that is what makes "looked at, then used" safe without openat2,
 * which Node lacks, and lets known directories be remembered instead of looked at for every entry.
 * Rejected: refusing links in parents (usr-merged base images need them); resolving by the kernel in a chroot.
 */
import { chmodSync, lstatSync, mkdirSync, opendirSync, readlinkSync, rmdirSync, type Stats, unlinkSync } from 'node:fs'
import { DroverError } from '../../base/errors.ts'
import { toBinary, toNative, toText } from './tar_reader.ts'

const MAX_LINKS = 40
/** The kernel's PATH_MAX. */
const MAX_NAME_BYTES = 4096
/** Of directories within each other: the kernel walks all of them at every call, and honest images have some thirty. */
const MAX_DEPTH = 256
const IMPLICIT_MODE = 0o755

export class ConfinedRoot {
  readonly #root: string
  /** Relative paths that are real directories, as are all above them. */
  readonly #directories = new Set<string>([''])
  /** Directories that no entry spoke of; they were made because something lies in them. */
  readonly implicit = new Set<string>()
  /** Directories that hide what the layers below have under their names. */
  readonly opaque = new Set<string>()
  readonly #onImplicit: (path: string) => void

  /** `onImplicit` hears of each directory that no entry spoke of before it is made, and may refuse it. */
  constructor(directory: string, onImplicit: (path: string) => void = () => undefined) {
    this.#root = toBinary(directory)
    this.#onImplicit = onImplicit
  }

  /** The absolute path of a relative one that `resolve` or `directory` gave. */
  absolute(relative: string): string | Buffer {
    return toNative(relative === '' ? this.#root : `${this.#root}/${relative}`)
  }

  lstat(relative: string): Stats | undefined {
    return lstatSync(this.absolute(relative), { throwIfNoEntry: false })
  }

  /** Where an entry of this name belongs: its parent resolved and made, its last part as it is. '' is the root. */
  resolve(name: string): string {
    const parts = cleanParts(name)
    const last = parts.pop()
    if (last === undefined) return ''
    const parent = this.#resolveDirectory(parts, name)
    const path = owned(parent === '' ? last : `${parent}/${last}`)
    refuseTooDeep(path)
    return path
  }

  /** As `resolve`, but makes nothing: undefined when the parent is not there. */
  find(name: string): string | undefined {
    const parts = cleanParts(name)
    const last = parts.pop()
    if (last === undefined) return ''
    const parent = this.#walk(parts, name, () => undefined)
    if (parent === undefined) return undefined
    return parent === '' ? last : `${parent}/${last}`
  }

  /** Records that an entry made this directory, or spoke of it. */
  rememberDirectory(relative: string): void {
    this.#directories.add(relative)
    this.implicit.delete(relative)
  }

  /** Removes what stands at the path; true if there was content in it. What was known of directories no longer holds. */
  async remove(relative: string, stats: Stats, breathe: () => Promise<void>): Promise<boolean> {
    if (relative === '') throw new DroverError('invalid', 'the archive replaces its root directory')
    if (!stats.isDirectory()) {
      unlinkSync(this.absolute(relative))
      // Another name of the file keeps its content.
      return hasContent(stats) && stats.nlink === 1
    }
    this.#directories.clear()
    this.#directories.add('')
    return this.#removeTree(relative, breathe)
  }

  /** Not by Node's `rm`: that one holds all of a directory in memory, and a call for each. */
  async #removeTree(relative: string, breathe: () => Promise<void>): Promise<boolean> {
    let hadFiles = false
    const directory = opendirSync(this.absolute(relative), { encoding: 'latin1' })
    try {
      for (let item = directory.readSync(); item !== null; item = directory.readSync()) {
        const path = `${relative}/${item.name}`
        if (item.isDirectory()) hadFiles = (await this.#removeTree(path, breathe)) || hadFiles
        else {
          const stats: Stats | undefined = hadFiles ? undefined : this.lstat(path)
          hadFiles ||= stats !== undefined && hasContent(stats)
          unlinkSync(this.absolute(path))
        }
        await breathe()
      }
    } finally {
      directory.closeSync()
    }
    rmdirSync(this.absolute(relative))
    return hadFiles
  }

  /** True if every part before the last is a real directory now. For work put off to the end of an archive. */
  isReal(relative: string): boolean {
    const parent = relative.slice(0, Math.max(0, relative.lastIndexOf('/')))
    if (this.#directories.has(parent)) return true
    // From the top: below what is no directory the kernel answers with an error, not with "nothing there".
    if (!this.isReal(parent) || !this.lstat(parent)?.isDirectory()) return false
    this.#directories.add(parent)
    return true
  }

  #resolveDirectory(parts: readonly string[], name: string): string {
    const made = this.#walk(parts, name, (found) => {
      const missing = owned(found)
      refuseTooDeep(missing)
      this.#onImplicit(missing)
      if (this.lstat(missing) !== undefined) {
        // A whiteout, of what the layers below have under the name.
        unlinkSync(this.absolute(missing))
        this.opaque.add(missing)
      }
      mkdirSync(this.absolute(missing))
      chmodSync(this.absolute(missing), IMPLICIT_MODE)
      this.#directories.add(missing)
      this.implicit.add(missing)
      return missing
    })
    return made as string
  }

  #walk(parts: readonly string[], name: string, onMissing: (path: string) => string | undefined): string | undefined {
    const whole = parts.join('/')
    if (this.#directories.has(whole)) return whole
    const pending = [...parts].reverse()
    let links = 0
    let real = ''
    for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
      if (part === '' || part === '.') continue
      if (part === '..') {
        real = real.slice(0, Math.max(0, real.lastIndexOf('/')))
        continue
      }
      const next = real === '' ? part : `${real}/${part}`
      const kind = this.#kind(next)
      if (kind === 'directory') {
        real = next
      } else if (kind === 'missing' || kind === 'whiteout') {
        const made = onMissing(next)
        if (made === undefined) return undefined
        real = made
      } else if (kind === 'link' && ++links <= MAX_LINKS) {
        const target = readlinkSync(this.absolute(next), { encoding: 'buffer' }).toString('latin1')
        if (target.startsWith('/')) real = ''
        pending.push(...target.split('/').reverse())
      } else {
        const why = kind === 'link' ? 'too many symbolic links' : `${toText(next)} is not a directory`
        throw new DroverError('invalid', `archive entry ${JSON.stringify(toText(name))}: ${why}`)
      }
    }
    return real
  }

  #kind(relative: string): 'directory' | 'missing' | 'link' | 'whiteout' | 'other' {
    if (this.#directories.has(relative)) return 'directory'
    const stats = this.lstat(relative)
    if (stats === undefined) return 'missing'
    if (stats.isSymbolicLink()) return 'link'
    if (isWhiteout(stats)) return 'whiteout'
    if (!stats.isDirectory()) return 'other'
    this.#directories.add(owned(relative))
    return 'directory'
  }
}

/** Device nodes of archives are left out, so one that stands in a layer is a whiteout of ours. */
export function isWhiteout(stats: Stats): boolean {
  return stats.isCharacterDevice()
}

/** The parts of a name, absolute ones below the root. Throws `invalid` when `..` leads out, or it is too long. */
export function cleanParts(name: string): string[] {
  if (name.length > MAX_NAME_BYTES) {
    throw new DroverError('invalid', `its name or link has ${name.length} bytes; at most ${MAX_NAME_BYTES} are taken`)
  }
  const parts: string[] = []
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (parts.pop() === undefined) {
      throw new DroverError('invalid', `archive entry ${JSON.stringify(toText(name))} leads out of the archive`)
    }
  }
  return parts
}

function refuseTooDeep(path: string): void {
  if (path.split('/').length > MAX_DEPTH) {
    throw new DroverError('invalid', `it lies more than ${MAX_DEPTH} directories deep`)
  }
}

/** Put together of parts of other texts, a path would hold all of those in memory. */
function owned(path: string): string {
  return Buffer.from(path, 'latin1').toString('latin1')
}

const hasContent = (stats: Stats): boolean => stats.isFile() && stats.size > 0
