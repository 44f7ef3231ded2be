/** /proc/self/mountinfo as data. Source: proc_pid_mountinfo(5). */

export interface MountEntry {
  /** What of the file system is mounted there. */
  root: string
  mountPoint: string
  /** Of this mount alone: `ro`, `nosuid` and so on. */
  options: readonly string[]
  type: string
  superOptions: readonly string[]
  /** What is mounted below shows in the mounts that are its peers. */
  shared: boolean
  /** What is mounted below its master shows here. */
  slave: boolean
}

/** Spaces, tabs, newlines and backslashes stand as octal escapes. */
function unescapePath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

function escapePath(path: string): string {
  return path.replace(/[ \t\n\\]/g, (letter) => `\\${letter.charCodeAt(0).toString(8).padStart(3, '0')}`)
}

export function parseMountinfo(text: string): MountEntry[] {
  const entries: MountEntry[] = []
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ', 2)
    const [, , , root = '', mountPoint, options = '', ...tags] = left?.split(' ') ?? []
    const [type, , superOptions] = right?.split(' ') ?? []
    if (mountPoint === undefined || type === undefined) continue
    entries.push({
      root: unescapePath(root),
      mountPoint: unescapePath(mountPoint),
      options: options.split(','),
      type,
      superOptions: (superOptions ?? '').split(','),
      shared: tags.some((tag) => tag.startsWith('shared:')),
      slave: tags.some((tag) => tag.startsWith('master:')),
    })
  }
  return entries
}

/** Mount points at or below a directory, deepest first: the order to unmount them in. */
export function mountsBelow(text: string, directory: string): string[] {
  // A node with a hundred pods has a thousand mounts: only lines that may count are read further.
  const escaped = escapePath(directory)
  const lines = text.split('\n').filter((line) => line.includes(escaped))
  const points = parseMountinfo(lines.join('\n'))
    .map((entry) => entry.mountPoint)
    .filter((point) => point === directory || point.startsWith(`${directory}/`))
  // What was mounted later lies on top, so among equals the last comes first.
  return points.reverse().sort((a, b) => b.split('/').length - a.split('/').length)
}

/** The mount that holds a path. */
export function mountOf(text: string, path: string): MountEntry | undefined {
  let found: MountEntry | undefined
  for (const entry of parseMountinfo(text)) {
    const { mountPoint } = entry
    const holds = mountPoint === '/' || path === mountPoint || path.startsWith(`${mountPoint}/`)
    // Of two at one place the later lies on top.
    if (holds && mountPoint.length >= (found?.mountPoint.length ?? 0)) found = entry
  }
  return found
}
