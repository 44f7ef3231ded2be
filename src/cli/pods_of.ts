/** From what a user names (a pod, a deployment, a service) to pods. */
import type { DaemonSet } from '../api/daemonset.ts'
import type { Deployment } from '../api/deployment.ts'
import type { Job } from '../api/job.ts'
import type { KindDefinition } from '../api/kind.ts'
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

/** Pods that are found by a request, now and later. */
export interface PodGroup {
  path: string
  query: { labelSelector: string } | { fieldSelector: string }
  /** Whose pods they are; absent where only labels were given. */
  named?: { kind: KindDefinition; path: string }
}

export function groupBySelector(context: CliContext, labelSelector: string): PodGroup {
  return { path: resourcePath(podKind, context.scope), query: { labelSelector } }
}

export function listGroup({ client }: CliContext, { path, query }: PodGroup): Promise<ObjectList<Pod>> {
  return client.call<ObjectList<Pod>>('GET', path, { query })
}

export async function podsBySelector(context: CliContext, labelSelector: string): Promise<Pod[]> {
  return (await listGroup(context, groupBySelector(context, labelSelector))).items
}

/** The pods that a target has. Throws `notFound` when it can have none. */
export async function groupOf(context: CliContext, { kind, name }: Target): Promise<PodGroup> {
  if (name === undefined) throw new DroverError('invalid', `name the ${kind.singular}`)
  const path = resourcePath(kind, context.namespace, name)
  const named = { kind, path }
  const pods = resourcePath(podKind, context.namespace)
  if (kind.kind === 'Pod') return { path: pods, query: { fieldSelector: `metadata.name=${name}` }, named }
  let labelSelector: string
  if (kind.kind === 'Service') {
    const { spec } = await context.client.call<Service>('GET', path)
    labelSelector = selectorText({ matchLabels: spec.selector ?? {} })
  } else if (OWNERS.has(kind.kind)) {
    const { spec } = await context.client.call<Owner>('GET', path)
    labelSelector = spec.selector === undefined ? '' : selectorText(spec.selector)
  } else
    throw new DroverError(
      'invalid',
      `${kind.plural} have no pods; name a pod, a workload such as deploy/web, or a service`,
    )
  if (labelSelector === '') throw noPods(kind, name)
  return { path: pods, query: { labelSelector }, named }
}

/** The pods behind a target, sorted by name. Throws `notFound` when there are none. */
export async function podsOf(context: CliContext, target: Target): Promise<Pod[]> {
  const { kind, name } = target
  if (kind.kind === 'Pod' && name !== undefined) {
    return [await context.client.call<Pod>('GET', resourcePath(kind, context.namespace, name))]
  }
  const { items } = await listGroup(context, await groupOf(context, target))
  if (items.length === 0) throw noPods(kind, name)
  return items.sort((a, b) => (a.metadata.name ?? '').localeCompare(b.metadata.name ?? ''))
}

function noPods(kind: KindDefinition, name = ''): DroverError {
  return new DroverError('notFound', `${kind.singular} "${name}" has no pods`)
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
