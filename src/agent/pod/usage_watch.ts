/** Looks from time to time whether a pod's disk volumes have outgrown their limits; only pods that have one are looked at. */
import type { Pod } from '../../api/pod.ts'
import type { Clock, Timer } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { VolumeDriver } from '../volumes/volumes.ts'

export interface UsageWatchOptions {
  pod: Pod
  volumes: Pick<VolumeDriver, 'overLimit'>
  clock: Clock
  log: Logger
  onOver(message: string): void
}

const LOOK_EVERY_MS = 10_000
/** Looking costs no more than this share of the time, however many files there are. */
const MAX_SHARE = 0.05

export function hasDiskLimit({ spec }: Pod): boolean {
  return (spec.volumes ?? []).some(({ emptyDir }) => emptyDir?.sizeLimit !== undefined && emptyDir.medium !== 'Memory')
}

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
    this.#timer = this.#options.clock.schedule(delayMs, () => void this.#look(), true)
  }

  async #look(): Promise<void> {
    const { pod, volumes, clock, log, onOver } = this.#options
    const beganMs = clock.monotonicMs()
    const message = await volumes.overLimit(pod).catch((error: unknown) => {
      log.debug({ pod: pod.metadata.uid, err: error }, 'cannot see what the volumes of a pod take; will look again')
      return undefined
    })
    if (this.#stopped) return
    if (message !== undefined) onOver(message)
    else this.#schedule(Math.max(LOOK_EVERY_MS, (clock.monotonicMs() - beganMs) / MAX_SHARE))
  }
}
