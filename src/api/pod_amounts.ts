/**
 * What a pod asks for and may take as a whole, in numbers. The scheduler counts by it, and a node's agent bounds the pod by it.
 * Source: Kubernetes "Resource Management for Pods", init containers.
 */
import { parseBytes, parseCpuMillis } from '../base/quantity.ts'
import type { Container, PodSpec } from './pod.ts'

/** Name of a resource to its amount: CPU in thousandths, everything else in whole units. */
export type Amounts = Readonly<Record<string, number>>

export function amountOf(resource: string, quantity: string | number): number {
  return resource === 'cpu' ? parseCpuMillis(quantity) : parseBytes(quantity)
}

/**
 * Containers and sidecars run together; other init containers one after another, beside the sidecars before them. What
 * the pod's runtime class takes for itself comes on top. Of limits only those count that are set: whoever asks for them must
 * know whether all containers have one.
 */
export function podAmounts(spec: PodSpec, kind: 'requests' | 'limits'): Record<string, number> {
  const amountsOf = kind === 'requests' ? requestsOf : limitsOf
  const total: Record<string, number> = {}
  for (const container of spec.containers) {
    for (const [name, amount] of amountsOf(container)) total[name] = (total[name] ?? 0) + amount
  }
  const beside: Record<string, number> = {}
  const peak: Record<string, number> = {}
  for (const container of spec.initContainers ?? []) {
    const isSidecar = container.restartPolicy === 'Always'
    for (const [name, amount] of amountsOf(container)) {
      const together = (beside[name] ?? 0) + amount
      peak[name] = Math.max(peak[name] ?? 0, together)
      if (isSidecar) beside[name] = together
    }
  }
  for (const [name, amount] of Object.entries(beside)) total[name] = (total[name] ?? 0) + amount
  for (const [name, amount] of Object.entries(peak)) total[name] = Math.max(total[name] ?? 0, amount)
  for (const [name, quantity] of Object.entries(spec.overhead ?? {})) {
    total[name] = (total[name] ?? 0) + amountOf(name, quantity)
  }
  return total
}

/** What has a limit and asks for nothing asks for that much. */
function requestsOf({ resources: { requests, limits } = {} }: Container): [string, number][] {
  return amounts({ ...limits, ...requests })
}

function limitsOf({ resources: { limits = {} } = {} }: Container): [string, number][] {
  return amounts(limits)
}

function amounts(quantities: Readonly<Record<string, string | number>>): [string, number][] {
  return Object.entries(quantities).map(([name, quantity]) => [name, amountOf(name, quantity)])
}
