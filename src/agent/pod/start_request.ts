/** From a container of a prepared pod to a request for the runtime: its image, user, mounts and environment are looked up here. */
import { join } from 'node:path'
import type { Container, Pod } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import type { AgentContext } from '../context.ts'
import type { Image } from '../images/images.ts'
import { containerRequest, wantedUser } from './container_spec.ts'
import { podHostname } from './etc_files.ts'
import type { Prepared } from './notes.ts'
import { sourcesOf } from './pod_volumes.ts'

/** Looks up what the runtime is to start. */
export async function resolveRequest(
  { agent, pod }: { agent: AgentContext; pod: Pod },
  container: Container,
  prepared: Prepared,
  next: { attempt: number; crashes: number },
) {
  const image = await imageOf(agent, container)
  const volumePaths = new Map<string, string>()
  for (const { name, mountPath, subPath } of container.volumeMounts ?? []) {
    const path = prepared.volumes.get(name)
    if (path === undefined) continue
    volumePaths.set(mountPath, subPath ? await agent.drivers.volumes.resolveSubPath(path, subPath) : path)
  }
  return containerRequest(pod, container, {
    ...next,
    environment: {
      pod,
      sources: sourcesOf(agent, pod),
      podIP: prepared.podIP,
      hostIP: agent.nodeAddress,
      nodeName: agent.nodeName,
      nodeCpuMillis: agent.nodeCpuMillis,
      nodeMemoryBytes: agent.nodeMemoryBytes,
      services: agent.desired.services(),
    },
    sandbox: prepared.sandbox,
    image,
    user: await agent.drivers.images.resolveUser(image, wantedUser(pod, container, image.config.user)),
    volumePaths,
    etcFiles: prepared.etcFiles,
    hostname: podHostname(pod),
    logPath: join(podLogsDir(agent, pod), container.name, `${next.attempt}.log`),
  })
}

async function imageOf(agent: AgentContext, container: Container): Promise<Image> {
  const image = await agent.drivers.images.find(container.image ?? '')
  // Removed between pull and start: temporary, the next round pulls again.
  if (image === undefined) throw new DroverError('unavailable', `image ${container.image} is not here any more`)
  return image
}

export function podLogsDir(agent: Pick<AgentContext, 'logsDir'>, pod: Pod): string {
  const { namespace, name, uid } = pod.metadata
  return join(agent.logsDir, `${namespace}_${name}_${uid}`)
}
