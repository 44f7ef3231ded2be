/** Service. Source: Kubernetes v1. Addresses and node ports are allocated in admission, not here. */
import { isIP } from 'node:net'
import Type, { type Static } from 'typebox'
import type { FieldError } from '../base/errors.ts'
import { defineKind } from './kind.ts'
import { Condition, typeMeta } from './meta.ts'
import { isDnsLabel, isServiceName } from './names.ts'
import {
  atomicStringMap,
  bool,
  count,
  ignored,
  intOrString,
  listByKey,
  object,
  oneOf,
  opt,
  portNumber,
  protocol,
  setOf,
  text,
} from './schema.ts'

export const ServicePort = object({
  name: opt(text),
  protocol: opt(protocol),
  port: portNumber,
  targetPort: opt(intOrString),
  nodePort: opt(count),
  appProtocol: opt(text),
})
export type ServicePort = Static<typeof ServicePort>

export const Service = object({
  ...typeMeta('v1', 'Service'),
  spec: object({
    type: opt(oneOf('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName')),
    selector: opt(atomicStringMap),
    ports: opt(listByKey(ServicePort, 'port', 'port', 'protocol')),
    clusterIP: opt(text),
    clusterIPs: opt(Type.Array(text)),
    externalIPs: opt(setOf(text)),
    externalName: opt(text),
    sessionAffinity: opt(oneOf('None', 'ClientIP')),
    sessionAffinityConfig: opt(object({ clientIP: opt(object({ timeoutSeconds: opt(count) })) })),
    externalTrafficPolicy: opt(oneOf('Cluster', 'Local')),
    internalTrafficPolicy: opt(oneOf('Cluster', 'Local')),
    publishNotReadyAddresses: opt(bool),
    ipFamilies: opt(Type.Array(oneOf('IPv4', 'IPv6'))),
    ipFamilyPolicy: opt(oneOf('SingleStack', 'PreferDualStack', 'RequireDualStack')),
    allocateLoadBalancerNodePorts: ignored(),
    healthCheckNodePort: ignored(),
    loadBalancerClass: ignored(),
    loadBalancerIP: ignored(),
    loadBalancerSourceRanges: ignored(),
    trafficDistribution: ignored(),
  }),
  status: opt(
    object({ loadBalancer: opt(object({ ingress: ignored() })), conditions: opt(listByKey(Condition, 'type')) }),
  ),
})
export type Service = Static<typeof Service>

export const HEADLESS = 'None'
/** Three hours, as in Kubernetes. */
const DEFAULT_AFFINITY_SECONDS = 10_800

function validateService({ metadata, spec }: Service): FieldError[] {
  const errors: FieldError[] = []
  if (!isServiceName(metadata.name ?? '')) {
    errors.push({
      path: 'metadata.name',
      reason: 'Invalid',
      message: 'must start with a letter, then lower case letters, digits and "-", at most 63',
    })
  }
  const ports = spec.ports ?? []
  if (ports.length === 0 && spec.type !== 'ExternalName' && spec.clusterIP !== HEADLESS) {
    errors.push({ path: 'spec.ports', reason: 'Required', message: 'name at least one port' })
  }
  const seen = new Set<string>()
  const nodePorts = new Set<string>()
  for (const [index, port] of ports.entries()) {
    const path = `spec.ports[${index}]`
    const nodeKey = `${port.nodePort}/${port.protocol}`
    if (port.nodePort && nodePorts.has(nodeKey)) {
      errors.push({ path: `${path}.nodePort`, reason: 'Duplicate', message: `${nodeKey} stands twice` })
    }
    nodePorts.add(nodeKey)
    const key = `${port.port}/${port.protocol}`
    if (seen.has(key)) errors.push({ path, reason: 'Duplicate', message: `${key} stands twice` })
    seen.add(key)
    if (ports.length > 1 && port.name === undefined) {
      errors.push({ path: `${path}.name`, reason: 'Required', message: 'each of several ports needs a name' })
    }
    if (port.name !== undefined && !isDnsLabel(port.name)) {
      errors.push({ path: `${path}.name`, reason: 'Invalid', message: `"${port.name}" is not a DNS label` })
    }
    if (port.nodePort && spec.type !== 'NodePort' && spec.type !== 'LoadBalancer') {
      errors.push({ path: `${path}.nodePort`, reason: 'Forbidden', message: `does not go with type ${spec.type}` })
    }
  }
  errors.push(...addressErrors(spec))
  if (spec.type === 'ExternalName' && !spec.externalName) {
    errors.push({ path: 'spec.externalName', reason: 'Required', message: 'is what an ExternalName service is for' })
  }
  return errors
}

const MAX_AFFINITY_SECONDS = 86_400

function addressErrors(spec: Service['spec']): FieldError[] {
  const errors: FieldError[] = []
  for (const [index, address] of (spec.externalIPs ?? []).entries()) {
    const path = `spec.externalIPs[${index}]`
    if (isIP(address) === 0) errors.push({ path, reason: 'Invalid', message: `"${address}" is not an IP address` })
    else if (/^(0\.|127\.|169\.254\.|22[4-9]\.|23\d\.|::1?$|fe80:|ff)/.test(address)) {
      errors.push({ path, reason: 'Invalid', message: `"${address}" is no address that others can reach a service at` })
    }
  }
  const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds
  if (seconds !== undefined && (seconds < 1 || seconds > MAX_AFFINITY_SECONDS)) {
    const path = 'spec.sessionAffinityConfig.clientIP.timeoutSeconds'
    errors.push({ path, reason: 'Invalid', message: `must be from 1 to ${MAX_AFFINITY_SECONDS}` })
  }
  return errors
}

function externalAddress({ spec }: Service): string {
  if (spec.externalName) return spec.externalName
  if (spec.externalIPs !== undefined && spec.externalIPs.length > 0) return spec.externalIPs.join(',')
  // Its node ports work; an address in front of them is for somebody else to give.
  return spec.type === 'LoadBalancer' ? '<pending>' : '<none>'
}

function portText(service: Service): string {
  const ports = (service.spec.ports ?? []).map(({ port, nodePort, protocol }) =>
    nodePort ? `${port}:${nodePort}/${protocol}` : `${port}/${protocol}`,
  )
  return ports.join(',') || '<none>'
}

export const serviceKind = defineKind<Service>({
  group: '',
  version: 'v1',
  kind: 'Service',
  plural: 'services',
  singular: 'service',
  shortNames: ['svc'],
  categories: ['all'],
  namespaced: true,
  schema: Service,
  hasStatus: true,
  applyDefaults(service) {
    const { spec } = service
    spec.type ??= 'ClusterIP'
    spec.sessionAffinity ??= 'None'
    spec.internalTrafficPolicy ??= 'Cluster'
    if (spec.sessionAffinity === 'ClientIP') {
      spec.sessionAffinityConfig ??= {}
      spec.sessionAffinityConfig.clientIP ??= {}
      spec.sessionAffinityConfig.clientIP.timeoutSeconds ??= DEFAULT_AFFINITY_SECONDS
    } else delete spec.sessionAffinityConfig
    if (spec.type === 'NodePort' || spec.type === 'LoadBalancer') spec.externalTrafficPolicy ??= 'Cluster'
    for (const port of spec.ports ?? []) {
      port.protocol ??= 'TCP'
      port.targetPort ??= port.port
    }
    service.status ??= { loadBalancer: {} }
  },
  validate: validateService,
  validateUpdate: (service, old) =>
    old.spec.clusterIP && service.spec.type !== 'ExternalName' && service.spec.clusterIP !== old.spec.clusterIP
      ? [{ path: 'spec.clusterIP', reason: 'Forbidden', message: 'is fixed once it is set' }]
      : [],
  columns: [
    { name: 'Type', type: 'string', description: 'How it is reached', value: ({ spec }) => spec.type ?? '' },
    { name: 'Cluster-IP', type: 'string', description: 'Its address', value: ({ spec }) => spec.clusterIP || '<none>' },
    {
      name: 'External-IP',
      type: 'string',
      description: 'Its addresses outside the cluster',
      value: externalAddress,
    },
    { name: 'Port(s)', type: 'string', description: 'port:nodePort/protocol', value: portText },
    {
      name: 'Selector',
      type: 'string',
      priority: 1,
      description: 'Labels of its pods',
      value: ({ spec }) =>
        Object.entries(spec.selector ?? {})
          .map(([key, value]) => `${key}=${value}`)
          .join(',') || '<none>',
    },
  ],
  selectableFields: {
    'spec.clusterIP': ({ spec }) => spec.clusterIP ?? '',
    'spec.type': ({ spec }) => spec.type ?? '',
  },
})
