/** Whether a mounted overlay has one of these directories among its layers. Pure. Source: proc_pid_mountinfo(5). */
export function isMounted(mountinfo: string, directories: readonly string[]): boolean {
  const escaped = (path: string): string =>
    path.replace(/[ \t\n\\]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`)
  const wanted = directories.map(escaped)
  for (const line of mountinfo.split('\n')) {
    const [, after = ''] = line.split(' - ')
    if (!after.startsWith('overlay ')) continue
    // `lowerdir=A:B,upperdir=…`; newer kernels write one `lowerdir+=A` a layer.
    const layers = after.split(/[ ,]/).flatMap((option) => /^lowerdir\+?=(.*)$/.exec(option)?.[1]?.split(':') ?? [])
    if (layers.some((layer) => wanted.includes(layer))) return true
  }
  return false
}
