/** The slices of service `kubernetes`: where live servers serve the API, and nothing else. */
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type EndpointSlice, endpointSliceKind } from '../../src/api/endpointslice.ts'
import { LABEL } from '../../src/api/names.ts'
import { namespaceKind } from '../../src/api/namespace.ts'
import { serviceKind } from '../../src/api/service.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import { type ApiEndpoint, createApiServiceController } from '../../src/controllers/apiservice/controller.ts'
import { eventually } from '../support/eventually.ts'
import { runResources, type TestResources } from '../support/resources.ts'

let test: TestResources
let stop: () => Promise<void>
let live: ApiEndpoint[] = []
const listeners = new Set<() => void>()

function tell(...endpoints: ApiEndpoint[]): void {
  live = endpoints
  for (const listener of listeners) listener()
}

beforeEach(async () => {
  test = await runResources()
  const { resources, store } = test
  if (resources.get(namespaceKind, '', 'default') === undefined) {
    await resources.create(namespaceKind, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } })
  }
  const { fence } = await store.campaign('/test/leader', 'test', test.signal)
  const context = { resources, clock: systemClock, random: seededRandom(7), log: silentLogger, fence }
  const controller = createApiServiceController({
    ...context,
    events: { record: () => undefined },
    serviceCidr: '10.96.0.0/16',
    apiEndpoints: {
      list: () => live,
      onChange(listener) {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    },
  })
  const control = new AbortController()
  const done = runServices([controller], context, control.signal)
  stop = async () => {
    control.abort()
    await done
    await test.stop()
  }
})
afterEach(() => stop())

const slices = (): string[] =>
  test.resources
    .list(endpointSliceKind, { namespace: 'default' })
    .flatMap(({ metadata, endpoints = [], ports = [] }) =>
      endpoints.map(({ addresses }) => `${metadata.name} ${addresses[0]}:${ports[0]?.port}`),
    )
    .sort()

const become = (...wanted: string[]) => eventually(() => slices().join() === wanted.join())

it('name every live server, follow them as they come and go, and come back when deleted', async () => {
  const one = { address: '192.0.2.1', port: 6443 }
  const two = { address: '192.0.2.2', port: 6443 }
  const other = { address: '192.0.2.1', port: 6445 }
  tell(one)
  await become('kubernetes 192.0.2.1:6443')
  tell(one, two, other)
  await become('kubernetes 192.0.2.1:6443', 'kubernetes 192.0.2.2:6443', 'kubernetes-6445 192.0.2.1:6445')
  await test.resources.delete(endpointSliceKind, 'default', 'kubernetes-6445')
  await become('kubernetes 192.0.2.1:6443', 'kubernetes 192.0.2.2:6443', 'kubernetes-6445 192.0.2.1:6445')
  tell(other)
  await become('kubernetes 192.0.2.1:6445')
  expect(test.resources.get(serviceKind, 'default', 'kubernetes')?.spec.ports?.[0]?.targetPort).toBe(6445)
})

it('leave slices that a user adds to the service alone', async () => {
  const mine: EndpointSlice = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'kubernetes-mine', namespace: 'default', labels: { [LABEL.serviceName]: 'kubernetes' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['192.0.2.9'] }],
    ports: [{ name: 'https', port: 1 }],
  }
  await test.resources.create(endpointSliceKind, mine)
  tell({ address: '192.0.2.1', port: 6443 })
  await become('kubernetes 192.0.2.1:6443', 'kubernetes-mine 192.0.2.9:1')
})
