/** Metrics: prom-client behind constructor arguments; one registry a process, made in its composition root. */
export { Counter, Gauge, Histogram, Registry } from 'prom-client'

import { performance } from 'node:perf_hooks'
import { Counter, collectDefaultMetrics, Gauge, type Registry } from 'prom-client'

export interface Sample {
  labels: Readonly<Record<string, string>>
  value: number
}

export interface LiveFamily {
  name: string
  help: string
  type: 'gauge' | 'counter'
  /** Asked at each scrape. */
  read(): Promise<readonly Sample[]>
}

/** A family whose samples are made when they are asked for and kept nowhere: for what thousands of things have. */
export function registerLive(registry: Registry, { name, help, type, read }: LiveFamily): void {
  const metric = new (type === 'gauge' ? Gauge : Counter)({ name, help, registers: [] })
  const empty = metric.get.bind(metric)
  const get = async () => ({ ...(await empty()), values: (await read()).map((sample) => ({ ...sample })) })
  registry.registerMetric(Object.assign(metric, { get }))
}

const HOUR_MS = 3_600_000
/** What prom-client takes from a timer that fires a hundred times a second: measured, a third of an agent's work at rest. */
const TIMED = ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'].map(
  (what) => `nodejs_eventloop_lag_${what}_seconds`,
)

/** What the process itself uses. Nothing runs between scrapes: the loop's load is what Node counts anyway. */
export function registerProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: HOUR_MS })
  for (const name of TIMED) registry.removeSingleMetric(name)
  let last = performance.eventLoopUtilization()
  new Gauge({
    name: 'nodejs_eventloop_utilization_ratio',
    help: 'Share of the time since the last scrape in which the event loop was not idle.',
    registers: [registry],
    collect() {
      const now = performance.eventLoopUtilization()
      this.set(performance.eventLoopUtilization(now, last).utilization)
      last = now
    },
  })
}

/** Seconds; from one millisecond, where a local request lives, to a minute. */
export const LATENCY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
