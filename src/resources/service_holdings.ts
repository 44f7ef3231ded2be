/**
 * What a service holds of the cluster's scarce things, and how that carries over an update. Pure.
 * Source: Kubernetes "Service" (virtual IPs, node ports) and the API's update semantics: what a client leaves out of a
 * replacement keeps its allocation, and what no longer goes with the type is dropped rather than refused.
 */
import type { KindDefinition } from '../api/kind.ts'
import type { KubeObject } from '../api/meta.ts'
import { HEADLESS, type Service, type ServicePort } from '../api/service.ts'
import { isObject } from '../base/json.ts'

export type Holding = { type: 'clusterip'; value: string } | { type: 'nodeport'; value: string }

export function isService(kind: KindDefinition): boolean {
  return kind.kind === 'Service' && kind.group === ''
}

export function usesClusterIp({ spec }: Service): boolean {
  return spec.type !== 'ExternalName' && spec.clusterIP !== HEADLESS
}

export function usesNodePorts({ spec }: Service): boolean {
  return spec.type === 'NodePort' || spec.type === 'LoadBalancer'
}

export function holdingsOf(object: KubeObject | undefined): Holding[] {
  if (object === undefined) return []
  const { spec } = object as Service
  const holdings: Holding[] = []
  if (spec.clusterIP && spec.clusterIP !== HEADLESS) holdings.push({ type: 'clusterip', value: spec.clusterIP })
  const ports = new Set((spec.ports ?? []).flatMap(({ nodePort }) => (nodePort ? [nodePort] : [])))
  for (const port of ports) holdings.push({ type: 'nodeport', value: String(port) })
  return holdings
}

const samePort = (a: ServicePort, b: ServicePort): boolean =>
  a.port === b.port && (a.protocol ?? 'TCP') === (b.protocol ?? 'TCP')

/** Mutates `next`, a private copy that has not been validated: it may be of any shape. */
export function carryHoldings(next: KubeObject, base: KubeObject): void {
  const service = next as Service
  const before = base as Service
  if (typeof service.spec !== 'object' || service.spec === null) return
  if (service.spec.type === 'ExternalName') dropAddress(service, before)
  else if (!service.spec.clusterIP) carryAddress(service, before)
  if (!Array.isArray(service.spec.ports) || !service.spec.ports.every(isObject)) return
  if (usesNodePorts(service)) carryNodePorts(service.spec.ports, before)
  else dropNodePorts(service, before)
}

function carryAddress({ spec }: Service, { spec: old }: Service): void {
  if (!old.clusterIP) return
  spec.clusterIP = old.clusterIP
  if (old.clusterIPs !== undefined) spec.clusterIPs ??= [...old.clusterIPs]
  if (old.ipFamilies !== undefined) spec.ipFamilies ??= [...old.ipFamilies]
  if (old.ipFamilyPolicy !== undefined) spec.ipFamilyPolicy ??= old.ipFamilyPolicy
}

function dropAddress({ spec }: Service, { spec: old }: Service): void {
  if (spec.clusterIP !== undefined && spec.clusterIP !== '' && spec.clusterIP !== old.clusterIP) return
  delete spec.clusterIP
  delete spec.clusterIPs
  delete spec.ipFamilies
  delete spec.ipFamilyPolicy
}

function carryNodePorts(ports: readonly ServicePort[], { spec: old }: Service): void {
  const taken = new Set(ports.map(({ nodePort }) => nodePort))
  for (const port of ports) {
    if (port.nodePort) continue
    const same = (old.ports ?? []).find((other) => samePort(other, port))
    // Another port of the same service may have asked for this one by number.
    if (same?.nodePort && !taken.has(same.nodePort)) port.nodePort = same.nodePort
  }
}

function dropNodePorts({ spec }: Service, before: Service): void {
  if (!usesNodePorts(before)) return
  const held = new Set((before.spec.ports ?? []).map(({ nodePort }) => nodePort))
  for (const port of spec.ports ?? []) if (held.has(port.nodePort)) delete port.nodePort
  if (spec.externalTrafficPolicy === before.spec.externalTrafficPolicy) delete spec.externalTrafficPolicy
}
