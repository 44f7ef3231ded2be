/** Metrics: prom-client behind constructor arguments; one registry a process, made in its composition root. */
export { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

import { Counter, Gauge, type Registry } from 'prom-client'

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

/** Seconds; from one millisecond, where a local request lives, to a minute. */
export const LATENCY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
