/**
 * Lines of several logs in the order of their times. Each log is in order by itself, so the oldest of all first lines is
 * next once every log has shown one. A log that is silent is waited for, but never longer than `patienceMs`.
 */
import { type Clock, sleep } from '../base/clock.ts'

export interface LogLine {
  /** RFC 3339 with nanoseconds, in UTC: such texts are ordered as their times are. */
  time: string
  text: string
}

interface Source<T> {
  of: T
  /** Undefined until one is there, and again once it is taken. */
  first: LogLine | undefined
  ended: boolean
  asked: Promise<void> | undefined
}

/** Splits a line as the server sends it with `timestamps`; one without a time has none. Pure. */
export function splitTime(line: string): LogLine {
  const [, time = '', text = ''] = /^(\d{4}-\d\d-\d\dT\S+) (.*)$/s.exec(line) ?? []
  return time === '' ? { time: '', text: line } : { time: sortable(time), text }
}

/** Fractions differ in length, and `Z` sorts after digits. */
function sortable(time: string): string {
  const [, seconds = '', fraction = '', zone = ''] = /^([^.Z+]+?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(time) ?? []
  if (seconds === '') return time
  const utc = zone === 'Z' ? seconds : new Date(`${seconds}${zone}`).toISOString().slice(0, 19)
  return `${utc}.${fraction.padEnd(9, '0')}Z`
}

export interface MergeOptions {
  clock: Clock
  /** How long a silent log holds back the others; infinite: until it ends. */
  patienceMs: number
}

/** What fails in a log is told to `onFailure`, and ends that log alone. */
export async function* mergeByTime<T>(
  logs: ReadonlyMap<T, AsyncIterable<LogLine>>,
  { clock, patienceMs }: MergeOptions,
  onFailure: (of: T, error: unknown) => void,
): AsyncGenerator<LogLine & { of: T }> {
  const iterators = new Map([...logs].map(([of, lines]) => [of, lines[Symbol.asyncIterator]()]))
  const sources = [...logs.keys()].map((of): Source<T> => ({ of, first: undefined, ended: false, asked: undefined }))
  const ask = (source: Source<T>): Promise<void> => {
    const take = async (): Promise<void> => {
      try {
        const result = await iterators.get(source.of)?.next()
        if (result === undefined || result.done === true) source.ended = true
        else source.first = result.value
      } catch (error) {
        source.ended = true
        onFailure(source.of, error)
      } finally {
        source.asked = undefined
      }
    }
    source.asked ??= take()
    return source.asked
  }
  try {
    while (true) {
      const silent = sources.filter(({ first, ended }) => first === undefined && !ended)
      const present = sources.filter(({ first }) => first !== undefined)
      if (silent.length === 0 && present.length === 0) return
      if (present.length === 0) await Promise.race(silent.map(ask))
      else if (silent.length > 0) await within(clock, patienceMs, Promise.all(silent.map(ask)))
      const next = oldest(sources)
      if (next?.first === undefined) continue
      const line = next.first
      next.first = undefined
      yield { ...line, of: next.of }
    }
  } finally {
    for (const iterator of iterators.values()) void iterator.return?.().catch(() => undefined)
  }
}

async function within(clock: Clock, patienceMs: number, work: Promise<unknown>): Promise<void> {
  if (patienceMs === Number.POSITIVE_INFINITY) {
    await work
    return
  }
  const stop = new AbortController()
  const waited = sleep(clock, patienceMs, stop.signal).catch(() => undefined)
  await Promise.race([work, waited])
  stop.abort()
}

function oldest<T>(sources: readonly Source<T>[]): Source<T> | undefined {
  let found: Source<T> | undefined
  for (const source of sources) {
    if (source.first === undefined) continue
    if (found?.first === undefined || source.first.time < found.first.time) found = source
  }
  return found
}
