/** How benchmarks are judged, and the table that they end with. */
import { describe, expect, it } from 'vitest'
import { type BenchResult, exitCodeOf, median, reportOf, tableLines, verdictOf } from '../bench/result.ts'

const lower = (ratio: number, limit?: number): BenchResult => ({
  name: 'start',
  ratio,
  better: 'lower',
  detail: 'as seen',
  ...(limit === undefined ? {} : { limit }),
})
const higher = (ratio: number, limit: number): BenchResult => ({
  ...lower(ratio, limit),
  name: 'rate',
  better: 'higher',
})

describe('a limit', () => {
  it.each([
    [lower(1.99, 2), 'ok'],
    [lower(2, 2), 'ok'],
    [lower(2.01, 2), 'MISSED'],
    [higher(0.6, 0.6), 'ok'],
    [higher(0.59, 0.6), 'MISSED'],
    [lower(9), 'told'],
    [lower(Number.NaN, 2), 'MISSED'],
    [higher(Number.NaN, 0.6), 'MISSED'],
  ])('%o is %s', (result, verdict) => {
    expect(verdictOf(result)).toBe(verdict)
  })
})

describe('the run', () => {
  it('fails by one miss, and when nothing was measured', () => {
    expect(exitCodeOf([lower(1, 2), higher(1, 0.6), lower(9)])).toBe(0)
    expect(exitCodeOf([lower(1, 2), lower(3, 2)])).toBe(1)
    expect(exitCodeOf([])).toBe(1)
  })

  it('is told as JSON with its verdicts', () => {
    const report = reportOf([lower(1, 2), higher(0.1, 0.6)])
    expect(report.passed).toBe(false)
    expect(report.results.map(({ verdict }) => verdict)).toEqual(['ok', 'MISSED'])
  })

  it('ends with a table whose columns line up', () => {
    expect(tableLines([lower(1.234, 2), higher(0.1, 0.6), lower(9)])).toEqual([
      'BENCHMARK  RATIO  LIMIT   VERDICT  DETAIL',
      'start      1.23   <= 2    ok       as seen',
      'rate       0.10   >= 0.6  MISSED   as seen',
      'start      9.00   -       told     as seen',
    ])
  })
})

describe('median', () => {
  it.each([
    [[3, 1, 2], 2],
    [[4, 1, 2, 3], 2],
    [[5], 5],
  ])('of %o is %d', (values, middle) => {
    expect(median(values)).toBe(middle)
  })

  it('of nothing is no number', () => {
    expect(median([])).toBeNaN()
  })
})
