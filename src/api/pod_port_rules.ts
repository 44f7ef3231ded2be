/** What may stand in a container's ports. Source: Kubernetes, ContainerPort. */
import { isIP } from 'node:net'
import type { FieldError } from '../base/errors.ts'
import type { PodSpec } from './pod.ts'

/** Host ports are the host's: no two of a pod may be one, and a pod on the host's network has but its own ports. */
export function validatePorts(spec: PodSpec, path: string): FieldError[] {
  const errors: FieldError[] = []
  const taken = new Set<string>()
  for (const field of ['containers', 'initContainers'] as const) {
    for (const [index, { ports = [], restartPolicy }] of (spec[field] ?? []).entries()) {
      const stays = field === 'containers' || restartPolicy === 'Always'
      for (const [position, { hostPort, hostIP, containerPort, protocol = 'TCP' }] of ports.entries()) {
        const at = `${path}.${field}[${index}].ports[${position}]`
        if (hostIP && isIP(hostIP) === 0) {
          errors.push({ path: `${at}.hostIP`, reason: 'Invalid', message: `"${hostIP}" is not an IP address` })
        }
        if (!hostPort) continue
        if (spec.hostNetwork === true && hostPort !== containerPort) {
          const message = `${hostPort} must be the containerPort, ${containerPort}: the pod is on the host's network`
          errors.push({ path: `${at}.hostPort`, reason: 'Invalid', message })
        }
        if (hostIP && spec.hostNetwork !== true && isIP(hostIP) === 6 && hostIP !== '::') {
          errors.push({ path: `${at}.hostIP`, reason: 'Invalid', message: 'host ports are on IPv4 addresses alone' })
        }
        const key = `${hostPort}/${protocol}${hostIP ? ` of ${hostIP}` : ''}`
        if (stays && taken.has(key)) {
          errors.push({ path: `${at}.hostPort`, reason: 'Duplicate', message: `"${key}" stands twice` })
        }
        if (stays) taken.add(key)
      }
    }
  }
  return errors
}
