/**
 * A container's log on disk: the file that its monitor writes, and the ones before it, `0.log.1` the youngest of those.
 * A log is all of them in order; who reads one must not care where it was cut.
 */
import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Numbers of the rotated files of `0.log` among the names of its directory, youngest first. Pure. */
export function rotatedNumbers(name: string, names: readonly string[]): number[] {
  const numbers = names.flatMap((each) => {
    const rest = each.startsWith(`${name}.`) ? each.slice(name.length + 1) : ''
    return /^[1-9]\d{0,5}$/.test(rest) ? [Number(rest)] : []
  })
  return numbers.sort((a, b) => a - b)
}

/** Paths of what came before the current file, among the names of its directory, youngest first. Pure. */
export function rotatedAmong(path: string, names: readonly string[]): string[] {
  return rotatedNumbers(basename(path), names).map((number) => join(dirname(path), `${basename(path)}.${number}`))
}

export async function rotatedPaths(path: string): Promise<string[]> {
  return rotatedAmong(path, await readdir(dirname(path)).catch(() => []))
}
