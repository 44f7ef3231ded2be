/**
 * How fast containers and the node use the processor. The kernel counts; a rate needs two looks. The sampler looks every
 * while, and whoever asks gets the rate since the look before: over ten seconds or a little more, as metrics servers do.
 */
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { readText } from '../../base/records.ts'
import { repeat } from '../../base/service.ts'
import type { NodeUsage, PodUsage } from '../../rpc/tables.ts'
import type { AgentContext } from '../context.ts'
import { isRunning } from '../pod/facts.ts'
import { memoryAmount } from '../pressure/signals.ts'

const INTERVAL_MS = 10_000

interface Look {
  atMs: number
  cpuSeconds: number
}

/** Seconds of work of all processors since the boot, and memory in use, from /proc/stat and /proc/meminfo. Pure. */
export function parseNode(stat: string, meminfo: string): { cpuSeconds: number; memoryWorkingSetBytes: number } {
  const TICKS_PER_SECOND = 100
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (/^cpu +(.*)$/m.exec(stat)?.[1] ?? '')
    .split(' ')
    .map(Number)
  const memory = memoryAmount(meminfo)
  return {
    cpuSeconds: (user + nice + system + irq + softirq) / TICKS_PER_SECOND,
    memoryWorkingSetBytes: memory.total - memory.available,
  }
}

/** Looks of one counter: the newest, and the one before, which a rate is taken from. */
class Counter {
  #before: Look
  #newest: Look

  constructor(begin: Look) {
    this.#before = begin
    this.#newest = begin
  }

  look(look: Look): void {
    this.#before = this.#newest
    this.#newest = look
  }

  /** From the look that is at least half an interval old to `now`. */
  rate(now: Look): { cpuNanoCores: number; windowMs: number } {
    const since = now.atMs - this.#newest.atMs >= INTERVAL_MS / 2 ? this.#newest : this.#before
    const windowMs = Math.max(1, now.atMs - since.atMs)
    const used = Math.max(0, now.cpuSeconds - since.cpuSeconds)
    return { cpuNanoCores: Math.round((used / windowMs) * 1e12), windowMs }
  }
}

export class UsageSampler {
  readonly #agent: Pick<AgentContext, 'containers' | 'drivers' | 'desired'>
  readonly #clock: Clock
  readonly #log: Logger
  readonly #counters = new Map<string, Counter>()
  #node: Counter | undefined

  constructor(agent: Pick<AgentContext, 'containers' | 'drivers' | 'desired' | 'clock' | 'log'>) {
    this.#agent = agent
    this.#clock = agent.clock
    this.#log = agent.log
  }

  run(signal: AbortSignal): Promise<void> {
    const failure = 'what containers use could not be measured'
    const options = { clock: this.#clock, log: this.#log, everyMs: INTERVAL_MS, failure }
    return repeat(() => this.#look(), options, signal)
  }

  async #look(): Promise<void> {
    const { containers, drivers } = this.#agent
    const running = (await containers.read()).filter(isRunning)
    const present = new Set(running.map(({ id }) => id))
    for (const id of this.#counters.keys()) if (!present.has(id)) this.#counters.delete(id)
    const atMs = this.#clock.monotonicMs()
    for (const { id, podUid, startedAtMs } of running) {
      const cpuSeconds = drivers.runtime.cpuSeconds(podUid, id)
      if (cpuSeconds === undefined) continue
      const look = { atMs, cpuSeconds }
      const known = this.#counters.get(id)
      if (known === undefined) this.#counters.set(id, new Counter(this.#beginning(atMs, startedAtMs)))
      this.#counters.get(id)?.look(look)
    }
    const { cpuSeconds } = nodeNow()
    this.#node ??= new Counter({ atMs, cpuSeconds })
    this.#node.look({ atMs, cpuSeconds })
  }

  /** A container has used nothing when it begins: a rate can be told before its second look. */
  #beginning(atMs: number, startedAtMs: number | undefined): Look {
    const ageMs = Math.max(0, this.#clock.now() - (startedAtMs ?? this.#clock.now()))
    return { atMs: atMs - ageMs, cpuSeconds: 0 }
  }

  /** What the pods that the node is to run use now. */
  async read(): Promise<NodeUsage> {
    const { containers, drivers, desired } = this.#agent
    const running = (await containers.read()).filter(isRunning)
    const atMs = this.#clock.monotonicMs()
    const pods: PodUsage[] = []
    for (const { metadata } of desired.pods()) {
      const { namespace = '', name = '', uid } = metadata
      const rates = running
        .filter(({ podUid }) => podUid === uid)
        .flatMap((container): PodUsage['containers'] => {
          const usage = drivers.runtime.usage(container.podUid, container.id, false)
          if (usage === undefined) return []
          const counter = this.#counters.get(container.id) ?? new Counter(this.#beginning(atMs, container.startedAtMs))
          const rate = counter.rate({ atMs, cpuSeconds: usage.cpuSeconds })
          return [{ name: container.name, ...rate, memoryWorkingSetBytes: usage.memoryWorkingSetBytes }]
        })
      if (rates.length > 0) pods.push({ namespace, name, containers: rates })
    }
    const { cpuSeconds, memoryWorkingSetBytes } = nodeNow()
    const rate = (this.#node ?? new Counter({ atMs, cpuSeconds })).rate({ atMs, cpuSeconds })
    return { atMs: this.#clock.now(), node: { ...rate, memoryWorkingSetBytes }, pods }
  }
}

function nodeNow() {
  return parseNode(readText('/proc/stat') ?? '', readText('/proc/meminfo') ?? '')
}
