/** Rules of what a pod asks of the kernel for itself: seccomp profiles and kernel parameters. */
import type { FieldError } from '../base/errors.ts'
import type { PodSpec, SeccompProfile } from './pod.ts'
import { SYSCTL_NAME, sysctlName } from './pod_sysctls.ts'

function seccompErrors(profile: SeccompProfile | undefined, path: string): FieldError[] {
  if (profile === undefined) return []
  const { type, localhostProfile } = profile
  const at = `${path}.localhostProfile`
  if (type !== 'Localhost') {
    if (localhostProfile === undefined) return []
    return [{ path: at, reason: 'Invalid', message: 'may only be set for type Localhost' }]
  }
  if (!localhostProfile) return [{ path: at, reason: 'Required', message: "name a file of the node's profiles" }]
  const parts = localhostProfile.split('/')
  if (localhostProfile.startsWith('/') || parts.some((part) => part === '..' || part === '')) {
    return [{ path: at, reason: 'Invalid', message: `"${localhostProfile}" must be a relative path without ".."` }]
  }
  return []
}

export function validatePodSecurity(spec: PodSpec, path: string): FieldError[] {
  const errors = seccompErrors(spec.securityContext?.seccompProfile, `${path}.securityContext.seccompProfile`)
  for (const list of ['initContainers', 'containers'] as const) {
    for (const [index, { securityContext }] of (spec[list] ?? []).entries()) {
      const at = `${path}.${list}[${index}].securityContext.seccompProfile`
      errors.push(...seccompErrors(securityContext?.seccompProfile, at))
    }
  }
  const seen = new Set<string>()
  for (const [index, { name }] of (spec.securityContext?.sysctls ?? []).entries()) {
    const at = `${path}.securityContext.sysctls[${index}].name`
    if (!SYSCTL_NAME.test(name)) errors.push({ path: at, reason: 'Invalid', message: `"${name}" is no sysctl's name` })
    if (seen.has(sysctlName(name))) errors.push({ path: at, reason: 'Duplicate', message: `"${name}" stands twice` })
    seen.add(sysctlName(name))
  }
  return errors
}
