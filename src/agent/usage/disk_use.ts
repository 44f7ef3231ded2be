/**
 * How much containers have written to their own layers. Only a walk can tell, so it is taken rarely, by one `du` for all;
 * what is asked in between is the last walk's. Nothing acts on these figures at once.
 */
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { run } from '../../base/process.ts'
import { repeat } from '../../base/service.ts'

const INTERVAL_MS = 60_000
const WALK_TIMEOUT_MS = 50_000

export interface DiskUseOptions {
  clock: Clock
  log: Logger
  /** Directories by container id. */
  layers(): Promise<ReadonlyMap<string, string>>
}

/** Sizes in the output of `du -s`, by path. Pure. */
export function parseSizes(text: string): ReadonlyMap<string, number> {
  return new Map(
    text.split('\n').flatMap((line): [string, number][] => {
      const [, bytes, path] = /^(\d+)\t(.+)$/.exec(line) ?? []
      return bytes === undefined || path === undefined ? [] : [[path, Number(bytes)]]
    }),
  )
}

export class DiskUse {
  readonly #options: DiskUseOptions
  #sizes: ReadonlyMap<string, number> = new Map()

  constructor(options: DiskUseOptions) {
    this.#options = options
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
    if (layers.size === 0) {
      this.#sizes = new Map()
      return
    }
    // One that goes meanwhile makes du fail, but not the sizes of the others.
    const { stdout } = await run('nice', ['du', '-s', '-x', '--block-size=1', '--', ...layers.values()], {
      timeoutMs: WALK_TIMEOUT_MS,
      ...(signal === undefined ? {} : { signal }),
    })
    const byPath = parseSizes(stdout)
    this.#sizes = new Map(
      [...layers].flatMap(([id, path]): [string, number][] => {
        const bytes = byPath.get(path)
        return bytes === undefined ? [] : [[id, bytes]]
      }),
    )
  }
}
