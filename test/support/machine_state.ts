/** What clusters could leave on a machine, as sorted lists of lines, so that before and after can be compared. */
import { readdirSync, readFileSync } from 'node:fs'
import { output } from './local_cluster.ts'

export interface MachineState {
  processes: string[]
  namespaces: string[]
  mounts: string[]
  cgroups: string[]
  links: string[]
  nftTables: string[]
  files: string[]
}

function processes(marks: readonly string[]): string[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
        const cgroup = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
        return marks.some((mark) => command.includes(mark) || cgroup.includes(mark)) ? [`${pid} ${command}`] : []
      } catch {
        return []
      }
    })
}

const lines = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .sort()

/** `marks` tell a process of the cluster by its command line or cgroup, e.g. the cluster's name. */
export async function machineState(marks: readonly string[]): Promise<MachineState> {
  const listing = async (program: string, ...args: string[]): Promise<string[]> => lines(await output(program, args))
  return {
    processes: processes(marks),
    namespaces: await listing('sh', '-c', 'ls /run/netns 2>/dev/null || true'),
    mounts: lines(readFileSync('/proc/self/mounts', 'utf8')),
    cgroups: await listing('find', '/sys/fs/cgroup', '-type', 'd', '-path', '*drover*'),
    links: lines((await output('ip', ['-o', 'link'])).replace(/^(\d+: [^:@]+).*$/gm, '$1')),
    nftTables: await listing('nft', 'list', 'tables'),
    files: await listing('sh', '-c', 'find /var/lib/drover /run/drover /run/netns 2>/dev/null || true'),
  }
}
