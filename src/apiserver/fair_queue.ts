/**
 * Room for requests, shared fairly by user: one that floods the server waits for itself, not the others for it.
 *
 *   a user's requests ─► its own queue ─┐
 *   another's         ─► its own queue ─┼─► turns, one request a user ─► at most `running`, of one user `runningPerUser`
 *
 * Bodies are read while a request runs, so a client that sends slowly holds places; that is why one user gets only a part.
 * Rejected: a rate a second per user. It refuses what an idle server could serve, and lets through what a busy one cannot.
 */
import type { Clock, Timer } from '../base/clock.ts'
import { DroverError } from '../base/errors.ts'

export interface FairLimits {
  running: number
  runningPerUser: number
  waitingPerUser: number
  waitMs: number
  /** Watches, logs and sessions of one user that are open at once. */
  longRunningPerUser: number
}

export const FAIR_LIMITS: FairLimits = {
  running: 256,
  runningPerUser: 96,
  waitingPerUser: 400,
  waitMs: 15_000,
  longRunningPerUser: 5_000,
}

interface Waiter {
  start(): void
}

interface Share {
  running: number
  longRunning: number
  waiting: Waiter[]
}

/** Gives the place back; may be called once. */
export type Leave = () => void

function tooMany(message: string): DroverError {
  return new DroverError('tooManyRequests', message, { retryAfterSeconds: 1 })
}

export class FairQueue {
  readonly #clock: Clock
  readonly #limits: FairLimits
  /** In the order of turns: who has just had one goes to the end. */
  readonly #shares = new Map<string, Share>()
  #running = 0

  constructor(clock: Clock, limits: FairLimits = FAIR_LIMITS) {
    this.#clock = clock
    this.#limits = limits
  }

  /** Users that have something open. */
  get users(): number {
    return this.#shares.size
  }

  /** Resolves when it is this request's turn. Rejects with `tooManyRequests`, or `cancelled` when the client went. */
  async enter(user: string, signal: AbortSignal): Promise<Leave> {
    const share = this.#share(user)
    if (this.#mayRun(share) && share.waiting.length === 0) return this.#begin(user, share)
    if (share.waiting.length >= this.#limits.waitingPerUser) {
      throw tooMany(`${share.waiting.length} requests of this user are waiting already; try again`)
    }
    return this.#wait(user, share, signal)
  }

  /** For what stays open. Throws `tooManyRequests`. */
  enterLong(user: string): Leave {
    const share = this.#share(user)
    if (share.longRunning >= this.#limits.longRunningPerUser) {
      throw tooMany(`this user has ${share.longRunning} watches and sessions open; close some`)
    }
    share.longRunning++
    return () => {
      share.longRunning--
      this.#forget(user, share)
    }
  }

  #wait(user: string, share: Share, signal: AbortSignal): Promise<Leave> {
    return new Promise((resolve, reject) => {
      let timer: Timer | undefined
      const settle = (): void => {
        timer?.cancel()
        signal.removeEventListener('abort', onAbort)
      }
      const waiter: Waiter = {
        start: () => {
          settle()
          resolve(this.#begin(user, share))
        },
      }
      const giveUp = (error: DroverError): void => {
        settle()
        share.waiting = share.waiting.filter((other) => other !== waiter)
        this.#forget(user, share)
        reject(error)
      }
      const onAbort = (): void => giveUp(new DroverError('cancelled', 'the client has gone'))
      timer = this.#clock.schedule(this.#limits.waitMs, () => {
        giveUp(tooMany(`no turn within ${this.#limits.waitMs / 1000} s: this user has too many requests under way`))
      })
      signal.addEventListener('abort', onAbort, { once: true })
      share.waiting.push(waiter)
      if (signal.aborted) onAbort()
    })
  }

  #begin(user: string, share: Share): Leave {
    this.#running++
    share.running++
    return () => {
      this.#running--
      share.running--
      this.#forget(user, share)
      this.#next()
    }
  }

  #next(): void {
    for (const [user, share] of this.#shares) {
      if (this.#running >= this.#limits.running) return
      if (share.waiting.length === 0 || !this.#mayRun(share)) continue
      this.#shares.delete(user)
      this.#shares.set(user, share)
      share.waiting.shift()?.start()
      return
    }
  }

  #mayRun(share: Share): boolean {
    return this.#running < this.#limits.running && share.running < this.#limits.runningPerUser
  }

  #share(user: string): Share {
    const known = this.#shares.get(user)
    if (known !== undefined) return known
    const share: Share = { running: 0, longRunning: 0, waiting: [] }
    this.#shares.set(user, share)
    return share
  }

  #forget(user: string, share: Share): void {
    if (share.running === 0 && share.longRunning === 0 && share.waiting.length === 0) this.#shares.delete(user)
  }
}
