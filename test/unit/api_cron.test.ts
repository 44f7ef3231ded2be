/** Cron schedules: what is read, and when they are due, held against an oracle that looks at every minute. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lastTime, nextTime, parseSchedule, type Schedule } from '../../src/api/cron.ts'
import { isTimeZone } from '../../src/api/cron_zone.ts'

const MINUTE_MS = 60_000
const at = (text: string): number => Date.parse(text)
const next = (schedule: string, after: string, timeZone?: string): string | undefined => {
  const found = nextTime(parseSchedule(schedule), at(after), timeZone)
  return found === undefined ? undefined : new Date(found).toISOString().replace(':00.000Z', 'Z')
}

describe('schedules', () => {
  it.each([
    ['* * * * *', '2026-01-01T00:00:30Z', '2026-01-01T00:01Z'],
    ['*/15 * * * *', '2026-01-01T00:15:00Z', '2026-01-01T00:30Z'],
    ['0 9-17/4 * * mon-FRI', '2026-01-02T17:00:00Z', '2026-01-05T09:00Z'],
    ['@daily', '2026-01-31T00:00:00Z', '2026-02-01T00:00Z'],
    ['@hourly', '2026-01-31T23:59:59Z', '2026-02-01T00:00Z'],
    ['@Yearly', '2026-01-01T00:00:00Z', '2027-01-01T00:00Z'],
    ['0 0 29 2 *', '2097-01-01T00:00:00Z', '2104-02-29T00:00Z'],
    ['0 0 13 * 5', '2026-01-01T00:00:00Z', '2026-01-02T00:00Z'],
    ['0 0 * * 7', '2026-01-01T00:00:00Z', '2026-01-04T00:00Z'],
    ['5,10-12 0 ? jan,DEC *', '2026-01-31T00:12:00Z', '2026-12-01T00:05Z'],
    ['0 0 30 2 *', '2026-01-01T00:00:00Z', undefined],
    ['10/20 * * * *', '2026-01-01T00:00:00Z', '2026-01-01T00:10Z'],
  ])('%s after %s', (schedule, after, expected) => {
    expect(next(schedule, after)).toBe(expected)
  })

  it.each(['', '* * * *', '* * * * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * * 13 *', '* * * * 8'])(
    'refuse "%s"',
    (schedule) => {
      expect(() => parseSchedule(schedule)).toThrow()
    },
  )

  it.each(['*/0 * * * *', '5-1 * * * *', 'a * * * *', '@fortnightly', 'TZ=UTC * * * * *', '1-2-3 * * * *'])(
    'refuse "%s" with words',
    (schedule) => {
      expect(() => parseSchedule(schedule)).toThrow(/write|there are|no minute|time zone/)
    },
  )

  it('know time zones', () => {
    expect(['Europe/Berlin', 'Etc/UTC', 'UTC'].every(isTimeZone)).toBe(true)
    expect(['', 'Local', 'Mars/Olympus'].some(isTimeZone)).toBe(false)
  })
})

describe('where the clocks change', () => {
  // Berlin 2026: 02:00 → 03:00 on 29 March (01:00Z), 03:00 → 02:00 on 25 October (01:00Z).
  it.each([
    ['30 2 * * *', '2026-03-28T12:00:00Z', '2026-03-29T01:00Z', 'a skipped time runs right after the gap'],
    ['30 2 * * *', '2026-03-29T01:00:00Z', '2026-03-30T00:30Z', 'and once'],
    ['30 2 * * *', '2026-10-24T12:00:00Z', '2026-10-25T00:30Z', 'a doubled time runs the first time'],
    ['30 2 * * *', '2026-10-25T00:30:00Z', '2026-10-26T01:30Z', 'and not the second'],
    ['30 * * * *', '2026-10-25T00:30:00Z', '2026-10-25T01:30Z', 'every hour is every hour, when doubled'],
    ['30 * * * *', '2026-03-29T00:30:00Z', '2026-03-29T01:30Z', 'and when skipped'],
  ])('%s after %s: %s (%s)', (schedule, after, expected) => {
    expect(next(schedule, after, 'Europe/Berlin')).toBe(expected)
  })

  it('even where a whole day is left out', () => {
    // Samoa went from 29 to 31 December 2011.
    expect(next('0 12 30 12 *', '2011-12-29T12:00:00Z', 'Pacific/Apia')).toBe('2011-12-30T10:00Z')
  })
})

/** Wall clock of an instant, by another way than the code's: the text of one locale. */
function wallClock(
  timeZone: string,
): (ms: number) => { key: string; minute: number; hour: number; day: number; month: number; weekday: number } {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short', timeStyle: 'short' })
  const cache = new Map<number, ReturnType<ReturnType<typeof wallClock>>>()
  return (ms) => {
    let wall = cache.get(ms)
    if (wall === undefined) {
      const key = format.format(ms)
      const [, year, month, day, hour, minute] = (/^(\d+)-(\d+)-(\d+) (\d+):(\d+)$/.exec(key) ?? []).map(Number)
      const weekday = new Date(Date.UTC(year ?? 0, (month ?? 1) - 1, day)).getUTCDay()
      wall = { key, minute: minute ?? 0, hour: hour ?? 0, day: day ?? 0, month: month ?? 0, weekday }
      cache.set(ms, wall)
    }
    return wall
  }
}

type Wall = ReturnType<ReturnType<typeof wallClock>>

function matches(schedule: Schedule, wall: Wall): boolean {
  const byDate = schedule.days.has(wall.day)
  const byWeekday = schedule.weekdays.has(wall.weekday)
  const day = schedule.eitherDay ? byDate || byWeekday : byDate && byWeekday
  return (
    day &&
    schedule.months.has(wall.month) &&
    schedule.hours.includes(wall.hour) &&
    schedule.minutes.includes(wall.minute)
  )
}

/** Every due minute of a span, found by looking at each of them. */
function oracle(schedule: Schedule, span: { fromMs: number; toMs: number }, clock: (ms: number) => Wall): number[] {
  const due = new Set<number>()
  const seen = new Set<string>()
  let last: { ms: number; key: string } | undefined
  for (let ms = span.fromMs; ms <= span.toMs; ms += MINUTE_MS) {
    const wall = clock(ms)
    if (matches(schedule, wall) && (schedule.followsClock || !seen.has(wall.key))) due.add(ms)
    // A jump forward: wall minutes that never were.
    if (last !== undefined && !schedule.followsClock) {
      const asUtc = (key: string): number => Date.parse(`${key.replace(' ', 'T')}Z`)
      for (let skipped = asUtc(last.key) + MINUTE_MS; skipped < asUtc(wall.key); skipped += MINUTE_MS) {
        const date = new Date(skipped)
        const lost = {
          key: '',
          minute: date.getUTCMinutes(),
          hour: date.getUTCHours(),
          day: date.getUTCDate(),
          month: date.getUTCMonth() + 1,
          weekday: date.getUTCDay(),
        }
        if (matches(schedule, lost)) due.add(ms)
      }
    }
    seen.add(wall.key)
    last = { ms, key: wall.key }
  }
  return [...due].sort((a, b) => a - b)
}

describe('against an oracle', () => {
  const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu']
  const clocks = new Map(zones.map((name) => [name, wallClock(name)]))
  // Days around the changes of all these zones, and a plain one.
  const starts = ['2026-03-27', '2026-10-23', '2026-03-06', '2026-10-30', '2026-04-03', '2026-10-02', '2026-06-10']
  const field = (min: number, max: number): fc.Arbitrary<string> =>
    fc.oneof(
      { weight: 2, arbitrary: fc.constant('*') },
      { weight: 3, arbitrary: fc.integer({ min, max }).map(String) },
      fc
        .tuple(fc.integer({ min, max }), fc.integer({ min, max }))
        .map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`),
      fc.integer({ min: 2, max: Math.max(2, max) }).map((step) => `*/${step}`),
      fc.array(fc.integer({ min, max }), { minLength: 2, maxLength: 4 }).map((list) => list.join(',')),
    )
  const hour = fc.oneof(fc.integer({ min: 0, max: 4 }).map(String), field(0, 23))
  const schedules = fc
    .tuple(
      field(0, 59),
      hour,
      fc.oneof(fc.constant('*'), field(1, 31)),
      fc.constant('*'),
      fc.oneof(fc.constant('*'), field(0, 6)),
    )
    .map((fields) => fields.join(' '))

  it('every due time is found, and no other', () => {
    fc.assert(
      fc.property(schedules, fc.constantFrom(...zones), fc.constantFrom(...starts), (text, timeZone, start) => {
        const schedule = parseSchedule(text)
        const fromMs = at(`${start}T00:00:00Z`)
        const toMs = fromMs + 5 * 86_400_000
        const clock = clocks.get(timeZone) ?? wallClock(timeZone)
        // Half a day of lead, so that what came before the span is known.
        const expected = oracle(schedule, { fromMs: fromMs - 43_200_000, toMs }, clock).filter((ms) => ms > fromMs)
        const found: number[] = []
        for (let ms = nextTime(schedule, fromMs, timeZone); ms !== undefined && ms <= toMs; ) {
          found.push(ms)
          if (found.length > 50) break
          ms = nextTime(schedule, ms, timeZone)
        }
        expect(found.slice(0, 50)).toEqual(expected.slice(0, found.length > 50 ? 50 : undefined))
        const last = expected.at(-1)
        expect(lastTime(schedule, { afterMs: fromMs, nowMs: toMs }, timeZone)).toBe(last)
      }),
      { numRuns: 120 },
    )
  }, 60_000)
})
