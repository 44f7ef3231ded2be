/**
 * What a cgroup has used: read from the kernel's files, on v1 and v2, and nothing kept. Absent where this kernel or this
 * hierarchy does not tell. Source: the kernel's admin-guide/cgroup-v1 and cgroup-v2.rst; working set as cAdvisor has it.
 */
import { join } from 'node:path'
import { readText } from '../../base/records.ts'
import type { Cgroups } from './cgroups.ts'
import type { CgroupUsage, Stalled } from './runtime.ts'

type Read = (controller: string, v1File: string, v2File: string) => { text: string; version: 1 | 2 } | undefined

function reader({ hierarchies }: Cgroups, path: string): Read {
  const unified = hierarchies.find(({ version }) => version === 2)
  return (controller, v1File, v2File) => {
    const own = hierarchies.find(({ controllers }) => controllers.includes(controller))
    const chosen = own === undefined ? unified : own
    if (chosen === undefined) return undefined
    const text = readText(join(chosen.mountPoint, path, chosen.version === 1 ? v1File : v2File))
    return text === undefined ? undefined : { text, version: chosen.version }
  }
}

/** Lines of `name value`. Pure. */
export function parseFlat(text: string): ReadonlyMap<string, number> {
  return new Map(
    text.split('\n').flatMap((line): [string, number][] => {
      const [name = '', value = ''] = line.split(' ')
      return /^\d+$/.test(value) ? [[name, Number(value)]] : []
    }),
  )
}

/** The `total=` microseconds of a pressure file's lines, in seconds. Pure. */
export function parsePressure(text: string): Stalled {
  const total = (kind: string): number => Number(new RegExp(`^${kind} .*total=(\\d+)`, 'm').exec(text)?.[1] ?? 0) / 1e6
  return { waitingSeconds: total('some'), stalledSeconds: total('full') }
}

/** Bytes read and written over all devices, from blkio's or io's statistics. Pure. */
export function parseDiskBytes(text: string, version: 1 | 2): { readBytes: number; writtenBytes: number } {
  const pattern = version === 1 ? /^\d+:\d+ (Read|Write) (\d+)$/gm : /(rbytes|wbytes)=(\d+)/g
  let [readBytes, writtenBytes] = [0, 0]
  for (const [, what = '', bytes] of text.matchAll(pattern)) {
    if (what.startsWith('R') || what.startsWith('r')) readBytes += Number(bytes)
    else writtenBytes += Number(bytes)
  }
  return { readBytes, writtenBytes }
}

/** Processor time that it has used; undefined when the cgroup is gone. */
export function cgroupCpuSeconds(cgroups: Cgroups, path: string): number | undefined {
  const cpu = reader(cgroups, path)('cpuacct', 'cpuacct.usage', 'cpu.stat')
  if (cpu === undefined) return undefined
  return cpu.version === 1 ? Number(cpu.text) / 1e9 : (parseFlat(cpu.text).get('usage_usec') ?? 0) / 1e6
}

/** Undefined when the cgroup is gone. */
export function cgroupUsage(cgroups: Cgroups, path: string): CgroupUsage | undefined {
  const read = reader(cgroups, path)
  const cpuSeconds = cgroupCpuSeconds(cgroups, path)
  const memory = read('memory', 'memory.usage_in_bytes', 'memory.current')
  if (cpuSeconds === undefined && memory === undefined) return undefined
  const usage: CgroupUsage = {
    cpuSeconds: cpuSeconds ?? 0,
    memoryBytes: Number(memory?.text ?? 0),
    memoryWorkingSetBytes: 0,
  }
  const statistics = read('memory', 'memory.stat', 'memory.stat')
  if (statistics !== undefined) {
    const flat = parseFlat(statistics.text)
    const [rss, cache, inactive] =
      statistics.version === 1 ? ['total_rss', 'total_cache', 'total_inactive_file'] : ['anon', 'file', 'inactive_file']
    usage.memoryRssBytes = flat.get(rss) ?? 0
    usage.memoryCacheBytes = flat.get(cache) ?? 0
    usage.memoryWorkingSetBytes = Math.max(0, usage.memoryBytes - (flat.get(inactive) ?? 0))
  }
  return usage
}

/** More than is needed often: what only a scrape of metrics asks for. */
export function cgroupDetails(cgroups: Cgroups, path: string): CgroupUsage | undefined {
  const usage = cgroupUsage(cgroups, path)
  if (usage === undefined) return undefined
  const read = reader(cgroups, path)
  const periods = parseFlat(read('cpu', 'cpu.stat', 'cpu.stat')?.text ?? '')
  if (periods.has('nr_periods')) {
    const throttledSeconds = (periods.get('throttled_time') ?? 0) / 1e9 + (periods.get('throttled_usec') ?? 0) / 1e6
    usage.throttling = {
      periods: periods.get('nr_periods') ?? 0,
      throttledPeriods: periods.get('nr_throttled') ?? 0,
      throttledSeconds,
    }
  }
  const processes = read('pids', 'pids.current', 'pids.current')
  if (processes !== undefined) usage.processes = Number(processes.text)
  const disk = read('blkio', 'blkio.throttle.io_service_bytes', 'io.stat')
  if (disk !== undefined) usage.disk = parseDiskBytes(disk.text, disk.version)
  // Every cgroup of the second version has these files, whichever version its controllers are of.
  const unified = cgroups.hierarchies.find(({ version }) => version === 2)
  const pressure: NonNullable<CgroupUsage['pressure']> = {}
  for (const what of unified === undefined ? [] : (['cpu', 'memory', 'io'] as const)) {
    const text = readText(join(unified?.mountPoint ?? '', path, `${what}.pressure`))
    if (text !== undefined) pressure[what] = parsePressure(text)
  }
  if (Object.keys(pressure).length > 0) usage.pressure = pressure
  return usage
}
