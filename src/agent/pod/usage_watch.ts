/** Looks from time to time whether a pod takes more of the disk than it may; only pods that have a limit are looked at. */
import type { Pod } from '../../api/pod.ts'
import type { Timer } from '../../base/clock.ts'
import type { AgentContext } from '../context.ts'
import { DiskWalker } from '../usage/disk_walk.ts'
import { allPaths, overLimit, storagePaths, storageUse } from '../usage/pod_storage.ts'

export interface UsageWatchOptions {
  agent: Pick<AgentContext, 'clock' | 'containers' | 'drivers' | 'log'>
  pod: Pod
  onOver(message: string): void
}

const LOOK_EVERY_MS = 10_000
/** Looking costs no more than this share of the time, however many files there are. */
const MAX_SHARE = 0.05
/** Nothing waits for it, and a limit that holds late is better than one that never does. */
const WALK_TIMEOUT_MS = 600_000

export class UsageWatch {
  readonly #options: UsageWatchOptions
  readonly #walker: DiskWalker
  readonly #stopped = new AbortController()
  #timer: Timer | undefined

  constructor(options: UsageWatchOptions) {
    this.#options = options
    this.#walker = new DiskWalker({ log: options.agent.log, timeoutMs: WALK_TIMEOUT_MS })
    this.#schedule(LOOK_EVERY_MS)
  }

  stop(): void {
    this.#stopped.abort()
    this.#timer?.cancel()
  }

  #schedule(delayMs: number): void {
    if (this.#stopped.signal.aborted) return
    this.#timer = this.#options.agent.clock.schedule(delayMs, () => void this.#look(), true)
  }

  async #look(): Promise<void> {
    const { pod, agent, onOver } = this.#options
    const { clock, log } = agent
    const beganMs = clock.monotonicMs()
    const message = await this.#overLimit().catch((error: unknown) => {
      if (!this.#stopped.signal.aborted)
        log.debug({ pod: pod.metadata.uid, err: error }, 'cannot see what a pod takes of the disk; will look again')
      return undefined
    })
    if (this.#stopped.signal.aborted) return
    if (message !== undefined) onOver(message)
    else this.#schedule(Math.max(LOOK_EVERY_MS, (clock.monotonicMs() - beganMs) / MAX_SHARE))
  }

  async #overLimit(): Promise<string | undefined> {
    const { pod, agent } = this.#options
    const paths = storagePaths(pod, await agent.containers.read(), agent.drivers)
    const { sizes } = await this.#walker.measure(allPaths(paths), this.#stopped.signal)
    // What was never measured counts for nothing: nobody is evicted on a guess.
    return overLimit(pod, storageUse(paths, sizes))
  }
}
