/** Looks from time to time whether a pod takes more of the disk than it may; only pods that have a limit are looked at. */
import type { Pod } from '../../api/pod.ts'
import type { Timer } from '../../base/clock.ts'
import type { AgentContext } from '../context.ts'
import { allPaths, diskSizes, overLimit, storagePaths, storageUse } from '../usage/pod_storage.ts'

export interface UsageWatchOptions {
  agent: Pick<AgentContext, 'clock' | 'containers' | 'drivers' | 'log'>
  pod: Pod
  onOver(message: string): void
}

const LOOK_EVERY_MS = 10_000
/** Looking costs no more than this share of the time, however many files there are. */
const MAX_SHARE = 0.05

export class UsageWatch {
  readonly #options: UsageWatchOptions
  #timer: Timer | undefined
  #stopped = false

  constructor(options: UsageWatchOptions) {
    this.#options = options
    this.#schedule(LOOK_EVERY_MS)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return
    this.#timer = this.#options.agent.clock.schedule(delayMs, () => void this.#look(), true)
  }

  async #look(): Promise<void> {
    const { pod, agent, onOver } = this.#options
    const { clock, log } = agent
    const beganMs = clock.monotonicMs()
    const message = await this.#overLimit().catch((error: unknown) => {
      log.debug({ pod: pod.metadata.uid, err: error }, 'cannot see what a pod takes of the disk; will look again')
      return undefined
    })
    if (this.#stopped) return
    if (message !== undefined) onOver(message)
    else this.#schedule(Math.max(LOOK_EVERY_MS, (clock.monotonicMs() - beganMs) / MAX_SHARE))
  }

  async #overLimit(): Promise<string | undefined> {
    const { pod, agent } = this.#options
    const paths = storagePaths(pod, await agent.containers.read(), agent.drivers)
    return overLimit(pod, storageUse(paths, await diskSizes(allPaths(paths))))
  }
}
