/** How long the command line takes to start, beside a Node that does nothing. */
import { systemClock } from '../../src/base/clock.ts'
import { DROVER, output } from '../support/local_cluster.ts'
import { type BenchResult, median } from './result.ts'

const ROUNDS = 15
const LIMIT_MS = 150

export async function benchCli(): Promise<BenchResult[]> {
  const times = { cli: [] as number[], node: [] as number[] }
  const timed = async (...args: string[]): Promise<number> => {
    const startedMs = systemClock.monotonicMs()
    await output(process.execPath, args)
    return systemClock.monotonicMs() - startedMs
  }
  for (let i = 0; i < ROUNDS; i++) {
    times.node.push(await timed('-e', '0'))
    times.cli.push(await timed(DROVER, 'version', '--client'))
  }
  const [cliMs, nodeMs] = [median(times.cli), median(times.node)]
  const detail = `${cliMs.toFixed(0)} ms of ${LIMIT_MS} ms; node -e 0 takes ${nodeMs.toFixed(0)} ms here`
  return [
    { name: 'start of the command line (ms / ms)', ratio: cliMs / LIMIT_MS, limit: 1, better: 'lower', detail },
    { name: 'start of the command line beside node -e 0', ratio: cliMs / nodeMs, better: 'lower', detail },
  ]
}
