/** The cluster's ranges: what a server says of them at its start, and what nodes have room for. */
import { describe, expect, it } from 'vitest'
import { planNetwork } from '../../src/bin/network_plan.ts'
import { apiServiceObjects } from '../../src/controllers/apiservice/controller.ts'
import { desiredNode } from '../../src/dispatch/node_object.ts'

const FLAGS = { clusterCidr: '10.244.0.0/16', serviceCidr: '10.96.0.0/16', nodeCidrLength: '24', overlay: 'vxlan' }

describe('planNetwork', () => {
  it('says how much fits', () => {
    expect(planNetwork(FLAGS)).toMatchObject({ maxNodes: 256, maxPodsPerNode: 253, overlay: 'vxlan' })
    expect(planNetwork({ ...FLAGS, clusterCidr: '10.0.0.0/28', nodeCidrLength: '29' })).toMatchObject({
      maxNodes: 2,
      maxPodsPerNode: 5,
    })
  })

  it.each([
    [{ clusterCidr: '10.244.0.1/16' }, 'has bits beyond its prefix; did you mean 10.244.0.0/16?'],
    [{ clusterCidr: 'fd00::/64' }, 'ranges are IPv4 for now'],
    [{ clusterCidr: 'all' }, '--cluster-cidr: "all" is not an IP address'],
    [{ serviceCidr: '10.244.128.0/24' }, 'overlap'],
    [{ serviceCidr: '10.96.0.0/30' }, 'take a /28 or larger'],
    [{ nodeCidrLength: '15' }, 'take 16 to 29'],
    [{ nodeCidrLength: '30' }, 'take 16 to 29'],
    [{ nodeCidrLength: 'x' }, 'take 16 to 29'],
    [{ overlay: 'magic' }, '--overlay takes vxlan, host-gw, auto, not "magic"'],
  ])('refuses %j', (change, words) => {
    expect(() => planNetwork({ ...FLAGS, ...change })).toThrow(words)
  })
})

it('lets a node take no more pods than its range has addresses', () => {
  const node = (podCIDR: string, pods: string) =>
    desiredNode(
      { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' }, spec: { podCIDR } },
      {
        liveness: { state: 'live' },
        reported: { labels: {}, status: { capacity: { pods }, allocatable: { cpu: '2', pods } } },
        serverId: 's',
        now: '2026-01-01T00:00:00Z',
      },
    ).status?.allocatable
  expect(node('10.244.1.0/24', '110')).toEqual({ cpu: '2', pods: '110' })
  expect(node('10.244.1.0/26', '110')).toEqual({ cpu: '2', pods: '61' })
})

it('serves the API at the first address of services', () => {
  const { service, slices } = apiServiceObjects('10.96.0.0/16', [
    { address: '192.0.2.3', port: 7443 },
    { address: '192.0.2.2', port: 6443 },
    { address: '192.0.2.1', port: 6443 },
  ])
  expect(service.spec).toMatchObject({ clusterIP: '10.96.0.1', ports: [{ port: 443, targetPort: 6443 }] })
  const told = slices.map(({ metadata, endpoints, ports }) => [
    metadata.name,
    ports?.[0]?.port,
    endpoints?.flatMap(({ addresses }) => addresses),
  ])
  expect(told).toEqual([
    ['kubernetes', 6443, ['192.0.2.1', '192.0.2.2']],
    ['kubernetes-7443', 7443, ['192.0.2.3']],
  ])
})
