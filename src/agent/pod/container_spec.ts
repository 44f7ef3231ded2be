/** From a pod's container and its image to what the runtime starts. Pure: look-ups have been made by the caller. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { NODE_CRITICAL_PRIORITY } from '../../api/names.ts'
import type { Container, Pod, Volume } from '../../api/pod.ts'
import { sysctlName } from '../../api/pod_sysctls.ts'
import { DroverError } from '../../base/errors.ts'
import { parseBytes, parseCpuMillis } from '../../base/quantity.ts'
import type { Image, ResolvedUser } from '../images/images.ts'
import type {
  ContainerHead,
  ContainerRequest,
  ContainerResources,
  Mount,
  Sandbox,
  SeccompRequest,
} from '../runtime/runtime.ts'
import { type EnvironmentContext, expand, resolveEnvironment } from './environment.ts'
import { NOTE } from './facts.ts'
import { isWrittenByAgent } from './mount_points.ts'
import { qosClass } from './status.ts'

export interface HeadContext {
  handler?: string
  image: Image
  attempt: number
  crashes: number
  logPath: string
}

export interface ContainerContext extends HeadContext {
  environment: EnvironmentContext
  sandbox: Sandbox
  user: ResolvedUser
  /** Absent: the runtime's own profile. */
  seccomp?: SeccompRequest
  /** By mount path in the container: volumes and their sub-paths, resolved. */
  volumePaths: ReadonlyMap<string, string>
  /** Files made for the pod, by path in the container. */
  etcFiles: ReadonlyMap<string, string>
  hostname: string
  /** Processes and threads that it may have; absent or 0: without bound. */
  pidsLimit?: number
}

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const MAX_ID_NAME = 24

/** Short, and the same for the same attempt: a retry after a crash meets what the first try left. */
export function containerId(podUid: string, name: string, attempt: number): string {
  const hash = createHash('sha256').update(`${podUid}/${name}`).digest('hex').slice(0, 16)
  return `${name.slice(0, MAX_ID_NAME)}-${hash}-${attempt}`
}

export function containerLog(logsDir: string, { metadata }: Pod, container: string, attempt: number): string {
  return join(logsDir, `${metadata.namespace}_${metadata.name}_${metadata.uid}`, container, `${attempt}.log`)
}

/** The user to look up in the image: the container's, the pod's, the image's. Ids of the pod are numbers, and stay what they are. */
export function wantedUser(pod: Pod, container: Container, imageUser: string): string {
  const own = container.securityContext ?? {}
  const shared = pod.spec.securityContext ?? {}
  const user = own.runAsUser ?? shared.runAsUser
  const group = own.runAsGroup ?? shared.runAsGroup
  const [imageName = '', imageGroup] = imageUser.split(':')
  const name = user === undefined ? imageName || '0' : String(user)
  const groupName = group === undefined ? (user === undefined ? imageGroup : undefined) : String(group)
  return groupName === undefined || groupName === '' ? name : `${name}:${groupName}`
}

/** What depends on neither the pod's volumes, nor its address, nor what its environment refers to. */
export function containerHead(pod: Pod, container: Container, context: HeadContext): ContainerHead {
  const { handler, image, attempt, crashes, logPath } = context
  const podUid = pod.metadata.uid ?? ''
  return {
    id: containerId(podUid, container.name, attempt),
    podUid,
    name: container.name,
    attempt,
    ...(handler === undefined ? {} : { handler }),
    layerDirectories: image.layerDirectories,
    tty: container.tty === true,
    stdin: container.stdin === true,
    ...(container.stdinOnce === true ? { stdinOnce: true } : {}),
    logPath,
    terminationMessagePath: container.terminationMessagePath || '/dev/termination-log',
    annotations: {
      [NOTE.podNamespace]: pod.metadata.namespace ?? '',
      [NOTE.podName]: pod.metadata.name ?? '',
      [NOTE.image]: container.image ?? '',
      [NOTE.imageId]: imageIdText(image),
      [NOTE.crashes]: String(crashes),
      [NOTE.stopSignal]: container.lifecycle?.stopSignal ?? (image.config.stopSignal || 'SIGTERM'),
      [NOTE.logPath]: logPath,
    },
  }
}

export function containerRequest(pod: Pod, container: Container, context: ContainerContext): ContainerRequest {
  const { environment, sandbox, image } = context
  const security = container.securityContext ?? {}
  checkNonRoot(pod, container, context.user)
  const env = resolveEnvironment(container, image.config.env, environment)
  if (!env.has('PATH')) env.set('PATH', DEFAULT_PATH)
  if (!env.has('HOSTNAME')) env.set('HOSTNAME', context.hostname)
  const privileged = security.privileged === true
  return {
    ...containerHead(pod, container, context),
    sandbox,
    args: commandLine(container, image, env),
    env: [...env].map(([name, value]) => `${name}=${value}`),
    workingDirectory: container.workingDir || image.config.workingDirectory || '/',
    user: { ...context.user, additionalGids: groups(pod, context.user) },
    mounts: mounts(pod, container, context),
    resources: resources(pod, container, context.pidsLimit ?? 0),
    readOnlyRootFilesystem: security.readOnlyRootFilesystem === true,
    ...(pod.spec.hostPID === true ? { hostPid: true } : {}),
    ...(pod.spec.hostIPC === true ? { hostIpc: true } : {}),
    privileged,
    addCapabilities: security.capabilities?.add ?? [],
    dropCapabilities: security.capabilities?.drop ?? [],
    noNewPrivileges: !privileged && security.allowPrivilegeEscalation !== true,
    ...(context.seccomp === undefined ? {} : { seccomp: context.seccomp }),
    ...sysctls(pod),
  }
}

function sysctls({ spec }: Pod): Pick<ContainerRequest, 'sysctls'> {
  const given = spec.securityContext?.sysctls ?? []
  if (given.length === 0) return {}
  return { sysctls: Object.fromEntries(given.map(({ name, value }) => [sysctlName(name), value])) }
}

function imageIdText(image: Image): string {
  const repository = image.names[0]?.replace(/@.*$/, '').replace(/:[^/:]*$/, '')
  return image.digest !== '' && repository !== undefined ? `${repository}@${image.digest}` : image.id
}

function commandLine(container: Container, image: Image, env: ReadonlyMap<string, string>): string[] {
  const { entrypoint, cmd } = image.config
  const given = (list: readonly string[] | undefined): boolean => list !== undefined && list.length > 0
  const command = given(container.command) ? (container.command ?? []).map((part) => expand(part, env)) : undefined
  const own = (container.args ?? []).map((part) => expand(part, env))
  // A command of the pod's own leaves the image's arguments aside; arguments alone replace them.
  const args = command !== undefined || given(container.args) ? own : cmd
  const line = [...(command ?? entrypoint), ...args]
  if (line.length === 0) {
    throw new DroverError('invalid', `neither container "${container.name}" nor its image says what to run`)
  }
  return line
}

function checkNonRoot(pod: Pod, container: Container, user: ResolvedUser): void {
  const nonRoot = container.securityContext?.runAsNonRoot ?? pod.spec.securityContext?.runAsNonRoot
  if (nonRoot === true && user.uid === 0) {
    throw new DroverError('invalid', `container "${container.name}" has runAsNonRoot and would run as root`)
  }
}

function groups(pod: Pod, user: ResolvedUser): number[] {
  const { supplementalGroups = [], fsGroup, supplementalGroupsPolicy } = pod.spec.securityContext ?? {}
  const ofImage = supplementalGroupsPolicy === 'Strict' ? [] : user.additionalGids
  return [...new Set([...ofImage, ...supplementalGroups, ...(fsGroup === undefined ? [] : [fsGroup])])]
}

export const absolute = (path: string): string => (path.startsWith('/') ? path : `/${path}`)

/** A claim's word counts for each of its mounts: a runtime that is asked for a writable one makes it so, whatever it is mounted from. */
function isReadOnly(volume: Volume): boolean {
  return volume.persistentVolumeClaim?.readOnly === true || isWrittenByAgent(volume)
}

function mounts({ spec }: Pod, container: Container, { volumePaths, etcFiles }: ContainerContext): Mount[] {
  const readOnlyVolumes = new Set((spec.volumes ?? []).filter(isReadOnly).map(({ name }) => name))
  const own = (container.volumeMounts ?? []).map((mount): Mount => {
    const hostPath = volumePaths.get(mount.mountPath)
    if (hostPath === undefined) throw new DroverError('notFound', `volume "${mount.name}" is not there`)
    const { readOnly = false, recursiveReadOnly = 'Disabled', mountPropagation = 'None' } = mount
    return {
      hostPath,
      containerPath: absolute(mount.mountPath),
      readOnly: readOnly || readOnlyVolumes.has(mount.name),
      ...(recursiveReadOnly === 'Disabled' ? {} : { recursiveReadOnly: true }),
      ...(mountPropagation === 'None' ? {} : { propagation: mountPropagation }),
    }
  })
  const taken = new Set(own.map((mount) => mount.containerPath))
  const files = [...etcFiles]
    .filter(([containerPath]) => !taken.has(containerPath))
    .map(([containerPath, hostPath]): Mount => ({ hostPath, containerPath, readOnly: false }))
  // Outer paths first, so that none hides another.
  return [...files, ...own].sort((a, b) => a.containerPath.split('/').length - b.containerPath.split('/').length)
}

/**
 * The kernel's choice follows the class of the pod: one container that is bounded in all does not save a pod that is not. What
 * is critical to the node goes last, whatever it asks for.
 */
const OOM_RANK = { BestEffort: 'first', Burstable: 'byRequest', Guaranteed: 'last' } as const

function resources({ spec }: Pod, { resources: wanted }: Container, pidsLimit: number): ContainerResources {
  const limits = wanted?.limits ?? {}
  const requests = wanted?.requests ?? {}
  return {
    cpuLimitMillis: parseCpuMillis(limits.cpu ?? 0),
    cpuRequestMillis: parseCpuMillis(requests.cpu ?? limits.cpu ?? 0),
    memoryLimitBytes: parseBytes(limits.memory ?? 0),
    memoryRequestBytes: parseBytes(requests.memory ?? limits.memory ?? 0),
    pidsLimit,
    oomRank: (spec.priority ?? 0) >= NODE_CRITICAL_PRIORITY ? 'last' : OOM_RANK[qosClass(spec)],
  }
}
