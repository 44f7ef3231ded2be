/** Time zones as far as schedules need them, from the runtime's own tables (Intl). Pure. */

export interface Zone {
  /** What to add to an instant to get what the wall clock shows, as if that were UTC. */
  offsetMs(instantMs: number): number
  /** The instants at which the wall clock shows this: none in a gap, two where an hour comes twice. In order. */
  instantsOf(wallMs: number): number[]
  /** The first instant after the gap that skips this wall time. */
  gapEnd(wallMs: number): number
}

const DAY_MS = 86_400_000
const SECOND_MS = 1000

export function isTimeZone(name: string): boolean {
  // `Local` would mean another thing on every server.
  if (name === '' || name.toLowerCase() === 'local') return false
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name })
    return true
  } catch {
    return false
  }
}

export function zoneOf(name: string): Zone {
  if (name === 'UTC' || name === 'Etc/UTC') return zone(() => 0)
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: name,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
    era: 'short',
  })
  return zone((instantMs) => {
    const parts = new Map(format.formatToParts(instantMs).map(({ type, value }) => [type, value]))
    const read = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.get(type) ?? 0)
    const wall = Date.UTC(read('year'), read('month') - 1, read('day'), read('hour'), read('minute'), read('second'))
    return wall - Math.floor(instantMs / SECOND_MS) * SECOND_MS
  })
}

function zone(offsetMs: (instantMs: number) => number): Zone {
  // Offsets are never more than a day off, so those of the days around are all that can hold.
  const around = (wallMs: number): [number, number] => [offsetMs(wallMs - DAY_MS), offsetMs(wallMs + DAY_MS)]
  return {
    offsetMs,
    instantsOf(wallMs) {
      const instants = new Set(around(wallMs).map((offset) => wallMs - offset))
      return [...instants].filter((instant) => instant + offsetMs(instant) === wallMs).sort((a, b) => a - b)
    },
    gapEnd(wallMs) {
      const [before, after] = around(wallMs)
      // The change lies between these two readings of the skipped time.
      let low = wallMs - after - SECOND_MS
      let high = wallMs - before
      while (high - low > SECOND_MS) {
        const middle = Math.floor((low + high) / 2 / SECOND_MS) * SECOND_MS
        if (middle <= low || middle >= high) break
        if (offsetMs(middle) === before) low = middle
        else high = middle
      }
      return high
    },
  }
}
