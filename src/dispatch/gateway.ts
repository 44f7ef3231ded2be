/**
 * Streams to nodes. The server asks over the session, the agent dials back with the id it was given; ids cannot be
 * guessed, and one is good for one call of one node.
 */
import type { Clock } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { Random } from '../base/random.ts'
import type { FrameStream, NodeGateway, NodeStreamVerb } from '../base/stream.ts'
import type { CancellableFrameStream } from '../rpc/frames.ts'
import { jsonBytes } from '../rpc/messages.ts'
import type { NodeSession } from './session.ts'

const DIAL_TIMEOUT_MS = 10_000
/** Streams being opened at once, over all nodes. */
const MAX_WAITING = 10_000

interface Waiting {
  nodeName: string
  take(stream: CancellableFrameStream): void
}

export interface Gateway extends NodeGateway {
  /** An agent has dialled. Throws `forbidden` or `notFound` to refuse it. */
  onStream(nodeName: string, streamId: string, stream: CancellableFrameStream): void
}

export function createGateway(sessions: ReadonlyMap<string, NodeSession>, clock: Clock, random: Random): Gateway {
  const waiting = new Map<string, Waiting>()

  const dialled = (nodeName: string, streamId: string, signal: AbortSignal): Promise<CancellableFrameStream> =>
    new Promise((resolve, reject) => {
      const done = (): void => {
        waiting.delete(streamId)
        timer.cancel()
        signal.removeEventListener('abort', onAbort)
      }
      const fail = (error: DroverError): void => {
        done()
        reject(error)
      }
      const onAbort = (): void => fail(new DroverError('cancelled', 'cancelled', { cause: signal.reason }))
      const timer = clock.schedule(DIAL_TIMEOUT_MS, () =>
        fail(new DroverError('timeout', `node ${nodeName} did not open the stream within ${DIAL_TIMEOUT_MS / 1000} s`)),
      )
      signal.addEventListener('abort', onAbort, { once: true })
      waiting.set(streamId, {
        nodeName,
        take(stream) {
          done()
          resolve(stream)
        },
      })
    })

  return {
    connectedNodes: () => [...sessions.keys()].sort(),
    async open(nodeName: string, verb: NodeStreamVerb, request: unknown, signal: AbortSignal): Promise<FrameStream> {
      const session = sessions.get(nodeName)
      if (session === undefined) {
        throw new DroverError('unavailable', `node ${nodeName} has no session with this server; is its agent running?`)
      }
      if (waiting.size >= MAX_WAITING) {
        throw new DroverError('tooManyRequests', 'too many streams are being opened', { retryAfterSeconds: 1 })
      }
      if (signal.aborted) throw new DroverError('cancelled', 'cancelled', { cause: signal.reason })
      const streamId = random.uuid()
      const stream = dialled(nodeName, streamId, signal)
      session.stream.write({ type: 'openStream', streamId, verb, requestJson: jsonBytes(request) })
      return abortable(await stream, signal)
    },
    onStream(nodeName, streamId, stream) {
      const waiter = waiting.get(streamId)
      if (waiter === undefined) throw new DroverError('notFound', 'no stream with this id is wanted any more')
      if (waiter.nodeName !== nodeName) {
        throw new DroverError('forbidden', `the stream belongs to another node than ${nodeName}`)
      }
      waiter.take(stream)
    },
  }
}

/** The signal that opened a stream also ends it. */
function abortable(stream: CancellableFrameStream, signal: AbortSignal): FrameStream {
  const onAbort = (): void => stream.cancel(new DroverError('cancelled', 'cancelled', { cause: signal.reason }))
  signal.addEventListener('abort', onAbort, { once: true })
  stream.onClose(() => signal.removeEventListener('abort', onAbort))
  if (signal.aborted) onAbort()
  return stream
}
