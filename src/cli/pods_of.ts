/** From what a user names (a pod, a deployment, a service) to pods. */
import type { DaemonSet } from '../api/daemonset.ts'
import type { Deployment } from '../api/deployment.ts'
import type { Job } from '../api/job.ts'
import { ANNOTATION } from '../api/names.ts'
import type { Pod } from '../api/pod.ts'
import { podKind } from '../api/pod_kind.ts'
import type { ReplicaSet } from '../api/replicaset.ts'
import { selectorText } from '../api/selector.ts'
import type { Service } from '../api/service.ts'
import type { StatefulSet } from '../api/statefulset.ts'
import { DroverError } from '../base/errors.ts'
import type { CliContext, Target } from './context.ts'
import { type ObjectList, resourcePath } from './rest_client.ts'

type Owner = Deployment | ReplicaSet | StatefulSet | DaemonSet | Job
const OWNERS: ReadonlySet<string> = new Set(['Deployment', 'ReplicaSet', 'StatefulSet', 'DaemonSet', 'Job'])

export async function podsBySelector(context: CliContext, labelSelector: string): Promise<Pod[]> {
  const path = resourcePath(podKind, context.scope)
  const { items } = await context.client.call<ObjectList<Pod>>('GET', path, { query: { labelSelector } })
  return items
}

/** The pods behind a target, sorted by name. Throws `notFound` when there are none. */
export async function podsOf(context: CliContext, { kind, name }: Target): Promise<Pod[]> {
  if (name === undefined) throw new DroverError('invalid', `name the ${kind.singular}`)
  const path = resourcePath(kind, context.namespace, name)
  if (kind.kind === 'Pod') return [await context.client.call<Pod>('GET', path)]
  let selector: string
  if (kind.kind === 'Service') {
    const { spec } = await context.client.call<Service>('GET', path)
    selector = selectorText({ matchLabels: spec.selector ?? {} })
  } else if (OWNERS.has(kind.kind)) {
    const { spec } = await context.client.call<Owner>('GET', path)
    selector = spec.selector === undefined ? '' : selectorText(spec.selector)
  } else
    throw new DroverError(
      'invalid',
      `${kind.plural} have no pods; name a pod, a workload such as deploy/web, or a service`,
    )
  const pods = selector === '' ? [] : await podsBySelector(context, selector)
  if (pods.length === 0) throw new DroverError('notFound', `${kind.singular} "${name}" has no pods`)
  return pods.sort((a, b) => (a.metadata.name ?? '').localeCompare(b.metadata.name ?? ''))
}

/** The container meant: the named one, or the one that the pod says is meant, or its first. */
export function containerOf(pod: Pod, name: string | undefined): string {
  const names = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].map((container) => container.name)
  if (name === undefined) {
    const preferred = pod.metadata.annotations?.[ANNOTATION.defaultContainer]
    // One that is not there is passed over, as kubectl does.
    return preferred !== undefined && names.includes(preferred) ? preferred : (names[0] as string)
  }
  if (names.includes(name)) return name
  throw new DroverError('invalid', `pod "${pod.metadata.name}" has no container "${name}"; it has: ${names.join(', ')}`)
}

/** In the order in which they start. */
export function allContainersOf({ spec }: Pod): string[] {
  return [...(spec.initContainers ?? []), ...spec.containers].map(({ name }) => name)
}
