/**
 * Kernel parameters that a pod may set for itself. Safe ones are kept apart by namespaces and hurt nobody else; others a
 * node must allow by name. Source: Kubernetes "Using sysctls in a Kubernetes Cluster".
 */
import type { PodSpec } from './pod.ts'

const SAFE: ReadonlySet<string> = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ping_group_range',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.tcp_wmem',
])

const IPC = /^(kernel\.(shm\w*|msg\w*|sem)|fs\.mqueue\.\w+)$/
const NETWORK = /^net\./
export const SYSCTL_NAME = /^[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*$/

/** With dots between its parts, whichever way it was written. */
export const sysctlName = (name: string): string => name.replaceAll('/', '.')

export const isSafeSysctl = (name: string): boolean => SAFE.has(sysctlName(name))

/** Whether a name, or a pattern such as `net.core.*`, allows it. */
function isAllowed(name: string, allowed: readonly string[]): boolean {
  return allowed.some((pattern) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern))
}

/** Why a node does not run the pod; undefined when it does. `allowed`: what it allows beyond the safe ones. */
export function forbiddenSysctl(spec: PodSpec, allowed: readonly string[]): string | undefined {
  for (const given of spec.securityContext?.sysctls ?? []) {
    const name = sysctlName(given.name)
    if (!IPC.test(name) && !NETWORK.test(name)) return `sysctl ${name} is of the whole host: no pod can have its own`
    if (!SAFE.has(name) && !isAllowed(name, allowed)) {
      return `sysctl ${name} is not safe, and this node does not allow it (--allow-sysctl ${name})`
    }
    if (NETWORK.test(name) && spec.hostNetwork === true) return `sysctl ${name} would change the host's own network`
    if (IPC.test(name) && spec.hostIPC === true) return `sysctl ${name} would change the host's own IPC`
  }
  return undefined
}
