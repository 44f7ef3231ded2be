/**
 * One SPDY connection of a client: it opens streams, we accept them. Bytes come from a socket or from within a WebSocket
 * (`byte_transport.ts`). Neither end grants windows: a stream that nobody reads holds the whole connection back, so whoever
 * is given a stream reads it or abandons it.
 */
import { DroverError } from '../../base/errors.ts'
import { ByteQueue } from './byte_queue.ts'
import type { ByteTransport } from './byte_transport.ts'
import {
  dataFrame,
  FrameReader,
  HeaderReader,
  pingFrame,
  ReplyWriter,
  resetFrame,
  type SpdyFrame,
} from './spdy_frames.ts'

/** Streams open at once on one connection. */
const MAX_STREAMS = 1000
const MAX_DATA_BYTES = 64 << 10

interface StreamParts {
  id: number
  headers: ReadonlyMap<string, string>
  write(frame: Buffer): Promise<void>
  /** Called once when both directions have ended. */
  closed(): void
}

export class SpdyStream {
  readonly id: number
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  /** What the client sends, to its end. */
  readonly chunks = new ByteQueue()
  readonly #parts: StreamParts
  #clientEnded = false
  #ended = false

  constructor(parts: StreamParts) {
    this.id = parts.id
    this.headers = parts.headers
    this.#parts = parts
  }

  async write(data: Uint8Array): Promise<void> {
    if (this.#ended) throw new DroverError('cancelled', 'the stream has been closed')
    for (let at = 0; at < data.length; at += MAX_DATA_BYTES) {
      await this.#parts.write(dataFrame(this.id, data.subarray(at, at + MAX_DATA_BYTES), false))
    }
  }

  async end(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    if (this.#clientEnded) this.#parts.closed()
    await this.#parts.write(dataFrame(this.id, Buffer.alloc(0), true))
  }

  /** Closes both directions at once. */
  async reset(): Promise<void> {
    this.chunks.abandon()
    if (this.#ended && this.#clientEnded) return
    this.#ended = true
    this.#parts.closed()
    await this.#parts.write(resetFrame(this.id))
  }

  /** The session's word that the client sends no more. */
  clientEnded(error?: DroverError): void {
    this.#clientEnded = true
    this.chunks.end(error)
    if (this.#ended) this.#parts.closed()
  }
}

export interface SpdySession {
  /** Serves the connection to its end. Rejects with `invalid` when the client breaks the protocol. */
  run(): Promise<void>
  close(): void
}

/** `onStream` is called for each stream that the client opens, once it has been accepted. */
export function createSpdySession(transport: ByteTransport, onStream: (stream: SpdyStream) => void): SpdySession {
  return new Session(transport, onStream)
}

class Session implements SpdySession {
  readonly #transport: ByteTransport
  readonly #onStream: (stream: SpdyStream) => void
  readonly #streams = new Map<number, SpdyStream>()
  readonly #headers = new HeaderReader()
  readonly #replies = new ReplyWriter()
  #lastStreamId = 0

  constructor(transport: ByteTransport, onStream: (stream: SpdyStream) => void) {
    this.#transport = transport
    this.#onStream = onStream
  }

  async run(): Promise<void> {
    const reader = new FrameReader()
    try {
      for await (const chunk of this.#transport.chunks) {
        for (const frame of reader.push(chunk)) {
          if (frame.type === 'goAway') return
          await this.#take(frame)
        }
      }
    } finally {
      const gone = new DroverError('cancelled', 'the client has gone')
      for (const stream of [...this.#streams.values()]) stream.clientEnded(gone)
      this.#streams.clear()
      this.#headers.close()
      this.#transport.close()
    }
  }

  close(): void {
    this.#transport.close()
  }

  async #take(frame: Exclude<SpdyFrame, { type: 'goAway' }>): Promise<void> {
    switch (frame.type) {
      case 'synStream':
        return this.#accept(frame.streamId, await this.#headers.read(frame.headerBlock), frame.fin)
      case 'headers':
        await this.#headers.read(frame.headerBlock)
        return
      case 'ping':
        // Odd numbers are the client's own.
        if (frame.id % 2 === 1) await this.#transport.write(pingFrame(frame.id))
        return
      case 'data':
        await this.#streams.get(frame.streamId)?.chunks.push(frame.data)
        if (frame.fin) this.#streams.get(frame.streamId)?.clientEnded()
        return
      case 'reset':
        this.#streams.get(frame.streamId)?.clientEnded(new DroverError('cancelled', 'the client closed the stream'))
        this.#streams.delete(frame.streamId)
        return
      case 'ignored':
    }
  }

  async #accept(id: number, headers: ReadonlyMap<string, string>, fin: boolean): Promise<void> {
    if (id % 2 === 0 || id <= this.#lastStreamId) {
      throw new DroverError('invalid', `the client breaks the SPDY protocol: stream ${id} after ${this.#lastStreamId}`)
    }
    this.#lastStreamId = id
    if (this.#streams.size >= MAX_STREAMS) {
      await this.#transport.write(resetFrame(id))
      return
    }
    const write = (frame: Buffer): Promise<void> => this.#transport.write(frame)
    const stream = new SpdyStream({ id, headers, write, closed: () => this.#streams.delete(id) })
    this.#streams.set(id, stream)
    if (fin) stream.clientEnded()
    await this.#transport.write(this.#replies.synReply(id))
    this.#onStream(stream)
  }
}
