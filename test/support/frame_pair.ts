/** Two ends of a stream of frames in memory, and a gateway whose nodes are functions. */
import { DroverError } from '../../src/base/errors.ts'
import type { Frame, FrameStream, NodeGateway, NodeStreamVerb } from '../../src/base/stream.ts'

/** One direction: holds one frame at most, so that a slow reader is felt at once. */
class Pipe {
  #waiting: { frame: Frame; taken: () => void } | undefined
  #ended: { error?: DroverError } | undefined
  #wake: () => void = () => undefined

  send(frame: Frame): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(new DroverError('cancelled', 'the stream has ended'))
    return new Promise((taken) => {
      this.#waiting = { frame: { channel: frame.channel, data: Uint8Array.from(frame.data) }, taken }
      this.#wake()
    })
  }

  end(error?: unknown): void {
    this.#ended ??= error === undefined ? {} : { error: DroverError.from(error) }
    this.#wake()
  }

  async *frames(): AsyncGenerator<Frame> {
    for (;;) {
      const waiting = this.#waiting
      if (waiting !== undefined) {
        this.#waiting = undefined
        waiting.taken()
        yield waiting.frame
      } else if (this.#ended !== undefined) {
        if (this.#ended.error !== undefined) throw this.#ended.error
        return
      } else await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}

export function framePair(): [FrameStream, FrameStream] {
  const there = new Pipe()
  const back = new Pipe()
  const side = (out: Pipe, into: Pipe): FrameStream => ({
    send: (frame) => out.send(frame),
    end: (error) => out.end(error),
    frames: into.frames(),
  })
  return [side(there, back), side(back, there)]
}

export interface NodeCall {
  verb: NodeStreamVerb
  request: Record<string, unknown>
  stream: FrameStream
  signal: AbortSignal
}

/** Each node answers calls with its function; what it throws ends the stream. */
export function gatewayOf(nodes: Readonly<Record<string, (call: NodeCall) => Promise<void>>>): NodeGateway {
  return {
    connectedNodes: () => Object.keys(nodes),
    open(node, verb, request, signal) {
      const answer = nodes[node]
      if (answer === undefined) {
        return Promise.reject(new DroverError('unavailable', `node ${node} has no session with this server`))
      }
      const [ours, theirs] = framePair()
      signal.addEventListener('abort', () => {
        ours.end(new DroverError('cancelled', 'cancelled'))
        theirs.end(new DroverError('cancelled', 'cancelled'))
      })
      answer({ verb, request: request as Record<string, unknown>, stream: theirs, signal }).then(
        () => theirs.end(),
        (error: unknown) => theirs.end(error),
      )
      return Promise.resolve(ours)
    },
  }
}
