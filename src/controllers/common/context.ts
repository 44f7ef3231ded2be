/** What every controller is given, and the service that drives its queue. */
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { Counter, Gauge, Histogram, LATENCY_BUCKETS, type Registry } from '../../base/metrics.ts'
import { type ReconcileResult, WorkQueue } from '../../base/queue.ts'
import type { Random } from '../../base/random.ts'
import type { Service } from '../../base/service.ts'
import type { EventRecorder, PlacementDesk, Resources } from '../../resources/resources.ts'
import type { Fence } from '../../store/store.ts'

export interface ControllerContext {
  resources: Resources
  events: EventRecorder
  clock: Clock
  random: Random
  log: Logger
  /** The leader's proof, carried by every write: a controller that lost leadership can change nothing. */
  fence: Fence
  /** Gives pods their node while they are being made. Absent: the scheduler sees to them afterwards. */
  desk?: PlacementDesk
  registry?: Registry
}

export interface QueueServiceOptions {
  id: string
  context: ControllerContext
  concurrency?: number
  /** Subscribes, then queues what is there already. Returns how to unsubscribe. */
  watch(queue: WorkQueue): (() => void)[]
  reconcile(key: string, signal: AbortSignal): Promise<ReconcileResult>
}

interface QueueMetrics {
  depth: Gauge
  duration: Histogram
  failures: Counter
}

/** Controllers are made anew with each leadership, metrics once a process. */
function queueMetrics(registry: Registry): QueueMetrics {
  const registers = [registry]
  const labelNames = ['name']
  const known = <T>(name: string, make: () => T): T => (registry.getSingleMetric(name) as T | undefined) ?? make()
  return {
    depth: known(
      'workqueue_depth',
      () => new Gauge({ name: 'workqueue_depth', help: 'Keys that wait or run', labelNames, registers }),
    ),
    duration: known(
      'workqueue_work_duration_seconds',
      () =>
        new Histogram({
          name: 'workqueue_work_duration_seconds',
          help: 'Time that one reconcile took',
          labelNames,
          registers,
          buckets: LATENCY_BUCKETS,
        }),
    ),
    failures: known(
      'workqueue_retries_total',
      () =>
        new Counter({
          name: 'workqueue_retries_total',
          help: 'Reconciles that failed and come back',
          labelNames,
          registers,
        }),
    ),
  }
}

export function queueService(options: QueueServiceOptions): Service {
  const { id, context, concurrency = 4 } = options
  const { clock, random, log, registry, resources } = context
  const metrics = registry === undefined ? undefined : queueMetrics(registry)

  async function run(signal: AbortSignal): Promise<void> {
    await resources.ready()
    const queue = new WorkQueue({ name: id, clock, random, log, concurrency }, async (key, stop) => {
      const startedMs = clock.monotonicMs()
      try {
        return await options.reconcile(key, stop)
      } catch (error) {
        metrics?.failures.inc({ name: id })
        throw error
      } finally {
        metrics?.duration.observe({ name: id }, (clock.monotonicMs() - startedMs) / 1000)
        metrics?.depth.set({ name: id }, queue.size)
      }
    })
    const stops = options.watch(queue)
    try {
      await queue.run(signal)
    } finally {
      for (const stop of stops) stop()
    }
  }
  return { id, run }
}
