/** Sets of completion indexes as a status writes them: `1,3-5,7`. Pure. */
import { COMPLETION_INDEX } from '../../api/job.ts'
import type { Pod } from '../../api/pod.ts'

/** Indexes at or above `below` are left out: a job that shrank does not want them any more. */
export function parseIndexes(text: string | undefined, below: number): Set<number> {
  const indexes = new Set<number>()
  for (const part of (text ?? '').split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part.trim())
    if (match === null) continue
    const from = Number(match[1])
    const to = Math.min(Number(match[2] ?? from), below - 1)
    for (let index = from; index <= to; index++) indexes.add(index)
  }
  return indexes
}

export function formatIndexes(indexes: ReadonlySet<number>): string {
  const parts: string[] = []
  const sorted = [...indexes].sort((a, b) => a - b)
  for (let at = 0; at < sorted.length; ) {
    let end = at
    while (sorted[end + 1] === (sorted[end] ?? 0) + 1) end++
    const [from, to] = [sorted[at], sorted[end]]
    parts.push(from === to ? String(from) : `${from}-${to}`)
    at = end + 1
  }
  return parts.join(',')
}

export function indexOfPod(pod: Pod): number | undefined {
  const text = pod.metadata.annotations?.[COMPLETION_INDEX] ?? ''
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined
}
