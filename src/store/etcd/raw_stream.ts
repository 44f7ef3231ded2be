/**
 * One of the etcd3 package's two-way streams, as a Node stream with an end that holds: destroying grpc-js's stream does
 * not cancel its call, cancelling it does not end whoever iterates, and errors after the end would crash the process.
 */
import type { Duplex } from 'node:stream'
import type { IDuplexStream } from 'etcd3'
import { DroverError } from '../../base/errors.ts'

export class RawStream<Request, Response> {
  readonly #stream: Duplex
  readonly #cancel: () => void
  readonly #responses: AsyncIterator<unknown>

  constructor(stream: IDuplexStream<Request, Response>) {
    // The package types only part of what grpc-js's duplex stream is.
    this.#stream = stream as unknown as Duplex
    this.#cancel = () => stream.cancel()
    this.#stream.on('error', () => undefined)
    this.#responses = this.#stream[Symbol.asyncIterator]()
  }

  write(request: Request): void {
    if (this.#stream.writable) this.#stream.write(request)
  }

  /** The next response. Not taking it is the back-pressure: the HTTP/2 window fills, and etcd waits. */
  async next(): Promise<Response> {
    const result = await this.#responses.next()
    if (result.done === true) throw new DroverError('unavailable', 'etcd ended the stream')
    return result.value as Response
  }

  /** Ends the call; a pending `next` rejects with `reason`. */
  close(reason: DroverError = new DroverError('cancelled', 'the stream was closed')): void {
    if (!this.#stream.destroyed) this.#stream.destroy(reason)
    this.#cancel()
  }
}
