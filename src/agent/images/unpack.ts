/**
 * Unpacks one layer, a tar of changes, into a directory in the form that overlayfs reads: `.wh.NAME` becomes a character
 * device 0/0, `.wh..wh..opq` the attribute trusted.overlay.opaque. Hostile archives are expected input: see
 * confined_root.ts for paths; sizes and counts are bounded; attributes of overlayfs itself are never taken over.
 *
 * File calls are synchronous on purpose: one costs a few microseconds, a turn through the thread pool ten times that.
 * The event loop turns between chunks of the stream, which hold at most some hundred files.
 * Source: OCI image-spec "layer.md"; Linux Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
 */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { throwIfAborted } from '../../base/clock.ts'
import { DroverError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { runOk } from '../../base/process.ts'
import { setAttributes } from './attributes.ts'
import { ConfinedRoot, isWhiteout } from './confined_root.ts'
import type { RecipeWriter } from './recipe.ts'
import { type TarEntry, TarReader, toNative, toText } from './tar_reader.ts'

export interface UnpackOptions {
  /** An empty directory; it becomes the layer's root. */
  directory: string
  /** A path beside it, free to use, on the same file system. */
  scratch: string
  maxEntries: number
  signal: AbortSignal
  log: Logger
  /** Takes down how to make the archive again. */
  recipe?: RecipeWriter
}

export interface UnpackResult {
  /** Bytes of all files. */
  sizeBytes: number
  entries: number
  /** Directories (binary strings) that the archive implies but does not describe: their attributes are the lower layers'. */
  implicitDirectories: string[]
  /** The layer hides all below it. */
  opaqueRoot: boolean
}

const WHITEOUT = '.wh.'
const OPAQUE = '.wh..wh..opq'
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
/** Each costs a process; honest layers have a handful. */
const MAX_FIFOS = 1024
/** What may be carried over. Not trusted.overlay.*: with it a layer could name files of the layers below it. */
const KEPT_ATTRIBUTES = /^(security\.capability|user\.(?!overlay\.)[\w.+-]+|system\.posix_acl_(access|default))$/

export async function unpackLayer(tar: AsyncIterable<Uint8Array>, options: UnpackOptions): Promise<UnpackResult> {
  const unpacking = new Unpacking(options)
  const reader = new TarReader(tar, (bytes) => options.recipe?.rest(bytes))
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    throwIfAborted(options.signal)
    try {
      await unpacking.add(entry, reader)
    } catch (thrown) {
      throw explained(thrown, entry)
    }
  }
  await reader.drain()
  return unpacking.finish().catch((thrown: unknown) => {
    throw DroverError.from(thrown)
  })
}

class Unpacking {
  readonly #options: UnpackOptions
  readonly #root: ConfinedRoot
  /** Put off to the end: making entries in a directory changes its time. */
  readonly #directoryTimes = new Map<string, number>()
  readonly #attributes = new Map<string, ReadonlyMap<string, string>>()
  #whiteoutReady = false
  #entries = 0
  #fifos = 0
  #skippedDevices = 0
  #sizeBytes = 0

  constructor(options: UnpackOptions) {
    this.#options = options
    this.#root = new ConfinedRoot(options.directory)
  }

  async add(entry: TarEntry, reader: TarReader): Promise<void> {
    if (++this.#entries > this.#options.maxEntries) {
      throw new DroverError('tooLarge', `the layer has more than ${this.#options.maxEntries} entries`)
    }
    const path = this.#root.resolve(entry.name)
    const slash = path.lastIndexOf('/')
    const base = path.slice(slash + 1)
    if (base.startsWith(WHITEOUT)) {
      await this.#whiteout(path.slice(0, Math.max(0, slash)), base)
      return
    }
    await this.#make(path, entry, reader)
    if (entry.xattrs !== undefined && entry.type !== 'link') this.#attributes.set(path, entry.xattrs)
  }

  async finish(): Promise<UnpackResult> {
    const { log, directory } = this.#options
    for (const [path, seconds] of this.#directoryTimes) {
      if (this.#isDirectory(path)) utimesSync(this.#root.absolute(path), seconds, seconds)
    }
    const opaqueRoot = this.#root.opaque.delete('')
    const marks = new Map([['trusted.overlay.opaque', 'y']])
    const opaque = new Map(
      [...this.#root.opaque].filter((path) => this.#isDirectory(path)).map((path) => [path, marks]),
    )
    await setAttributes(directory, opaque, this.#options.signal)
    await this.#applyAttributes()
    if (this.#skippedDevices > 0) log.warn({ devices: this.#skippedDevices }, 'device nodes in a layer left out')
    rmSync(this.#options.scratch, { force: true })
    const implicitDirectories = [...this.#root.implicit].filter((path) => this.#isDirectory(path) && !opaque.has(path))
    return {
      sizeBytes: this.#sizeBytes,
      entries: this.#entries,
      implicitDirectories: implicitDirectories.sort(),
      opaqueRoot,
    }
  }

  async #applyAttributes(): Promise<void> {
    const kept = new Map<string, ReadonlyMap<string, string>>()
    for (const [path, all] of this.#attributes) {
      const some = new Map([...all].filter(([name]) => KEPT_ATTRIBUTES.test(name)))
      if (some.size > 0 && this.#root.isReal(path) && this.#root.lstat(path) !== undefined) kept.set(path, some)
    }
    try {
      await setAttributes(this.#options.directory, kept, this.#options.signal)
    } catch (err) {
      throwIfAborted(this.#options.signal)
      this.#options.log.warn({ err, files: kept.size }, 'extended attributes of a layer not set')
    }
  }

  #isDirectory(path: string): boolean {
    return this.#root.isReal(path) && this.#root.lstat(path)?.isDirectory() === true
  }

  async #make(path: string, entry: TarEntry, reader: TarReader): Promise<void> {
    switch (entry.type) {
      case 'file':
        await this.#file(path, entry, reader)
        break
      case 'directory':
        this.#directory(path, entry)
        break
      case 'symlink':
        this.#clear(path)
        symlinkSync(toNative(entry.linkName), this.#root.absolute(path))
        lchownSync(this.#root.absolute(path), entry.uid, entry.gid)
        lutimesSync(this.#root.absolute(path), entry.mtimeSeconds, entry.mtimeSeconds)
        break
      case 'link':
        this.#link(path, entry)
        break
      case 'fifo':
        await this.#fifo(path, entry)
        break
      default:
        // A container has its own /dev; a device node elsewhere has no honest use, and 0/0 would be a whiteout.
        this.#skippedDevices++
    }
  }

  async #file(path: string, entry: TarEntry, reader: TarReader): Promise<void> {
    const native = this.#root.absolute(path)
    const fd = this.#create(path, native)
    this.#options.recipe?.file(path, entry.sizeBytes)
    try {
      for (let piece = await reader.read(); piece !== undefined; piece = await reader.read()) {
        for (let written = 0; written < piece.length; ) written += writeSync(fd, piece, written)
        throwIfAborted(this.#options.signal)
      }
      // In this order: a change of owner clears setuid, a write changes the time.
      fchownSync(fd, entry.uid, entry.gid)
      fchmodSync(fd, entry.mode)
      futimesSync(fd, entry.mtimeSeconds, entry.mtimeSeconds)
    } finally {
      closeSync(fd)
    }
    this.#sizeBytes += entry.sizeBytes
  }

  #create(path: string, native: string | Buffer): number {
    try {
      return openSync(native, CREATE, 0o600)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
      this.#clear(path)
      return openSync(native, CREATE, 0o600)
    }
  }

  #directory(path: string, entry: TarEntry): void {
    const native = this.#root.absolute(path)
    const existing = this.#root.lstat(path)
    if (!existing?.isDirectory()) {
      if (existing !== undefined) this.#clear(path)
      mkdirSync(native, 0o700)
      // A directory in the place of a whiteout hides what the layers below have under its name.
      if (existing !== undefined && isWhiteout(existing)) this.#root.opaque.add(path)
    }
    lchownSync(native, entry.uid, entry.gid)
    chmodSync(native, entry.mode)
    this.#root.rememberDirectory(path)
    this.#directoryTimes.set(path, entry.mtimeSeconds)
  }

  #link(path: string, entry: TarEntry): void {
    const target = this.#root.find(entry.linkName)
    const stats = target === undefined ? undefined : this.#root.lstat(target)
    const said = JSON.stringify(toText(entry.linkName))
    if (target === undefined || stats === undefined || isWhiteout(stats)) {
      throw new DroverError('invalid', `it is a hard link to ${said}, which is not in the layer`)
    }
    if (stats.isDirectory()) throw new DroverError('invalid', `it is a hard link to the directory ${said}`)
    if (target === path) return
    this.#clear(path)
    linkSync(this.#root.absolute(target), this.#root.absolute(path))
  }

  async #fifo(path: string, entry: TarEntry): Promise<void> {
    if (++this.#fifos > MAX_FIFOS) throw new DroverError('tooLarge', `the layer has more than ${MAX_FIFOS} FIFOs`)
    this.#clear(path)
    // A process takes bytes as arguments only through text; the scratch name is plain.
    await runOk('mkfifo', ['--mode=600', '--', this.#options.scratch], { signal: this.#options.signal })
    const native = this.#root.absolute(path)
    linkSync(this.#options.scratch, native)
    rmSync(this.#options.scratch)
    this.#whiteoutReady = false
    lchownSync(native, entry.uid, entry.gid)
    chmodSync(native, entry.mode)
    lutimesSync(native, entry.mtimeSeconds, entry.mtimeSeconds)
  }

  /** A whiteout speaks of the layers below alone: what this layer itself has under the name stays (image-spec). */
  async #whiteout(parent: string, base: string): Promise<void> {
    if (base === OPAQUE) {
      this.#root.opaque.add(parent)
      return
    }
    // `.wh..wh.` is the mark of AUFS's own files, which mean nothing here.
    if (base.startsWith(WHITEOUT + WHITEOUT)) return
    const name = base.slice(WHITEOUT.length)
    if (name === '' || name === '.' || name === '..') {
      throw new DroverError('invalid', 'it is a whiteout without a name')
    }
    const path = parent === '' ? name : `${parent}/${name}`
    const existing = this.#root.lstat(path)
    if (existing?.isDirectory()) this.#root.opaque.add(path)
    if (existing !== undefined) return
    await this.#placeWhiteout(this.#root.absolute(path))
  }

  /** One device node a layer, hard-linked to every place, as the kernel itself does: a process each would be slow. */
  async #placeWhiteout(native: string | Buffer): Promise<void> {
    const { scratch, signal } = this.#options
    if (this.#whiteoutReady) {
      try {
        linkSync(scratch, native)
        return
      } catch (error) {
        if (errnoOf(error) !== 'EMLINK') throw error
      }
    }
    rmSync(scratch, { force: true })
    await runOk('mknod', ['--mode=600', '--', scratch, 'c', '0', '0'], { signal })
    this.#whiteoutReady = true
    linkSync(scratch, native)
  }

  /** Makes room: the last entry of a name wins. */
  #clear(path: string): void {
    const existing = this.#root.lstat(path)
    if (existing === undefined) return
    this.#root.remove(path, existing)
    this.#root.opaque.delete(path)
    this.#directoryTimes.delete(path)
    this.#attributes.delete(path)
  }
}

function errnoOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code
}

const ERRNO_CODES = {
  ENAMETOOLONG: 'invalid',
  ENOTDIR: 'invalid',
  EINVAL: 'invalid',
  ENOSPC: 'tooLarge',
  EDQUOT: 'tooLarge',
} as const

/** Says which entry it was. */
function explained(thrown: unknown, entry: TarEntry): DroverError {
  const errno = errnoOf(thrown) as keyof typeof ERRNO_CODES
  const error = DroverError.from(thrown, ERRNO_CODES[errno] ?? 'internal')
  if (error.code === 'cancelled') return error
  const name = toText(entry.name)
  const short = JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name)
  if (error.message.includes(short)) return error
  return new DroverError(error.code, `archive entry ${short}: ${error.message}`, { cause: error })
}
