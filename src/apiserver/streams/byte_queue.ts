/** Bytes from one who pushes to one who iterates; the pusher waits while too much lies here. */
import { DroverError } from '../../base/errors.ts'

const MAX_QUEUED_BYTES = 256 << 10

export class ByteQueue {
  readonly #chunks: Buffer[] = []
  #bytes = 0
  #ended = false
  #error: DroverError | undefined
  /** Nobody will iterate any more: what comes is dropped. */
  #abandoned = false
  #wakeReader: () => void = () => undefined
  #wakeWriter: () => void = () => undefined

  /** Resolves when there is room for more. */
  async push(chunk: Buffer): Promise<void> {
    if (this.#ended || this.#abandoned || chunk.length === 0) return
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    this.#wakeReader()
    while (this.#bytes > MAX_QUEUED_BYTES && !this.#abandoned) {
      await new Promise<void>((resolve) => {
        this.#wakeWriter = resolve
      })
    }
  }

  end(error?: DroverError): void {
    this.#ended = true
    this.#error ??= error
    this.#wakeReader()
  }

  abandon(): void {
    this.#abandoned = true
    this.#chunks.length = 0
    this.#wakeWriter()
    this.#wakeReader()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    try {
      while (!this.#abandoned) {
        const chunk = this.#chunks.shift()
        if (chunk !== undefined) {
          this.#bytes -= chunk.length
          this.#wakeWriter()
          yield chunk
          continue
        }
        if (this.#error !== undefined) throw this.#error
        if (this.#ended) return
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve
        })
      }
      throw new DroverError('cancelled', 'the stream was given up')
    } finally {
      this.abandon()
    }
  }
}
