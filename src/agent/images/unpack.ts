/**
 * Unpacks one layer, a tar of changes, into a directory in the form that overlayfs reads: `.wh.NAME` becomes a character
 * device 0/0, `.wh..wh..opq` the attribute trusted.overlay.opaque. Hostile archives are expected input: see
 * confined_root.ts for paths; sizes and counts are bounded; attributes of overlayfs itself are never taken over.
 *
 * File calls are synchronous on purpose: one costs a few microseconds, a turn through the thread pool ten times that.
 * The event loop turns between chunks of the stream, and within them when one takes long.
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
import { breather, type Clock, throwIfAborted } from '../../base/clock.ts'
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
  /** Directories that are only implied count too. */
  maxEntries: number
  clock: Clock
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
/** Of names that are remembered to the end and beyond: of directories, of marks, of what has attributes. */
const MAX_NAMES_BYTES = 32 << 20
/** The kernel's XATTR_SIZE_MAX. */
const MAX_ATTRIBUTE_BYTES = 64 << 10
/** Of a layer, names and values: honest ones have some hundred bytes on a handful of files. */
const MAX_ATTRIBUTES_BYTES = 16 << 20
/** What may be carried over. Not trusted.overlay.*: with it a layer could name files of the layers below it. */
const KEPT_ATTRIBUTES = /^(security\.capability|user\.(?!overlay\.)[\w.+-]+|system\.posix_acl_(access|default))$/

export async function unpackLayer(tar: AsyncIterable<Uint8Array>, options: UnpackOptions): Promise<UnpackResult> {
  const unpacking = new Unpacking(options)
  const reader = new TarReader(tar, (bytes) => options.recipe?.rest(bytes))
  try {
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      throwIfAborted(options.signal)
      try {
        await unpacking.add(entry, reader)
      } catch (thrown) {
        throw explained(thrown, entry)
      }
    }
    await reader.drain()
  } finally {
    await reader.close()
  }
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
  readonly #breathe: () => Promise<void>
  #whiteoutReady = false
  #entries = 0
  #implicit = 0
  #namesBytes = 0
  #attributesBytes = 0
  #fifos = 0
  #skippedDevices = 0
  #sizeBytes = 0

  constructor(options: UnpackOptions) {
    this.#options = options
    this.#root = new ConfinedRoot(options.directory, (path) => {
      this.#implicit++
      this.#count()
      this.#remember(path)
    })
    this.#breathe = breather(options.clock)
  }

  async add(entry: TarEntry, reader: TarReader): Promise<void> {
    await this.#breathe()
    this.#entries++
    this.#count()
    const path = this.#root.resolve(entry.name)
    const slash = path.lastIndexOf('/')
    const base = path.slice(slash + 1)
    if (base.startsWith(WHITEOUT)) {
      await this.#whiteout(path.slice(0, Math.max(0, slash)), base)
      return
    }
    await this.#make(path, entry, reader)
    if (entry.xattrs !== undefined && entry.type !== 'link') this.#keepAttributes(path, entry.xattrs)
  }

  #count(): void {
    const { maxEntries } = this.#options
    if (this.#entries + this.#implicit <= maxEntries) return
    throw new DroverError('tooLarge', `the layer has more than ${maxEntries} entries, with the directories they imply`)
  }

  #remember(path: string): void {
    this.#namesBytes += path.length
    if (this.#namesBytes <= MAX_NAMES_BYTES) return
    throw new DroverError('tooLarge', `the names of the layer's directories have more than ${MAX_NAMES_BYTES} bytes`)
  }

  #keepAttributes(path: string, all: ReadonlyMap<string, string>): void {
    const kept = new Map([...all].filter(([name]) => KEPT_ATTRIBUTES.test(name)))
    if (kept.size === 0) return
    for (const [name, value] of kept) {
      if (value.length > MAX_ATTRIBUTE_BYTES) {
        const why = `has ${value.length} bytes; Linux takes at most ${MAX_ATTRIBUTE_BYTES}`
        throw new DroverError('tooLarge', `its extended attribute ${JSON.stringify(toText(name))} ${why}`)
      }
      this.#attributesBytes += name.length + value.length
    }
    if (this.#attributesBytes > MAX_ATTRIBUTES_BYTES) {
      const why = `more than ${MAX_ATTRIBUTES_BYTES} bytes`
      throw new DroverError('tooLarge', `the extended attributes of the layer have ${why}`)
    }
    this.#remember(path)
    this.#attributes.set(path, kept)
  }

  async finish(): Promise<UnpackResult> {
    const { log, directory } = this.#options
    for (const [path, seconds] of this.#directoryTimes) {
      if (this.#isDirectory(path)) utimesSync(this.#root.absolute(path), seconds, seconds)
      await this.#breathe()
    }
    const opaqueRoot = this.#root.opaque.delete('')
    const marks = new Map([['trusted.overlay.opaque', 'y']])
    const opaque = new Map((await this.#directoriesOf(this.#root.opaque)).map((path) => [path, marks]))
    await setAttributes(directory, opaque, this.#options.signal)
    await this.#applyAttributes()
    if (this.#skippedDevices > 0) log.warn({ devices: this.#skippedDevices }, 'device nodes in a layer left out')
    rmSync(this.#options.scratch, { force: true })
    const implicitDirectories = (await this.#directoriesOf(this.#root.implicit)).filter((path) => !opaque.has(path))
    return {
      sizeBytes: this.#sizeBytes,
      entries: this.#entries,
      implicitDirectories: implicitDirectories.sort(),
      opaqueRoot,
    }
  }

  async #applyAttributes(): Promise<void> {
    const kept = new Map<string, ReadonlyMap<string, string>>()
    for (const [path, attributes] of this.#attributes) {
      if (this.#root.isReal(path) && this.#root.lstat(path) !== undefined) kept.set(path, attributes)
      await this.#breathe()
    }
    try {
      await setAttributes(this.#options.directory, kept, this.#options.signal)
    } catch (err) {
      throwIfAborted(this.#options.signal)
      this.#options.log.warn({ err, files: kept.size }, 'extended attributes of a layer not set')
    }
  }

  /** Those that are real directories now. */
  async #directoriesOf(paths: Iterable<string>): Promise<string[]> {
    const found: string[] = []
    for (const path of paths) {
      if (this.#isDirectory(path)) found.push(path)
      await this.#breathe()
    }
    return found
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
        await this.#directory(path, entry)
        break
      case 'symlink':
        await this.#clear(path)
        symlinkSync(toNative(entry.linkName), this.#root.absolute(path))
        lchownSync(this.#root.absolute(path), entry.uid, entry.gid)
        lutimesSync(this.#root.absolute(path), entry.mtimeSeconds, entry.mtimeSeconds)
        break
      case 'link':
        await this.#link(path, entry)
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
    const fd = await this.#create(path, native)
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

  async #create(path: string, native: string | Buffer): Promise<number> {
    try {
      return openSync(native, CREATE, 0o600)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
      await this.#clear(path)
      return openSync(native, CREATE, 0o600)
    }
  }

  async #directory(path: string, entry: TarEntry): Promise<void> {
    const native = this.#root.absolute(path)
    const existing = this.#root.lstat(path)
    if (!existing?.isDirectory()) {
      if (existing !== undefined) await this.#clear(path)
      mkdirSync(native, 0o700)
      // A directory in the place of a whiteout hides what the layers below have under its name.
      if (existing !== undefined && isWhiteout(existing)) this.#root.opaque.add(path)
    }
    lchownSync(native, entry.uid, entry.gid)
    chmodSync(native, entry.mode)
    this.#remember(path)
    this.#root.rememberDirectory(path)
    this.#directoryTimes.set(path, entry.mtimeSeconds)
  }

  async #link(path: string, entry: TarEntry): Promise<void> {
    const target = this.#root.find(entry.linkName)
    const stats = target === undefined ? undefined : this.#root.lstat(target)
    const said = JSON.stringify(toText(entry.linkName))
    if (target === undefined || stats === undefined || isWhiteout(stats)) {
      throw new DroverError('invalid', `it is a hard link to ${said}, which is not in the layer`)
    }
    if (stats.isDirectory()) throw new DroverError('invalid', `it is a hard link to the directory ${said}`)
    if (target === path) return
    await this.#clear(path)
    linkSync(this.#root.absolute(target), this.#root.absolute(path))
  }

  async #fifo(path: string, entry: TarEntry): Promise<void> {
    if (++this.#fifos > MAX_FIFOS) throw new DroverError('tooLarge', `the layer has more than ${MAX_FIFOS} FIFOs`)
    await this.#clear(path)
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
      this.#remember(parent)
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
    if (existing?.isDirectory()) {
      this.#remember(path)
      this.#root.opaque.add(path)
    }
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
  async #clear(path: string): Promise<void> {
    const existing = this.#root.lstat(path)
    if (existing === undefined) return
    if (await this.#root.remove(path, existing, this.#breathe)) this.#options.recipe?.lost(path)
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
