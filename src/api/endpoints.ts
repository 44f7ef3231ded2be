/**
 * Endpoints: the older form of EndpointSlices, one object a service. It is shown, not stored (apiserver/endpoints.ts), so
 * it is not in the table of kinds. Source: Kubernetes v1.
 */
import Type, { type Static } from 'typebox'
import { EndpointPort } from './endpointslice.ts'
import { ObjectReference } from './event.ts'
import { defineKind } from './kind.ts'
import { typeMeta } from './meta.ts'
import { object, opt, text } from './schema.ts'

export const EndpointAddress = object({
  ip: text,
  hostname: opt(text),
  nodeName: opt(text),
  targetRef: opt(ObjectReference),
})
export type EndpointAddress = Static<typeof EndpointAddress>

export const EndpointSubset = object({
  addresses: opt(Type.Array(EndpointAddress)),
  notReadyAddresses: opt(Type.Array(EndpointAddress)),
  ports: opt(Type.Array(EndpointPort)),
})
export type EndpointSubset = Static<typeof EndpointSubset>

export const Endpoints = object({
  ...typeMeta('v1', 'Endpoints'),
  subsets: opt(Type.Array(EndpointSubset)),
})
export type Endpoints = Static<typeof Endpoints>

/** What `get` prints before it counts the rest. */
const SHOWN = 3

function shownAddresses({ subsets = [] }: Endpoints): string {
  const all = subsets.flatMap(({ addresses = [], ports = [] }) =>
    addresses.flatMap(({ ip }) => (ports.length === 0 ? [ip] : ports.map(({ port }) => `${ip}:${port}`))),
  )
  if (all.length === 0) return '<none>'
  const shown = all.slice(0, SHOWN).join(',')
  return all.length > SHOWN ? `${shown} + ${all.length - SHOWN} more...` : shown
}

export const endpointsKind = defineKind<Endpoints>({
  group: '',
  version: 'v1',
  kind: 'Endpoints',
  plural: 'endpoints',
  singular: 'endpoints',
  shortNames: ['ep'],
  namespaced: true,
  schema: Endpoints,
  columns: [{ name: 'Endpoints', type: 'string', description: 'Addresses that are ready', value: shownAddresses }],
})
