/** Host ports: which rows a node's pods give, and what the table says of them. */
import { describe, expect, it } from 'vitest'
import { hostPortRows } from '../../src/agent/host_ports.ts'
import type { HostPortRow } from '../../src/agent/network/network.ts'
import {
  carryHostPorts,
  hostPortTargets,
  leadsTo,
  planHostPorts,
  withHostPorts,
} from '../../src/agent/network/plan_host_ports.ts'
import { HOST_ADDRESSES, HOST_PORTS, renderSkeleton } from '../../src/agent/network/skeleton.ts'
import { datagramPortsBeyond } from '../../src/agent/network/stale_flows.ts'
import { emptyTable } from '../../src/agent/network/table.ts'
import type { Pod } from '../../src/api/pod.ts'
import { validatePorts } from '../../src/api/pod_port_rules.ts'
import { CONFIG } from '../support/node_network_config.ts'

const { skeleton } = renderSkeleton(CONFIG)

const row = (change: Partial<HostPortRow> = {}): HostPortRow => ({
  podUid: 'a',
  hostPort: 80,
  hostIP: '0.0.0.0',
  protocol: 'TCP',
  containerPort: 8080,
  ...change,
})
const addressOf = (uid: string): string | undefined => ({ a: '10.244.1.2', b: '10.244.1.3' })[uid]
const tableOf = (rows: readonly HostPortRow[]) => withHostPorts(emptyTable(skeleton), planHostPorts(rows, addressOf))

describe('host ports in the table', () => {
  it('lead to the pod, from every address or from one', () => {
    const table = tableOf([row(), row({ podUid: 'b', hostPort: 53, hostIP: '192.0.2.1', protocol: 'UDP' })])
    expect([...(table.elements.get(HOST_PORTS) ?? [])]).toEqual([['tcp . 80', 'goto hp-tcp-10.244.1.2/8080']])
    expect([...(table.elements.get(HOST_ADDRESSES) ?? [])]).toEqual([
      ['192.0.2.1 . udp . 53', 'goto hp-udp-10.244.1.3/8080'],
    ])
    expect(table.chains.get('hp-udp-10.244.1.3/8080')?.map(({ text }) => text)).toEqual([
      'meta l4proto udp dnat to 10.244.1.3:8080',
    ])
    expect(leadsTo(table, '10.244.1.2')).toBe(true)
    expect(leadsTo(table, '10.244.1.9')).toBe(false)
  })

  it('wait for the pod to have an address, and leave out what no rule can say', () => {
    const plan = planHostPorts(
      [row({ podUid: 'c' }), row({ hostIP: 'fe80::1' }), row({ hostPort: 0 }), row({ protocol: 'ICMP' })],
      addressOf,
    )
    expect(plan.chains.size).toBe(0)
    expect(plan.problems).toHaveLength(3)
  })

  it('belong to the first of two pods that claim one', () => {
    const plan = planHostPorts([row(), row({ podUid: 'b' })], addressOf)
    expect([...plan.elements[HOST_PORTS].values()]).toEqual(['goto hp-tcp-10.244.1.2/8080'])
    expect(plan.problems).toEqual(['host port 80/TCP of pod b belongs to another pod already'])
  })

  it('are read back and carried over an agent that starts anew, and go when told so', () => {
    const found = tableOf([row({ protocol: 'UDP' })])
    const carried = carryHostPorts(emptyTable(skeleton), found)
    expect(hostPortTargets(carried)).toEqual([
      { address: undefined, port: 80, protocol: 'udp', endpoint: '10.244.1.2', endpointPort: 8080 },
    ])
    const bare = withHostPorts(carried, planHostPorts([], addressOf))
    expect(bare).toEqual(emptyTable(skeleton))
  })

  it('have flows of their own looked at when a UDP port comes or goes', () => {
    const [before, after] = [hostPortTargets(tableOf([row({ protocol: 'UDP' })])), hostPortTargets(tableOf([row()]))]
    expect(datagramPortsBeyond(before, after)).toEqual(before)
    expect(datagramPortsBeyond(after, before)).toEqual([])
    expect(datagramPortsBeyond(before, before)).toEqual([])
  })
})

describe('rows', () => {
  const pod = (uid: string, change: { spec?: object; metadata?: object; status?: object } = {}): Pod =>
    ({
      metadata: { uid, creationTimestamp: '2026-01-01T00:00:00Z', ...change.metadata },
      spec: {
        containers: [{ name: 'c', ports: [{ containerPort: 80, hostPort: 8000 }, { containerPort: 81 }] }],
        ...change.spec,
      },
      ...(change.status === undefined ? {} : { status: change.status }),
    }) as Pod

  it('are those of pods that have an address and are not over, the oldest first', () => {
    const sidecar = { name: 's', restartPolicy: 'Always', ports: [{ containerPort: 1, hostPort: 2, protocol: 'UDP' }] }
    const init = { name: 'i', ports: [{ containerPort: 3, hostPort: 4 }] }
    const rows = hostPortRows([
      pod('young', {
        metadata: { creationTimestamp: '2026-02-01T00:00:00Z' },
        spec: { initContainers: [sidecar, init] },
      }),
      pod('old'),
      pod('host', { spec: { hostNetwork: true } }),
      pod('alone', { metadata: { annotations: { 'drover.dev/network': 'none' } } }),
      pod('done', { status: { phase: 'Succeeded' } }),
      pod('failed', { status: { phase: 'Failed' } }),
    ])
    expect(rows.map(({ podUid, hostPort, protocol }) => `${podUid} ${hostPort}/${protocol}`)).toEqual([
      'old 8000/TCP',
      'young 8000/TCP',
      'young 2/UDP',
    ])
  })
})

describe('ports of a pod', () => {
  const errors = (ports: object[], spec: object = {}): string[] =>
    validatePorts({ containers: [{ name: 'c', ports }], ...spec } as Pod['spec'], 'spec').map(
      ({ path, message }) => `${path}: ${message}`,
    )

  it('may not stand twice, or at what is no address of the host', () => {
    const port = { containerPort: 80, hostPort: 80 }
    expect(errors([port, { ...port, protocol: 'UDP' }, { ...port, hostIP: '192.0.2.1' }])).toEqual([])
    expect(errors([port, port])).toEqual(['spec.containers[0].ports[1].hostPort: "80/TCP" stands twice'])
    expect(errors([{ ...port, hostIP: 'localhost' }])).toEqual([
      'spec.containers[0].ports[0].hostIP: "localhost" is not an IP address',
    ])
    expect(errors([{ ...port, hostIP: 'fe80::1' }])).toHaveLength(1)
    expect(errors([{ ...port, hostIP: '::' }])).toEqual([])
  })

  it("are the container's own on the host's network", () => {
    expect(errors([{ containerPort: 80, hostPort: 80 }], { hostNetwork: true })).toEqual([])
    expect(errors([{ containerPort: 80, hostPort: 81 }], { hostNetwork: true })).toEqual([
      "spec.containers[0].ports[0].hostPort: 81 must be the containerPort, 80: the pod is on the host's network",
    ])
  })
})
