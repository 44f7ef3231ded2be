/** From a container of a prepared pod to a request for the runtime: its image, user, mounts and environment are looked up here. */
import type { Container, Pod, VolumeMount } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import { mountOf } from '../../base/mountinfo.ts'
import { readText } from '../../base/records.ts'
import type { AgentContext } from '../context.ts'
import type { Image } from '../images/images.ts'
import type { ContainerRequest } from '../runtime/runtime.ts'
import { absolute, containerLog, containerRequest, wantedUser } from './container_spec.ts'
import { type EnvironmentContext, expand, resolveEnvironment } from './environment.ts'
import { kernelHostname } from './etc_files.ts'
import { isWrittenByAgent, nestedMounts } from './mount_points.ts'
import type { Prepared } from './notes.ts'
import { environmentContext } from './pod_volumes.ts'
import { seccompOf } from './seccomp.ts'

/** Looks up what the runtime is to start. */
export async function resolveRequest(
  { agent, pod }: { agent: AgentContext; pod: Pod },
  given: Container,
  prepared: Prepared,
  next: { attempt: number; crashes: number },
) {
  const image = await imageOf(agent, given)
  const container = withAccess(given, prepared.access)
  const environment = environmentContext(agent, pod, prepared.podIP)
  const volumePaths = new Map<string, string>()
  for (const mount of container.volumeMounts ?? []) {
    const path = mount.name === ACCESS ? prepared.access : prepared.volumes.get(mount.name)
    if (path === undefined) continue
    const subPath = mount.subPathExpr ? expandSubPath(container, mount.subPathExpr, environment) : mount.subPath
    // What is to be mounted back on the host must be the host's own; only privileged containers may ask for it.
    const podUid = mount.mountPropagation === 'Bidirectional' ? undefined : pod.metadata.uid
    const found = subPath ? await agent.drivers.volumes.resolveSubPath(path, subPath, podUid) : path
    volumePaths.set(mount.mountPath, found)
    checkPropagation(mount, path)
  }
  const seccomp = await seccompOf(agent, pod, container)
  const request = containerRequest(pod, container, {
    ...next,
    ...(seccomp === undefined ? {} : { seccomp }),
    environment,
    sandbox: prepared.sandbox,
    ...(prepared.handler === undefined ? {} : { handler: prepared.handler }),
    image,
    user: await agent.drivers.images.resolveUser(image, wantedUser(pod, container, image.config.user)),
    volumePaths,
    etcFiles: prepared.etcFiles,
    hostname: kernelHostname(pod, agent.clusterDomain()),
    pidsLimit: agent.containerPidsLimit,
    logPath: containerLog(agent.logsDir, pod, container.name, next.attempt),
  })
  await makeMountPoints(agent, pod, container, request)
  return request
}

/** Inside what the container may not write. */
async function makeMountPoints(
  { drivers }: AgentContext,
  { spec }: Pod,
  { volumeMounts = [] }: Container,
  request: ContainerRequest,
): Promise<void> {
  const names = new Set((spec.volumes ?? []).filter(isWrittenByAgent).map(({ name }) => name))
  const written = volumeMounts.filter(({ name }) => names.has(name)).map(({ mountPath }) => absolute(mountPath))
  for (const { outerPath, path, hostPath } of nestedMounts(request, new Set(written))) {
    await drivers.volumes.makeMountPoint(outerPath, path, hostPath)
  }
}

/** Name of no volume that a user could have. */
const ACCESS = '.access'
const ACCESS_PATH = '/var/run/secrets/kubernetes.io/serviceaccount'

/** With the files by which it speaks to the API, unless it has something of its own there. */
function withAccess(container: Container, access: string | undefined): Container {
  const mounts = container.volumeMounts ?? []
  if (access === undefined || mounts.some(({ mountPath }) => mountPath === ACCESS_PATH)) return container
  return { ...container, volumeMounts: [...mounts, { name: ACCESS, mountPath: ACCESS_PATH, readOnly: true }] }
}

/** Of the container's own variables alone, and every one must be there: a path must not go where nobody meant it to. */
function expandSubPath(container: Container, text: string, environment: EnvironmentContext): string {
  const env = resolveEnvironment({ name: container.name, env: container.env ?? [] }, [], {
    ...environment,
    services: [],
  })
  const path = expand(text, env)
  const missing = [...text.matchAll(/\$\(([^()$]+)\)/g)].find(([, name = '']) => !env.has(name))?.[1]
  if (missing !== undefined) {
    throw new DroverError('invalid', `subPathExpr "${text}" of container "${container.name}": no variable ${missing}`)
  }
  return path
}

/** What is mounted later shows on the other side only where the host's mount is shared. */
function checkPropagation({ mountPropagation = 'None', mountPath }: VolumeMount, hostPath: string): void {
  if (mountPropagation === 'None') return
  const { shared, slave } = mountOf(readText('/proc/self/mountinfo') ?? '', hostPath) ?? {}
  if (shared === true || (slave === true && mountPropagation === 'HostToContainer')) return
  const message = `${mountPath}: mountPropagation ${mountPropagation} needs ${hostPath} to lie on a shared mount`
  throw new DroverError('invalid', `${message} (mount --make-rshared)`)
}

async function imageOf(agent: AgentContext, container: Container): Promise<Image> {
  const image = await agent.drivers.images.find(container.image ?? '')
  // Removed between pull and start: temporary, the next round pulls again.
  if (image === undefined) throw new DroverError('unavailable', `image ${container.image} is not here any more`)
  return image
}
