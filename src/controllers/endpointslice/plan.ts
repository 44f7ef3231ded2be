/**
 * Which EndpointSlices a service needs: pure. Endpoints stay in the slice that they are in, so that one pod's change
 * rewrites one slice. Pods of one service may resolve a named port to different numbers; a slice has one list of ports, so
 * pods are grouped by what they resolve to.
 */
import { isPodFinished, isPodReady, isTerminating } from '../../api/conditions.ts'
import type { Endpoint, EndpointPort, EndpointSlice } from '../../api/endpointslice.ts'
import type { Stored } from '../../api/meta.ts'
import type { Pod } from '../../api/pod.ts'
import type { Service, ServicePort } from '../../api/service.ts'
import { canonicalJson, jsonEqual } from '../../base/json.ts'

export const MAX_ENDPOINTS = 100

type Family = 'IPv4' | 'IPv6'

export interface SliceSnapshot {
  service: Stored<Service>
  pods: readonly Stored<Pod>[]
  /** Slices of the service that this controller made. */
  slices: readonly Stored<EndpointSlice>[]
  /** Zones of nodes, where they are labelled. */
  zoneOf(nodeName: string): string | undefined
}

export interface SliceContent {
  addressType: Family
  ports: EndpointPort[]
  endpoints: Endpoint[]
}

export interface SlicePlan {
  create: SliceContent[]
  update: { slice: Stored<EndpointSlice>; content: SliceContent }[]
  delete: Stored<EndpointSlice>[]
}

export function planSlices(snapshot: SliceSnapshot): SlicePlan {
  const plan: SlicePlan = { create: [], update: [], delete: [] }
  const families = familiesOf(snapshot.service)
  for (const slice of snapshot.slices) {
    if (!families.includes(slice.addressType as Family)) plan.delete.push(slice)
  }
  for (const family of families) planFamily(snapshot, family, plan)
  return plan
}

function familiesOf({ spec }: Service): Family[] {
  if (spec.ipFamilies !== undefined && spec.ipFamilies.length > 0) return spec.ipFamilies
  return spec.clusterIP?.includes(':') ? ['IPv6'] : ['IPv4']
}

interface Group {
  ports: EndpointPort[]
  endpoints: Map<string, Endpoint>
}

function planFamily(snapshot: SliceSnapshot, family: Family, plan: SlicePlan): void {
  const groups = groupEndpoints(snapshot, family)
  const unused: Stored<EndpointSlice>[] = []
  const kept = new Map<string, Stored<EndpointSlice>[]>()
  for (const slice of snapshot.slices) {
    if (slice.addressType !== family) continue
    const key = canonicalJson(slice.ports ?? [])
    if (groups.has(key)) kept.set(key, [...(kept.get(key) ?? []), slice])
    else unused.push(slice)
  }
  for (const [key, group] of groups) fillGroup({ group, family, slices: kept.get(key) ?? [], unused }, plan)
  // One empty slice stays while there is nothing to list, so that a service that flaps does not churn objects.
  if (groups.size === 0) {
    const spare = unused.shift()
    if (spare !== undefined && (spare.endpoints ?? []).length > 0) {
      plan.update.push({ slice: spare, content: { addressType: family, ports: spare.ports ?? [], endpoints: [] } })
    }
  }
  plan.delete.push(...unused)
}

function groupEndpoints({ service, pods, zoneOf }: SliceSnapshot, family: Family): Map<string, Group> {
  const groups = new Map<string, Group>()
  const sorted = [...pods].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  for (const pod of sorted) {
    const addresses = addressesOf(pod, family)
    if (addresses.length === 0 || isPodFinished(pod)) continue
    const ports = resolvePorts(service.spec.ports ?? [], pod)
    const key = canonicalJson(ports)
    let group = groups.get(key)
    if (group === undefined) {
      group = { ports, endpoints: new Map() }
      groups.set(key, group)
    }
    group.endpoints.set(pod.metadata.uid, endpointOf(service, pod, { addresses, zoneOf }))
  }
  return groups
}

function addressesOf(pod: Pod, family: Family): string[] {
  const { podIP, podIPs } = pod.status ?? {}
  const all = podIPs?.map(({ ip }) => ip) ?? (podIP ? [podIP] : [])
  return all.filter((ip) => ip !== '' && ip.includes(':') === (family === 'IPv6')).slice(0, 1)
}

/** Ports as this pod has them. A name that the pod does not have leaves its port out, for this pod alone. */
function resolvePorts(ports: readonly ServicePort[], pod: Pod): EndpointPort[] {
  const resolved: EndpointPort[] = []
  for (const port of ports) {
    const { protocol = 'TCP', targetPort = port.port } = port
    const number = typeof targetPort === 'number' ? targetPort : namedPort(pod, targetPort, protocol)
    if (number === undefined) continue
    resolved.push({
      name: port.name ?? '',
      port: number,
      protocol,
      ...(port.appProtocol !== undefined && { appProtocol: port.appProtocol }),
    })
  }
  return resolved
}

function namedPort(pod: Pod, name: string, protocol: string): number | undefined {
  for (const container of pod.spec.containers) {
    for (const port of container.ports ?? []) {
      if (port.name === name && (port.protocol ?? 'TCP') === protocol) return port.containerPort
    }
  }
  return /^\d+$/.test(name) ? Number(name) : undefined
}

function endpointOf(
  service: Service,
  pod: Stored<Pod>,
  { addresses, zoneOf }: { addresses: string[]; zoneOf: SliceSnapshot['zoneOf'] },
): Endpoint {
  const serving = isPodReady(pod)
  const terminating = isTerminating(pod)
  const { nodeName } = pod.spec
  const zone = nodeName ? zoneOf(nodeName) : undefined
  return {
    addresses,
    conditions: {
      ready: service.spec.publishNotReadyAddresses === true || (serving && !terminating),
      serving,
      terminating,
    },
    ...hostnameOf(service, pod),
    ...(nodeName && { nodeName }),
    ...(zone !== undefined && { zone }),
    targetRef: {
      kind: 'Pod',
      namespace: pod.metadata.namespace ?? '',
      name: pod.metadata.name,
      uid: pod.metadata.uid,
    },
  }
}

/** A pod that names this service as its subdomain has a name of its own below it. */
function hostnameOf({ metadata }: Service, { spec }: Pod): { hostname?: string } {
  const { hostname, subdomain } = spec
  return hostname && subdomain === metadata.name ? { hostname } : {}
}

interface Filling {
  group: Group
  family: Family
  slices: readonly Stored<EndpointSlice>[]
  /** Slices that nobody needs, to be taken before new ones are made. */
  unused: Stored<EndpointSlice>[]
}

function fillGroup({ group, family, slices, unused }: Filling, plan: SlicePlan): void {
  const left = new Map(group.endpoints)
  const contents = slices.map((slice) => {
    const endpoints: Endpoint[] = []
    for (const { targetRef } of slice.endpoints ?? []) {
      const wanted = left.get(targetRef?.uid ?? '')
      if (wanted === undefined || endpoints.length >= MAX_ENDPOINTS) continue
      endpoints.push(wanted)
      left.delete(targetRef?.uid ?? '')
    }
    return { slice, endpoints }
  })
  const added = [...left.values()]
  // A slice that must be written anyway takes new ones first, then the fullest.
  const changed = ({ slice, endpoints }: (typeof contents)[number]): boolean => !jsonEqual(slice.endpoints, endpoints)
  const byUse = [...contents].sort(
    (a, b) => Number(changed(b)) - Number(changed(a)) || b.endpoints.length - a.endpoints.length,
  )
  for (const { endpoints } of byUse) endpoints.push(...added.splice(0, MAX_ENDPOINTS - endpoints.length))
  for (const { slice, endpoints } of contents) {
    if (endpoints.length === 0) unused.push(slice)
    else if (!jsonEqual(slice.endpoints, endpoints)) {
      plan.update.push({ slice, content: { addressType: family, ports: group.ports, endpoints } })
    }
  }
  while (added.length > 0) {
    const content = { addressType: family, ports: group.ports, endpoints: added.splice(0, MAX_ENDPOINTS) }
    const slice = unused.shift()
    if (slice === undefined) plan.create.push(content)
    else plan.update.push({ slice, content })
  }
}
