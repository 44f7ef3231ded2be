/** Which container a request means. */
import type { Pod } from '../../api/pod.ts'
import { DroverError } from '../../base/errors.ts'
import { isObject } from '../../base/json.ts'
import type { AgentContext } from '../context.ts'
import { attemptsOf, isRunning } from '../pod/facts.ts'
import type { ContainerState } from '../runtime/runtime.ts'

export interface Target {
  pod: Pod
  container: string
  /** Newest first. */
  attempts: ContainerState[]
}

/** The pod that a request's `namespace` and `pod` name. */
export function findPod({ desired, nodeName }: AgentContext, request: unknown): Pod {
  if (!isObject(request)) throw new DroverError('invalid', 'the request is not an object')
  const { namespace, pod: name } = request
  const pod = desired.pod(String(namespace), String(name))
  if (pod === undefined) throw new DroverError('notFound', `pod ${namespace}/${name} is not on node ${nodeName}`)
  return pod
}

/** Reads `namespace`, `pod` and `container`; a pod's only container needs no name. */
export async function findTarget(agent: AgentContext, request: unknown): Promise<Target> {
  const pod = findPod(agent, request)
  const podName = pod.metadata.name
  const given = isObject(request) ? request.container : undefined
  const names = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].map(({ name }) => name)
  const container = typeof given === 'string' && given !== '' ? given : (pod.spec.containers[0]?.name ?? '')
  if (!names.includes(container)) {
    throw new DroverError(
      'invalid',
      `container ${container} is not valid for pod ${podName}; it has ${names.join(', ')}`,
    )
  }
  const containers = (await agent.containers.read()).filter(({ podUid }) => podUid === pod.metadata.uid)
  return { pod, container, attempts: attemptsOf({ containers }, container) }
}

export function runningOf({ pod, container, attempts }: Target): ContainerState {
  const running = attempts.find(isRunning)
  if (running === undefined) {
    throw new DroverError('conflict', `container ${container} of pod ${pod.metadata.name} is not running`)
  }
  return running
}
