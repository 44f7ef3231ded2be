/**
 * From a container request to an OCI configuration. Pure: what must be looked up (host devices, capabilities, the
 * sandbox's hostname) comes in as context. The request is checked here, before anything is made for it.
 */
import { DroverError } from '../../base/errors.ts'
import { containerCapabilities } from './capabilities.ts'
import type { OciDevice, OciMount, OciProcess, OciResources, OciSpec } from './oci_types.ts'
import type { ContainerRequest, ContainerResources } from './runtime.ts'
import { seccompProfile } from './seccomp.ts'

export interface SpecContext {
  hostname: string
  /** Directory that the pod's containers share as /dev/shm. */
  shmPath: string
  cgroupsPath: string
  swapAccounting: boolean
  availableCapabilities: ReadonlySet<string>
  /** Devices of the host, for privileged containers. */
  hostDevices: readonly OciDevice[]
  oomScoreAdjFloor: number
  memoryCapacityBytes: number
  terminationLogPath: string
  /** Relative to the container's directory, or absolute. */
  rootPath: string
  architecture: string
  /** The image can run programs of the processor's 32-bit mode. */
  compat32: boolean
}

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

const HOST_SHM = '/dev/shm'

const MASKED_PATHS = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
]
const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']

export function ociSpec(request: ContainerRequest, context: SpecContext): OciSpec {
  checkRequest(request)
  const { privileged, sandbox } = request
  const { users } = sandbox
  const namespaces = [
    ...(users === undefined ? [] : [{ type: 'user', path: users.namespacePath }]),
    ...pidNamespace(request),
    { type: 'mount' },
    { type: 'cgroup' },
    ...(request.hostIpc === true ? [] : [{ type: 'ipc', path: sandbox.ipcNamespacePath }]),
    { type: 'uts', path: sandbox.utsNamespacePath },
    ...(sandbox.netNamespacePath === undefined ? [] : [{ type: 'network', path: sandbox.netNamespacePath }]),
  ]
  const seccomp = seccompOf(request, context)
  return {
    ociVersion: '1.0.2',
    process: ociProcess(request, context),
    root: { path: context.rootPath, readonly: request.readOnlyRootFilesystem },
    ...(context.hostname === '' ? {} : { hostname: context.hostname }),
    mounts: ociMounts(request, context),
    annotations: request.annotations,
    linux: {
      cgroupsPath: context.cgroupsPath,
      ...idMappings(request),
      namespaces,
      resources: ociResources(request.resources, privileged, context.swapAccounting),
      devices: privileged ? context.hostDevices : [],
      maskedPaths: privileged ? [] : MASKED_PATHS,
      readonlyPaths: privileged ? [] : READONLY_PATHS,
      ...rootPropagation(request),
      ...(seccomp === undefined ? {} : { seccomp }),
      ...(request.sysctls === undefined ? {} : { sysctl: request.sysctls }),
    },
  }
}

function idMappings({ sandbox: { users } }: ContainerRequest): Pick<OciSpec['linux'], 'uidMappings' | 'gidMappings'> {
  if (users === undefined) return {}
  const mappings = [{ containerID: 0, hostID: users.firstId, size: users.size }]
  return { uidMappings: mappings, gidMappings: mappings }
}

function seccompOf(request: ContainerRequest, context: SpecContext): OciSpec['linux']['seccomp'] {
  if (request.privileged || request.seccomp === 'unconfined') return undefined
  if (request.seccomp !== undefined) return request.seccomp
  return seccompProfile(context.architecture, capabilitiesOf(request, context), context.compat32)
}

/** None: the host's. */
function pidNamespace({ hostPid, sandbox }: ContainerRequest): OciSpec['linux']['namespaces'] {
  if (hostPid === true) return []
  const { pidNamespacePath } = sandbox
  return [pidNamespacePath === undefined ? { type: 'pid' } : { type: 'pid', path: pidNamespacePath }]
}

function capabilitiesOf(request: ContainerRequest, context: SpecContext): string[] {
  return containerCapabilities({
    privileged: request.privileged,
    add: request.addCapabilities,
    drop: request.dropCapabilities,
    available: context.availableCapabilities,
  })
}

function ociProcess(request: ContainerRequest, context: SpecContext): OciProcess {
  const granted = capabilitiesOf(request, context)
  const env = [...request.env]
  const has = (name: string): boolean => env.some((entry) => entry.startsWith(`${name}=`))
  if (!has('PATH')) env.unshift(DEFAULT_PATH)
  if (!has('HOSTNAME') && context.hostname !== '') env.push(`HOSTNAME=${context.hostname}`)
  if (request.tty && !has('TERM')) env.push('TERM=xterm')
  return {
    terminal: request.tty,
    user: request.user,
    args: request.args,
    env,
    cwd: request.workingDirectory === '' ? '/' : request.workingDirectory,
    capabilities: { bounding: granted, effective: granted, permitted: granted },
    noNewPrivileges: request.noNewPrivileges,
    oomScoreAdj: oomScoreAdj(request.resources, context),
  }
}

/** Whom the kernel kills first when the whole node is short of memory, in the kubelet's numbers. */
export function oomScoreAdj(
  resources: ContainerResources,
  context: Pick<SpecContext, 'oomScoreAdjFloor' | 'memoryCapacityBytes'>,
): number {
  const share = Math.round((1000 * resources.memoryRequestBytes) / Math.max(1, context.memoryCapacityBytes))
  const byRequest = Math.min(999, Math.max(2, 1000 - share))
  const wanted = { first: 1000, byRequest, last: -997 }[resources.oomRank ?? rankOf(resources)]
  return Math.max(wanted, context.oomScoreAdjFloor)
}

/** Of a container that is of no pod, or the only one of its pod. */
function rankOf(resources: ContainerResources): NonNullable<ContainerResources['oomRank']> {
  const { cpuLimitMillis, cpuRequestMillis, memoryLimitBytes, memoryRequestBytes } = resources
  if (cpuLimitMillis + cpuRequestMillis + memoryLimitBytes + memoryRequestBytes === 0) return 'first'
  const all = memoryLimitBytes > 0 && cpuLimitMillis > 0
  return all && memoryLimitBytes === memoryRequestBytes && cpuLimitMillis === cpuRequestMillis ? 'last' : 'byRequest'
}

function ociMounts(request: ContainerRequest, context: SpecContext): OciMount[] {
  const access = request.privileged ? 'rw' : 'ro'
  const mounts: OciMount[] = [
    special('/proc', 'proc', ['nosuid', 'noexec', 'nodev']),
    special('/dev', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
    special('/dev/pts', 'devpts', ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5']),
    special('/dev/mqueue', 'mqueue', ['nosuid', 'noexec', 'nodev']),
    special('/sys', 'sysfs', ['nosuid', 'noexec', 'nodev', access]),
    special('/sys/fs/cgroup', 'cgroup', ['nosuid', 'noexec', 'nodev', 'relatime', access]),
    bind(request.hostIpc === true ? HOST_SHM : context.shmPath, '/dev/shm', ['nosuid', 'noexec', 'nodev']),
  ]
  // A parent directory is mounted before what lies in it, whatever order the user wrote.
  const byDepth = [...request.mounts].sort((a, b) => depth(a.containerPath) - depth(b.containerPath))
  for (const mount of byDepth) {
    const access = mount.recursiveReadOnly === true ? 'rro' : mount.readOnly ? 'ro' : 'rw'
    mounts.push(bind(mount.hostPath, mount.containerPath, [access], PROPAGATION[mount.propagation ?? 'None']))
  }
  if (request.terminationMessagePath !== undefined) {
    mounts.push(bind(context.terminationLogPath, request.terminationMessagePath, ['rw']))
  }
  return mounts
}

function depth(path: string): number {
  return path.split('/').filter(Boolean).length
}

function special(destination: string, type: string, options: string[]): OciMount {
  return { destination, type, source: type, options }
}

const PROPAGATION = { None: 'rprivate', HostToContainer: 'rslave', Bidirectional: 'rshared' } as const

function bind(source: string, destination: string, options: string[], propagation = 'rprivate'): OciMount {
  return { destination, type: 'bind', source, options: ['rbind', propagation, ...options] }
}

/** The runtime makes the root's mount so, and a mount that is bound below cannot share more than it. */
function rootPropagation({ mounts }: ContainerRequest): Pick<OciSpec['linux'], 'rootfsPropagation'> {
  if (mounts.some(({ propagation }) => propagation === 'Bidirectional')) return { rootfsPropagation: 'rshared' }
  return mounts.some(({ propagation }) => propagation !== undefined) ? { rootfsPropagation: 'rslave' } : {}
}

export const CPU_PERIOD_MICROS = 100_000
const MIN_QUOTA_MICROS = 1_000

/** As the kubelet counts them: 1024 a core, at least 2. */
export function cpuShares(requestMillis: number): number {
  return Math.min(262_144, Math.max(2, Math.floor((requestMillis * 1024) / 1000)))
}

/** Time in each period that may be spent running. */
export function cpuQuotaMicros(limitMillis: number): number {
  return Math.max(MIN_QUOTA_MICROS, Math.round((limitMillis * CPU_PERIOD_MICROS) / 1000))
}

/** Units: CPU in thousandths of a core, memory in bytes. */
export function ociResources(
  resources: ContainerResources,
  privileged: boolean,
  swapAccounting: boolean,
): OciResources {
  const { cpuLimitMillis, cpuRequestMillis, memoryLimitBytes, pidsLimit } = resources
  return {
    devices: [{ allow: privileged, access: 'rwm' }],
    cpu: {
      shares: cpuShares(cpuRequestMillis),
      ...(cpuLimitMillis > 0 ? { quota: cpuQuotaMicros(cpuLimitMillis), period: CPU_PERIOD_MICROS } : {}),
    },
    // Swap counts with memory: a limit that lets a container swap without bound is none.
    ...(memoryLimitBytes > 0
      ? { memory: { limit: memoryLimitBytes, ...(swapAccounting ? { swap: memoryLimitBytes } : {}) } }
      : {}),
    ...(pidsLimit > 0 ? { pids: { limit: pidsLimit } } : {}),
  }
}

function checkRequest(request: ContainerRequest): void {
  const bad = (message: string): never => {
    throw new DroverError('invalid', `container ${request.name}: ${message}`)
  }
  if (request.args.length === 0) bad('nothing to run: neither the image nor the container names a command')
  if (request.layerDirectories.length === 0) bad('the image has no layers')
  if (request.workingDirectory !== '' && !request.workingDirectory.startsWith('/')) {
    bad(`working directory ${request.workingDirectory} must be absolute`)
  }
  for (const text of [...request.args, ...request.env]) {
    if (text.includes('\0')) bad('arguments and variables must not hold a NUL byte')
  }
  const targets = request.mounts.map((mount) => mount.containerPath)
  if (request.terminationMessagePath !== undefined) targets.push(request.terminationMessagePath)
  for (const target of targets) {
    const parts = target.split('/').filter(Boolean)
    if (!target.startsWith('/') || parts.length === 0 || parts.includes('..')) {
      bad(`mount target ${target} must be an absolute path below / without ".."`)
    }
    // Runtimes before the fixes of CVE-2025-52881 can be led astray by mounts over /proc.
    if (parts[0] === 'proc') bad(`mount target ${target}: nothing may be mounted over /proc`)
  }
}
