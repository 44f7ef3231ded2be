/**
 * Pod security levels: what a namespace lets its pods ask for. `privileged` forbids nothing, `baseline` the known ways to
 * take over a node, `restricted` all that a program does not need. Pure. Source: Kubernetes "Pod Security Standards".
 */
import type { Container, PodSpec, Volume } from './pod.ts'
import { isSafeSysctl } from './pod_sysctls.ts'

export const SECURITY_LEVELS = ['privileged', 'baseline', 'restricted'] as const
export type SecurityLevel = (typeof SECURITY_LEVELS)[number]
/** `enforce` refuses pods, `warn` tells who writes them; `audit` is for logs that Drover does not keep. */
export type SecurityMode = 'enforce' | 'warn' | 'audit'

const LABEL_PREFIX = 'pod-security.kubernetes.io/'

export const securityLabel = (mode: SecurityMode): string => `${LABEL_PREFIX}${mode}`

/** The level that a namespace's labels name for a mode. One that is no level holds as the strictest: it was meant to forbid. */
export function securityLevel(labels: Readonly<Record<string, string>> | undefined, mode: SecurityMode): SecurityLevel {
  const named = labels?.[securityLabel(mode)]
  if (named === undefined) return 'privileged'
  return SECURITY_LEVELS.find((level) => level === named) ?? 'restricted'
}

type Check = (spec: PodSpec) => string[]

const containersOf = (spec: PodSpec): Container[] => [...(spec.initContainers ?? []), ...spec.containers]
const quoted = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(', ')

/** One sentence for all containers that `isBad`, in Kubernetes' form; none when there are none. */
function bad(spec: PodSpec, what: string, must: string, isBad: (container: Container) => boolean): string[] {
  const names = containersOf(spec).flatMap((container) => (isBad(container) ? container.name : []))
  if (names.length === 0) return []
  return [`${what} (${names.length === 1 ? 'container' : 'containers'} ${quoted(names)} ${must})`]
}

const BASELINE_CAPABILITIES: ReadonlySet<string> = new Set(
  `AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT`.split(
    ' ',
  ),
)
const RESTRICTED_VOLUMES: ReadonlySet<string> = new Set(
  'configMap csi downwardAPI emptyDir ephemeral persistentVolumeClaim projected secret'.split(' '),
)

function hostNamespaces({ hostNetwork, hostPID, hostIPC }: PodSpec): string[] {
  const given = Object.entries({ hostNetwork, hostPID, hostIPC }).flatMap(([name, on]) =>
    on === true ? `${name}=true` : [],
  )
  return given.length === 0 ? [] : [`host namespaces (${given.join(', ')})`]
}

function hostPaths({ volumes = [] }: PodSpec): string[] {
  const names = volumes.flatMap(({ name, hostPath }) => (hostPath === undefined ? [] : name))
  return names.length === 0 ? [] : [`hostPath volumes (${names.length === 1 ? 'volume' : 'volumes'} ${quoted(names)})`]
}

function sysctls({ securityContext }: PodSpec): string[] {
  const names = (securityContext?.sysctls ?? []).flatMap(({ name }) => (isSafeSysctl(name) ? [] : name))
  return names.length === 0 ? [] : [`forbidden sysctls (${names.join(', ')})`]
}

/**
 * The node asks where probes and hooks say, from its own network: a host of theirs is one that the pod itself might not reach.
 * Kubernetes' `hostProbesAndHostLifecycle`, of its version 1.34.
 */
function probeHosts(spec: PodSpec): string[] {
  const hosts = new Set<string>()
  const names = containersOf(spec).flatMap(({ name, livenessProbe, readinessProbe, startupProbe, lifecycle }) => {
    const actions = [livenessProbe, readinessProbe, startupProbe, lifecycle?.postStart, lifecycle?.preStop]
    const found = actions.flatMap((action) => [action?.httpGet?.host || [], action?.tcpSocket?.host || []].flat())
    for (const host of found) hosts.add(host)
    return found.length === 0 ? [] : name
  })
  if (names.length === 0) return []
  const [who, use] = names.length === 1 ? ['container', 'uses'] : ['containers', 'use']
  const what = hosts.size === 1 ? 'probe or lifecycle host' : 'probe or lifecycle hosts'
  return [`probe or lifecycle host (${who} ${quoted(names)} ${use} ${what} ${quoted([...hosts].sort())})`]
}

const seccompOf = (spec: PodSpec, container: Container): string | undefined =>
  (container.securityContext?.seccompProfile ?? spec.securityContext?.seccompProfile)?.type

const addsOther = (allowed: ReadonlySet<string>) => (container: Container) =>
  (container.securityContext?.capabilities?.add ?? []).some((name) => !allowed.has(name.replace(/^CAP_/, '')))

const BASELINE: readonly Check[] = [
  hostNamespaces,
  (spec) =>
    bad(
      spec,
      'privileged',
      'must not set securityContext.privileged=true',
      ({ securityContext }) => securityContext?.privileged === true,
    ),
  (spec) =>
    bad(
      spec,
      'non-default capabilities',
      `must not include more than ${[...BASELINE_CAPABILITIES].join(', ')} in securityContext.capabilities.add`,
      addsOther(BASELINE_CAPABILITIES),
    ),
  hostPaths,
  (spec) =>
    bad(spec, 'hostPort', 'must not use hostPort', ({ ports = [] }) =>
      ports.some(({ hostPort = 0 }) => hostPort !== 0 && spec.hostNetwork !== true),
    ),
  probeHosts,
  (spec) =>
    bad(
      spec,
      'seccompProfile',
      'must not set securityContext.seccompProfile.type to "Unconfined"',
      (container) => seccompOf(spec, container) === 'Unconfined',
    ),
  sysctls,
]

const NET_BIND: ReadonlySet<string> = new Set(['NET_BIND_SERVICE'])

function restrictedVolumes({ volumes = [] }: PodSpec): string[] {
  const kinds = (volume: Volume): string[] => Object.keys(volume).filter((key) => key !== 'name')
  const names = volumes.flatMap((volume) =>
    kinds(volume).some((kind) => !RESTRICTED_VOLUMES.has(kind)) ? volume.name : [],
  )
  return names.length === 0 ? [] : [`restricted volume types (${quoted(names)})`]
}

const unlessOwnUsers =
  (check: Check): Check =>
  (spec) =>
    spec.hostUsers === false ? [] : check(spec)

const RESTRICTED: readonly Check[] = [
  restrictedVolumes,
  (spec) =>
    bad(
      spec,
      'allowPrivilegeEscalation != false',
      'must set securityContext.allowPrivilegeEscalation=false',
      ({ securityContext }) => securityContext?.allowPrivilegeEscalation !== false,
    ),
  (spec) =>
    bad(
      spec,
      'unrestricted capabilities',
      'must set securityContext.capabilities.drop=["ALL"] and may add only NET_BIND_SERVICE',
      (container) =>
        !(container.securityContext?.capabilities?.drop ?? []).includes('ALL') || addsOther(NET_BIND)(container),
    ),
  // Root of a pod with its own users is nobody on the node. Source: "Integration with Pod security admission checks".
  unlessOwnUsers((spec) =>
    bad(
      spec,
      'runAsNonRoot != true',
      'or the pod must set securityContext.runAsNonRoot=true',
      ({ securityContext }) => (securityContext?.runAsNonRoot ?? spec.securityContext?.runAsNonRoot) !== true,
    ),
  ),
  unlessOwnUsers((spec) =>
    bad(
      spec,
      'runAsUser=0',
      'and the pod must not set runAsUser=0',
      ({ securityContext }) => (securityContext?.runAsUser ?? spec.securityContext?.runAsUser) === 0,
    ),
  ),
  (spec) =>
    bad(
      spec,
      'seccompProfile',
      'or the pod must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"',
      (container) => seccompOf(spec, container) === undefined,
    ),
]

/** What the level forbids of a pod, in words; nothing when it may run. */
export function securityViolations(level: SecurityLevel, spec: PodSpec): string[] {
  if (level === 'privileged') return []
  const checks = level === 'baseline' ? BASELINE : [...BASELINE, ...RESTRICTED]
  return checks.flatMap((check) => check(spec))
}
