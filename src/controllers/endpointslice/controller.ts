/**
 * Keeps the EndpointSlices of services with a selector true to their pods. A pod's change wakes its services at once: traffic
 * must follow readiness without delay.
 */

import { isPodFinished, isPodReady } from '../../api/conditions.ts'
import { type EndpointSlice, endpointSliceKind } from '../../api/endpointslice.ts'
import { keyOf, splitKey } from '../../api/kind.ts'
import type { Stored } from '../../api/meta.ts'
import { LABEL } from '../../api/names.ts'
import { namespaceKind } from '../../api/namespace.ts'
import { nodeKind } from '../../api/node.ts'
import type { Pod } from '../../api/pod.ts'
import { podKind } from '../../api/pod_kind.ts'
import { HEADLESS, type Service, serviceKind } from '../../api/service.ts'
import { isCode } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import type { ReconcileResult, WorkQueue } from '../../base/queue.ts'
import { randomSuffix } from '../../base/random.ts'
import type { Service as RunningService } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import { SelectorIndex } from '../../resources/selector_index.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { controllerOf, controllerReference } from '../common/owners.ts'
import { changeObject, deleteObject } from '../common/writes.ts'
import { planSlices, type SliceContent } from './plan.ts'

export const MANAGED_BY = 'endpointslice-controller.k8s.io'
const HEADLESS_LABEL = 'service.kubernetes.io/headless'
const MAX_NAME_BASE = 57

export function createEndpointSliceController(context: ControllerContext): RunningService {
  const { resources } = context

  async function reconcile(key: string): Promise<ReconcileResult> {
    const { namespace, name } = splitKey(key)
    const service = resources.get(serviceKind, namespace, name)
    const slices = slicesOf(context, namespace, name)
    if (service === undefined) {
      await settleAll(slices.map((slice) => deleteObject(context, endpointSliceKind, slice)))
      return undefined
    }
    const { selector } = service.spec
    // Without a selector the endpoints are the user's own.
    if (selector === undefined || Object.keys(selector).length === 0 || service.spec.type === 'ExternalName') {
      return undefined
    }
    const plan = planSlices({
      service,
      slices: slices.filter((slice) => controllerOf(slice)?.uid === service.metadata.uid),
      pods: resources.list(podKind, { namespace, labels: { matchLabels: selector } }),
      zoneOf: (node) => resources.get(nodeKind, '', node)?.metadata.labels?.[LABEL.zone],
    })
    await settleAll([
      ...plan.create.map((content) => createSlice(context, service, content)),
      ...plan.update.map(({ slice, content }) =>
        changeObject(context, endpointSliceKind, slice, {
          part: 'main',
          change: (current) => ({ ...current, ports: content.ports, endpoints: content.endpoints }),
        }),
      ),
      ...plan.delete.map((slice) => deleteObject(context, endpointSliceKind, slice)),
    ])
    return undefined
  }

  return queueService({
    id: 'endpointslice-controller',
    context,
    reconcile,
    watch: (queue) => watchServices(context, queue),
  })
}

function watchServices({ resources }: ControllerContext, queue: WorkQueue): (() => void)[] {
  const index = new SelectorIndex()
  const file = (service: Stored<Service>): void => {
    index.put(service.metadata.namespace ?? '', keyOf(service), service.spec.selector)
    queue.add(keyOf(service))
  }
  const wake = (pod: Stored<Pod>): void => {
    for (const key of index.matching(pod.metadata.namespace ?? '', pod.metadata.labels)) queue.add(key)
  }
  const stops = [
    resources.subscribe(serviceKind, ({ type, object }) => {
      if (type !== 'DELETED') file(object)
      else {
        index.remove(keyOf(object))
        queue.add(keyOf(object))
      }
    }),
    resources.subscribe(podKind, (event) => {
      if (event.type === 'MODIFIED') {
        if (!concernsEndpoints(event.old, event.object)) return
        if (!jsonEqual(event.old.metadata.labels, event.object.metadata.labels)) wake(event.old)
      }
      wake(event.object)
    }),
    resources.subscribe(endpointSliceKind, ({ type, object }) => {
      // Somebody else's hand on our slices; our own writes end here too and find nothing to do.
      const service = object.metadata.labels?.[LABEL.serviceName]
      if (type !== 'ADDED' && service !== undefined) queue.add(`${object.metadata.namespace ?? ''}/${service}`)
    }),
  ]
  for (const service of resources.list(serviceKind)) file(service)
  for (const slice of resources.list(endpointSliceKind, { labels: { matchLabels: managed } })) {
    queue.add(`${slice.metadata.namespace ?? ''}/${slice.metadata.labels?.[LABEL.serviceName] ?? ''}`)
  }
  return stops
}

const managed = { [LABEL.endpointSliceManagedBy]: MANAGED_BY }

function concernsEndpoints(old: Pod, pod: Pod): boolean {
  return (
    isPodReady(old) !== isPodReady(pod) ||
    isPodFinished(old) !== isPodFinished(pod) ||
    old.metadata.deletionTimestamp !== pod.metadata.deletionTimestamp ||
    old.spec.nodeName !== pod.spec.nodeName ||
    old.status?.podIP !== pod.status?.podIP ||
    !jsonEqual(old.status?.podIPs, pod.status?.podIPs) ||
    !jsonEqual(old.metadata.labels, pod.metadata.labels)
  )
}

function slicesOf({ resources }: ControllerContext, namespace: string, service: string): Stored<EndpointSlice>[] {
  const labels = { matchLabels: { ...managed, [LABEL.serviceName]: service } }
  return resources.list(endpointSliceKind, { namespace, labels })
}

async function createSlice(context: ControllerContext, service: Stored<Service>, content: SliceContent): Promise<void> {
  const { resources, random, fence } = context
  const { name, namespace = '' } = service.metadata
  const base = name.slice(0, MAX_NAME_BASE).replace(/-+$/, '')
  const labels: Record<string, string> = { ...managed, [LABEL.serviceName]: name }
  if (service.spec.clusterIP === HEADLESS) labels[HEADLESS_LABEL] = ''
  const slice: EndpointSlice = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${base}-${randomSuffix(random)}`,
      generateName: `${base}-`,
      namespace,
      labels,
      ownerReferences: [controllerReference(serviceKind, service)],
    },
    ...content,
  }
  try {
    await resources.create(endpointSliceKind, slice, { fence })
  } catch (error) {
    // In a namespace that ends nothing new is made, and nothing new is needed.
    if (isCode(error, 'forbidden') && isNamespaceEnding(context, namespace)) return
    throw error
  }
}

function isNamespaceEnding({ resources }: ControllerContext, namespace: string): boolean {
  return resources.get(namespaceKind, '', namespace)?.metadata.deletionTimestamp !== undefined
}
