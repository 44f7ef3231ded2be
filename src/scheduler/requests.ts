/** What a pod asks of a node, in numbers. */
import { ANY_ADDRESS, hostPortRequests } from '../api/host_ports.ts'
import type { Pod } from '../api/pod.ts'
import { type Amounts, podAmounts } from '../api/pod_amounts.ts'

/** Pods that ask for nothing weigh this much when nodes are compared, so that they spread. Kubernetes' own figures. */
export const ASSUMED_CPU_MILLIS = 100
export const ASSUMED_MEMORY_BYTES = 200 * 2 ** 20

export const DEFAULT_PODS = 110

export function podRequests({ spec }: Pod): Amounts {
  return { ...podAmounts(spec, 'requests'), pods: 1 }
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
