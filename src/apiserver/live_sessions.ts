/**
 * Finds HTTP/2 sessions that have ended though Node does not say so. nghttp2 ends the session of a client that resets
 * streams by the thousand (its guard against "rapid reset", CVE-2023-44487): it says GOAWAY, Node reads no more, and
 * neither closes nor reports the session. Its socket, and a megabyte and more of streams and what they had read, would
 * stay for as long as the server runs.
 *
 * Whoever lives answers a ping. A session is asked once a minute, and has as long to answer; one on which many streams
 * were ever opened, as it takes to break it, is asked every few seconds and has seconds to answer.
 */
import type { ServerHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import type { Clock, Timer } from '../base/clock.ts'

const LOOK_EVERY_MS = 5_000
const QUIET_MS = 60_000
/** The guard lets 1,000 resets through at once. */
const BUSY_STREAMS = 250
const BUSY_ANSWER_MS = 15_000

interface Watched {
  socket: Socket | undefined
  /** Opened on it so far. */
  streams: number
  answeredMs: number
  askedMs: number | undefined
}

export class LiveSessions {
  readonly #clock: Clock
  readonly #sessions = new Map<ServerHttp2Session, Watched>()
  #timer: Timer | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#sessions.size
  }

  /** `socket` is what the session was made of: a session does not give it out any more once it has ended. */
  add(session: ServerHttp2Session, socket: Socket | undefined): void {
    const watched: Watched = { socket, streams: 0, answeredMs: this.#clock.monotonicMs(), askedMs: undefined }
    this.#sessions.set(session, watched)
    session.on('stream', () => {
      watched.streams++
    })
    session.on('close', () => this.#sessions.delete(session))
    this.#timer ??= this.#schedule()
  }

  /** Lets streams that are open come to their end. */
  close(): void {
    for (const session of this.#sessions.keys()) session.close()
  }

  destroy(): void {
    for (const [session, { socket }] of this.#sessions) end(session, socket)
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #schedule(): Timer {
    return this.#clock.schedule(LOOK_EVERY_MS, () => this.#look(), true)
  }

  #look(): void {
    const nowMs = this.#clock.monotonicMs()
    for (const [session, watched] of this.#sessions) {
      const isBusy = watched.streams >= BUSY_STREAMS
      if (watched.askedMs !== undefined) {
        const isLate = nowMs - watched.askedMs >= (isBusy ? BUSY_ANSWER_MS : QUIET_MS)
        if (!isLate && !session.destroyed) continue
        this.#sessions.delete(session)
        end(session, watched.socket)
      } else if (isBusy || nowMs - watched.answeredMs >= QUIET_MS) this.#ask(session, watched)
    }
    this.#timer = this.#sessions.size > 0 ? this.#schedule() : undefined
  }

  #ask(session: ServerHttp2Session, watched: Watched): void {
    watched.askedMs = this.#clock.monotonicMs()
    // A session that is closed already throws; the next look ends it.
    if (session.destroyed) return
    session.ping((error) => {
      if (error !== null) return
      watched.answeredMs = this.#clock.monotonicMs()
      watched.askedMs = undefined
    })
  }
}

function end(session: ServerHttp2Session, socket: Socket | undefined): void {
  session.destroy()
  socket?.destroy()
}
