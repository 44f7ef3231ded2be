/** What a pod's volumes are made from, and when they must be looked at again. */
import type { Pod } from '../../api/pod.ts'
import type { AgentContext } from '../context.ts'

export function ensureVolumes(agent: AgentContext, pod: Pod): Promise<ReadonlyMap<string, string>> {
  return agent.drivers.volumes.ensureVolumes(pod, sourcesOf(agent, pod))
}

export function sourcesOf(agent: AgentContext, pod: Pod) {
  const namespace = pod.metadata.namespace ?? ''
  return {
    configMap: (name: string) => agent.desired.configMap(namespace, name),
    secret: (name: string) => agent.desired.secret(namespace, name),
    volume: (claimName: string) => agent.desired.volumeOf(namespace, claimName),
  }
}
