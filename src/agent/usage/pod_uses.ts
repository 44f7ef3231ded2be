/** What the pods that run here use of what the node may run short of, and what they asked for. */
import type { Container, Pod } from '../../api/pod.ts'
import { parseBytes } from '../../base/quantity.ts'
import type { AgentContext } from '../context.ts'
import { isRunning } from '../pod/facts.ts'
import type { PodUse, Shortage, Use } from '../pressure/plan.ts'
import type { ContainerState } from '../runtime/runtime.ts'
import type { DiskWalker } from './disk_walk.ts'
import { allPaths, EPHEMERAL_STORAGE, type StorageUse, storagePaths, storageUse } from './pod_storage.ts'

type Look = Pick<AgentContext, 'containers' | 'desired' | 'drivers'>

function sum(uses: readonly Use[], of: keyof Use): Record<Shortage, number> {
  const total = { memory: 0, disk: 0, pids: 0 }
  for (const use of uses) {
    for (const what of ['memory', 'disk', 'pids'] as const) total[what] += use[of][what]
  }
  return total
}

function useOf(
  { resources }: Container,
  diskBytes: number,
  usage: ReturnType<AgentContext['drivers']['runtime']['usage']>,
): Use {
  const asked = { ...resources?.limits, ...resources?.requests }
  return {
    used: { memory: usage?.memoryWorkingSetBytes ?? 0, pids: usage?.processes ?? 0, disk: diskBytes },
    requested: { memory: parseBytes(asked.memory ?? 0), pids: 0, disk: parseBytes(asked[EPHEMERAL_STORAGE] ?? 0) },
  }
}

/** An init container that is over asks for nothing any more. Of the disk, a pod's volumes count too, and are no container's. */
function podUse(pod: Pod, running: readonly ContainerState[], storage: StorageUse, { drivers }: Look): PodUse {
  const { uid = '' } = pod.metadata
  const containers = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].flatMap((container) => {
    const live = running.find(({ podUid, name }) => podUid === uid && name === container.name)
    if (live === undefined && !pod.spec.containers.includes(container)) return []
    const usage = live === undefined ? undefined : drivers.runtime.usage(uid, live.id, true)
    const { name } = container
    return [{ name, ...useOf(container, storage.containers.get(name) ?? 0, usage) }]
  })
  const used = { ...sum(containers, 'used'), disk: storage.bytes }
  return { uid, priority: pod.spec.priority ?? 0, used, requested: sum(containers, 'requested'), containers }
}

/**
 * The disk is walked only where it is what the node is short of. What is too big to be measured in time is without bound: it comes
 * before all that could be.
 */
export async function podUses(
  agent: Look,
  what: Shortage,
  { walker, signal }: { walker: DiskWalker; signal?: AbortSignal | undefined },
): Promise<PodUse[]> {
  const all = await agent.containers.read()
  const running = all.filter(isRunning)
  const pods = agent.desired.pods().filter(({ metadata: { uid } }) => running.some(({ podUid }) => podUid === uid))
  const found = pods.map((pod) => ({ pod, paths: storagePaths(pod, all, agent.drivers) }))
  const sizes = new Map<string, number>()
  if (what === 'disk') {
    const measured = await walker.measure(
      found.flatMap(({ paths }) => allPaths(paths)),
      signal,
    )
    for (const [path, bytes] of measured.sizes) sizes.set(path, bytes)
    for (const path of measured.tooBig) sizes.set(path, Number.POSITIVE_INFINITY)
  }
  return found.map(({ pod, paths }) => podUse(pod, running, storageUse(paths, sizes), agent))
}
