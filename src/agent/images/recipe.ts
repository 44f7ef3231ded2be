/**
 * How to make a layer's tar again, byte for byte. A layer is kept unpacked only; its hash, by which images name it, is that
 * of the tar it came in, and no two programs write the same tar. So all that is not the content of a file (headers, padding)
 * is kept beside it, compressed, and where a file's content belongs its name stands:
 *
 *   0, length (4 bytes), bytes            as they were
 *   1, length (4), name, size (8)         the content of that file of the layer
 *
 * A file that a later entry of the same archive replaced is lost: such a layer cannot be made again, which shows by its hash.
 * Rejected: keeping the compressed layer too, which doubles what every image takes; writing a new tar and so another image.
 */
import { createHash } from 'node:crypto'
import { closeSync, createReadStream, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { createGunzip, gzipSync } from 'node:zlib'
import { DroverError } from '../../base/errors.ts'
import { toNative } from './tar_reader.ts'

const REST = 0
const FILE = 1
/** Written in pieces, each a gzip member of its own: a hostile archive must not fill the memory. */
const PIECE_BYTES = 256 << 10
const LEVEL = 1

export class RecipeWriter {
  readonly #fd: number
  #pending: Buffer[] = []
  #pendingBytes = 0

  constructor(path: string) {
    this.#fd = openSync(path, 'wx', 0o600)
  }

  rest(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const head = Buffer.alloc(5)
    head[0] = REST
    head.writeUInt32BE(bytes.length, 1)
    // The reader uses its buffer again.
    this.#add(Buffer.concat([head, bytes]))
  }

  file(path: string, sizeBytes: number): void {
    const name = Buffer.from(path, 'latin1')
    const record = Buffer.alloc(5 + name.length + 8)
    record[0] = FILE
    record.writeUInt32BE(name.length, 1)
    name.copy(record, 5)
    record.writeBigUInt64BE(BigInt(sizeBytes), 5 + name.length)
    this.#add(record)
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

type Part = { bytes: Buffer } | { file: string; sizeBytes: number }

async function* parts(recipe: string): AsyncGenerator<Part> {
  const plain = createReadStream(recipe).pipe(createGunzip())
  let held: Buffer = Buffer.alloc(0)
  for await (const chunk of plain) {
    held = held.length === 0 ? (chunk as Buffer) : Buffer.concat([held, chunk as Buffer])
    for (;;) {
      if (held.length < 5) break
      const length = held.readUInt32BE(1)
      const isFile = held[0] === FILE
      const end = 5 + length + (isFile ? 8 : 0)
      if (held.length < end) break
      if (isFile) {
        yield { file: held.toString('latin1', 5, 5 + length), sizeBytes: Number(held.readBigUInt64BE(5 + length)) }
      } else yield { bytes: held.subarray(5, end) }
      held = held.subarray(end)
    }
  }
  if (held.length > 0) throw new DroverError('invalid', `${recipe} ends in the middle of a record`)
}

/** Bytes of the tar. Rejects with `notFound` for a layer of before recipes were kept. */
export async function tarSize(recipe: string): Promise<number> {
  let bytes = 0
  for await (const part of known(parts(recipe), recipe)) bytes += 'bytes' in part ? part.bytes.length : part.sizeBytes
  return bytes
}

/** The tar. The last piece is followed by `invalid` when it is not what the layer came in: trust nothing before the end. */
export async function* layerTar(recipe: string, root: string, diffId: string): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  for await (const part of known(parts(recipe), recipe)) {
    if ('bytes' in part) {
      hash.update(part.bytes)
      yield part.bytes
      continue
    }
    if (part.sizeBytes === 0) continue
    for await (const chunk of createReadStream(absolute(root, part.file), { end: part.sizeBytes - 1 })) {
      hash.update(chunk as Buffer)
      yield chunk as Buffer
    }
  }
  const made = `sha256:${hash.digest('hex')}`
  if (made !== diffId) {
    throw new DroverError('unsupported', `layer ${diffId} cannot be made again as it came; pull or load its image anew`)
  }
}

/** Names are binary strings. */
function absolute(root: string, name: string): string | Buffer {
  const native = toNative(name)
  return typeof native === 'string' ? join(root, native) : Buffer.concat([Buffer.from(`${root}/`), native])
}

async function* known(source: AsyncGenerator<Part>, recipe: string): AsyncGenerator<Part> {
  try {
    yield* source
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new DroverError(
      'unsupported',
      `a layer came before its recipe was kept (${recipe}); pull or load the image again`,
      { cause: error },
    )
  }
}
