/** /proc/self/mountinfo as data. Source: proc_pid_mountinfo(5). */

export interface MountEntry {
  /** What of the file system is mounted there. */
  root: string
  mountPoint: string
  type: string
  superOptions: readonly string[]
}

/** Spaces, tabs, newlines and backslashes stand as octal escapes. */
function unescapePath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

export function parseMountinfo(text: string): MountEntry[] {
  const entries: MountEntry[] = []
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ', 2)
    const [, , , root = '', mountPoint] = left?.split(' ') ?? []
    const [type, , superOptions] = right?.split(' ') ?? []
    if (mountPoint === undefined || type === undefined) continue
    entries.push({
      root: unescapePath(root),
      mountPoint: unescapePath(mountPoint),
      type,
      superOptions: (superOptions ?? '').split(','),
    })
  }
  return entries
}

/** Mount points at or below a directory, deepest first: the order to unmount them in. */
export function mountsBelow(text: string, directory: string): string[] {
  const points = parseMountinfo(text)
    .map((entry) => entry.mountPoint)
    .filter((point) => point === directory || point.startsWith(`${directory}/`))
  // What was mounted later lies on top, so among equals the last comes first.
  return points.reverse().sort((a, b) => b.split('/').length - a.split('/').length)
}
