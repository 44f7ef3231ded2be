/** Runs the probes of one running container until it is stopped, and tells when what they say has changed. */
import type { Container, Probe } from '../../api/pod.ts'
import type { Clock, Timer } from '../../base/clock.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ProbeFact } from './facts.ts'
import { type ProbeTarget, runProbe } from './probe_actions.ts'
import { afterResult, nextTry, type ProbeStates, probeFact, UNPROBED } from './probes.ts'

export interface ProberOptions {
  clock: Clock
  target: ProbeTarget
  /** It ran before this agent did. */
  adopted: boolean
  startedAtMs: number
  onChange(): void
  /** A failure that counts. */
  onFailure(kind: ProbeKind, message: string): void
}

export type ProbeKind = keyof ProbeStates

/** A try to come. Times are on the monotonic clock. */
interface Next {
  atMs: number
  /** Whether its failure is one. */
  counts: boolean
  /** See `Tried`; undefined before the first. */
  periodBeganMs: number | undefined
  tries: number
}

export class Prober {
  readonly #options: ProberOptions
  #states: ProbeStates = { startup: UNPROBED, readiness: UNPROBED, liveness: UNPROBED }
  readonly #timers = new Map<ProbeKind, Timer>()
  #fact: ProbeFact
  #stopped = false

  constructor(options: ProberOptions) {
    this.#options = options
    this.#fact = probeFact(this.#container, this.#states, options.adopted)
    if (this.#container.startupProbe === undefined) this.#startAll()
    else this.#begin('startup', this.#container.startupProbe)
  }

  get fact(): ProbeFact {
    return this.#fact
  }

  stop(): void {
    this.#stopped = true
    for (const timer of this.#timers.values()) timer.cancel()
    this.#timers.clear()
  }

  get #container(): Container {
    return this.#options.target.container
  }

  #startAll(): void {
    if (this.#container.readinessProbe !== undefined) this.#begin('readiness', this.#container.readinessProbe)
    if (this.#container.livenessProbe !== undefined) this.#begin('liveness', this.#container.livenessProbe)
  }

  #begin(kind: ProbeKind, probe: Probe): void {
    const { clock, startedAtMs } = this.#options
    const delayMs = Math.max(0, startedAtMs + (probe.initialDelaySeconds ?? 0) * 1000 - clock.now())
    const atMs = clock.monotonicMs() + delayMs
    this.#schedule(kind, probe, { atMs, counts: kind !== 'readiness', periodBeganMs: undefined, tries: 0 })
  }

  #schedule(kind: ProbeKind, probe: Probe, next: Next): void {
    if (this.#stopped) return
    const { clock } = this.#options
    const timer = clock.schedule(Math.max(0, next.atMs - clock.monotonicMs()), () => {
      void this.#probe(kind, probe, next)
    })
    this.#timers.set(kind, timer)
  }

  async #probe(kind: ProbeKind, probe: Probe, { counts, periodBeganMs: lastMs, tries }: Next): Promise<void> {
    const { clock, target, onFailure } = this.#options
    const beganMs = clock.monotonicMs()
    const periodBeganMs = counts ? beganMs : (lastMs ?? beganMs)
    const result = await runProbe(probe, target)
    if (this.#stopped) return
    const state = afterResult(this.#states[kind], probe, result, counts)
    this.#states = { ...this.#states, [kind]: state }
    if (!result.ok && counts) onFailure(kind, result.message)
    this.#publish()
    if (kind === 'startup' && state.passing === true) {
      this.#timers.delete('startup')
      this.#startAll()
      return
    }
    const next = nextTry(probe, state, { beganMs, periodBeganMs, tries }, clock.monotonicMs())
    this.#schedule(kind, probe, { ...next, periodBeganMs, tries: tries + 1 })
  }

  #publish(): void {
    const fact = probeFact(this.#container, this.#states, this.#options.adopted)
    if (jsonEqual(fact, this.#fact)) return
    this.#fact = fact
    this.#options.onChange()
  }
}
