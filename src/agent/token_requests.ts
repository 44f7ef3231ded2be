/**
 * Asks the server for tokens by which pods speak, over the session. A request lives no longer than the session that it was
 * sent in: whoever wants a token asks again.
 */
import type { Clock, Timer } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'
import type { AgentMessage, TokenAnswer, TokenRequest } from '../rpc/messages.ts'
import { errorCodeOf } from '../rpc/status.ts'

export type TokenWish = Omit<TokenRequest, 'type' | 'requestId'>

/** The server may wait for an account that is being made; this is longer. */
const ANSWER_TIMEOUT_MS = 10_000

interface Waiting {
  timer: Timer
  resolve(token: string): void
  reject(error: DroverError): void
}

export class TokenRequests {
  readonly #clock: Clock
  readonly #send: (message: AgentMessage) => boolean
  readonly #waiting = new Map<number, Waiting>()
  #lastId = 0

  constructor(clock: Clock, send: (message: AgentMessage) => boolean) {
    this.#clock = clock
    this.#send = send
  }

  /** Rejects with `unavailable` without a session, `timeout` without an answer, or with what the server says. */
  request(wish: TokenWish): Promise<string> {
    const requestId = ++this.#lastId
    return new Promise((resolve, reject) => {
      const timer = this.#clock.schedule(ANSWER_TIMEOUT_MS, () => {
        this.#waiting.delete(requestId)
        reject(
          new DroverError('timeout', `no token for ${wish.namespace}/${wish.podName} within ${ANSWER_TIMEOUT_MS} ms`),
        )
      })
      this.#waiting.set(requestId, { timer, resolve, reject })
      if (this.#send({ type: 'tokenRequest', requestId, ...wish })) return
      this.#take(requestId)
      reject(new DroverError('unavailable', 'no session with a server that could give a token'))
    })
  }

  answered({ requestId, token, errorCode, errorMessage }: TokenAnswer): void {
    const waiting = this.#take(requestId)
    if (errorCode === '') waiting?.resolve(token)
    else waiting?.reject(new DroverError(errorCodeOf(errorCode), errorMessage))
  }

  /** What was asked in the session before will not be answered. */
  beginSession(): void {
    for (const requestId of [...this.#waiting.keys()]) {
      this.#take(requestId)?.reject(new DroverError('unavailable', 'the session ended before the token came'))
    }
  }

  #take(requestId: number): Waiting | undefined {
    const waiting = this.#waiting.get(requestId)
    this.#waiting.delete(requestId)
    waiting?.timer.cancel()
    return waiting
  }
}
