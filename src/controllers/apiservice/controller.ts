/**
 * The API as a service of its own cluster: Service `kubernetes` in `default`, at the first address of the service range, with a
 * slice that names where the API is served. Pods reach the API there; who changes or deletes either gets it back.
 */
import { type EndpointSlice, endpointSliceKind } from '../../api/endpointslice.ts'
import { keyOf } from '../../api/kind.ts'
import { LABEL } from '../../api/names.ts'
import { type Service, serviceKind } from '../../api/service.ts'
import { cidrAddress, formatAddress, parseCidr } from '../../base/cidr.ts'
import { isCode } from '../../base/errors.ts'
import { jsonEqual } from '../../base/json.ts'
import type { Service as RunningService } from '../../base/service.ts'
import { type ControllerContext, queueService } from '../common/context.ts'
import { changeObject } from '../common/writes.ts'

export interface ApiServiceOptions extends ControllerContext {
  serviceCidr: string
  /** Where nodes and pods reach the API; of several, all on one port. */
  apiEndpoints: readonly { address: string; port: number }[]
}

const NAMESPACE = 'default'
const NAME = 'kubernetes'
const KEY = `${NAMESPACE}/${NAME}`
const PORT = 443

export function apiServiceObjects(
  serviceCidr: string,
  endpoints: ApiServiceOptions['apiEndpoints'],
): { service: Service; slice: EndpointSlice } {
  const labels = { component: 'apiserver', provider: 'kubernetes' }
  const port = endpoints[0]?.port ?? PORT
  return {
    service: {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: NAME, namespace: NAMESPACE, labels },
      spec: {
        type: 'ClusterIP',
        clusterIP: formatAddress(cidrAddress(parseCidr(serviceCidr), 1)),
        ports: [{ name: 'https', protocol: 'TCP', port: PORT, targetPort: port }],
      },
    },
    slice: {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: NAME, namespace: NAMESPACE, labels: { [LABEL.serviceName]: NAME } },
      addressType: 'IPv4',
      endpoints: endpoints
        .filter((endpoint) => endpoint.port === port)
        .map(({ address }) => ({ addresses: [address], conditions: { ready: true } })),
      ports: [{ name: 'https', protocol: 'TCP', port }],
    },
  }
}

export function createApiServiceController(context: ApiServiceOptions): RunningService {
  const { resources, fence, log } = context
  const wanted = apiServiceObjects(context.serviceCidr, context.apiEndpoints)

  async function ensureService(): Promise<void> {
    const { service } = wanted
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

  async function ensureSlice(): Promise<void> {
    const { slice } = wanted
    const found = resources.get(endpointSliceKind, NAMESPACE, NAME)
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
    if (context.apiEndpoints.length === 0) return undefined
    try {
      await ensureService()
      await ensureSlice()
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
      const wake = ({ object }: { object: Service | EndpointSlice }): void => {
        if (keyOf(object) === KEY) queue.add(KEY)
      }
      return [resources.subscribe(serviceKind, wake), resources.subscribe(endpointSliceKind, wake)]
    },
  })
}
