/**
 * What a pod as a whole weighs and may take. The OCI runtime fills the cgroups of containers, and those count among their siblings
 * alone: how much of the processor a pod gets beside other pods, the cgroup tells that its containers' are in.
 *
 * The runtime makes that directory too, on its way to the first container's, so its files are written between a container's
 * creation and its start. Rejected: to make it while the pod is prepared. A directory is made there only when nobody moves processes
 * between cgroups, which takes up to 20 ms (see `expectMoves`); values are written without that wait (measured: 0.1 ms for three).
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from '../../base/log.ts'
import { readText } from '../../base/records.ts'
import { type CgroupFile, type Cgroups, raiseWeight, writeCgroupFile } from './cgroups.ts'
import { CPU_PERIOD_MICROS, cpuQuotaMicros, cpuShares } from './oci_spec.ts'
import type { PodResources } from './runtime.ts'

export interface PodCgroupFile extends CgroupFile {
  /** Of a bound on memory: what is taken of it. */
  taken?: string
}

/**
 * Pure: files of the pod's cgroup and what belongs in them, in the hierarchies that the runtime uses: where any of version 1 is
 * mounted, those alone. What has no limit keeps the kernel's default.
 */
export function podCgroupFiles(
  { mode, hierarchies }: Pick<Cgroups, 'mode' | 'hierarchies'>,
  path: string,
  { cpuRequestMillis, cpuLimitMillis, memoryLimitBytes }: PodResources,
): PodCgroupFile[] {
  const shares = cpuShares(cpuRequestMillis)
  const quota = cpuLimitMillis > 0 ? cpuQuotaMicros(cpuLimitMillis) : undefined
  const memory = memoryLimitBytes > 0 ? String(memoryLimitBytes) : undefined
  return hierarchies.flatMap(({ version, mountPoint, controllers }): PodCgroupFile[] => {
    const at = (name: string): string => join(mountPoint, path, name)
    if (version === 2) {
      if (mode !== 'v2') return []
      return [
        { path: at('cpu.weight'), value: String(cpuWeight(shares)) },
        ...(quota === undefined ? [] : [{ path: at('cpu.max'), value: `${quota} ${CPU_PERIOD_MICROS}` }]),
        ...(memory === undefined ? [] : [{ path: at('memory.max'), value: memory, taken: at('memory.current') }]),
      ]
    }
    const hasCpu = controllers.includes('cpu')
    const bounds = memory !== undefined && controllers.includes('memory')
    return [
      ...(hasCpu ? [{ path: at('cpu.shares'), value: String(shares) }] : []),
      // The period is the kernel's own unless somebody changes it.
      ...(hasCpu && quota !== undefined ? [{ path: at('cpu.cfs_quota_us'), value: String(quota) }] : []),
      ...(bounds ? [{ path: at('memory.limit_in_bytes'), value: memory, taken: at('memory.usage_in_bytes') }] : []),
    ]
  })
}

/** From the range of version 1, 2 to 262144, to that of version 2, 1 to 10000. Source: OCI runtimes and the kubelet. */
function cpuWeight(shares: number): number {
  return 1 + Math.floor(((shares - 2) * 9999) / 262_142)
}

/**
 * Killed processes need the processor once more to be gone. In a pod that asks for nothing, on a node whose processors others want
 * whole, that took more than 10 s. So whoever kills has the pod and the container weigh at least as much as one that asks for a
 * processor; when the container has ended, the pod weighs what it did. Should the agent die in between, the next one writes it.
 */
export class Hastened {
  readonly #cgroups: () => Cgroups
  readonly #pathOf: (podUid: string, containerId?: string) => string
  /** By the pod, until the last of its containers that were killed has ended. */
  readonly #dying = new Map<string, { before: readonly CgroupFile[]; ids: Set<string> }>()

  constructor(cgroups: () => Cgroups, pathOf: (podUid: string, containerId?: string) => string) {
    this.#cgroups = cgroups
    this.#pathOf = pathOf
  }

  hasten(podUid: string, id: string): void {
    raiseWeight(this.#cgroups(), this.#pathOf(podUid, id))
    const dying = this.#dying.get(podUid) ?? {
      before: raiseWeight(this.#cgroups(), this.#pathOf(podUid)),
      ids: new Set(),
    }
    this.#dying.set(podUid, dying)
    dying.ids.add(id)
  }

  settle(podUid: string, id: string): void {
    const dying = this.#dying.get(podUid)
    if (dying?.ids.delete(id) !== true || dying.ids.size > 0) return
    this.#dying.delete(podUid)
    for (const file of dying.before) writeCgroupFile(file)
  }
}

/**
 * Writes them where the cgroup is; idempotent. What the kernel refuses stays as it was and is logged: the containers have bounds of
 * their own, and a pod that runs must not end by this.
 */
export function applyPodResources(cgroups: Cgroups, path: string, resources: PodResources, log: Logger): void {
  for (const file of podCgroupFiles(cgroups, path, resources)) {
    try {
      if (!isTakenAlready(file)) writeFileSync(file.path, file.value, { flag: 'r+' })
      else if (Number(readText(file.path)) !== Number(file.value)) {
        log.warn({ file }, 'a pod takes more memory already than it may as a whole; its containers are bounded alone')
      }
    } catch (error) {
      // No container has been made there, or this kernel lacks the controller.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue
      log.warn({ err: error, file }, 'the kernel refused a value for a pod; its containers are bounded alone')
    }
  }
}

/** Of a pod that was there before: the kernel would wait for memory to be given back, or kill for it. */
function isTakenAlready({ taken, value }: PodCgroupFile): boolean {
  return taken !== undefined && Number(readText(taken) ?? 0) > Number(value)
}
