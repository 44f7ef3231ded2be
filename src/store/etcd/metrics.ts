/** What the store tells about itself; without a registry it counts in a private one. */
import { Counter, Gauge, Histogram, LATENCY_BUCKETS, Registry } from '../../base/metrics.ts'

export interface StoreMetrics {
  committed(writes: number, elapsedMs: number): void
  lostAnswer(fate: string): void
  watchRestarted(): void
  databaseBytes(bytes: number): void
}

export function createStoreMetrics(registry: Registry = new Registry()): StoreMetrics {
  const registers = [registry]
  const batch = new Histogram({
    name: 'drover_store_batch_writes',
    help: 'Writes in one etcd transaction.',
    buckets: [1, 2, 5, 10, 20, 40, 80, 120],
    registers,
  })
  const latency = new Histogram({
    name: 'drover_store_commit_duration_seconds',
    help: 'From sending a batch of writes to knowing its outcome.',
    buckets: LATENCY_BUCKETS,
    registers,
  })
  const writes = new Counter({ name: 'drover_store_writes_total', help: 'Writes that etcd has answered.', registers })
  const lost = new Counter({
    name: 'drover_store_lost_answers_total',
    help: 'Batches whose answer was lost, by what was found to have become of them.',
    labelNames: ['fate'],
    registers,
  })
  const watches = new Counter({
    name: 'drover_store_watch_restarts_total',
    help: 'Watch streams that ended and were resumed.',
    registers,
  })
  const size = new Gauge({
    name: 'drover_store_database_bytes',
    help: "Size of etcd's database when last asked.",
    registers,
  })
  return {
    committed(count, elapsedMs) {
      batch.observe(count)
      latency.observe(elapsedMs / 1_000)
      writes.inc(count)
    },
    lostAnswer: (fate) => lost.inc({ fate }),
    watchRestarted: () => watches.inc(),
    databaseBytes: (bytes) => size.set(bytes),
  }
}
