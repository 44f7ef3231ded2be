/** What a pod asks of a node, in numbers. Source: Kubernetes "Resource Management for Pods", init containers. */
import { ANY_ADDRESS, hostPortRequests } from '../api/host_ports.ts'
import type { Container, Pod } from '../api/pod.ts'
import { parseBytes, parseCpuMillis } from '../base/quantity.ts'

/** Name of a resource to its amount: CPU in thousandths, everything else in whole units. */
export type Amounts = Readonly<Record<string, number>>

/** Pods that ask for nothing weigh this much when nodes are compared, so that they spread. Kubernetes' own figures. */
export const ASSUMED_CPU_MILLIS = 100
export const ASSUMED_MEMORY_BYTES = 200 * 2 ** 20

export const DEFAULT_PODS = 110

export function amountOf(resource: string, quantity: string | number): number {
  return resource === 'cpu' ? parseCpuMillis(quantity) : parseBytes(quantity)
}

/**
 * Containers and sidecars run together; other init containers one after another, beside the sidecars before them. What
 * the pod's runtime class takes for itself comes on top.
 */
export function podRequests({ spec }: Pod): Amounts {
  const total: Record<string, number> = {}
  for (const container of spec.containers) {
    for (const [name, amount] of requestsOf(container)) total[name] = (total[name] ?? 0) + amount
  }
  const beside: Record<string, number> = {}
  const peak: Record<string, number> = {}
  for (const container of spec.initContainers ?? []) {
    const isSidecar = container.restartPolicy === 'Always'
    for (const [name, amount] of requestsOf(container)) {
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
  total.pods = 1
  return total
}

function requestsOf(container: Container): [string, number][] {
  const { requests, limits } = container.resources ?? {}
  return Object.entries({ ...limits, ...requests }).map(([name, quantity]) => [name, amountOf(name, quantity)])
}

export interface HostPort {
  /** `80/TCP` */
  port: string
  ip: string
}

export function hostPorts({ spec }: Pod): HostPort[] {
  return hostPortRequests(spec).map(({ hostPort, protocol, hostIP }) => ({
    port: `${hostPort}/${protocol}`,
    ip: hostIP,
  }))
}

/** The same port on the same address, or one of the two on all addresses. */
export function portsCollide(a: HostPort, b: HostPort): boolean {
  const wide = (ip: string): boolean => ip === ANY_ADDRESS || ip === '::'
  return a.port === b.port && (a.ip === b.ip || wide(a.ip) || wide(b.ip))
}
