/** What a benchmark found, how it is judged, and the table at the end. Pure. */

export interface BenchResult {
  name: string
  ratio: number
  /** Without one the figure is told, not judged. */
  limit?: number
  better: 'higher' | 'lower'
  detail: string
}

export type Verdict = 'ok' | 'MISSED' | 'told'

export function verdictOf({ ratio, limit, better }: BenchResult): Verdict {
  if (limit === undefined) return 'told'
  // Written so that NaN, a benchmark that measured nothing, is a miss.
  const holds = better === 'higher' ? ratio >= limit : ratio <= limit
  return holds ? 'ok' : 'MISSED'
}

export function exitCodeOf(results: readonly BenchResult[]): 0 | 1 {
  return results.length > 0 && results.every((result) => verdictOf(result) !== 'MISSED') ? 0 : 1
}

const HEADER = ['BENCHMARK', 'RATIO', 'LIMIT', 'VERDICT', 'DETAIL']

/** Lines of the table; details may be long and come last. */
export function tableLines(results: readonly BenchResult[]): string[] {
  const rows = results.map((result) => [
    result.name,
    result.ratio.toFixed(2),
    result.limit === undefined ? '-' : `${result.better === 'higher' ? '>=' : '<='} ${result.limit}`,
    verdictOf(result),
    result.detail,
  ])
  const widths = HEADER.map((_, column) => Math.max(...[HEADER, ...rows].map((row) => row[column]?.length ?? 0)))
  return [HEADER, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

export interface BenchReport {
  passed: boolean
  results: (BenchResult & { verdict: Verdict })[]
}

export function reportOf(results: readonly BenchResult[]): BenchReport {
  return {
    passed: exitCodeOf(results) === 0,
    results: results.map((result) => ({ ...result, verdict: verdictOf(result) })),
  }
}

/** The middle value; of an even number, the lower of the two in the middle. NaN of none. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN
}

/** The median, and the best: on a busy machine the two lie far apart. */
export function secondsOf(ms: readonly number[]): string {
  return `${(median(ms) / 1000).toFixed(3)} s (best ${(Math.min(...ms) / 1000).toFixed(3)})`
}
