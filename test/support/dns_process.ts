/**
 * A name server in a process of its own, for tests that put it into a network namespace. Lines of JSON come on standard
 * input, `{ "call": …, "rows": … }`, and each is answered with one line: `{ "value": … }` or `{ "error": … }`.
 */
import { createInterface } from 'node:readline'
import { createDnsDriver } from '../../src/agent/dns/driver.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Registry } from '../../src/base/metrics.ts'
import { systemRandom } from '../../src/base/random.ts'
import type { ServiceRow } from '../../src/rpc/tables.ts'
import { CONFIG } from './dns.ts'

const driver = createDnsDriver({
  clock: systemClock,
  random: systemRandom,
  log: silentLogger,
  registry: new Registry(),
  upstreams: [],
})

const calls: Record<string, (rows: ServiceRow[]) => unknown> = {
  initialize: () => driver.initialize(),
  apply: (rows) => driver.applyServices(rows, CONFIG),
  mendDrift: () => driver.mendDrift(),
  close: () => driver.close(),
  teardown: () => driver.teardown(),
}

for await (const line of createInterface({ input: process.stdin })) {
  const { call, rows = [] } = JSON.parse(line) as { call: string; rows?: ServiceRow[] }
  try {
    const value = (await calls[call]?.(rows)) ?? null
    process.stdout.write(`${JSON.stringify({ value })}\n`)
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: (error as Error).message })}\n`)
  }
}
process.exit(0)
