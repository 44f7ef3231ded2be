/**
 * What containers use, on the agent's /metrics under the names that cAdvisor gave them, so that dashboards made for
 * Kubernetes work. Nothing is counted here: each scrape reads the kernel once, whatever families there are.
 * Source: github.com/google/cadvisor docs/storage/prometheus.md.
 */
import { type Registry, registerLive, type Sample } from '../../base/metrics.ts'
import type { AgentContext } from '../context.ts'
import type { Counted, Traffic } from '../network/network.ts'
import { isRunning, NOTE } from '../pod/facts.ts'
import type { CgroupUsage, ContainerState } from '../runtime/runtime.ts'
import type { DiskUse } from './disk_use.ts'

interface Seen {
  containers: { labels: Record<string, string>; state: ContainerState; usage: CgroupUsage; diskBytes?: number }[]
  pods: { labels: Record<string, string>; traffic: Traffic }[]
}

type Parts = Pick<AgentContext, 'containers' | 'drivers' | 'desired' | 'nodeCpuMillis' | 'nodeMemoryBytes'>

async function look({ containers, drivers, desired }: Parts, disk: DiskUse): Promise<Seen> {
  const [states, traffic] = await Promise.all([containers.read(), drivers.network.traffic()])
  const pods = new Map(desired.pods().map((pod) => [pod.metadata.uid ?? '', pod]))
  const seen: Seen = { containers: [], pods: [] }
  for (const state of states) {
    const pod = pods.get(state.podUid)
    const usage = isRunning(state) ? drivers.runtime.usage(state.podUid, state.id, true) : undefined
    if (pod === undefined || usage === undefined) continue
    const { namespace = '', name = '' } = pod.metadata
    const id = drivers.runtime.cgroupPathOf(state.podUid, state.id)
    const image = state.annotations[NOTE.image] ?? ''
    const labels = { container: state.name, id, image, name: state.id, namespace, pod: name }
    const diskBytes = disk.bytesOf(state.id)
    seen.containers.push({ labels, state, usage, ...(diskBytes === undefined ? {} : { diskBytes }) })
  }
  for (const [uid, counted] of traffic) {
    const pod = pods.get(uid)
    if (pod === undefined) continue
    const { namespace = '', name = '' } = pod.metadata
    const id = drivers.runtime.cgroupPathOf(uid)
    seen.pods.push({ labels: { id, interface: 'eth0', namespace, pod: name }, traffic: counted })
  }
  return seen
}

type Container = Seen['containers'][number]
/** Undefined: this kernel does not tell. */
type Read = (container: Container) => number | undefined

const GAUGES: Readonly<Record<string, readonly [string, Read]>> = {
  container_memory_usage_bytes: ['Memory in use, pages of files included', ({ usage }) => usage.memoryBytes],
  container_memory_working_set_bytes: [
    'Memory in use without what would be given back first',
    ({ usage }) => usage.memoryWorkingSetBytes,
  ],
  container_memory_rss: ['Anonymous memory', ({ usage }) => usage.memoryRssBytes],
  container_memory_cache: ['Pages of files', ({ usage }) => usage.memoryCacheBytes],
  container_processes: ['Processes and threads', ({ usage }) => usage.processes],
  container_fs_usage_bytes: ['What the container has written to its own layer', ({ diskBytes }) => diskBytes],
  container_start_time_seconds: ['When it began', ({ state }) => Math.floor((state.startedAtMs ?? 0) / 1000)],
}

const COUNTERS: Readonly<Record<string, readonly [string, Read]>> = {
  container_cpu_usage_seconds_total: ['Processor time used', ({ usage }) => usage.cpuSeconds],
  container_cpu_cfs_periods_total: [
    'Periods in which it was bound by its limit',
    ({ usage }) => usage.throttling?.periods,
  ],
  container_cpu_cfs_throttled_periods_total: [
    'Periods in which it had to wait',
    ({ usage }) => usage.throttling?.throttledPeriods,
  ],
  container_cpu_cfs_throttled_seconds_total: [
    'How long it had to wait for its limit',
    ({ usage }) => usage.throttling?.throttledSeconds,
  ],
  container_fs_reads_bytes_total: ['Bytes read from disks', ({ usage }) => usage.disk?.readBytes],
  container_fs_writes_bytes_total: ['Bytes written to disks', ({ usage }) => usage.disk?.writtenBytes],
  ...pressure('cpu'),
  ...pressure('memory'),
  ...pressure('io'),
}

function pressure(what: 'cpu' | 'memory' | 'io'): Record<string, readonly [string, Read]> {
  return {
    [`container_pressure_${what}_waiting_seconds_total`]: [
      `How long some task waited for ${what}`,
      ({ usage }) => usage.pressure?.[what]?.waitingSeconds,
    ],
    [`container_pressure_${what}_stalled_seconds_total`]: [
      `How long all tasks waited for ${what}`,
      ({ usage }) => usage.pressure?.[what]?.stalledSeconds,
    ],
  }
}

const TRAFFIC: readonly (keyof Counted)[] = ['bytes', 'packets', 'errors', 'dropped']

export function registerContainerMetrics(registry: Registry, parts: Parts, disk: DiskUse): void {
  let looking: Promise<Seen> | undefined
  /** Families are asked at once: they share a look. */
  const shared = (): Promise<Seen> => {
    looking ??= look(parts, disk).finally(() => {
      looking = undefined
    })
    return looking
  }
  for (const [type, families] of [['gauge', GAUGES] as const, ['counter', COUNTERS] as const]) {
    for (const [name, [help, value]] of Object.entries(families)) {
      const read = async (): Promise<Sample[]> =>
        (await shared()).containers.flatMap((container) => sample(container.labels, value(container)))
      registerLive(registry, { name, help, type, read })
    }
  }
  for (const [direction, of] of [['receive', 'received'] as const, ['transmit', 'sent'] as const]) {
    for (const what of TRAFFIC) {
      const words = what === 'bytes' || what === 'errors' ? what : `packets${what === 'dropped' ? '_dropped' : ''}`
      registerLive(registry, {
        name: `container_network_${direction}_${words}_total`,
        help: `${what} that the pod has ${of}`,
        type: 'counter',
        read: async () => (await shared()).pods.flatMap(({ labels, traffic }) => sample(labels, traffic[of][what])),
      })
    }
  }
  const machine = (name: string, help: string, value: number): void =>
    registerLive(registry, { name, help, type: 'gauge', read: async () => sample({}, value) })
  machine('machine_cpu_cores', 'Processors of this node', parts.nodeCpuMillis / 1000)
  machine('machine_memory_bytes', 'Memory of this node', parts.nodeMemoryBytes)
}

function sample(labels: Readonly<Record<string, string>>, value: number | undefined): Sample[] {
  return value === undefined ? [] : [{ labels, value }]
}
