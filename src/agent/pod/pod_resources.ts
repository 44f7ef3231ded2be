/** What a pod as a whole asks for and may take, as the kubelet counts it. Pure. */
import type { Pod } from '../../api/pod.ts'
import { podAmounts } from '../../api/pod_amounts.ts'
import { parseQuantity } from '../../base/quantity.ts'
import type { PodResources } from '../runtime/runtime.ts'
import { qosClass } from './status.ts'

/**
 * Bounded is what every container has a limit for, init containers among them: beside one without, no sum of limits says what
 * the pod may take.
 */
export function podResources({ spec }: Pod): PodResources {
  if (qosClass(spec) === 'BestEffort') return { cpuRequestMillis: 0, cpuLimitMillis: 0, memoryLimitBytes: 0 }
  const containers = [...(spec.initContainers ?? []), ...spec.containers]
  const limits = podAmounts(spec, 'limits')
  const limitOf = (name: 'cpu' | 'memory'): number => {
    const isBounded = containers.every(({ resources }) => parseQuantity(resources?.limits?.[name] ?? 0) > 0)
    return isBounded ? (limits[name] ?? 0) : 0
  }
  return {
    cpuRequestMillis: podAmounts(spec, 'requests').cpu ?? 0,
    cpuLimitMillis: limitOf('cpu'),
    memoryLimitBytes: limitOf('memory'),
  }
}
