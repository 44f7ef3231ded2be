/** EndpointSlice. Source: Kubernetes discovery.k8s.io/v1. */
import Type, { type Static } from 'typebox'
import { ObjectReference } from './event.ts'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { bool, ignored, kept, object, oneOf, opt, portNumber, stringMap, text } from './schema.ts'

export const Endpoint = object({
  addresses: Type.Array(text),
  conditions: opt(object({ ready: opt(bool), serving: opt(bool), terminating: opt(bool) })),
  hostname: opt(text),
  nodeName: opt(text),
  zone: opt(text),
  targetRef: opt(ObjectReference),
  deprecatedTopology: kept(stringMap),
  hints: ignored(),
})
export type Endpoint = Static<typeof Endpoint>

export const EndpointPort = object({
  name: opt(text),
  protocol: opt(oneOf('TCP', 'UDP', 'SCTP')),
  port: opt(portNumber),
  appProtocol: opt(text),
})
export type EndpointPort = Static<typeof EndpointPort>

export const EndpointSlice = object({
  ...typeMeta('discovery.k8s.io/v1', 'EndpointSlice'),
  addressType: oneOf('IPv4', 'IPv6', 'FQDN'),
  endpoints: opt(Type.Array(Endpoint)),
  ports: opt(Type.Array(EndpointPort)),
})
export type EndpointSlice = Static<typeof EndpointSlice>

export const endpointSliceKind = defineKind<EndpointSlice>({
  group: 'discovery.k8s.io',
  version: 'v1',
  kind: 'EndpointSlice',
  plural: 'endpointslices',
  singular: 'endpointslice',
  namespaced: true,
  schema: EndpointSlice,
  hasGeneration: true,
  validateUpdate: (slice, old) =>
    slice.addressType === old.addressType
      ? []
      : [{ path: 'addressType', reason: 'Forbidden', message: 'is fixed; make a new slice' }],
  columns: [
    {
      name: 'AddressType',
      type: 'string',
      description: 'Family of the addresses',
      value: (slice) => slice.addressType,
    },
    {
      name: 'Ports',
      type: 'string',
      description: 'Ports of the endpoints',
      value: (slice) => (slice.ports ?? []).map(({ port }) => port).join(',') || '<unset>',
    },
    {
      name: 'Endpoints',
      type: 'string',
      description: 'Addresses',
      value: (slice) => (slice.endpoints ?? []).flatMap((endpoint) => endpoint.addresses).join(',') || '<unset>',
    },
  ],
})
