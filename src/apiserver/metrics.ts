/** Metrics with Kubernetes' names and labels, so that its dashboards fit. Label values come from the router, never from users. */
import { Counter, Gauge, Histogram, LATENCY_BUCKETS, type Registry } from '../base/metrics.ts'

export interface RequestLabels {
  verb: string
  group: string
  version: string
  resource: string
  subresource: string
  scope: string
}

const LABELS = ['verb', 'group', 'version', 'resource', 'subresource', 'scope'] as const

export interface ApiMetrics {
  /** Counts a request in; the result counts it out with its status. */
  begin(labels: RequestLabels, longRunning: boolean): (status: number, seconds: number, bytes: number) => void
  readonly inFlight: number
  readonly longRunning: number
}

export function createApiMetrics(registry: Registry): ApiMetrics {
  const registers = [registry]
  const total = new Counter({
    name: 'apiserver_request_total',
    help: 'Requests by verb, resource and status.',
    labelNames: [...LABELS, 'code'],
    registers,
  })
  const duration = new Histogram({
    name: 'apiserver_request_duration_seconds',
    help: 'Time to the complete answer; long-running requests are left out.',
    labelNames: LABELS,
    buckets: LATENCY_BUCKETS,
    registers,
  })
  const size = new Histogram({
    name: 'apiserver_response_sizes',
    help: 'Bytes of an answer; long-running requests are left out.',
    labelNames: LABELS,
    buckets: [1e3, 1e4, 1e5, 1e6, 1e7, 1e8],
    registers,
  })
  const long = new Gauge({
    name: 'apiserver_longrunning_requests',
    help: 'Watches, logs, exec sessions and image transfers that are open.',
    labelNames: LABELS,
    registers,
  })
  const current = new Gauge({
    name: 'apiserver_current_inflight_requests',
    help: 'Other requests under way.',
    labelNames: ['request_kind'],
    registers,
  })
  let inFlight = 0
  let longRunning = 0
  return {
    get inFlight() {
      return inFlight
    },
    get longRunning() {
      return longRunning
    },
    begin(labels, isLong) {
      const own = { ...labels }
      const kind = ['get', 'list', 'watch'].includes(labels.verb) ? 'readOnly' : 'mutating'
      if (isLong) {
        longRunning++
        long.inc(own)
      } else {
        inFlight++
        current.inc({ request_kind: kind })
      }
      return (status, seconds, bytes) => {
        total.inc({ ...own, code: String(status) })
        if (isLong) {
          longRunning--
          long.dec(own)
          return
        }
        inFlight--
        current.dec({ request_kind: kind })
        duration.observe(own, seconds)
        size.observe(own, bytes)
      }
    },
  }
}
