/** What processes tell about themselves. */
import { expect, it } from 'vitest'
import { Registry, registerProcessMetrics } from '../../src/base/metrics.ts'

it('of the event loop its load, without a timer that measures it all the time', async () => {
  const registry = new Registry()
  registerProcessMetrics(registry)
  const text = await registry.metrics()
  const load = Number(/^nodejs_eventloop_utilization_ratio (\S+)$/m.exec(text)?.[1])
  expect(load).toBeGreaterThanOrEqual(0)
  expect(load).toBeLessThanOrEqual(1)
  expect(text).toContain('process_resident_memory_bytes')
  expect(text).toContain('nodejs_eventloop_lag_seconds')
  expect(text).not.toContain('nodejs_eventloop_lag_p99_seconds')
})
