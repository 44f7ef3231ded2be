/**
 * Lines of several logs in the order of their times. Each log is in order by itself, so the oldest of all first lines is
 * next once every log has shown one. Logs are read ahead, so that lines that have come wait for a silent log side by side.
 */
import { type Clock, sleep } from '../base/clock.ts'

export interface LogLine {
  /** RFC 3339 with nanoseconds, in UTC: such texts are ordered as their times are. */
  time: string
  /** As the container wrote it, without its newline. */
  text: Buffer
}

interface Source<T> {
  of: T
  /** Read and not yet given on, oldest first. */
  lines: (LogLine & { arrivedMs: number })[]
  /** Of those. */
  bytes: number
  ended: boolean
  /** Set while it waits for room. */
  taken?: () => void
}

/** Of a log that is read before it is wanted; its server waits then. */
const MAX_AHEAD = 1_000
export const MAX_AHEAD_BYTES = 512 << 10

const SPACE = 0x20

/** Splits a line as the server sends it with `timestamps`; one without a time has none. Pure. */
export function splitTime(line: Buffer): LogLine {
  const space = line.indexOf(SPACE)
  const time = space < 0 || space > MAX_TIME_LENGTH ? '' : line.toString('latin1', 0, space)
  return /^\d{4}-\d\d-\d\dT\S+$/.test(time)
    ? { time: sortable(time), text: line.subarray(space + 1) }
    : { time: '', text: line }
}

/** `2026-01-01T00:00:00.123456789+00:00`. */
const MAX_TIME_LENGTH = 35

/** Fractions differ in length, and `Z` sorts after digits. */
function sortable(time: string): string {
  const [, seconds = '', fraction = '', zone = ''] = /^([^.Z+]+?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(time) ?? []
  if (seconds === '') return time
  const utc = zone === 'Z' ? seconds : new Date(`${seconds}${zone}`).toISOString().slice(0, 19)
  return `${utc}.${fraction.padEnd(9, '0')}Z`
}

export interface MergeOptions<T> {
  clock: Clock
  /** Logs that begin later; what it throws ends all. */
  more?: AsyncIterable<readonly [T, AsyncIterable<LogLine>]>
  /** How long a line is held back for logs that are silent, counted from its arrival; infinite: until they end. */
  patienceMs: number
}

/** What fails in a log is told to `onFailure`, and ends that log alone. */
export async function* mergeByTime<T>(
  logs: ReadonlyMap<T, AsyncIterable<LogLine>>,
  { clock, patienceMs, more }: MergeOptions<T>,
  onFailure: (of: T, error: unknown) => void,
): AsyncGenerator<LogLine & { of: T }> {
  let over = false
  let wake = (): void => undefined
  let sources: Source<T>[] = []
  const iterators = new Set<AsyncIterator<LogLine>>()
  const read = async (source: Source<T>, iterator: AsyncIterator<LogLine>): Promise<void> => {
    try {
      for (let result = await iterator.next(); result.done !== true; result = await iterator.next()) {
        source.lines.push({ ...result.value, arrivedMs: clock.monotonicMs() })
        source.bytes += result.value.text.length
        wake()
        while (isFull(source) && !over) {
          await new Promise<void>((resolve) => {
            source.taken = resolve
          })
        }
      }
    } catch (error) {
      if (!over) onFailure(source.of, error)
    } finally {
      source.ended = true
      iterators.delete(iterator)
      wake()
    }
  }
  const begin = (of: T, lines: AsyncIterable<LogLine>): void => {
    const source: Source<T> = { of, lines: [], bytes: 0, ended: false }
    const iterator = lines[Symbol.asyncIterator]()
    sources.push(source)
    iterators.add(iterator)
    void read(source, iterator)
  }
  for (const [of, lines] of logs) begin(of, lines)
  let expecting = more !== undefined
  let broken: { error: unknown } | undefined
  const readMore = async (later: AsyncIterable<readonly [T, AsyncIterable<LogLine>]>): Promise<void> => {
    try {
      for await (const [of, lines] of later) begin(of, lines)
    } catch (error) {
      broken = { error }
    }
    expecting = false
    wake()
  }
  if (more !== undefined) void readMore(more)
  try {
    while (true) {
      const changed = new Promise<void>((resolve) => {
        wake = resolve
      })
      if (broken !== undefined) throw broken.error
      sources = sources.filter(({ lines, ended }) => lines.length > 0 || !ended)
      const next = oldest(sources)
      const someSilent = sources.some(({ lines, ended }) => lines.length === 0 && !ended)
      const [line] = next?.lines ?? []
      if (next === undefined || line === undefined) {
        if (!someSilent && !expecting) return
        await changed
        continue
      }
      // Counted from each line's own arrival: lines that came together are held back together, not one after the other.
      const leftMs = someSilent ? line.arrivedMs + patienceMs - clock.monotonicMs() : 0
      if (leftMs > 0) {
        await within(clock, leftMs, changed)
        continue
      }
      next.lines.shift()
      next.bytes -= line.text.length
      next.taken?.()
      yield { time: line.time, text: line.text, of: next.of }
    }
  } finally {
    over = true
    for (const iterator of iterators) void iterator.return?.().catch(() => undefined)
    for (const { taken } of sources) taken?.()
  }
}

function isFull({ lines, bytes }: Source<unknown>): boolean {
  return lines.length >= MAX_AHEAD || bytes >= MAX_AHEAD_BYTES
}

/** Until the work is done, or this time is over. */
export async function within(clock: Clock, waitMs: number, work: Promise<unknown>): Promise<void> {
  if (waitMs === Number.POSITIVE_INFINITY) {
    await work
    return
  }
  const stop = new AbortController()
  const waited = sleep(clock, waitMs, stop.signal).catch(() => undefined)
  await Promise.race([work, waited])
  stop.abort()
}

function oldest<T>(sources: readonly Source<T>[]): Source<T> | undefined {
  let found: Source<T> | undefined
  for (const source of sources) {
    const time = source.lines[0]?.time
    if (time !== undefined && time < (found?.lines[0]?.time ?? LATEST)) found = source
  }
  return found
}

/** After every time that a log could have. */
const LATEST = '\uffff'
