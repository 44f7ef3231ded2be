/**
 * `npm run sim`: runs seeds until told to stop, says how fast and what was broken, and for each failure how to see it
 * again. Seeds know nothing of each other: they are shared out to a process for each processor.
 *
 *   npm run sim -- --seconds 60          fresh seeds for a minute
 *   npm run sim -- --from 1 --count 40   these seeds: the same work each time, to compare speeds by
 *   npm run sim -- --seed 7 --trace      one seed, every line
 *   npm run sim -- --seed 7 --shrink     which of its actions are needed to fail
 *   npm run sim -- --seed 7 --skip 3,5   the same without those actions
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
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
    from: { type: 'string', default: '1' },
    count: { type: 'string' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    /** One of those processes: its sums go to the first as a line of JSON. */
    share: { type: 'string' },
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

interface Sum {
  runs: number
  failures: number
  simulatedMs: number
  faults: Record<string, number>
  operations: Record<string, number>
}

const SUM = 'sum '
const newSum = (): Sum => ({ runs: 0, failures: 0, simulatedMs: 0, faults: {}, operations: {} })

/** Every `jobs`th seed from the `share`th on, or fresh ones for as long as told. */
async function runShare(share: number, jobs: number): Promise<Sum> {
  const endMs = systemClock.monotonicMs() + Number(values.seconds ?? DEFAULT_SECONDS) * 1000
  const count = values.count === undefined ? undefined : Number(values.count)
  const sum = newSum()
  for (let number = share; count === undefined ? systemClock.monotonicMs() < endMs : number < count; number += jobs) {
    const seed = count === undefined ? randomInt(systemRandom, HIGHEST_SEED) : Number(values.from) + number
    const result = await runSeed({ seed })
    sum.runs++
    sum.simulatedMs += result.simulatedMs
    add(sum.faults, result.faults)
    add(sum.operations, result.operations)
    if (result.violation === undefined) continue
    sum.failures++
    reportFailure(result)
  }
  return sum
}

/** The same program again, for its share. Throws when it does not come to its end. */
async function shareOut(share: number): Promise<Sum> {
  const args = [...process.execArgv, ...process.argv.slice(1), '--share', String(share)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let sum: Sum | undefined
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith(SUM)) sum = JSON.parse(line.slice(SUM.length)) as Sum
    else print(line)
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  if (sum === undefined) throw new Error(`share ${share} ended with ${child.exitCode ?? child.signalCode} and no sums`)
  return sum
}

async function runMany(): Promise<boolean> {
  const jobs = Math.max(1, Number(values.jobs))
  if (values.share !== undefined) {
    print(SUM + JSON.stringify(await runShare(Number(values.share), jobs)))
    return true
  }
  const startedMs = systemClock.monotonicMs()
  const total = newSum()
  for (const sum of await Promise.all(Array.from({ length: jobs }, (_, share) => shareOut(share)))) {
    total.runs += sum.runs
    total.failures += sum.failures
    total.simulatedMs += sum.simulatedMs
    add(total.faults, sum.faults)
    add(total.operations, sum.operations)
  }
  const speed = total.simulatedMs / (systemClock.monotonicMs() - startedMs)
  print(`${total.runs} runs, ${total.failures} failed; ${(total.simulatedMs / 3_600_000).toFixed(1)} simulated hours`)
  print(`${speed.toFixed(0)} simulated seconds a second in ${jobs} processes`)
  print(`faults: ${counts(total.faults)}`)
  print(`users: ${counts(total.operations)}`)
  return total.failures === 0
}

const passed = values.seed === undefined ? await runMany() : await runOne(Number(values.seed))
process.exit(passed ? 0 : 1)
