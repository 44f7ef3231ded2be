/** Rules of what a pod asks of the kernel for itself: users and groups, seccomp profiles and kernel parameters. */
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

/** Kubernetes' bound, and runc's. */
const MAX_ID = 2 ** 31 - 1

function idErrors(ids: Readonly<Record<string, number | undefined>>, path: string): FieldError[] {
  return Object.entries(ids).flatMap(([field, id]) =>
    id === undefined || (id >= 0 && id <= MAX_ID)
      ? []
      : [{ path: `${path}.${field}`, reason: 'Invalid' as const, message: `${id} must be from 0 to ${MAX_ID}` }],
  )
}

export function validatePodSecurity(spec: PodSpec, path: string): FieldError[] {
  const { seccompProfile, runAsUser, runAsGroup, fsGroup, supplementalGroups = [] } = spec.securityContext ?? {}
  const listed = supplementalGroups.map((gid, index) => [`supplementalGroups[${index}]`, gid] as const)
  const errors = [
    ...seccompErrors(seccompProfile, `${path}.securityContext.seccompProfile`),
    ...idErrors({ runAsUser, runAsGroup, fsGroup, ...Object.fromEntries(listed) }, `${path}.securityContext`),
  ]
  for (const list of ['initContainers', 'containers'] as const) {
    for (const [index, { securityContext = {} }] of (spec[list] ?? []).entries()) {
      const at = `${path}.${list}[${index}].securityContext`
      const { seccompProfile: own, runAsUser: user, runAsGroup: group } = securityContext
      errors.push(
        ...seccompErrors(own, `${at}.seccompProfile`),
        ...idErrors({ runAsUser: user, runAsGroup: group }, at),
      )
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
