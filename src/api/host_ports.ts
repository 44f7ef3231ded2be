/** The host ports that a pod asks for. Sidecars' count: they run as long as the pod. Source: Kubernetes, ContainerPort. */
import type { PodSpec } from './pod.ts'

export interface HostPortRequest {
  hostPort: number
  /** Every address of the host where the pod names none. */
  hostIP: string
  protocol: string
  containerPort: number
}

export const ANY_ADDRESS = '0.0.0.0'

export function hostPortRequests({ containers, initContainers = [] }: PodSpec): HostPortRequest[] {
  const sidecars = initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always')
  return [...containers, ...sidecars].flatMap(({ ports = [] }) =>
    ports.flatMap(({ hostPort, hostIP, protocol = 'TCP', containerPort }) =>
      hostPort ? [{ hostPort, hostIP: hostIP || ANY_ADDRESS, protocol, containerPort }] : [],
    ),
  )
}
