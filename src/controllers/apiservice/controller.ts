/**
 * The API as a service of its own cluster: Service `kubernetes` in `default`, at the first address of the service range, with
 * slices that name where live servers serve the API, one slice a port. Pods reach the API there; who changes or deletes any of
 * it gets it back. A server that dies leaves as soon as the others miss it.
 */
import { type EndpointSlice, endpointSliceKind } from '../../api/endpointslice.ts'
import { keyOf } from '../../api/kind.ts'
import { LABEL } from '../../api/names.ts'
import { type Service, serviceKind } from '../../api/service.ts'
import { cidrAddress, formatAddress, parseCidr } from '../../base/cidr.ts'
import { isCode } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import type { Service as RunningService } from '../../base/service.ts'
import { settleAll } from '../../base/settle.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { changeObject, deleteObject } from '../common/writes.ts'

export interface ApiEndpoint {
  address: string
  port: number
}

/** Where nodes and pods reach the API: of all servers that live, this one among them. */
export interface ApiEndpoints {
  list(): readonly ApiEndpoint[]
  /** Calls back when servers have come or gone; returns how to stop. */
  onChange(listener: () => void): () => void
}

export interface ApiServiceOptions extends ControllerContext {
  serviceCidr: string
  apiEndpoints: ApiEndpoints
}

const NAMESPACE = 'default'
const NAME = 'kubernetes'
const KEY = `${NAMESPACE}/${NAME}`
const PORT = 443
const LABELS = { component: 'apiserver', provider: 'kubernetes' }

export function apiServiceObjects(
  serviceCidr: string,
  endpoints: readonly ApiEndpoint[],
): { service: Service; slices: EndpointSlice[] } {
  const ports = [...new Set(endpoints.map(({ port }) => port))].sort((a, b) => a - b)
  return {
    service: {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: NAME, namespace: NAMESPACE, labels: LABELS },
      spec: {
        type: 'ClusterIP',
        clusterIP: formatAddress(cidrAddress(parseCidr(serviceCidr), 1)),
        ports: [{ name: 'https', protocol: 'TCP', port: PORT, targetPort: ports[0] ?? PORT }],
      },
    },
    slices: ports.map((port, index) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: index === 0 ? NAME : `${NAME}-${port}`,
        namespace: NAMESPACE,
        labels: { ...LABELS, [LABEL.serviceName]: NAME },
      },
      addressType: 'IPv4',
      endpoints: [...new Set(endpoints.flatMap(({ address, port: own }) => (own === port ? [address] : [])))]
        .sort()
        .map((address) => ({ addresses: [address], conditions: { ready: true } })),
      ports: [{ name: 'https', protocol: 'TCP', port }],
    })),
  }
}

/** Also slices of ports that no server has any more; others' slices of this service are left alone. */
function isOurs({ metadata }: EndpointSlice): boolean {
  const { namespace, name = '', labels } = metadata
  if (namespace !== NAMESPACE) return false
  return name === NAME || (name.startsWith(`${NAME}-`) && labels?.provider === LABELS.provider)
}

export function createApiServiceController(context: ApiServiceOptions): RunningService {
  const { resources, fence, log } = context

  async function ensureService(service: Service): Promise<void> {
    const found = resources.get(serviceKind, NAMESPACE, NAME)
    if (found === undefined) {
      await resources.create(serviceKind, structuredClone(service), { fence })
      return
    }
    const [port] = service.spec.ports ?? []
    if (port === undefined) return
    await changeObject(context, serviceKind, found, {
      part: 'main',
      change: (current) => {
        if (jsonEqual(current.spec.ports, [port]) && current.spec.selector === undefined) return undefined
        const { selector: _selector, ...spec } = current.spec
        return { ...current, spec: { ...spec, ports: [port] } }
      },
    })
  }

  async function ensureSlice(slice: EndpointSlice): Promise<void> {
    const found = resources.get(endpointSliceKind, NAMESPACE, slice.metadata.name ?? '')
    if (found === undefined) {
      await resources.create(endpointSliceKind, structuredClone(slice), { fence })
      return
    }
    await changeObject(context, endpointSliceKind, found, {
      part: 'main',
      change: (current) =>
        jsonEqual([current.endpoints, current.ports], [slice.endpoints, slice.ports])
          ? undefined
          : { ...current, endpoints: slice.endpoints ?? [], ports: slice.ports ?? [] },
    })
  }

  async function reconcile(): Promise<undefined> {
    const endpoints = context.apiEndpoints.list()
    if (endpoints.length === 0) return undefined
    const { service, slices } = apiServiceObjects(context.serviceCidr, endpoints)
    try {
      await ensureService(service)
      for (const slice of slices) await ensureSlice(slice)
      // Last: an address that moves to another slice is never in none.
      const names = slices.map(({ metadata }) => metadata.name)
      const ours = resources.list(endpointSliceKind, { namespace: NAMESPACE }).filter(isOurs)
      await settleAll(
        ours
          .filter(({ metadata }) => !names.includes(metadata.name))
          .map((slice) => deleteObject(context, endpointSliceKind, slice)),
      )
    } catch (error) {
      // Its address is taken, or no longer in the range: for people to settle, not for a retry.
      if (!isCode(error, 'invalid')) throw error
      log.warn({ err: error }, `service ${KEY} cannot be made; pods cannot reach the API by it`)
    }
    return undefined
  }

  return queueService({
    id: 'api-service-controller',
    context,
    concurrency: 1,
    reconcile,
    watch(queue) {
      queue.add(KEY)
      const wake = ({ object }: { object: Service }): void => {
        if (keyOf(object) === KEY) queue.add(KEY)
      }
      return [
        resources.subscribe(serviceKind, wake),
        resources.subscribe(endpointSliceKind, ({ object }) => {
          if (isOurs(object)) queue.add(KEY)
        }),
        context.apiEndpoints.onChange(() => queue.add(KEY)),
      ]
    },
  })
}
