/**
 * One duplex call, whichever end holds it. `write` never blocks; its callback tells when the connection has taken the
 * message, so that a sender can bound what waits. `onClose` comes exactly once.
 */
import type { ClientDuplexStream, ServerDuplexStream } from '@grpc/grpc-js'
import { DroverError } from '../base/errors.ts'
import { errorFromGrpc, grpcStatusOf } from './status.ts'

export interface MessageStream<In, Out> {
  write(message: Out, onTaken?: () => void): void
  /** Says that we send no more. */
  end(): void
  /** Ends the call at once; the other side sees the error. */
  close(error: DroverError): void
  onMessage(listener: (message: In) => void): void
  /** The other side sends no more. */
  onEnd(listener: () => void): void
  /** The call is over; with an error unless it ended in order. */
  onClose(listener: (error: DroverError | undefined) => void): void
  /** Stops and starts reading, for back-pressure. */
  pause(): void
  resume(): void
}

type Call<In, Out> = (ClientDuplexStream<Out, In> | ServerDuplexStream<In, Out>) & NodeJS.ReadWriteStream

function adapt<In, Out>(call: Call<In, Out>, closeWith: (error: DroverError) => void): MessageStream<In, Out> {
  let closed: { error: DroverError | undefined } | undefined
  const closeListeners: ((error: DroverError | undefined) => void)[] = []
  const finish = (error: DroverError | undefined): void => {
    if (closed !== undefined) return
    closed = { error }
    for (const listener of closeListeners) listener(error)
  }
  call.on('error', (error: unknown) => finish(errorFromGrpc(error)))
  call.on('cancelled', () => finish(new DroverError('unavailable', 'the other side went away')))
  call.on('close', () => finish(undefined))
  call.on('status', (status: { code: number }) => {
    if (status.code === 0) finish(undefined)
  })
  return {
    write(message, onTaken) {
      if (closed !== undefined) return
      call.write(message, () => onTaken?.())
    },
    end: () => {
      if (closed === undefined) call.end()
    },
    close(error) {
      if (closed !== undefined) return
      closeWith(error)
      finish(error)
    },
    onMessage: (listener) => {
      call.on('data', listener)
    },
    onEnd: (listener) => {
      call.on('end', listener)
    },
    onClose(listener) {
      if (closed !== undefined) listener(closed.error)
      else closeListeners.push(listener)
    },
    pause: () => {
      call.pause()
    },
    resume: () => {
      call.resume()
    },
  }
}

export function fromClientCall<In, Out>(call: ClientDuplexStream<Out, In>): MessageStream<In, Out> {
  return adapt(call as Call<In, Out>, () => call.cancel())
}

export function fromServerCall<In, Out>(call: ServerDuplexStream<In, Out>): MessageStream<In, Out> {
  return adapt(call as Call<In, Out>, (error) => {
    call.emit('error', grpcStatusOf(error))
  })
}
