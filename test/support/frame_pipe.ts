/** Two ends of a frame stream in memory: the client's and the server's, each seeing what the other sends. */
import { CHANNEL, type Frame, type FrameStream } from '../../src/base/stream.ts'

type Entry = { frame: Frame } | { end: true; error?: unknown }

class Direction {
  readonly #queue: Entry[] = []
  #wake: (() => void) | undefined

  push(entry: Entry): void {
    this.#queue.push(entry)
    this.#wake?.()
  }

  async *read(): AsyncGenerator<Frame> {
    while (true) {
      const entry = this.#queue.shift()
      if (entry === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      } else if ('frame' in entry) yield entry.frame
      else if (entry.error === undefined) return
      else throw entry.error
    }
  }
}

export interface FramePipe {
  server: FrameStream
  client: FrameStream
  /** Text that the server has sent on a channel so far. */
  text(channel: number): string
  type(text: string): Promise<void>
}

export function framePipe(): FramePipe {
  const toServer = new Direction()
  const toClient = new Direction()
  const received: Frame[] = []
  const end = (out: Direction, input: Direction, tap?: Frame[]): FrameStream => ({
    async send(frame) {
      const copy = { channel: frame.channel, data: Uint8Array.from(frame.data) }
      tap?.push(copy)
      out.push({ frame: copy })
    },
    end: (error) => out.push(error === undefined ? { end: true } : { end: true, error }),
    frames: input.read(),
  })
  const client = end(toServer, toClient)
  return {
    server: end(toClient, toServer, received),
    client,
    text: (channel) =>
      Buffer.concat(received.filter((frame) => frame.channel === channel).map((frame) => frame.data)).toString('utf8'),
    type: (text) => client.send({ channel: CHANNEL.stdin, data: Buffer.from(text) }),
  }
}
