/** Metrics of the scheduler, under Kubernetes' names where the meaning is the same. */
import { Counter, Gauge, Histogram, LATENCY_BUCKETS, type Registry } from '../base/metrics.ts'

export interface SchedulerMetrics {
  attempts: Counter
  pending: Gauge
  duration: Histogram
}

/** Schedulers are made anew with each leadership, metrics once a process. */
export function schedulerMetrics(registry: Registry): SchedulerMetrics {
  const registers = [registry]
  const known = <T>(name: string, make: () => T): T => (registry.getSingleMetric(name) as T | undefined) ?? make()
  return {
    attempts: known(
      'scheduler_schedule_attempts_total',
      () =>
        new Counter({
          name: 'scheduler_schedule_attempts_total',
          help: 'Attempts to place a pod, by result',
          labelNames: ['result'],
          registers,
        }),
    ),
    pending: known(
      'scheduler_pending_pods',
      () => new Gauge({ name: 'scheduler_pending_pods', help: 'Pods that wait for a node', registers }),
    ),
    duration: known(
      'scheduler_scheduling_algorithm_duration_seconds',
      () =>
        new Histogram({
          name: 'scheduler_scheduling_algorithm_duration_seconds',
          help: 'Time that placing one batch took',
          registers,
          buckets: LATENCY_BUCKETS,
        }),
    ),
  }
}
