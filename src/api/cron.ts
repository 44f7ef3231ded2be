/**
 * Cron schedules: five fields or a nickname, and the next time after an instant, in a time zone. Pure.
 * Source: POSIX crontab(5) fields, names and steps as Vixie cron; `@daily` and its like.
 *
 * Where the clocks change, as Vixie cron: a schedule of fixed times runs once a day whatever the clocks do. A time that is skipped
 * runs at the first minute after the gap, one that comes twice runs the first time. A schedule with `*` for hour or minute follows the
 * clock as it goes: it says "every", and every is what it gets. (Kubernetes drops skipped times and repeats doubled ones.)
 */
import { DroverError } from '../base/errors.ts'
import { type Zone, zoneOf } from './cron_zone.ts'

export interface Schedule {
  minutes: readonly number[]
  hours: readonly number[]
  days: ReadonlySet<number>
  months: ReadonlySet<number>
  weekdays: ReadonlySet<number>
  /** Both day fields are restricted: either may match. */
  eitherDay: boolean
  /** `*` for hour or minute. */
  followsClock: boolean
}

const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC']
const WEEKDAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT']

interface Field {
  name: string
  min: number
  max: number
  /** Names of the values from `min` on. */
  names?: readonly string[]
}

const FIELDS: readonly [Field, Field, Field, Field, Field] = [
  { name: 'minute', min: 0, max: 59 },
  { name: 'hour', min: 0, max: 23 },
  { name: 'day of month', min: 1, max: 31 },
  { name: 'month', min: 1, max: 12, names: MONTHS },
  // 7 is Sunday too.
  { name: 'day of week', min: 0, max: 7, names: WEEKDAYS },
]

const NICKNAMES: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
}

const DAY_MS = 86_400_000
const MINUTE_MS = 60_000
/** 29 February can be eight years away; what does not come in this time never comes. */
const HORIZON_DAYS = 366 * 12

/** Throws `invalid` with the field that is wrong. */
export function parseSchedule(text: string): Schedule {
  const trimmed = text.trim()
  const plain = trimmed.startsWith('@') ? NICKNAMES[trimmed.toLowerCase()] : trimmed
  if (plain === undefined) {
    throw new DroverError('invalid', `there is no schedule ${trimmed}; there are ${Object.keys(NICKNAMES).join(', ')}`)
  }
  if (/^(CRON_)?TZ=/.test(plain)) {
    throw new DroverError('invalid', 'name the time zone in spec.timeZone, not in the schedule')
  }
  const parts = plain.split(/\s+/)
  if (parts.length !== FIELDS.length) {
    throw new DroverError(
      'invalid',
      `"${text}" has ${parts.length} fields; a schedule has 5: ${FIELDS.map(({ name }) => name).join(', ')}`,
    )
  }
  const [minute = '', hour = '', day = '', , weekday = ''] = parts
  const [minutes, hours, days, months, weekdays] = FIELDS.map((field, index) => parseField(parts[index] ?? '', field))
  return {
    minutes: minutes ?? [],
    hours: hours ?? [],
    days: new Set(days),
    months: new Set(months),
    weekdays: new Set((weekdays ?? []).map((value) => value % 7)),
    eitherDay: !isAny(day) && !isAny(weekday),
    followsClock: [minute, hour].some((field) => /^[*?]/.test(field)),
  }
}

const isAny = (field: string): boolean => field === '*' || field === '?'

function parseField(text: string, field: Field): number[] {
  const values = new Set<number>()
  for (const part of text.split(',')) {
    const match = /^([^/]+)(?:\/(\d+))?$/.exec(part)
    if (match === null) throw badField(text, field)
    const [, range = '', stepText] = match
    const step = stepText === undefined ? 1 : Number(stepText)
    if (step < 1) throw badField(text, field)
    const { from, to } = parseRange(range, stepText !== undefined, field, text)
    for (let value = from; value <= to; value += step) values.add(value)
  }
  return [...values].sort((a, b) => a - b)
}

function parseRange(range: string, stepped: boolean, field: Field, text: string): { from: number; to: number } {
  // Seven is a second name of Sunday, no eighth day.
  if (isAny(range)) return { from: field.min, to: field.names === WEEKDAYS ? 6 : field.max }
  const [first = '', last, ...more] = range.split('-')
  if (more.length > 0) throw badField(text, field)
  const from = parseValue(first, field, text)
  const to = last === undefined ? (stepped ? field.max : from) : parseValue(last, field, text)
  if (to < from) throw badField(text, field)
  return { from, to }
}

function parseValue(text: string, field: Field, whole: string): number {
  const named = field.names?.indexOf(text.toUpperCase()) ?? -1
  const value = named >= 0 ? field.min + named : /^\d{1,2}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= field.min && value <= field.max)) throw badField(whole, field)
  return value
}

function badField(text: string, { name, min, max, names }: Field): DroverError {
  const also = names === undefined ? '' : ` or ${names[0]}-${names.at(-1)}`
  return new DroverError(
    'invalid',
    `"${text}" is no ${name}: write ${min}-${max}${also}, with lists a,b, ranges a-b and steps */n`,
  )
}

function matchesDay({ days, months, weekdays, eitherDay }: Schedule, dayUtcMs: number): boolean {
  const date = new Date(dayUtcMs)
  if (!months.has(date.getUTCMonth() + 1)) return false
  const byDate = days.has(date.getUTCDate())
  const byWeekday = weekdays.has(date.getUTCDay())
  return eitherDay ? byDate || byWeekday : byDate && byWeekday
}

/** The first time after `afterMs` at which the schedule is due; undefined when it never is (30 February). */
export function nextTime(schedule: Schedule, afterMs: number, timeZone = 'UTC'): number | undefined {
  const zone = zoneOf(timeZone)
  const wallMs = afterMs + zone.offsetMs(afterMs)
  // The day before too: a time that a gap skipped in it may come due only now.
  const firstDay = Math.floor(wallMs / DAY_MS) - 1
  for (let day = firstDay; day < firstDay + HORIZON_DAYS; day++) {
    const dayMs = day * DAY_MS
    if (!matchesDay(schedule, dayMs)) continue
    const found = firstOfDay(schedule, dayMs, afterMs, zone)
    if (found !== undefined) return found
  }
  return undefined
}

/** `dayMs` is the day's midnight as if its wall clock were UTC's. */
function firstOfDay(schedule: Schedule, dayMs: number, afterMs: number, zone: Zone): number | undefined {
  const before = zone.offsetMs(dayMs - DAY_MS)
  const after = zone.offsetMs(dayMs + 2 * DAY_MS)
  // An instant lies between these two readings of its wall time, whatever the clocks do.
  const [least, most] = [Math.min(before, after), Math.max(before, after)]
  let best: number | undefined
  for (const hour of schedule.hours) {
    for (const minute of schedule.minutes) {
      const wallMs = dayMs + (hour * 60 + minute) * MINUTE_MS
      if (wallMs - least <= afterMs) continue
      if (best !== undefined && wallMs - most >= best) return best
      const instants = before === after ? [wallMs - before] : instantsOf(schedule, wallMs, zone)
      for (const instant of instants) {
        if (instant > afterMs && (best === undefined || instant < best)) best = instant
      }
    }
  }
  return best
}

/** When the wall clock says this: once, never or twice, told as the schedule wants it. */
function instantsOf({ followsClock }: Schedule, wallMs: number, zone: Zone): number[] {
  const instants = zone.instantsOf(wallMs)
  if (followsClock) return instants
  const [first] = instants
  return [first ?? zone.gapEnd(wallMs)]
}

/** The last time at or before `nowMs` and after `afterMs` at which the schedule was due. */
export function lastTime(
  schedule: Schedule,
  range: { afterMs: number; nowMs: number },
  timeZone = 'UTC',
): number | undefined {
  const { afterMs, nowMs } = range
  // Widening looks back: whatever the schedule, few times lie between the first that is found and now.
  for (let reachMs = 2 * MINUTE_MS; ; reachMs *= 8) {
    const fromMs = Math.max(afterMs, nowMs - reachMs)
    let found: number | undefined
    for (let at = nextTime(schedule, fromMs, timeZone); at !== undefined && at <= nowMs; ) {
      found = at
      at = nextTime(schedule, at, timeZone)
    }
    if (found !== undefined || fromMs === afterMs) return found
  }
}
