/**
 * Notices that the leader is dead or hangs, long before its lease runs out, and takes its place in the election away.
 *
 *   line to the leader broken and refused, or silent ──► challenge: a key in the store that a leader removes
 *                                       not removed in time ──► its election key is deleted, if the challenge still stands
 *
 * The line only says when to ask; the store decides. So a leader that merely cannot be reached from here stays, and one
 * that is deposed by mistake loses nothing but its term: its writes carry the fence of a key that is gone. Every server
 * watches the leader, not the one before it in the queue, for that one may be dead as well.
 *
 * Waits are counted in turns of our own loop: a machine that is starved, or a process that stood still, waits longer
 * and does not take its own trouble for the leader's. A deposed leader that is back at once was alive: from then on we are
 * more patient.
 *
 * Rejected: a lease of 2 s, etcd's least: it is lost on a starved machine, and still takes 2.5 s to run out.
 */
import { type Clock, sleep } from '../base/clock.ts'
import { DroverError, isCode } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Service } from '../base/service.ts'
import type { PeerLine, PeerLineHandlers } from '../rpc/peer_line.ts'
import type { Store, StoredItem, WriteOutcome } from '../store/store.ts'
import { CHALLENGES, ELECTION_KEY } from './leader.ts'
import { watchKeys } from './watched_keys.ts'

export interface LeaderWatchOptions {
  store: Store
  serverId: string
  clock: Clock
  log: Logger
  /** `host:port` where another server listens for nodes; empty when it is not known. */
  addressesOf(serverId: string): readonly string[]
  dial(address: string, handlers: PeerLineHandlers): PeerLine
}

const TURN_MS = 50
/** A ping goes out every so many turns. */
const PING_TURNS = 4
/** Turns without an answer on the line, 0.6 s, after which the leader is challenged. */
const SILENT_TURNS = 12
/** Turns that it has for removing the challenge: after silence 0.5 s; when its port was refused, 0.3 s. */
const ANSWER_TURNS = { silent: 10, refused: 6 } as const
/** After an answer the line may be what is broken: the next challenge waits, twice as long each time. */
const FIRST_REST_TURNS = 20
const MAX_REST_TURNS = 200
/** A line that has been silent for so many turns is dialled anew: what it waits for may never come. */
const REDIAL_TURNS = 100
/** A deposed leader that campaigns again within this was alive. */
const BACK_MS = 2_000
const MAX_PATIENCE = 4
/** For so long after the last mistake we stay patient. */
const CALM_MS = 600_000

/** What a server looks like from here; turns count since its last sign of life. */
export interface LineFacts {
  silentTurns: number
  /** The last dialling was refused: no process listens there. */
  refused: boolean
  /** Turns for which it is not to be challenged again. */
  restTurns: number
  patience: number
}

export type Suspicion = keyof typeof ANSWER_TURNS

export function suspicionOf({ silentTurns, refused, restTurns, patience }: LineFacts): Suspicion | undefined {
  if (restTurns > 0) return undefined
  if (refused) return 'refused'
  return silentTurns >= SILENT_TURNS * patience ? 'silent' : undefined
}

/** Of the candidates, the one that leads. */
function leaderOf(items: Iterable<StoredItem>): StoredItem | undefined {
  return [...items].sort((a, b) => a.createRevision - b.createRevision)[0]
}

export function createLeaderWatch(options: LeaderWatchOptions): Service {
  return { id: 'leader-watch', run: (signal) => new LeaderWatch(options).run(signal) }
}

class LeaderWatch {
  readonly #options: LeaderWatchOptions
  #mistakes = { patience: 1, untilMs: 0 }
  #deposed: { leader: StoredItem; atMs: number } | undefined

  constructor(options: LeaderWatchOptions) {
    this.#options = options
  }

  async run(signal: AbortSignal): Promise<void> {
    const { store, serverId } = this.#options
    const failed = new AbortController()
    const either = AbortSignal.any([signal, failed.signal])
    let attended: { key: string; stop: AbortController } | undefined
    const running = new Set<Promise<void>>()
    try {
      await watchKeys(store, `${ELECTION_KEY}/`, either, (items) => {
        this.#learn(items.values())
        const leader = leaderOf(items.values())
        if (leader?.key === attended?.key) return
        attended?.stop.abort()
        attended = undefined
        if (leader === undefined) return
        const stop = new AbortController()
        attended = { key: leader.key, stop }
        if (leader.value === serverId) return
        const watching = this.#attend(leader, AbortSignal.any([either, stop.signal]))
          .catch((error: unknown) => failed.abort(error))
          .finally(() => running.delete(watching))
        running.add(watching)
      })
    } finally {
      attended?.stop.abort()
      failed.abort()
      await Promise.all(running)
    }
    if (!signal.aborted) throw DroverError.from(failed.signal.reason)
  }

  /** One that was deposed for its silence and is back at once did live. */
  #learn(items: Iterable<StoredItem>): void {
    const { clock, log } = this.#options
    const deposed = this.#deposed
    if (deposed === undefined) return
    if (clock.monotonicMs() - deposed.atMs > BACK_MS) this.#deposed = undefined
    else if ([...items].some(({ key, value }) => value === deposed.leader.value && key !== deposed.leader.key)) {
      this.#deposed = undefined
      const patience = Math.min(MAX_PATIENCE, this.#patience() * 2)
      this.#mistakes = { patience, untilMs: clock.monotonicMs() + CALM_MS }
      log.warn({ server: deposed.leader.value, patience }, 'the deposed leader was alive: waiting longer from now on')
    }
  }

  #patience(): number {
    const { patience, untilMs } = this.#mistakes
    return this.#options.clock.monotonicMs() < untilMs ? patience : 1
  }

  async #attend(leader: StoredItem, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    const line = new Line(this.#options, leader.value)
    let rest = 0
    let nextRest = FIRST_REST_TURNS
    try {
      for (let turn = 0; !signal.aborted; turn++) {
        await line.turn(turn % PING_TURNS === 0, clock, signal)
        rest = Math.max(0, rest - 1)
        const { silentTurns, refused } = line
        if (silentTurns === 0) nextRest = FIRST_REST_TURNS
        const suspicion = suspicionOf({ silentTurns, refused, restTurns: rest, patience: this.#patience() })
        if (suspicion === undefined) continue
        if (await this.#challenge(leader, suspicion, signal)) return
        rest = nextRest
        nextRest = Math.min(MAX_REST_TURNS, nextRest * 2)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      line.close()
    }
  }

  /** What is left of a challenge of an earlier life goes first. */
  async #putAnew(key: string, value: string): Promise<WriteOutcome> {
    const { store } = this.#options
    const put = { type: 'put', key, value, expect: { modRevision: 0 } } as const
    const first = await store.write(put)
    if (first.ok) return first
    await store.write({ type: 'delete', key })
    return store.write(put)
  }

  /** Whether the leader was deposed. While the store cannot be asked, nobody is. */
  async #challenge(leader: StoredItem, suspicion: Suspicion, signal: AbortSignal): Promise<boolean> {
    const { store, serverId, clock, log } = this.#options
    const key = `${CHALLENGES}/${serverId}`
    try {
      const put = await this.#putAnew(key, leader.key)
      const patience = suspicion === 'silent' ? this.#patience() : 1
      for (let turn = 0; turn < ANSWER_TURNS[suspicion] * patience; turn++) await sleep(clock, TURN_MS, signal)
      // Only while the challenge stands: an answer that came first counts, wherever it is under way.
      const { modRevision } = leader
      const challenge = { key, createRevision: put.revision }
      const deposed = await store.write({ type: 'delete', key: leader.key, expect: { modRevision } }, challenge)
      await store.write({ type: 'delete', key })
      if (!deposed.ok) return false
      if (suspicion === 'silent') this.#deposed = { leader, atMs: clock.monotonicMs() }
      log.warn({ server: leader.value, suspicion }, 'the leader does not answer: its term is ended')
      return true
    } catch (error) {
      if (signal.aborted) return false
      // The challenge was answered.
      if (isCode(error, 'forbidden')) {
        log.info({ server: leader.value, suspicion }, 'the leader lives, though it cannot be reached from here')
        return false
      }
      if (!DroverError.from(error).temporary) throw error
      log.debug({ err: error }, 'the leader cannot be challenged now')
      return false
    }
  }
}

/** The connection to a server, dialled again and again. */
class Line {
  readonly #options: LeaderWatchOptions
  readonly #serverId: string
  #line: PeerLine | undefined
  #closed = false
  #dialled = 0
  #wake: () => void = () => undefined
  silentTurns = 0
  refused = false

  constructor(options: LeaderWatchOptions, serverId: string) {
    this.#options = options
    this.#serverId = serverId
    this.#dial()
  }

  /** Lets a turn pass; it ends early when the line breaks. */
  async turn(ping: boolean, clock: Clock, signal: AbortSignal): Promise<void> {
    this.silentTurns++
    if (this.silentTurns % REDIAL_TURNS === 0) this.#drop()
    if (this.#line === undefined) this.#dial()
    else if (ping) this.#line.ping()
    await new Promise<void>((resolve) => {
      const done = (): void => {
        timer.cancel()
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = clock.schedule(TURN_MS, done)
      signal.addEventListener('abort', done, { once: true })
      this.#wake = done
    })
  }

  close(): void {
    this.#closed = true
    this.#drop()
  }

  #drop(): void {
    this.#line?.close()
    this.#line = undefined
  }

  #dial(): void {
    const addresses = this.#options.addressesOf(this.#serverId)
    const address = addresses[this.#dialled++ % Math.max(1, addresses.length)]
    if (address === undefined) return
    const answered = { once: false }
    const line: PeerLine = this.#options.dial(address, {
      onAnswer: () => {
        answered.once = true
        this.silentTurns = 0
        this.refused = false
      },
      onEnd: (refused) => {
        if (this.#closed || this.#line !== line) return
        this.#line = undefined
        this.refused = refused
        // A connection that stood and broke is dialled again at once: whether that is refused tells what happened.
        if (answered.once) this.#dial()
        else this.#wake()
      },
    })
    this.#line = line
  }
}
