/**
 * How to make a layer's tar again, byte for byte. A layer is kept unpacked only; its hash, by which images name it, is that
 * of the tar it came in, and no two programs write the same tar. So all that is not the content of a file (headers, padding)
 * is kept beside it, compressed, and where a file's content belongs its name stands:
 *
 *   0, length (4 bytes), bytes            as they were
 *   1, length (4), name, size (8)         the content of that file of the layer
 *   2, length (4), name                   a later entry replaced what stood there: the tar cannot be made again
 *
 * What a file is named may be something else by the end of the archive, a link out of the layer for one. So a name is not
 * trusted when the tar is made: its parents must be real directories, and it a regular file of the size that was read.
 * Rejected: keeping the compressed layer too, which doubles what every image takes; writing a new tar and so another image.
 */
import { createHash } from 'node:crypto'
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { pipeline } from 'node:stream'
import { createGunzip, gzipSync } from 'node:zlib'
import { DroverError } from '../../base/errors.ts'
import { ConfinedRoot } from './confined_root.ts'
import { toText } from './tar_reader.ts'

const REST = 0
const FILE = 1
const LOST = 2
/** A FIFO is opened without waiting for its other end. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
const READ_BYTES = 256 << 10
/** Written in pieces, each a gzip member of its own: a hostile archive must not fill the memory. */
const PIECE_BYTES = 256 << 10
const LEVEL = 1

export class RecipeWriter {
  readonly #fd: number
  #pending: Buffer[] = []
  #pendingBytes = 0
  #lost = false

  constructor(path: string) {
    this.#fd = openSync(path, 'wx', 0o600)
  }

  rest(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    // The reader uses its buffer again.
    this.#add(record(REST, bytes))
  }

  file(path: string, sizeBytes: number): void {
    const size = Buffer.alloc(8)
    size.writeBigUInt64BE(BigInt(sizeBytes))
    this.#add(record(FILE, Buffer.from(path, 'latin1'), size))
  }

  /** What stood at the path goes. The first says enough. */
  lost(path: string): void {
    if (this.#lost) return
    this.#lost = true
    this.#add(record(LOST, Buffer.from(path, 'latin1')))
  }

  close(): void {
    try {
      this.#flush()
    } finally {
      closeSync(this.#fd)
    }
  }

  #add(record: Buffer): void {
    this.#pending.push(record)
    this.#pendingBytes += record.length
    if (this.#pendingBytes >= PIECE_BYTES) this.#flush()
  }

  #flush(): void {
    if (this.#pendingBytes === 0) return
    const bytes = gzipSync(Buffer.concat(this.#pending, this.#pendingBytes), { level: LEVEL })
    this.#pending = []
    this.#pendingBytes = 0
    for (let written = 0; written < bytes.length; ) written += writeSync(this.#fd, bytes, written)
  }
}

function record(kind: number, content: Uint8Array, more: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(5)
  head[0] = kind
  head.writeUInt32BE(content.length, 1)
  return Buffer.concat([head, content, more])
}

type Part = { bytes: Buffer } | { file: string; sizeBytes: number } | { lost: string }

/** Throws `unsupported` for a layer of before recipes were kept. */
async function* parts(recipe: string): AsyncGenerator<Part> {
  const file = await open(recipe).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT') throw cause
    const why = `a layer came before its recipe was kept (${recipe}); pull or load the image again`
    throw new DroverError('unsupported', why, { cause })
  })
  // What either stream says at its end, the loop hears.
  const plain = pipeline(file.createReadStream(), createGunzip(), () => undefined)
  let held: Buffer = Buffer.alloc(0)
  for await (const chunk of plain) {
    held = held.length === 0 ? (chunk as Buffer) : Buffer.concat([held, chunk as Buffer])
    for (;;) {
      if (held.length < 5) break
      const length = held.readUInt32BE(1)
      const isFile = held[0] === FILE
      const end = 5 + length + (isFile ? 8 : 0)
      if (held.length < end) break
      const name = (): string => held.toString('latin1', 5, 5 + length)
      if (isFile) yield { file: name(), sizeBytes: Number(held.readBigUInt64BE(5 + length)) }
      else if (held[0] === LOST) yield { lost: name() }
      else yield { bytes: held.subarray(5, end) }
      held = held.subarray(end)
    }
  }
  if (held.length > 0) throw new DroverError('invalid', `${recipe} ends in the middle of a record`)
}

/** Bytes of the tar. Rejects with `unsupported` for a layer whose tar cannot be made again. */
export async function tarSize(recipe: string, diffId: string): Promise<number> {
  let bytes = 0
  for await (const part of parts(recipe))
    bytes += 'bytes' in part ? part.bytes.length : contentOf(part, diffId).sizeBytes
  return bytes
}

/** The tar. The last piece is followed by `unsupported` when it is not what the layer came in: trust nothing before the end. */
export async function* layerTar(recipe: string, root: string, diffId: string): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  // Nobody changes a layer, so what is known of its directories holds for the whole of it.
  const confined = new ConfinedRoot(root)
  for await (const part of parts(recipe)) {
    for await (const bytes of 'bytes' in part ? [part.bytes] : contents(confined, contentOf(part, diffId), diffId)) {
      hash.update(bytes)
      yield bytes
    }
  }
  const made = `sha256:${hash.digest('hex')}`
  if (made !== diffId) throw changed(diffId, `it became ${made}`)
}

interface Content {
  file: string
  sizeBytes: number
}

function contentOf(part: Content | { lost: string }, diffId: string): Content {
  if (!('lost' in part)) return part
  const name = JSON.stringify(toText(part.lost))
  const why = `its archive holds ${name} more than once, and only the last is kept`
  throw new DroverError(
    'unsupported',
    `layer ${diffId} cannot be made again: ${why}; copy the image from where it came`,
  )
}

async function* contents(root: ConfinedRoot, { file, sizeBytes }: Content, diffId: string): AsyncGenerator<Uint8Array> {
  if (sizeBytes === 0) return
  const handle = await openInside(root, file)
  try {
    const stats = await handle?.stat()
    if (handle === undefined || !stats?.isFile() || stats.size !== sizeBytes) {
      throw changed(diffId, `${JSON.stringify(toText(file))} is no longer the file that came`)
    }
    for (let at = 0; at < sizeBytes; ) {
      const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, sizeBytes - at))
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at)
      if (bytesRead === 0) throw changed(diffId, `${JSON.stringify(toText(file))} became shorter`)
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await handle?.close()
  }
}

/** Through no link; undefined for what is not there, or is a link or a socket. */
async function openInside(root: ConfinedRoot, name: string): Promise<FileHandle | undefined> {
  if (!root.isReal(name)) return undefined
  try {
    return await open(root.absolute(name), READ)
  } catch (error) {
    if (['ENOENT', 'ELOOP', 'ENXIO'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}

function changed(diffId: string, why: string): DroverError {
  return new DroverError(
    'unsupported',
    `layer ${diffId} cannot be made again as it came: ${why}; pull or load its image anew`,
  )
}
