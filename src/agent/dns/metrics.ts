import { Counter, Gauge, Histogram, type Registry } from '../../base/metrics.ts'

export interface DnsMetrics {
  upstreamSeconds: Histogram
  upstreamFailures: Counter
}

/** Plain numbers, for nothing else may be done for a question that is answered in microseconds. */
export interface QuestionCounts {
  known: number
  resolved: number
  refused: number
}

export function createDnsMetrics(registry: Registry, counts: QuestionCounts, names: () => number): DnsMetrics {
  const registers = [registry]
  new Counter({
    name: 'drover_dns_questions_total',
    help: 'Questions by how they were answered: from remembered bytes, by looking, or refused',
    labelNames: ['how'],
    registers,
    collect() {
      this.reset()
      for (const how of ['known', 'resolved', 'refused'] as const) this.inc({ how }, counts[how])
    },
  })
  new Gauge({
    name: 'drover_dns_remembered_replies',
    help: 'Answers that are kept as bytes',
    registers,
    collect() {
      this.set(names())
    },
  })
  return {
    upstreamSeconds: new Histogram({
      name: 'drover_dns_upstream_seconds',
      help: 'Time of answers from servers outside',
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2],
      registers,
    }),
    upstreamFailures: new Counter({
      name: 'drover_dns_upstream_failures_total',
      help: 'Questions that a server outside did not answer',
      registers,
    }),
  }
}
