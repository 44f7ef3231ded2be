import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Endpoint, EndpointSlice } from '../../src/api/endpointslice.ts'
import type { Service } from '../../src/api/service.ts'
import { peerRow } from '../../src/dispatch/peer_rows.ts'
import { RowTable } from '../../src/dispatch/row_table.ts'
import { serviceRow } from '../../src/dispatch/service_rows.ts'
import { completeParts } from '../../src/dispatch/session.ts'

const service = (spec: Partial<Service['spec']> = {}): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'default' },
  spec: { type: 'ClusterIP', clusterIP: '10.96.0.10', ports: [{ name: 'http', port: 80, protocol: 'TCP' }], ...spec },
})

const slice = (endpoints: Endpoint[], port = 8080, name = 'http'): EndpointSlice => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'web-1', namespace: 'default' },
  addressType: 'IPv4',
  ports: [{ name, port, protocol: 'TCP' }],
  endpoints,
})

const ready = (address: string): Endpoint => ({ addresses: [address], conditions: { ready: true } })
const ending = (address: string): Endpoint => ({
  addresses: [address],
  conditions: { ready: false, serving: true, terminating: true },
})

const addresses = (spec: Partial<Service['spec']>, ...slices: EndpointSlice[]): string[] =>
  serviceRow(service(spec), slices)?.ports[0]?.endpoints.map(({ address }) => address) ?? []

describe('service rows', () => {
  test('endpoints of several slices, in order, each once', () => {
    const found = addresses({}, slice([ready('10.0.0.2'), ready('10.0.0.1')]), slice([ready('10.0.0.2')]))
    expect(found).toEqual(['10.0.0.1', '10.0.0.2'])
  })

  test('an endpoint that is not ready is left out, unless the service publishes it', () => {
    const endpoints = [ready('10.0.0.1'), { addresses: ['10.0.0.2'], conditions: { ready: false } }]
    expect(addresses({}, slice(endpoints))).toEqual(['10.0.0.1'])
    expect(addresses({ publishNotReadyAddresses: true }, slice(endpoints))).toEqual(['10.0.0.1', '10.0.0.2'])
  })

  test('an endpoint that ends serves only while none is ready', () => {
    expect(addresses({}, slice([ready('10.0.0.1'), ending('10.0.0.2')]))).toEqual(['10.0.0.1'])
    expect(addresses({}, slice([ending('10.0.0.2')]))).toEqual(['10.0.0.2'])
  })

  test('ports are joined by name', () => {
    expect(addresses({}, slice([ready('10.0.0.1')], 8080, 'other'))).toEqual([])
  })

  test('headless, external and not yet addressed services', () => {
    expect(serviceRow(service({ clusterIP: 'None' }), [])?.clusterIP).toBe('')
    expect(serviceRow(service({ type: 'ExternalName', externalName: 'x.example' }), [])).toMatchObject({
      clusterIP: '',
      ports: [],
      externalName: 'x.example',
    })
    const { clusterIP: _ip, ...spec } = service().spec
    expect(serviceRow({ ...service(), spec }, [])).toBeUndefined()
  })

  test('a node port counts only for the types that have one', () => {
    const ports = [{ port: 80, nodePort: 30_080 }]
    expect(serviceRow(service({ ports }), [])?.ports[0]?.nodePort).toBe(0)
    expect(serviceRow(service({ type: 'NodePort', ports }), [])?.ports[0]?.nodePort).toBe(30_080)
  })

  test('affinity', () => {
    expect(serviceRow(service(), [])?.sessionAffinitySeconds).toBe(0)
    expect(serviceRow(service({ sessionAffinity: 'ClientIP' }), [])?.sessionAffinitySeconds).toBe(10_800)
  })
})

test('a peer needs an address and a range', () => {
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } }
  const status = { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] }
  expect(peerRow(node)).toBeUndefined()
  expect(peerRow({ ...node, status })).toBeUndefined()
  expect(peerRow({ ...node, status, spec: { podCIDR: '10.244.1.0/24' } })).toEqual({
    nodeName: 'n1',
    address: '192.0.2.1',
    podCidr: '10.244.1.0/24',
  })
})

const bytes = (text: string | undefined): Uint8Array | undefined => (text === undefined ? undefined : Buffer.from(text))

describe('row table', () => {
  test('what is the same is no change; sequences keep pace with the revision', () => {
    const table = new RowTable(5)
    expect(table.apply([['a', bytes('1')]], 100)).toBe(true)
    expect(table.apply([['a', bytes('1')]], 200)).toBe(false)
    expect(table.apply([['b', undefined]], 200)).toBe(false)
    expect(table.sequence).toBe(100)
    table.apply([['a', bytes('2')]], 90)
    expect(table.sequence).toBe(101)
  })

  test('a follower that took any of the changes ends with the same rows, or is told to take all', () => {
    const change = fc.record({
      key: fc.constantFrom('a', 'b', 'c', 'd'),
      text: fc.option(fc.string({ maxLength: 40 }), { nil: undefined }),
    })
    fc.assert(
      fc.property(
        fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 30 }),
        fc.array(fc.nat(30)),
        (batches, looks) => {
          const table = new RowTable(1, 600)
          const follower = new Map<string, string>()
          let sequence: number | undefined
          const follow = (): void => {
            const delta = sequence === undefined ? undefined : table.since(sequence)
            const taken = delta ?? table.complete()
            if (delta === undefined) follower.clear()
            for (const { key, json } of taken.changes) {
              if (json.length === 0) follower.delete(key)
              else follower.set(key, Buffer.from(json).toString())
            }
            sequence = taken.sequence
          }
          for (const [index, batch] of batches.entries()) {
            table.apply(batch.map(({ key, text }) => [key, text === '' ? undefined : bytes(text)] as const))
            if (looks.includes(index)) follow()
          }
          follow()
          const rows = new Map(table.complete().changes.map(({ key, json }) => [key, Buffer.from(json).toString()]))
          expect(follower).toEqual(rows)
        },
      ),
    )
  })

  test('a large COMPLETE goes in parts, the last one marked; an empty one is one part', () => {
    const changes = Array.from({ length: 5 }, (_, index) => ({ key: `k${index}`, json: Buffer.alloc(200_000) }))
    const parts = completeParts('services', 7, changes)
    expect(parts.map((part) => [part.changes.length, part.last, part.sequence])).toEqual([
      [2, false, 7],
      [2, false, 7],
      [1, true, 7],
    ])
    expect(completeParts('peers', 1, [])).toMatchObject([{ changes: [], last: true }])
  })
})
