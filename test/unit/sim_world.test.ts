/**
 * The simulation's share of every test run: fixed seeds, a few fresh ones, that a seed is a run, and that bugs which
 * are planted on purpose are found.
 */
import { describe, expect, it } from 'vitest'
import { randomInt, systemRandom } from '../../src/base/random.ts'
import { PLANTED_BUGS } from '../sim/planted_bugs.ts'
import { type RunResult, runSeed } from '../sim/run.ts'

const FIXED_SEEDS = [7, 30, 114, 5015, 6050, 6125]
const FRESH_SEEDS = 2
const SEEDS_A_BUG = 40
const RUN_TIMEOUT_MS = 180_000

function told({ seed, violation, tail }: RunResult): string {
  if (violation === undefined) return ''
  const head = `seed ${seed}, step ${violation.step}: ${violation.invariant}: ${violation.message}`
  return `${head}\nagain: npm run sim -- --seed ${seed} --trace\n${tail.slice(-40).join('\n')}`
}

describe('a simulated cluster', () => {
  it.each(FIXED_SEEDS)(
    'holds every invariant and converges with seed %i',
    { timeout: RUN_TIMEOUT_MS },
    async (seed) => {
      expect(told(await runSeed({ seed }))).toBe('')
    },
  )

  it('does so with fresh seeds', { timeout: RUN_TIMEOUT_MS }, async () => {
    for (let run = 0; run < FRESH_SEEDS; run++) {
      expect(told(await runSeed({ seed: randomInt(systemRandom, 2 ** 31) }))).toBe('')
    }
  })

  it('does the very same again from the same seed', { timeout: RUN_TIMEOUT_MS }, async () => {
    const first = await runSeed({ seed: 21 })
    const second = await runSeed({ seed: 21 })
    expect([second.hash, second.steps, second.simulatedMs]).toEqual([first.hash, first.steps, first.simulatedMs])
    expect((await runSeed({ seed: 22 })).hash).not.toBe(first.hash)
  })
})

describe('a planted bug is found', () => {
  it.each(PLANTED_BUGS)('$name', { timeout: RUN_TIMEOUT_MS }, async ({ firstSeed, breaks, plant }) => {
    let found: RunResult | undefined
    for (let seed = firstSeed; seed < firstSeed + SEEDS_A_BUG && found === undefined; seed++) {
      const result = await runSeed({ seed, seams: plant() })
      if (result.violation !== undefined) found = result
    }
    expect(breaks).toContain(found?.violation?.invariant)
  })
})
