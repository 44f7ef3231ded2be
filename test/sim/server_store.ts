/**
 * One server's connection to the store: latency both ways, group commit, partitions, and leases. It keeps the promises
 * of store.ts: a write that is refused as unavailable never happens; one whose answer is lost may have.
 */
import type { Timer } from '../../src/base/clock.ts'
import { DroverError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import type {
  Election,
  Fence,
  ListOptions,
  Store,
  StoredItem,
  WatchBatch,
  Write,
  WriteOutcome,
} from '../../src/store/store.ts'
import { latencyMs } from './latency.ts'
import type { Links } from './links.ts'
import type { SimProcess } from './sim_process.ts'
import type { VirtualTime } from './virtual_time.ts'

export const STORE = 'store'
export const LEASE_TTL_MS = 5_000
/** The holder gives up at this share of the lease, judged by its own clock. */
const TRUST = 0.8
const RENEW_MS = LEASE_TTL_MS / 3
/** A request that the store cannot be told of for this long is refused. */
const GIVE_UP_MS = 5_000

export interface ServerStoreOptions {
  inner: Store
  process: SimProcess
  time: VirtualTime
  random: Random
  links: Links
  mostLatencyMs: number
  /** A write was applied though the leadership that it names was over. */
  onUnfenced: (write: Write) => void
}

interface Request {
  dueMs: number
  /** Calls the store; its answer travels back by itself. */
  send(): void
  giveUp(error: DroverError): void
}

export class ServerStore implements Store {
  readonly #options: ServerStoreOptions
  #requests: Request[] = []
  #lastAnswerMs = 0
  readonly #watches = new Set<AbortController>()

  constructor(options: ServerStoreOptions) {
    this.#options = options
  }

  get(key: string): Promise<StoredItem | undefined> {
    return this.#ask(() => this.#options.inner.get(key))
  }

  list(prefix: string, options?: ListOptions) {
    return this.#ask(() => this.#options.inner.list(prefix, options))
  }

  write(write: Write, fence?: Fence): Promise<WriteOutcome> {
    const { inner, onUnfenced } = this.#options
    return this.#ask(async () => {
      const written = inner.write(write, fence)
      const stands = fence === undefined || (await inner.get(fence.key))?.createRevision === fence.createRevision
      const outcome = await written
      if (outcome.ok && !stands) onUnfenced(write)
      return outcome
    })
  }

  compact(revision: number): Promise<void> {
    return this.#ask(() => this.#options.inner.compact(revision))
  }

  health() {
    return this.#ask(() => this.#options.inner.health())
  }

  async close(): Promise<void> {
    this.disconnect()
  }

  /** The process has died: nothing of it is left at the store but its leases. */
  disconnect(): void {
    for (const watch of this.#watches) watch.abort()
  }

  async *watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch> {
    const { inner } = this.#options
    const own = new AbortController()
    this.#watches.add(own)
    signal.addEventListener('abort', () => own.abort(), { once: true })
    const arrived: ({ batch: WatchBatch } | { error: unknown })[] = []
    let wake: () => void = () => undefined
    const put = (news: { batch: WatchBatch } | { error: unknown }): void => {
      this.#answer(() => {
        arrived.push(news)
        wake()
      })
    }
    const pump = async (): Promise<void> => {
      for await (const batch of inner.watch(prefix, afterRevision, own.signal)) put({ batch })
    }
    pump().catch((error: unknown) => put({ error }))
    signal.addEventListener('abort', () => wake(), { once: true })
    try {
      while (!signal.aborted) {
        const news = arrived.shift()
        if (news === undefined) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        } else if ('error' in news) throw news.error
        else yield news.batch
      }
    } finally {
      own.abort()
      this.#watches.delete(own)
    }
  }

  async campaign(electionKey: string, id: string, signal: AbortSignal): Promise<Election> {
    const { inner, process } = this.#options
    const standing = new AbortController()
    signal.addEventListener('abort', () => standing.abort(), { once: true })
    let entered: Promise<Election> | undefined
    let won: Election
    // The store's side: a candidate whose lease runs out is out, elected or not, whatever became of its process.
    const expired = (): void => {
      standing.abort()
      // It may have won without having heard of it.
      entered?.then(
        (held) => held.resign(),
        () => undefined,
      )
    }
    const lost = new AbortController()
    const lose = (): void => lost.abort(new DroverError('forbidden', `leadership ${electionKey} is lost`))
    const stopLease = this.#keepLease(expired, lose)
    try {
      won = await this.#ask(() => {
        entered = inner.campaign(electionKey, id, standing.signal)
        return entered
      })
    } catch (error) {
      stopLease()
      throw error
    }
    const { fence } = won
    won.lost.addEventListener('abort', () => process.enter(lose), { once: true })
    if (won.lost.aborted) lose()
    return {
      fence,
      lost: lost.signal,
      resign: async () => {
        stopLease()
        await this.#ask(() => won.resign())
      },
    }
  }

  /** Renews for as long as the process runs and the store can be reached; returns how to let the lease run out. */
  #keepLease(expired: () => void, lose: () => void): () => void {
    const { time, process, links } = this.#options
    let renewedMs = time.nowMs
    let ownTimer: Timer
    const renew = (): void => {
      if (!links.isCut(process.name, STORE)) renewedMs = time.nowMs
      else if (time.nowMs - renewedMs >= LEASE_TTL_MS * TRUST) {
        lose()
        return
      }
      ownTimer = process.schedule(RENEW_MS / 2, renew)
    }
    ownTimer = process.schedule(RENEW_MS / 2, renew)
    const judge = (): void => {
      if (time.nowMs - renewedMs >= LEASE_TTL_MS) expired()
      else time.schedule(Math.max(1, renewedMs + LEASE_TTL_MS - time.nowMs), judge)
    }
    time.schedule(LEASE_TTL_MS, judge)
    return () => ownTimer.cancel()
  }

  #ask<T>(call: () => Promise<T>): Promise<T> {
    const { time, random, mostLatencyMs } = this.#options
    return new Promise<T>((resolve, reject) => {
      const dueMs = Math.max(this.#requests.at(-1)?.dueMs ?? 0, time.nowMs + latencyMs(random, 0.1, mostLatencyMs))
      let decided = false
      const decide = (answer: () => void): void => {
        if (decided) return
        decided = true
        this.#answer(answer)
      }
      this.#requests.push({
        dueMs,
        send() {
          call().then(
            (value) => decide(() => resolve(value)),
            (error: unknown) => decide(() => reject(error)),
          )
        },
        giveUp: (error) => {
          decided = true
          this.#options.process.enter(() => reject(error))
        },
      })
      time.schedule(dueMs - time.nowMs, () => this.#sendDue())
    })
  }

  /** All that is due goes in one turn, so that it is committed together. */
  #sendDue(): void {
    const { time, links, process } = this.#options
    if (links.isCut(process.name, STORE)) {
      links.onHeal(process.name, STORE, () => this.#sendDue())
      const [waiting] = this.#requests
      if (waiting !== undefined) time.schedule(GIVE_UP_MS, () => this.#giveUp())
      return
    }
    while (this.#requests.length > 0 && (this.#requests[0]?.dueMs ?? 0) <= time.nowMs) this.#requests.shift()?.send()
  }

  #giveUp(): void {
    const { time, links, process } = this.#options
    if (!links.isCut(process.name, STORE)) return
    const late = this.#requests.filter(({ dueMs }) => time.nowMs - dueMs >= GIVE_UP_MS)
    this.#requests = this.#requests.filter((request) => !late.includes(request))
    for (const request of late) request.giveUp(new DroverError('unavailable', 'the store cannot be reached'))
  }

  /** Brings something back to the process, in order. */
  #answer(take: () => void): void {
    const { time, random, links, process, mostLatencyMs } = this.#options
    this.#lastAnswerMs = Math.max(this.#lastAnswerMs, time.nowMs + latencyMs(random, 0.1, mostLatencyMs))
    const arrive = (): void => {
      if (links.isCut(process.name, STORE)) links.onHeal(process.name, STORE, arrive)
      else process.enter(take)
    }
    time.schedule(this.#lastAnswerMs - time.nowMs, arrive)
  }
}
