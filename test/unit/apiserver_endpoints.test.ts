/** EndpointSlices of a service as one Endpoints object. */
import { expect, it } from 'vitest'
import type { Endpoint, EndpointSlice } from '../../src/api/endpointslice.ts'
import type { Stored } from '../../src/api/meta.ts'
import { endpointsOf } from '../../src/apiserver/endpoints_view.ts'

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
