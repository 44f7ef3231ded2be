/**
 * Whether exclusive pods may run here now. The right to it comes from servers, beat by beat: it lasts `leaseMs` from when
 * a heartbeat that a server granted was sent. The fencer holds the same deadline and needs no one to enforce it; this is
 * what the agent itself goes by, so that it starts nothing that would be killed.
 */
import { EXCLUSIVE_LEASE_MS } from '../../api/exclusive.ts'
import type { Clock, Timer } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Fencer } from './fencer.ts'

export interface FenceGuardOptions {
  fencer: Fencer
  clock: Clock
  log: Logger
  /** The right has come or gone. */
  onChange(): void
}

/** So much of the lease is left at least when a container is started: one that is made is not killed at once. */
const START_RESERVE_MS = 1_000

export class FenceGuard {
  readonly fencer: Fencer
  readonly #options: FenceGuardOptions
  #leaseMs = EXCLUSIVE_LEASE_MS
  #deadlineMs = 0
  #held = false
  #expiry: Timer | undefined

  constructor(options: FenceGuardOptions) {
    this.#options = options
    this.fencer = options.fencer
  }

  /** As the server of this session has it. */
  set leaseMs(leaseMs: number) {
    if (leaseMs > 0) this.#leaseMs = leaseMs
  }

  /** What a heartbeat carries. */
  stamp(): number {
    return this.fencer.nowMs()
  }

  /** A server has granted the heartbeat that was sent then; 0: it grants nothing. */
  granted(sentAtMs: number): void {
    const deadlineMs = sentAtMs + this.#leaseMs
    if (sentAtMs === 0 || sentAtMs > this.fencer.nowMs() || deadlineMs <= this.#deadlineMs) return
    // On a host that was thawed a server may speak before the fencer has looked, and a new lease would let go on what was
    // replaced meanwhile. The next beat is granted in a second.
    if (this.fencer.nowMs() >= this.#deadlineMs && !this.fencer.hasEnded()) return
    // A lease may have run out in a suspension that no timer has seen: pods were held back all the same.
    if (!this.mayRun()) this.#held = false
    this.#deadlineMs = deadlineMs
    this.fencer.renew(deadlineMs)
    this.#look()
  }

  /** Whether an exclusive container may be started. */
  mayRun(): boolean {
    return this.fencer.nowMs() + START_RESERVE_MS < this.#deadlineMs
  }

  dispose(): void {
    this.#expiry?.cancel()
  }

  #look(): void {
    const { clock, log, onChange } = this.#options
    this.#expiry?.cancel()
    const held = this.mayRun()
    if (held) {
      const leftMs = this.#deadlineMs - START_RESERVE_MS - this.fencer.nowMs()
      this.#expiry = clock.schedule(leftMs + 1, () => this.#look(), true)
    }
    if (held === this.#held) return
    this.#held = held
    if (!held) log.warn('no server has acknowledged this node for too long: its exclusive pods may not run')
    onChange()
  }
}
