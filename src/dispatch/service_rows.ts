/**
 * Rows of the service table, from Services and their EndpointSlices alone: which of a service's endpoints a node may
 * send to is decided here, once, and not again on every node. Pure.
 */
import type { Endpoint, EndpointSlice } from '../api/endpointslice.ts'
import { HEADLESS, type Service } from '../api/service.ts'
import type { ServiceEndpoint, ServiceHost, ServicePortRow, ServiceRow } from '../rpc/tables.ts'

const DEFAULT_AFFINITY_SECONDS = 10_800

/** A row, or undefined for a service that has not been given its address yet. */
export function serviceRow(service: Service, slices: readonly EndpointSlice[]): ServiceRow | undefined {
  const { metadata, spec } = service
  if (spec.type === 'ExternalName') return externalRow(service)
  if (spec.clusterIP === undefined || spec.clusterIP === '') return undefined
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
    ...hostsOf(slices, spec.clusterIP === HEADLESS, spec.publishNotReadyAddresses === true),
  }
}

/** Known by name alone: nothing is programmed for it. */
function externalRow({ metadata, spec }: Service): ServiceRow | undefined {
  if (spec.externalName === undefined || spec.externalName === '') return undefined
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    clusterIP: '',
    externalIPs: [],
    sessionAffinitySeconds: 0,
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    ports: [],
    externalName: spec.externalName,
  }
}

/**
 * Endpoints by name. Of other services than headless ones only those with names of their own; most have none, and their
 * rows stay as they are. Unlike traffic, names never fall back to endpoints that are going: nobody must start with one.
 */
function hostsOf(
  slices: readonly EndpointSlice[],
  headless: boolean,
  publishNotReady: boolean,
): { hosts?: ServiceHost[] } {
  const found = new Map<string, ServiceHost>()
  for (const { addressType, endpoints = [] } of slices) {
    if (addressType === 'FQDN') continue
    for (const { addresses, conditions, hostname } of endpoints) {
      if (conditions?.ready === false && !publishNotReady) continue
      if (!headless && hostname === undefined) continue
      for (const address of addresses) {
        const host = { address, ...(hostname === undefined ? {} : { hostname }) }
        // A pod that moves between slices stands in both: the word that names it holds.
        if (hostname !== undefined || !found.has(address)) found.set(address, host)
      }
    }
  }
  const hosts = [...found].sort(([a], [b]) => compare(a, b)).map(([, host]) => host)
  return hosts.length === 0 ? {} : { hosts }
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
