/** Gzip, zstd or neither, told by the first bytes: media types of real registries and archives are not to be trusted. */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { DroverError } from '../../base/errors.ts'
import { start } from '../../base/process.ts'

/** Large pieces: each is a turn through the thread pool. */
const CHUNK_BYTES = 256 << 10
const MAX_SAID = 1000
/** The reader of our input went away: its own words and exit code say why. */
const BROKEN_PIPE = new Set(['EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_DESTROYED'])

export type Compression = 'none' | 'gzip' | 'zstd'

export function detectCompression(start: Uint8Array): Compression {
  if (start[0] === 0x1f && start[1] === 0x8b) return 'gzip'
  if (start[0] === 0x28 && start[1] === 0xb5 && start[2] === 0x2f && start[3] === 0xfd) return 'zstd'
  // A skippable frame, 0x184D2A50 to 5F: those who write frames side by side (pzstd) begin with one.
  const skippable = start[0] !== undefined && (start[0] & 0xf0) === 0x50
  if (skippable && start[1] === 0x2a && start[2] === 0x4d && start[3] === 0x18) return 'zstd'
  return 'none'
}

/**
 * The stream's first bytes (fewer only if it is shorter), and the whole stream with them in place again. A stream of which
 * nothing was read yet cannot tell its source that it is not wanted: that is what `close` is for.
 */
export async function peek(
  source: AsyncIterable<Uint8Array>,
  count: number,
): Promise<{ head: Buffer; stream: AsyncGenerator<Uint8Array>; close: () => Promise<void> }> {
  const iterator = source[Symbol.asyncIterator]()
  const held: Uint8Array[] = []
  for (let bytes = 0; bytes < count; ) {
    const step = await iterator.next()
    if (step.done) break
    // A source may use its buffer again once it is asked for more.
    held.push(held.length === 0 && step.value.length >= count ? step.value : Buffer.from(step.value))
    bytes += step.value.length
  }
  const head = Buffer.concat(held)
  async function* stream(): AsyncGenerator<Uint8Array> {
    try {
      if (head.length > 0) yield head
      for (let step = await iterator.next(); !step.done; step = await iterator.next()) yield step.value
    } finally {
      await close()
    }
  }
  async function close(): Promise<void> {
    await iterator.return?.()
  }
  return { head, stream: stream(), close }
}

/** Plain bytes of a stream that may be compressed. Throws `invalid` for damaged input, `unsupported` without zstd. */
export async function* decompress(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { head, stream, close } = await peek(source, 4)
  try {
    const compression = detectCompression(head)
    if (compression === 'none') yield* stream
    else if (compression === 'gzip') yield* gunzip(stream)
    else yield* unzstd(stream)
  } finally {
    await close()
  }
}

async function* gunzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const inflate = createGunzip({ chunkSize: CHUNK_BYTES })
  const fed = pipeline(Readable.from(source), inflate)
  fed.catch(() => undefined)
  try {
    for await (const chunk of inflate) yield chunk
    await fed
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (!code?.startsWith('Z_')) throw error
    throw new DroverError('invalid', `damaged gzip data: ${(error as Error).message}`, { cause: error })
  } finally {
    inflate.destroy()
  }
}

/** Node 20 has no zstd of its own. */
async function* unzstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const child = start('zstd', ['--decompress', '--stdout', '--quiet'], { stdio: ['pipe', 'pipe', 'pipe'] })
  const ended = new Promise<{ code: number | null; error?: Error }>((resolve) => {
    child.once('error', (error) => resolve({ code: null, error }))
    child.once('close', (code) => resolve({ code }))
  })
  const { stdin, stdout, stderr } = child
  if (stdin === null || stdout === null || stderr === null) throw new DroverError('internal', 'zstd has no pipes')
  let said = ''
  stderr.on('data', (chunk: Buffer) => {
    if (said.length < MAX_SAID) said += chunk.toString()
  })
  let failure: unknown
  const fed = pipeline(Readable.from(source), stdin).catch((error: unknown) => {
    failure = error
  })
  try {
    // How the output ends says little; how the program and its input ended says all.
    const output = stdout[Symbol.asyncIterator]()
    for (;;) {
      const step = await output.next().catch(() => ({ done: true as const, value: undefined }))
      if (step.done) break
      yield step.value as Buffer
    }
    const { code, error } = await ended
    if (error !== undefined) {
      const hint = 'layers compressed with zstd need the program zstd; install the Debian package zstd'
      throw new DroverError('unsupported', hint, { cause: error })
    }
    await fed
    if (failure !== undefined && !BROKEN_PIPE.has((failure as NodeJS.ErrnoException).code ?? '')) throw failure
    if (code !== 0) throw new DroverError('invalid', `damaged zstd data: ${said.trim()}`)
  } finally {
    child.kill('SIGKILL')
    // What is left in the pipes would keep them open; the source hears that nobody reads it.
    for (const pipe of [stdin, stdout, stderr]) pipe.destroy()
  }
}
