/** The Pod kind: what `get pods` shows, what selectors may name. */
import { findCondition } from './conditions.ts'
import { defineKind } from './kind.ts'
import { isDnsSubdomain } from './names.ts'
import { type ContainerStatus, Pod, type Pod as PodObject } from './pod.ts'
import { defaultPodSpec, validatePodSpec, validatePodUpdate } from './pod_rules.ts'

function containerReason(status: ContainerStatus): string | undefined {
  const { waiting, terminated } = status.state ?? {}
  if (waiting?.reason !== undefined) return waiting.reason
  if (terminated === undefined) return undefined
  if (terminated.reason !== undefined) return terminated.reason
  return terminated.signal === undefined ? `ExitCode:${terminated.exitCode}` : `Signal:${terminated.signal}`
}

/** One word for where a pod stands, as kubectl users know it. */
export function podSummary(pod: PodObject): string {
  const status = pod.status ?? {}
  if (pod.metadata.deletionTimestamp !== undefined) {
    return status.reason === 'NodeLost' ? 'Unknown' : 'Terminating'
  }
  if (status.reason !== undefined) return status.reason
  const sidecars = sidecarNames(pod)
  for (const [index, init] of (status.initContainerStatuses ?? []).entries()) {
    if (init.state?.terminated?.exitCode === 0 || (sidecars.has(init.name) && init.started === true)) continue
    if (sidecars.has(init.name) && hasBegun(pod)) continue
    const reason = containerReason(init)
    if (reason !== undefined && reason !== 'PodInitializing') return `Init:${reason}`
    return `Init:${index}/${pod.spec.initContainers?.length ?? 0}`
  }
  const reasons = (status.containerStatuses ?? []).map(containerReason).filter((reason) => reason !== undefined)
  const running = (status.containerStatuses ?? []).some((container) => container.state?.running !== undefined)
  const reason = reasons.at(-1)
  if (reason === 'Completed' && running) return 'Running'
  return reason ?? status.phase ?? 'Pending'
}

function sidecarNames({ spec }: PodObject): Set<string> {
  return new Set((spec.initContainers ?? []).flatMap(({ name, restartPolicy }) => (restartPolicy ? [name] : [])))
}

/** Past its init containers: a sidecar that is made anew says nothing of the pod. */
function hasBegun({ status }: PodObject): boolean {
  return status?.conditions?.some(({ type, status: holds }) => type === 'Initialized' && holds === 'True') ?? false
}

/** What of the pod's containers stays, sidecars among them. */
function lastingStatuses(pod: PodObject): ContainerStatus[] {
  const sidecars = sidecarNames(pod)
  const { initContainerStatuses = [], containerStatuses = [] } = pod.status ?? {}
  return [...initContainerStatuses.filter(({ name }) => sidecars.has(name)), ...containerStatuses]
}

function restarts(pod: PodObject, nowMs: number): string | number {
  const statuses = lastingStatuses(pod)
  const total = statuses.reduce((sum, status) => sum + status.restartCount, 0)
  const last = statuses
    .map((status) => status.lastState?.terminated?.finishedAt ?? '')
    .sort()
    .at(-1)
  if (total === 0 || !last) return total
  return `${total} (${formatAge(nowMs - Date.parse(last))} ago)`
}

function readinessGates({ spec, status }: PodObject): string {
  const gates = spec.readinessGates ?? []
  if (gates.length === 0) return '<none>'
  const holds = gates.filter(({ conditionType }) => findCondition(status?.conditions, conditionType)?.status === 'True')
  return `${holds.length}/${gates.length}`
}

/** `5s`, `3m20s`, `4h`, `12d`: two units while the first is small, as kubectl writes ages. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const minutes = Math.floor(seconds / 60)
  const hours = Math.floor(minutes / 60)
  const days = Math.floor(hours / 24)
  const pair = (big: number, bigUnit: string, small: number, smallUnit: string): string =>
    small === 0 ? `${big}${bigUnit}` : `${big}${bigUnit}${small}${smallUnit}`
  if (seconds < 120) return `${seconds}s`
  if (minutes < 10) return pair(minutes, 'm', seconds % 60, 's')
  if (minutes < 180) return `${minutes}m`
  if (hours < 8) return pair(hours, 'h', minutes % 60, 'm')
  if (hours < 48) return `${hours}h`
  if (days < 8) return pair(days, 'd', hours % 24, 'h')
  return days < 730 ? `${days}d` : `${Math.floor(days / 365)}y`
}

export const podKind = defineKind<PodObject>({
  group: '',
  version: 'v1',
  kind: 'Pod',
  plural: 'pods',
  singular: 'pod',
  shortNames: ['po'],
  categories: ['all'],
  namespaced: true,
  schema: Pod,
  hasStatus: true,
  hasGeneration: true,
  applyDefaults(pod) {
    defaultPodSpec(pod.spec)
    pod.status ??= { phase: 'Pending' }
  },
  validate: (pod) => [
    ...(isDnsSubdomain(pod.metadata.name ?? '')
      ? []
      : [{ path: 'metadata.name', reason: 'Invalid' as const, message: 'must be a DNS subdomain' }]),
    ...validatePodSpec(pod.spec, 'spec'),
  ],
  validateUpdate: validatePodUpdate,
  columns: [
    {
      name: 'Ready',
      type: 'string',
      description: 'Containers that are ready, of all',
      value: (pod) => {
        const ready = lastingStatuses(pod).filter((status) => status.ready).length
        return `${ready}/${pod.spec.containers.length + sidecarNames(pod).size}`
      },
    },
    { name: 'Status', type: 'string', description: 'Where the pod stands', value: podSummary },
    { name: 'Restarts', type: 'string', description: 'How often its containers were started again', value: restarts },
    {
      name: 'IP',
      type: 'string',
      priority: 1,
      description: 'Address in the overlay',
      value: (pod) => pod.status?.podIP ?? '<none>',
    },
    {
      name: 'Node',
      type: 'string',
      priority: 1,
      description: 'Node that it is bound to',
      value: (pod) => pod.spec.nodeName ?? '<none>',
    },
    {
      name: 'Nominated Node',
      type: 'string',
      priority: 1,
      description: 'Node on which room is being made for it',
      value: (pod) => pod.status?.nominatedNodeName || '<none>',
    },
    {
      name: 'Readiness Gates',
      type: 'string',
      priority: 1,
      description: 'Conditions of others that hold, of all that it waits for',
      value: readinessGates,
    },
  ],
  selectableFields: {
    'spec.nodeName': (pod) => pod.spec.nodeName ?? '',
    'spec.restartPolicy': (pod) => pod.spec.restartPolicy ?? '',
    'status.phase': (pod) => pod.status?.phase ?? '',
    'status.podIP': (pod) => pod.status?.podIP ?? '',
  },
})
