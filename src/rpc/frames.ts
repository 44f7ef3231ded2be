/**
 * A FrameStream over a duplex call. Back-pressure both ways: `send` resolves when the connection has taken the frame,
 * and reading stops while the reader is behind. The call ends when both sides have said `end`, or fails whole.
 */
import { DroverError } from '../base/errors.ts'
import type { Frame, FrameStream } from '../base/stream.ts'
import type { MessageStream } from './message_stream.ts'
import type { StreamFrameMessage } from './messages.ts'
import { errorCodeOf } from './status.ts'

/** Reading pauses while this many bytes wait for the reader. */
const MAX_WAITING_BYTES = 1 << 20
/** Larger frames are cut, so that streams share a connection fairly. */
const MAX_FRAME_BYTES = 256 << 10

export interface CancellableFrameStream extends FrameStream {
  /** Ends the call at once, for both sides. */
  cancel(error: DroverError): void
  onClose(listener: () => void): void
}

const PLAIN = { end: false, errorCode: '', errorMessage: '' }

export function createFrameStream(call: MessageStream<StreamFrameMessage, StreamFrameMessage>): CancellableFrameStream {
  const inbox = createInbox(call)
  let ended = false
  let closed: DroverError | undefined
  const waiting = new Set<(error: DroverError) => void>()
  call.onClose((error) => {
    closed = error ?? new DroverError('cancelled', 'the stream has ended')
    for (const reject of waiting) reject(closed)
    waiting.clear()
  })

  const sendPart = (channel: number, data: Uint8Array): Promise<void> =>
    new Promise((resolve, reject) => {
      waiting.add(reject)
      call.write({ ...PLAIN, channel, data }, () => {
        waiting.delete(reject)
        resolve()
      })
    })

  return {
    frames: inbox.frames,
    async send({ channel, data }) {
      for (let at = 0; at === 0 || at < data.length; at += MAX_FRAME_BYTES) {
        if (closed !== undefined) throw closed
        if (ended) throw new DroverError('cancelled', 'our side of the stream has ended')
        await sendPart(channel, data.subarray(at, at + MAX_FRAME_BYTES))
      }
    },
    end(error) {
      if (ended || closed !== undefined) return
      ended = true
      const coded = error === undefined ? undefined : DroverError.from(error)
      call.write({
        channel: 0,
        data: new Uint8Array(0),
        end: true,
        errorCode: coded?.code ?? '',
        errorMessage: coded?.message ?? '',
      })
      inbox.onOtherEnd(() => call.end())
    },
    cancel: (error) => call.close(error),
    onClose: (listener) => call.onClose(listener),
  }
}

interface Inbox {
  frames: AsyncIterable<Frame>
  onOtherEnd(listener: () => void): void
}

function createInbox(call: MessageStream<StreamFrameMessage, StreamFrameMessage>): Inbox {
  const queue: Frame[] = []
  let bytes = 0
  let paused = false
  let over: { error: DroverError | undefined } | undefined
  let wake: (() => void) | undefined
  const endListeners: (() => void)[] = []

  const finish = (error: DroverError | undefined): void => {
    if (over !== undefined) return
    over = { error }
    for (const listener of endListeners) listener()
    wake?.()
  }
  call.onMessage((message) => {
    if (message.end) {
      const { errorCode, errorMessage } = message
      finish(errorCode === '' ? undefined : new DroverError(errorCodeOf(errorCode), errorMessage))
      return
    }
    queue.push({ channel: message.channel, data: message.data })
    bytes += message.data.length
    if (bytes > MAX_WAITING_BYTES && !paused) {
      paused = true
      call.pause()
    }
    wake?.()
  })
  call.onClose((error) => finish(error ?? new DroverError('unavailable', 'the stream broke off before its end')))

  async function* read(): AsyncGenerator<Frame> {
    let finished = false
    try {
      for (;;) {
        const frame = queue.shift()
        if (frame !== undefined) {
          bytes -= frame.data.length
          if (paused && bytes <= MAX_WAITING_BYTES / 2) {
            paused = false
            call.resume()
          }
          yield frame
        } else if (over !== undefined) {
          finished = true
          if (over.error !== undefined) throw over.error
          return
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
          wake = undefined
        }
      }
    } finally {
      // A reader that stops half-way wants no more of the stream.
      if (!finished) call.close(new DroverError('cancelled', 'the reader of the stream stopped'))
    }
  }
  return {
    frames: read(),
    onOtherEnd(listener) {
      if (over !== undefined) listener()
      else endListeners.push(listener)
    },
  }
}
