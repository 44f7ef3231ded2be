/**
 * How much containers have written to their own layers. Only a walk can tell, so it is taken rarely, by one `du` for all;
 * what is asked in between is the last walk's. Nothing acts on these figures at once.
 */
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { repeat } from '../../base/service.ts'
import { DiskWalker } from './disk_walk.ts'

const INTERVAL_MS = 60_000

export interface DiskUseOptions {
  clock: Clock
  log: Logger
  /** Directories by container id. */
  layers(): Promise<ReadonlyMap<string, string>>
}

export class DiskUse {
  readonly #options: DiskUseOptions
  readonly #walker: DiskWalker
  #sizes: ReadonlyMap<string, number> = new Map()

  constructor(options: DiskUseOptions) {
    this.#options = options
    this.#walker = new DiskWalker({ log: options.log })
  }

  /** Undefined until it has been walked. */
  bytesOf(containerId: string): number | undefined {
    return this.#sizes.get(containerId)
  }

  run(signal: AbortSignal): Promise<void> {
    const failure = 'what containers have written could not be measured'
    const options = { ...this.#options, everyMs: INTERVAL_MS, failure, level: 'debug', waits: true } as const
    return repeat((over) => this.walk(over), options, signal)
  }

  async walk(signal?: AbortSignal): Promise<void> {
    const layers = await this.#options.layers()
    const { sizes: byPath } = await this.#walker.measure([...layers.values()], signal)
    this.#sizes = new Map(
      [...layers].flatMap(([id, path]): [string, number][] => {
        const bytes = byPath.get(path)
        return bytes === undefined ? [] : [[id, bytes]]
      }),
    )
  }
}
