/**
 * Rows of the service table, from Services and their EndpointSlices alone: which of a service's endpoints a node may
 * send to is decided here, once, and not again on every node. Pure.
 */
import type { Endpoint, EndpointSlice } from '../api/endpointslice.ts'
import { HEADLESS, type Service } from '../api/service.ts'
import type { ServiceEndpoint, ServicePortRow, ServiceRow } from '../rpc/tables.ts'

const DEFAULT_AFFINITY_SECONDS = 10_800

/** A row, or undefined for services that nothing is programmed for (ExternalName, or not yet given an address). */
export function serviceRow(service: Service, slices: readonly EndpointSlice[]): ServiceRow | undefined {
  const { metadata, spec } = service
  if (spec.type === 'ExternalName' || spec.clusterIP === undefined || spec.clusterIP === '') return undefined
  const external = spec.type === 'NodePort' || spec.type === 'LoadBalancer'
  const affinitySeconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_SECONDS
  const publishNotReady = spec.publishNotReadyAddresses === true
  // Where policies are Local, a node may have none but an endpoint that is going, while others have ready ones.
  const keepsTerminating = spec.externalTrafficPolicy === 'Local' || spec.internalTrafficPolicy === 'Local'
  const ports = (spec.ports ?? []).map((port): ServicePortRow => {
    const name = port.name ?? ''
    const protocol = port.protocol ?? 'TCP'
    return {
      name,
      protocol,
      port: port.port,
      nodePort: external ? (port.nodePort ?? 0) : 0,
      endpoints: endpointsOf(slices, { name, protocol, publishNotReady, keepsTerminating }),
    }
  })
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    clusterIP: spec.clusterIP === HEADLESS ? '' : spec.clusterIP,
    externalIPs: [...(spec.externalIPs ?? [])].sort(),
    sessionAffinitySeconds: spec.sessionAffinity === 'ClientIP' ? affinitySeconds : 0,
    externalTrafficPolicy: spec.externalTrafficPolicy ?? 'Cluster',
    internalTrafficPolicy: spec.internalTrafficPolicy ?? 'Cluster',
    ports,
  }
}

interface Candidate extends ServiceEndpoint {
  /** Terminating, but still answering: used only while no endpoint is ready, as Kubernetes does. */
  lastResort: boolean
}

interface EndpointFilter {
  name: string
  protocol: string
  publishNotReady: boolean
  keepsTerminating: boolean
}

function endpointsOf(slices: readonly EndpointSlice[], filter: EndpointFilter): ServiceEndpoint[] {
  const { publishNotReady, keepsTerminating } = filter
  const found = new Map<string, Candidate>()
  for (const slice of slices) {
    if (slice.addressType === 'FQDN') continue
    for (const port of slice.ports ?? []) {
      if ((port.name ?? '') !== filter.name || (port.protocol ?? 'TCP') !== filter.protocol) continue
      if (port.port === undefined) continue
      for (const endpoint of slice.endpoints ?? []) {
        for (const address of endpoint.addresses) {
          const candidate = candidateOf(endpoint, address, port.port)
          const known = found.get(`${address}:${port.port}`)
          // A pod can stand in two slices while it moves between them: the better word holds.
          if (known === undefined || (candidate.ready && !known.ready)) found.set(`${address}:${port.port}`, candidate)
        }
      }
    }
  }
  const all = [...found.values()]
  const ready = all.filter((candidate) => candidate.ready)
  const going = all.filter((candidate) => candidate.lastResort)
  const spare = ready.length === 0 || keepsTerminating ? going : []
  const used = publishNotReady ? all : [...ready, ...spare]
  return used
    .map(({ lastResort, ...endpoint }) => ({
      ...endpoint,
      ready: endpoint.ready || (lastResort && ready.length === 0),
    }))
    .sort((a, b) => compare(a.address, b.address) || a.port - b.port)
}

function candidateOf(endpoint: Endpoint, address: string, port: number): Candidate {
  const { ready, serving, terminating } = endpoint.conditions ?? {}
  return {
    address,
    port,
    ...(endpoint.nodeName === undefined ? {} : { nodeName: endpoint.nodeName }),
    ready: ready !== false,
    lastResort: ready === false && serving === true && terminating === true,
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
