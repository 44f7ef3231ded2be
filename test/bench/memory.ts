/** Peak resident memory of the server and of each agent with 50 pods, also after they went and came again. */
import { readFileSync } from 'node:fs'
import { output } from '../support/local_cluster.ts'
import { BenchCluster } from './bench_cluster.ts'
import type { BenchResult } from './result.ts'

const PODS = 50
const SERVER_LIMIT_MB = 150
const AGENT_LIMIT_MB = 90

export async function benchMemory(): Promise<BenchResult[]> {
  const cluster = new BenchCluster()
  try {
    await cluster.start()
    await cluster.apply('bench', PODS)
    const first = await peaks(cluster)
    for (let i = 0; i < 2; i++) {
      await cluster.scale('bench', 0)
      await cluster.scale('bench', PODS)
    }
    const last = await peaks(cluster)
    const etcdMb = status(await childOf(cluster.local.pid('server'), 'etcd'), 'VmHWM')
    const monitorsMb = await proportionalMb(cluster.local.name)
    const total = [last.server, ...last.agents].reduce((sum, { now }) => sum + now, 0) + etcdMb
    return [
      row('peak memory of the server (MB / MB)', {
        peakMb: last.server.peak,
        limitMb: SERVER_LIMIT_MB,
        detail: `${mb(first.server.peak)} with the first ${PODS} pods, now ${mb(last.server.now)}; etcd beside it ${mb(etcdMb)}; conmon ${mb(monitorsMb)} together; now all daemons ${mb(total)}, remembered, not of this run: Swarm 1095 MB`,
      }),
      row('peak memory of the largest agent (MB / MB)', {
        peakMb: Math.max(...last.agents.map(({ peak }) => peak)),
        limitMb: AGENT_LIMIT_MB,
        detail: `${first.agents.map(({ peak }) => mb(peak)).join(', ')} with the first ${PODS} pods, now ${last.agents.map(({ now }) => mb(now)).join(', ')}`,
      }),
    ]
  } finally {
    await cluster.remove()
  }
}

const mb = (value: number): string => `${value.toFixed(0)} MB`

function row(name: string, measured: { peakMb: number; limitMb: number; detail: string }): BenchResult {
  const { peakMb, limitMb, detail } = measured
  const ratio = peakMb / limitMb
  return { name, ratio, limit: 1, better: 'lower', detail: `peak ${mb(peakMb)} of ${mb(limitMb)}; ${detail}` }
}

/** A field of /proc/PID/status, in MB (10^6 bytes). */
export function status(pid: number, field: 'VmHWM' | 'VmRSS'): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]
  if (kib === undefined) throw new Error(`process ${pid} has no ${field}`)
  return (Number(kib) * 1024) / 1e6
}

async function peaks({ local }: BenchCluster) {
  const helpers = await perls()
  const of = (name: string) => {
    const pid = local.pid(name)
    // What an agent starts programs through is a part of it; containers' monitors are not its children.
    const pids = [pid, ...helpers.filter(([, parent]) => parent === pid).map(([child]) => child)]
    const sum = (field: 'VmHWM' | 'VmRSS') => pids.reduce((total, each) => total + status(each, field), 0)
    return { peak: sum('VmHWM'), now: sum('VmRSS') }
  }
  return { server: of('server'), agents: local.record().hosts.map((host) => of(`agent-${host.name}`)) }
}

/** Process ids of Perl processes, each with its parent's. */
export async function perls(): Promise<[number, number][]> {
  const listing = await output('ps', ['-o', 'pid=,ppid=', '-C', 'perl'])
  const rows = listing.split('\n').map((line) => line.trim().split(/\s+/).map(Number))
  return rows.flatMap(([pid, parent]) =>
    pid !== undefined && parent !== undefined ? [[pid, parent] as [number, number]] : [],
  )
}

async function childOf(parent: number, program: string): Promise<number> {
  const listing = await output('ps', ['-o', 'pid=,comm=', '--ppid', String(parent)])
  const row = listing.split('\n').find((line) => line.trim().endsWith(` ${program}`))
  if (row === undefined) throw new Error(`process ${parent} has no child ${program}`)
  return Number(row.trim().split(/\s+/)[0])
}

/** What the containers' monitors hold together; pages that they share count once. */
async function proportionalMb(cluster: string): Promise<number> {
  const listing = await output('ps', ['-eo', 'pid=,comm=,args='])
  const pids = listing
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, comm, ...args]) => comm === 'conmon' && args.join(' ').includes(cluster))
  const kib = pids.map(([pid]) => {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    return Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0)
  })
  return (kib.reduce((sum, value) => sum + value, 0) * 1024) / 1e6
}
