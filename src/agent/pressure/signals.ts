/** What the node has left, read from the kernel. Pure but for the reading. */
import { statfs } from 'node:fs/promises'
import { readText } from '../../base/records.ts'
import type { Amount, Signals } from './plan.ts'

/** Source: proc(5), `MemAvailable`: what could be had without swapping. */
export function memoryAmount(meminfo: string): Amount {
  const bytes = (name: string): number => Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0) * 1024
  return { available: bytes('MemAvailable'), total: bytes('MemTotal') }
}

/** Tasks that there may be and are; /proc/loadavg counts threads, as the limits do. */
export function taskAmount(loadavg: string, limits: readonly string[]): Amount {
  const running = Number(/ \d+\/(\d+) /.exec(loadavg)?.[1] ?? 0)
  const total = Math.min(...limits.map(Number).filter((limit) => limit > 0))
  return Number.isFinite(total) ? { available: Math.max(0, total - running), total } : { available: 0, total: 0 }
}

export async function readSignals(dataDir: string): Promise<Signals> {
  const disk = await statfs(dataDir).then(
    // What root alone may use is no room for pods: they are held to what is left without it.
    ({ bavail, blocks, bsize }) => ({ available: bavail * bsize, total: blocks * bsize }),
    () => ({ available: 0, total: 0 }),
  )
  const limits = ['/proc/sys/kernel/pid_max', '/proc/sys/kernel/threads-max'].map((path) => readText(path) ?? '')
  return {
    memory: memoryAmount(readText('/proc/meminfo') ?? ''),
    disk,
    pids: taskAmount(readText('/proc/loadavg') ?? '', limits),
  }
}
