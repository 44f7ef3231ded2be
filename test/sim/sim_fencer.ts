/**
 * The fencer of one simulated machine (src/agent/fence/program.ts): a process of its own that outlives agents and stops with
 * the machine alone. It looks fifty times a second; here only the looks that find something are played, each as late as the next round
 * would be. And the agent's side of it, as fencer.ts keeps it.
 */
import type { Fencer } from '../../src/agent/fence/fencer.ts'
import { sleep } from '../../src/base/clock.ts'
import { DroverError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import { between } from './latency.ts'
import type { SimHost } from './sim_host.ts'
import type { SimProcess } from './sim_process.ts'

const ROUND_MS = 20
/** From the kill to the end of the last process, and the wait for a processor. */
const KILL_MS = 15
const LATE_WHEN_SLOW_MS = 200
const LOOK_MS = 250
const READY_TIMEOUT_MS = 5_000
/** /proc/uptime has steps of 10 ms. */
const STEP_MS = 10

/** What stands in the fencer's directory, and the process that reads it. */
export class SimFencer {
  readonly #host: SimHost
  readonly #random: Random
  readonly marks = new Set<string>()
  /** When it last killed something of a pod, wall time in whole seconds. */
  readonly killed = new Map<string, number>()
  /** Marks that a round has found. */
  readonly seen = new Set<string>()
  #deadlineMs = 0
  #lookedMs = 0
  #alive = false
  #looks = 0

  constructor(host: SimHost, random: Random) {
    this.#host = host
    this.#random = random
  }

  get alive(): boolean {
    return this.#alive
  }

  get #licensed(): boolean {
    return this.#host.uptimeMs < this.#deadlineMs
  }

  get hasEnded(): boolean {
    return this.marks.size === 0 || this.#licensed || (this.#alive && this.#lookedMs >= this.#deadlineMs)
  }

  /** What is being made of this pod is killed in every round. */
  kills(podUid: string): boolean {
    return this.#alive && this.seen.has(podUid) && !this.#licensed
  }

  writeLease(deadlineMs: number): void {
    this.#deadlineMs = deadlineMs
    this.lookSoon()
  }

  mark(podUid: string): void {
    this.marks.add(podUid)
    this.lookSoon()
  }

  release(podUid: string): void {
    this.marks.delete(podUid)
    this.seen.delete(podUid)
    this.killed.delete(podUid)
  }

  /** Started by an agent where none lives. */
  ensure(): void {
    if (this.#alive) return
    this.#alive = true
    this.lookSoon(between(this.#random, 20, 150) * this.#host.slowness)
  }

  die(): void {
    this.#alive = false
    this.#looks++
  }

  /** The machine was switched off: its directory lies in memory. */
  forget(): void {
    this.die()
    this.marks.clear()
    this.seen.clear()
    this.killed.clear()
    this.#deadlineMs = 0
    this.#lookedMs = 0
  }

  /** Something may have changed for it: its next round finds it. */
  lookSoon(startMs = 0): void {
    if (!this.#alive) return
    const late = this.#host.slowness > 1 ? LATE_WHEN_SLOW_MS : KILL_MS
    this.#lookAfter(startMs + this.#random.next() * (ROUND_MS + late))
  }

  #lookAfter(delayMs: number): void {
    const number = ++this.#looks
    const { time } = this.#host.options
    time.schedule(delayMs, () =>
      this.#host.whenGoing(() => {
        if (number === this.#looks && this.#alive) this.#look()
      }),
    )
  }

  #look(): void {
    this.#lookedMs = this.#host.uptimeMs
    for (const podUid of this.marks) this.seen.add(podUid)
    if (this.marks.size === 0) return
    if (this.#licensed) {
      const leftMs = (this.#deadlineMs - this.#host.uptimeMs) / this.#host.options.rate
      const late = this.#host.slowness > 1 ? LATE_WHEN_SLOW_MS : KILL_MS
      this.#lookAfter(leftMs + this.#random.next() * (ROUND_MS + late))
      return
    }
    for (const container of this.#host.running) {
      const { podUid } = container.state
      if (!this.marks.has(podUid)) continue
      this.killed.set(podUid, Math.floor(this.#host.nowMs / 1000) * 1000)
      this.#host.end(container, 137)
    }
  }
}

/** What one agent's process holds of it. */
export function simFencer(host: SimHost, process: SimProcess): Fencer {
  const { fencer } = host
  const known = new Set(fencer.marks)
  let deadlineMs = 0
  const writeLease = (): void => {
    if (deadlineMs > 0) fencer.writeLease(deadlineMs)
  }
  return {
    nowMs: () => host.uptimeMs,
    renew(until) {
      deadlineMs = until
      if (known.size > 0) writeLease()
    },
    hasEnded: () => fencer.hasEnded,
    guards: (podUid) => known.has(podUid),
    async guard(podUid, signal) {
      writeLease()
      known.add(podUid)
      fencer.mark(podUid)
      const untilMs = process.monotonicMs() + READY_TIMEOUT_MS
      while (!fencer.seen.has(podUid)) {
        fencer.ensure()
        if (process.monotonicMs() > untilMs) throw new DroverError('unavailable', 'no fencer comes to life')
        await sleep(process, STEP_MS, signal)
      }
    },
    release(podUid) {
      if (!known.delete(podUid)) return
      fencer.release(podUid)
      if (known.size === 0) fencer.die()
    },
    killedAtMs: (podUid) => fencer.killed.get(podUid),
    async run(signal) {
      while (!signal.aborted) {
        if (known.size > 0) fencer.ensure()
        await sleep(process, LOOK_MS, signal).catch(() => undefined)
      }
    },
  }
}
