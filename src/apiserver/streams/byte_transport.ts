/** A connection as bytes: a socket that was upgraded, or the messages of a WebSocket joined together. */
import type { Duplex } from 'node:stream'
import type { RawData, WebSocket } from 'ws'
import { DroverError } from '../../base/errors.ts'
import { ByteQueue } from './byte_queue.ts'

export interface ByteTransport {
  readonly chunks: AsyncIterable<Buffer>
  /** Resolves when there is room for more; rejects with `cancelled` when the client has gone. */
  write(data: Uint8Array): Promise<void>
  close(): void
}

const gone = (cause?: unknown): DroverError => new DroverError('cancelled', 'the client has gone', { cause })

export function socketTransport(socket: Duplex): ByteTransport {
  return {
    chunks: socket as AsyncIterable<Buffer>,
    write: (data) =>
      new Promise((resolve, reject) => {
        if (socket.destroyed || socket.writableEnded) reject(gone())
        else socket.write(data, (error) => (error ? reject(gone(error)) : resolve()))
      }),
    close: () => socket.end(),
  }
}

export function webSocketTransport(client: WebSocket): ByteTransport {
  const queue = new ByteQueue()
  client.on('message', (raw) => {
    client.pause()
    void queue.push(toBuffer(raw)).then(() => client.resume())
  })
  client.on('close', () => queue.end())
  client.on('error', (error) => queue.end(gone(error)))
  return {
    chunks: queue,
    write: (data) =>
      new Promise((resolve, reject) => client.send(data, (error) => (error ? reject(gone(error)) : resolve()))),
    close: () => client.close(1000),
  }
}

export function toBuffer(raw: RawData): Buffer {
  if (Array.isArray(raw)) return Buffer.concat(raw)
  return Buffer.isBuffer(raw) ? raw : Buffer.from(raw)
}
