/** EndpointSlices of a service as one Endpoints object. */
import { expect, it } from 'vitest'
import { endpointsKind } from '../../src/api/endpoints.ts'
import { type Endpoint, type EndpointSlice, endpointSliceKind } from '../../src/api/endpointslice.ts'
import type { Stored } from '../../src/api/meta.ts'
import { endpointsOf, withEndpoints } from '../../src/apiserver/endpoints_view.ts'
import { eventually } from '../support/eventually.ts'
import { runResources } from '../support/resources.ts'

let made = 0
function slice(
  endpoints: Endpoint[],
  given: Partial<Pick<EndpointSlice, 'ports' | 'addressType'>> = {},
): Stored<EndpointSlice> {
  made++
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `web-${made}`,
      namespace: 'shop',
      uid: `u-${made}`,
      resourceVersion: String(100 + made),
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels: { 'kubernetes.io/service-name': 'web' },
    },
    addressType: 'IPv4',
    ports: [{ name: '', port: 80, protocol: 'TCP' }],
    endpoints,
    ...given,
  }
}

const at = (ip: string, conditions: Endpoint['conditions'] = { ready: true }): Endpoint => ({
  addresses: [ip],
  conditions,
})

it('joins slices of the same ports, in the order of addresses', () => {
  const shown = endpointsOf(
    [slice([at('10.0.0.3')]), slice([at('10.0.0.1'), at('10.0.0.2', { ready: false })])],
    undefined,
  )
  expect(shown.metadata).toMatchObject({ name: 'web', namespace: 'shop', resourceVersion: String(100 + made) })
  expect(shown.subsets).toEqual([
    {
      addresses: [{ ip: '10.0.0.1' }, { ip: '10.0.0.3' }],
      notReadyAddresses: [{ ip: '10.0.0.2' }],
      ports: [{ port: 80, protocol: 'TCP' }],
    },
  ])
})

it('keeps other ports apart, leaves out who is going and the other family, and knows nodes and pods', () => {
  const targetRef = { kind: 'Pod', name: 'p', namespace: 'shop', uid: 'x' }
  const going = at('10.0.0.9', { ready: false, serving: true, terminating: true })
  const own = { ...at('10.0.0.1'), nodeName: 'n1', hostname: 'h', targetRef }
  const shown = endpointsOf(
    [
      slice([own, going]),
      slice([at('10.0.0.2')], { ports: [{ name: 'b', port: 90 }] }),
      slice([at('fd00::1')], { addressType: 'IPv6' }),
      slice([]),
    ],
    undefined,
  )
  expect(shown.subsets).toEqual([
    {
      addresses: [{ ip: '10.0.0.1', nodeName: 'n1', hostname: 'h', targetRef }],
      ports: [{ port: 80, protocol: 'TCP' }],
    },
    { addresses: [{ ip: '10.0.0.2' }], ports: [{ name: 'b', port: 90, protocol: 'TCP' }] },
  ])
})

it('of nothing is nothing', () => {
  expect(endpointsOf([slice([])], undefined).subsets).toEqual([])
})

it('are watched by service: a slice that passes to another changes both, and one of no service is not shown', async () => {
  const world = await runResources()
  try {
    const { resources } = world
    const create = (name: string, labels: Record<string, string>) =>
      resources.create(endpointSliceKind, {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { name, namespace: 'default', labels },
        addressType: 'IPv4',
        ports: [{ port: 80 }],
        endpoints: [at('10.0.0.1')],
      })
    const of = (service: string) => ({ 'kubernetes.io/service-name': service })
    const seen: string[] = []
    const watched = withEndpoints(resources).watch(endpointsKind, {}, resources.revision(), world.signal)
    const following = (async () => {
      for await (const events of watched) {
        for (const { type, object } of events) seen.push(`${type} ${object.metadata.name}`)
      }
    })()
    await create('free', {})
    const slice = await create('own', of('old'))
    await eventually(() => seen.includes('ADDED old'))
    await resources.update(endpointSliceKind, { ...slice, metadata: { ...slice.metadata, labels: of('new') } }, 'main')
    await eventually(() => seen.includes('ADDED new'))
    await create('last', of('last'))
    await eventually(() => seen.includes('ADDED last'))
    expect(seen).toEqual(['ADDED old', 'DELETED old', 'ADDED new', 'ADDED last'])
    await world.stop()
    await following
  } finally {
    await world.stop()
  }
})
