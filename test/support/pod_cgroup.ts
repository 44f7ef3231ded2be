/** What the kernel has of a pod as a whole, on cgroups of either version. */
import { join } from 'node:path'
import { detectCgroups } from '../../src/agent/runtime/cgroups.ts'
import { readText } from '../../src/base/records.ts'

export interface PodCgroup {
  /** As version 1 counts; of version 2 its weight. */
  shares: number
  /** Microseconds of each 100,000. */
  quota: number | 'unbounded'
  memoryBytes: number | 'unbounded'
}

const isUnified = (): boolean => detectCgroups().mode === 'v2'

/** What these shares are here. */
export function sharesHere(shares: number): number {
  return isUnified() ? 1 + Math.floor(((shares - 2) * 9999) / 262_142) : shares
}

export function unboundedPod(): PodCgroup {
  return { shares: isUnified() ? 100 : 1024, quota: 'unbounded', memoryBytes: 'unbounded' }
}

/** Where a file of a pod's cgroup is, in whichever hierarchy has it. */
export function podCgroupFile(path: string, name: { v1: string; v2: string }): string | undefined {
  const file = isUnified() ? name.v2 : name.v1
  const paths = detectCgroups().hierarchies.map(({ mountPoint }) => join(mountPoint, path, file))
  return paths.find((each) => readText(each) !== undefined)
}

export const POD_FILES = {
  shares: { v1: 'cpu.shares', v2: 'cpu.weight' },
  quota: { v1: 'cpu.cfs_quota_us', v2: 'cpu.max' },
  memory: { v1: 'memory.limit_in_bytes', v2: 'memory.max' },
}

export function podCgroup(path: string): PodCgroup {
  const numberIn = (name: { v1: string; v2: string }): number => {
    const text = readText(podCgroupFile(path, name) ?? '') ?? ''
    return text.startsWith('max') ? -1 : Number.parseInt(text, 10)
  }
  const [quota, memory] = [numberIn(POD_FILES.quota), numberIn(POD_FILES.memory)]
  return {
    shares: numberIn(POD_FILES.shares),
    quota: quota === -1 ? 'unbounded' : quota,
    // Version 1 says so by the greatest number of pages.
    memoryBytes: memory === -1 || memory > 2 ** 62 ? 'unbounded' : memory,
  }
}
