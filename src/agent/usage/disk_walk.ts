/**
 * What directories take of the disk. Only a walk can tell, by one `du` for all that is asked at once, and a walk of millions of
 * files may take longer than anybody can wait. It is then cut off, and what was measured by then counts; of the rest the size that
 * was seen last. The directory that it was in when it was cut off comes last the next time, so that no directory hides others.
 * Rejected: one `du` for each directory, hundreds of programs at every look.
 */
import { existsSync } from 'node:fs'
import type { Logger } from '../../base/log.ts'
import { run } from '../../base/process.ts'

const WALK_TIMEOUT_MS = 50_000

/** Sizes in the output of `du -s`, by path. Pure. */
export function parseSizes(text: string): ReadonlyMap<string, number> {
  return new Map(
    text.split('\n').flatMap((line): [string, number][] => {
      const [, bytes, path] = /^(\d+)\t(.+)$/.exec(line) ?? []
      return bytes === undefined || path === undefined ? [] : [[path, Number(bytes)]]
    }),
  )
}

export interface Walk {
  sizes: ReadonlyMap<string, number>
  /** It was cut off here: what comes later was not looked at. */
  cutOffAt?: string
}

interface WalkBounds {
  timeoutMs: number
  signal: AbortSignal | undefined
}

/** Bytes on the disk by path; what is not there is left out. A file with several names is counted once. */
export async function walkDisk(paths: readonly string[], { timeoutMs, signal }: WalkBounds): Promise<Walk> {
  // One that goes meanwhile makes du fail, but not the sizes of the others. A line is written as soon as its directory is walked.
  const { stdout, timedOut } = await run('nice', ['du', '-s', '-x', '--block-size=1', '--', ...paths], {
    timeoutMs,
    keepOnTimeout: true,
    ...(signal === undefined ? {} : { signal }),
  })
  const sizes = parseSizes(stdout)
  if (timedOut !== true) return { sizes }
  const last = paths.findLastIndex((path) => sizes.has(path))
  const cutOffAt = paths.slice(last + 1).find((path) => existsSync(path))
  return cutOffAt === undefined ? { sizes } : { sizes, cutOffAt }
}

export interface DiskSizes {
  /** Measured now, or what was seen last. */
  sizes: ReadonlyMap<string, number>
  /** So big that a walk did not come to its end, and never measured before. */
  tooBig: ReadonlySet<string>
}

export interface DiskWalkerOptions {
  log: Logger
  /** How long one walk may take. Default 50 s. */
  timeoutMs?: number
  walk?: typeof walkDisk
}

export class DiskWalker {
  readonly #options: DiskWalkerOptions
  #sizes = new Map<string, number>()
  /** In which walk each was looked at last, whether or not to its end. */
  #walked = new Map<string, number>()
  #cutOff = new Set<string>()
  #walks = 0
  #told = false

  constructor(options: DiskWalkerOptions) {
    this.#options = options
  }

  /** All that is of interest, each time: what is not asked for is forgotten. */
  async measure(asked: readonly string[], signal?: AbortSignal): Promise<DiskSizes> {
    const { timeoutMs = WALK_TIMEOUT_MS, walk = walkDisk } = this.#options
    const paths = this.#inOrder(asked)
    this.#walks++
    const { sizes, cutOffAt } = paths.length === 0 ? { sizes: new Map() } : await walk(paths, { timeoutMs, signal })
    this.#keep(paths, { sizes, ...(cutOffAt === undefined ? {} : { cutOffAt }) })
    this.#tell(cutOffAt, paths.length - sizes.size)
    return { sizes: new Map(this.#sizes), tooBig: new Set([...this.#cutOff].filter((path) => !this.#sizes.has(path))) }
  }

  /** Those that had no turn for longest come first; of others the ones that no walk has come to the end of come last. */
  #inOrder(asked: readonly string[]): string[] {
    const turn = (path: string): number => this.#walked.get(path) ?? 0
    return [...new Set(asked)].sort(
      (a, b) => turn(a) - turn(b) || Number(this.#cutOff.has(a)) - Number(this.#cutOff.has(b)),
    )
  }

  #keep(paths: readonly string[], { sizes, cutOffAt }: Walk): void {
    const seen = cutOffAt === undefined ? paths : paths.slice(0, paths.indexOf(cutOffAt) + 1)
    const asked = new Set(paths)
    for (const known of [this.#sizes, this.#walked, this.#cutOff])
      for (const path of known.keys()) if (!asked.has(path)) known.delete(path)
    for (const path of seen) {
      this.#walked.set(path, this.#walks)
      if (path === cutOffAt) {
        this.#cutOff.add(path)
        continue
      }
      this.#cutOff.delete(path)
      const bytes = sizes.get(path)
      // Looked at and not there.
      if (bytes === undefined) this.#sizes.delete(path)
      else this.#sizes.set(path, bytes)
    }
  }

  /** Once, until a walk comes to its end again. */
  #tell(cutOffAt: string | undefined, unmeasured: number): void {
    if (cutOffAt !== undefined && !this.#told) {
      const said =
        'a walk over what is on the disk took too long: what it did not come to is judged by its last known size'
      this.#options.log.warn({ path: cutOffAt, unmeasured }, said)
    }
    this.#told = cutOffAt !== undefined
  }
}
