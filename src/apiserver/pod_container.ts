/** Which container of which pod on which node a log or exec request means; every doubt is an error that names the choice. */
import { resourceName } from '../api/kind.ts'
import type { Stored } from '../api/meta.ts'
import { ANNOTATION } from '../api/names.ts'
import type { ContainerStatus, Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import { DroverError } from '../base/errors.ts'
import type { ApiContext } from './context.ts'
import type { Target } from './router.ts'
import { notFound } from './status_error.ts'

export interface PodContainer {
  pod: Stored<Pod>
  container: string
  node: string
  /** Absent before the agent has reported. */
  status: ContainerStatus | undefined
}

function findPod({ resources }: ApiContext, namespace: string, name: string): Stored<Pod> {
  const pod = resources.get(podKind, namespace, name)
  if (pod === undefined) throw notFound(resourceName(podKind), name)
  return pod
}

export function resolveContainer(context: ApiContext, { namespace, name }: Target, asked: string): PodContainer {
  const pod = findPod(context, namespace, name)
  const container = chooseContainer(pod, asked)
  const node = pod.spec.nodeName ?? ''
  if (node === '') {
    throw new DroverError('invalid', `pod ${name} does not have a host assigned; "describe pod ${name}" says why`)
  }
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {}
  const status = [...containerStatuses, ...initContainerStatuses].find((one) => one.name === container)
  return { pod, container, node, status }
}

/** A pod that something can be connected to. */
export function resolveRunningPod(context: ApiContext, { namespace, name }: Target): Stored<Pod> {
  const pod = findPod(context, namespace, name)
  const phase = pod.status?.phase ?? 'Pending'
  if (pod.spec.nodeName !== undefined && phase === 'Running') return pod
  throw new DroverError('invalid', `pod ${name} is not running: its phase is ${phase}`)
}

function chooseContainer({ metadata, spec }: Stored<Pod>, asked: string): string {
  const names = spec.containers.map((container) => container.name)
  const all = [...names, ...(spec.initContainers ?? []).map((container) => container.name)]
  const wanted = asked === '' ? (metadata.annotations?.[ANNOTATION.defaultContainer] ?? '') : asked
  if (wanted !== '') {
    if (all.includes(wanted)) return wanted
    throw new DroverError(
      'invalid',
      `container ${wanted} is not valid for pod ${metadata.name}; choose one of: [${all.join(' ')}]`,
    )
  }
  const [only] = names
  if (only !== undefined && names.length === 1) return only
  throw new DroverError(
    'invalid',
    `a container name must be specified for pod ${metadata.name}, choose one of: [${all.join(' ')}]`,
  )
}

/** A container that has not begun has neither output nor a process to join. */
export function requireStarted({ pod, container, status }: PodContainer, previous: boolean): void {
  const { name } = pod.metadata
  if (previous) {
    if (status !== undefined && status.restartCount === 0 && status.lastState?.terminated === undefined) {
      throw new DroverError('invalid', `previous terminated container "${container}" in pod "${name}" not found`)
    }
    return
  }
  const { running, terminated, waiting } = status?.state ?? {}
  if (running !== undefined || terminated !== undefined || status?.lastState?.terminated !== undefined) return
  const reason = waiting?.reason ?? 'ContainerCreating'
  throw new DroverError('invalid', `container "${container}" in pod "${name}" is waiting to start: ${reason}`)
}

export function requireRunning({ pod, container, status }: PodContainer): void {
  const { name } = pod.metadata
  const { terminated } = status?.state ?? {}
  if (terminated !== undefined) {
    const why = terminated.reason ?? `exit code ${terminated.exitCode}`
    throw new DroverError('invalid', `container "${container}" in pod "${name}" is not running: it ended (${why})`)
  }
  if (status?.state?.running !== undefined) return
  const reason = status?.state?.waiting?.reason ?? 'ContainerCreating'
  throw new DroverError('invalid', `container "${container}" in pod "${name}" is not running yet: ${reason}`)
}
