/**
 * SPDY/3.1 frames, as far as Kubernetes' clients use them: exec and attach of kubectl before 1.30, and port-forward of
 * every kubectl. The server opens no stream, so it compresses nothing but its empty answers.
 *
 *   control  1|version 15|type 16   flags 8|length 24   payload
 *   data     0|stream 31            flags 8|length 24   payload
 *
 * Header blocks of one connection are one zlib stream: each must be read, in order, even when nobody wants it.
 * Source: SPDY protocol draft 3.1, chromium.org/spdy/spdy-protocol.
 */
import { createInflate, type Inflate } from 'node:zlib'
import { DroverError } from '../../base/errors.ts'

export type SpdyFrame =
  | { type: 'synStream'; streamId: number; fin: boolean; headerBlock: Buffer }
  | { type: 'headers'; streamId: number; fin: boolean; headerBlock: Buffer }
  | { type: 'data'; streamId: number; fin: boolean; data: Buffer }
  | { type: 'reset'; streamId: number }
  | { type: 'ping'; id: number }
  | { type: 'goAway' }
  /** Settings and windows: both ends of Kubernetes' streams send without asking. */
  | { type: 'ignored' }

const VERSION = 3
const HEAD_BYTES = 8
const MAX_FRAME_BYTES = 4 << 20
const MAX_HEADER_BYTES = 16 << 10
const FLAG_FIN = 1
const TYPE = { synStream: 1, synReply: 2, reset: 3, ping: 6, goAway: 7, headers: 8 } as const

function broken(what: string): DroverError {
  return new DroverError('invalid', `the client breaks the SPDY protocol: ${what}`)
}

/** Cuts bytes, however they come, into frames. Throws `invalid` at what is no SPDY/3. */
export class FrameReader {
  #buffered: Buffer = Buffer.alloc(0)

  push(chunk: Buffer): SpdyFrame[] {
    this.#buffered = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk])
    const frames: SpdyFrame[] = []
    while (this.#buffered.length >= HEAD_BYTES) {
      const length = this.#buffered.readUIntBE(5, 3)
      if (length > MAX_FRAME_BYTES) throw broken(`a frame of ${length} bytes; at most ${MAX_FRAME_BYTES} are taken`)
      if (this.#buffered.length < HEAD_BYTES + length) break
      frames.push(readFrame(this.#buffered, this.#buffered.subarray(HEAD_BYTES, HEAD_BYTES + length)))
      this.#buffered = this.#buffered.subarray(HEAD_BYTES + length)
    }
    return frames
  }
}

function readFrame(head: Buffer, payload: Buffer): SpdyFrame {
  const word = head.readUInt32BE(0)
  const fin = (head.readUInt8(4) & FLAG_FIN) !== 0
  if (word < 0x80000000) {
    if (word === 0) throw broken('data for stream 0')
    return { type: 'data', streamId: word, fin, data: payload }
  }
  const version = (word >>> 16) & 0x7fff
  if (version !== VERSION) throw broken(`version ${version}; this is version ${VERSION}`)
  const need = (bytes: number): void => {
    if (payload.length < bytes) throw broken('a control frame is too short')
  }
  switch (word & 0xffff) {
    case TYPE.synStream:
      need(10)
      return { type: 'synStream', streamId: streamIdOf(payload), fin, headerBlock: payload.subarray(10) }
    case TYPE.headers:
    case TYPE.synReply:
      need(4)
      return { type: 'headers', streamId: streamIdOf(payload), fin, headerBlock: payload.subarray(4) }
    case TYPE.reset:
      need(8)
      return { type: 'reset', streamId: streamIdOf(payload) }
    case TYPE.ping:
      need(4)
      return { type: 'ping', id: payload.readUInt32BE(0) }
    case TYPE.goAway:
      return { type: 'goAway' }
    default:
      return { type: 'ignored' }
  }
}

function streamIdOf(payload: Buffer): number {
  const streamId = payload.readUInt32BE(0) & 0x7fffffff
  if (streamId === 0) throw broken('stream 0')
  return streamId
}

export function dataFrame(streamId: number, data: Uint8Array, fin: boolean): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt32BE(streamId, 0)
  head.writeUInt8(fin ? FLAG_FIN : 0, 4)
  head.writeUIntBE(data.length, 5, 3)
  return Buffer.concat([head, data])
}

function controlFrame(type: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt16BE(0x8000 | VERSION, 0)
  head.writeUInt16BE(type, 2)
  head.writeUIntBE(payload.length, 5, 3)
  return Buffer.concat([head, payload])
}

function words(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4)
  for (const [i, value] of values.entries()) buffer.writeUInt32BE(value, i * 4)
  return buffer
}

export const pingFrame = (id: number): Buffer => controlFrame(TYPE.ping, words(id))
const CANCEL = 5
export const resetFrame = (streamId: number): Buffer => controlFrame(TYPE.reset, words(streamId, CANCEL))

/** Words of the dictionary that both ends begin with, then its tail; their Adler-32 is in every connection's first bytes. */
const WORDS = `options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
allow authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match if-modified-since
if-none-match if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate
proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning
www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin`
const TAIL =
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505' +
  '203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden' +
  '404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable' +
  'Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT' +
  'chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,' +
  'publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.'

/** 1,423 bytes. */
export function headerDictionary(): Buffer {
  const parts = WORDS.split(/\s+/).flatMap((word) => [words(word.length), Buffer.from(word.replace('_', ' '))])
  return Buffer.concat([...parts, Buffer.from(TAIL)])
}

/** Header blocks of one connection, in the order in which they came. */
export class HeaderReader {
  readonly #inflate: Inflate = createInflate({ dictionary: headerDictionary() })
  #failed: ((error: Error) => void) | undefined

  constructor() {
    this.#inflate.on('error', (error) => this.#failed?.(broken(`a header block cannot be read (${error.message})`)))
    this.#inflate.on('readable', () => {
      // A full buffer waits to be read before it takes more: what swells so far is no list of a few names.
      if (this.#inflate.readableLength >= MAX_HEADER_BYTES) this.#failed?.(broken('a header block is too long'))
    })
  }

  async read(block: Buffer): Promise<ReadonlyMap<string, string>> {
    await new Promise<void>((resolve, reject) => {
      this.#failed = reject
      this.#inflate.write(block, () => resolve())
    })
    const chunks: Buffer[] = []
    for (let chunk = this.#take(); chunk !== null; chunk = this.#take()) chunks.push(chunk)
    return parseHeaders(Buffer.concat(chunks))
  }

  close(): void {
    this.#inflate.destroy()
  }

  #take(): Buffer | null {
    return this.#inflate.read() as Buffer | null
  }
}

function parseHeaders(block: Buffer): ReadonlyMap<string, string> {
  const headers = new Map<string, string>()
  let at = 0
  const number = (): number => {
    if (at + 4 > block.length) throw broken('a header block ends early')
    at += 4
    return block.readUInt32BE(at - 4)
  }
  const text = (): string => {
    const length = number()
    if (at + length > block.length) throw broken('a header block ends early')
    at += length
    return block.toString('utf8', at - length, at)
  }
  const count = number()
  for (let i = 0; i < count; i++) headers.set(text().toLowerCase(), text())
  return headers
}

const DEFLATE_BEGIN = Buffer.from([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2])
/**
 * No headers at all: a stored block of four zero bytes, which needs no compressor, and an empty one behind it, which is
 * what a flush looks like: Go's reader gives nothing out before.
 */
const EMPTY_BLOCK = Buffer.from([0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])

/** Our half of the headers' zlib stream. */
export class ReplyWriter {
  #begun = false

  /** Accepts a stream. */
  synReply(streamId: number): Buffer {
    const begin = this.#begun ? [] : [DEFLATE_BEGIN]
    this.#begun = true
    return controlFrame(TYPE.synReply, Buffer.concat([words(streamId), ...begin, EMPTY_BLOCK]))
  }
}
