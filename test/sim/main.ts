/**
 * `npm run sim`: runs seeds until told to stop, says how fast and what was broken, and for the first failure how to see
 * it again.
 *
 *   npm run sim -- --seconds 60          fresh seeds for a minute
 *   npm run sim -- --seed 7 --trace      one seed, every line
 *   npm run sim -- --seed 7 --shrink     which of its actions are needed to fail
 *   npm run sim -- --seed 7 --skip 3,5   the same without those actions
 */
import { parseArgs } from 'node:util'
import { systemClock } from '../../src/base/clock.ts'
import { randomInt, systemRandom } from '../../src/base/random.ts'
import { type RunResult, runSeed } from './run.ts'
import { shrink } from './shrink.ts'

const HIGHEST_SEED = 2 ** 31
const DEFAULT_SECONDS = 60

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seconds: { type: 'string' },
    skip: { type: 'string' },
    trace: { type: 'boolean', default: false },
    shrink: { type: 'boolean', default: false },
  },
})
const print = (line: string): void => void process.stdout.write(`${line}\n`)
const skip = new Set((values.skip ?? '').split(',').filter(Boolean).map(Number))

function add(sum: Record<string, number>, more: Record<string, number>): void {
  for (const [name, count] of Object.entries(more)) sum[name] = (sum[name] ?? 0) + count
}

function counts(of: Record<string, number>): string {
  const sorted = Object.entries(of).sort(([, a], [, b]) => b - a)
  return sorted.map(([name, count]) => `${name} ${count}`).join(', ')
}

function reportFailure({ seed, violation, tail }: RunResult): void {
  if (violation === undefined) return
  print(tail.map((line) => `  ${line}`).join('\n'))
  print(
    `FAILED seed ${seed} at ${(violation.atMs / 1000).toFixed(3)} s, step ${violation.step}: ${violation.invariant}`,
  )
  print(violation.message)
  print(`again: npm run sim -- --seed ${seed} --trace   shorter: npm run sim -- --seed ${seed} --shrink`)
}

async function runOne(seed: number): Promise<boolean> {
  const result = await runSeed({ seed, skip, ...(values.trace ? { print } : {}) })
  reportFailure(result)
  if (values.shrink && result.violation !== undefined) {
    const kept = await shrink(result, print)
    const left = Array.from({ length: result.actions }, (_, number) => number).filter(
      (number) => !kept.includes(number),
    )
    print(`needed: actions ${kept.join(',')}; see: npm run sim -- --seed ${seed} --trace --skip ${left.join(',')}`)
  }
  const { hash, simulatedMs, steps } = result
  print(`seed ${seed}: trace ${hash}, ${(simulatedMs / 1000).toFixed(0)} simulated seconds, ${steps} steps`)
  return result.violation === undefined
}

async function runMany(seconds: number): Promise<boolean> {
  const startedMs = systemClock.monotonicMs()
  const elapsedMs = (): number => systemClock.monotonicMs() - startedMs
  const sum = { runs: 0, failures: 0, simulatedMs: 0, faults: {}, operations: {} }
  while (elapsedMs() < seconds * 1000) {
    const result = await runSeed({ seed: randomInt(systemRandom, HIGHEST_SEED) })
    sum.runs++
    sum.simulatedMs += result.simulatedMs
    add(sum.faults, result.faults)
    add(sum.operations, result.operations)
    if (result.violation === undefined) continue
    sum.failures++
    reportFailure(result)
  }
  const speed = sum.simulatedMs / elapsedMs()
  print(`${sum.runs} runs, ${sum.failures} failed; ${(sum.simulatedMs / 3_600_000).toFixed(1)} simulated hours`)
  print(`${speed.toFixed(0)} simulated seconds a second`)
  print(`faults: ${counts(sum.faults)}`)
  print(`users: ${counts(sum.operations)}`)
  return sum.failures === 0
}

const passed =
  values.seed === undefined
    ? await runMany(Number(values.seconds ?? DEFAULT_SECONDS))
    : await runOne(Number(values.seed))
process.exit(passed ? 0 : 1)
