/** What differs between versions of etcd, in one place. Pure. */

/** Negative when `a` is older than `b`; pre-release suffixes are ignored. */
export function compareVersions(a: string, b: string): number {
  const parse = (text: string) => text.split(/[.-]/, 3).map((part) => Number.parseInt(part, 10) || 0)
  const left = parse(a)
  const right = parse(b)
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/**
 * Answers to a watch's progress request could overtake its events before 3.4.25 and 3.5.8.
 * Source: etcd's changelogs, "Fix watch: progress notifications … not … in order", issue 15220.
 */
export function progressIsInOrder(version: string): boolean {
  if (compareVersions(version, '3.5.0') < 0) return compareVersions(version, '3.4.25') >= 0
  return compareVersions(version, '3.5.8') >= 0
}

/** How the flag for periodic watch progress is called. */
export function progressIntervalFlag(version: string): string {
  const experimental = compareVersions(version, '3.6.0') < 0
  return experimental ? '--experimental-watch-progress-notify-interval' : '--watch-progress-notify-interval'
}
