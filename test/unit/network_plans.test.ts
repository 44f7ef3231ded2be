import { describe, expect, it } from 'vitest'
import { type Link, parseAlias, parseLinks } from '../../src/agent/network/links.ts'
import { podLink } from '../../src/agent/network/names.ts'
import { chooseMtu, type NodeFacts, planNode } from '../../src/agent/network/plan_node.ts'
import { planPeers, tunnelMac } from '../../src/agent/network/plan_peers.ts'
import { goneDatagramEndpoints } from '../../src/agent/network/stale_flows.ts'
import { parseCidr } from '../../src/base/cidr.ts'
import { droppingChains } from '../../src/local/net_bridge_filter.ts'
import { chooseSubnet, DEFAULT_AVOID, usedRanges } from '../../src/local/net_subnet.ts'
import type { ServiceRow } from '../../src/rpc/tables.ts'

const SELF = { nodeName: 'one', source: '10.244.1.1' }
const NOTHING = { routes: [], neighbours: [], forwards: [] }
const TWO = { nodeName: 'two', address: '192.0.2.2', podCidr: '10.244.2.0/24' }

describe('planPeers', () => {
  it('makes one route, one neighbour and one forwarding entry, none for itself', () => {
    const plan = planPeers(NOTHING, [{ nodeName: 'one', address: '192.0.2.1', podCidr: '10.244.1.0/24' }, TWO], SELF)
    expect(plan).toEqual({
      bridge: ['fdb replace 02:d0:0a:f4:02:00 dev drover.vx dst 192.0.2.2'],
      ip: [
        'neigh replace 10.244.2.0 lladdr 02:d0:0a:f4:02:00 dev drover.vx nud permanent',
        'route replace 10.244.2.0/24 via 10.244.2.0 dev drover.vx onlink src 10.244.1.1',
      ],
      problems: [],
    })
  })

  const present = {
    routes: [{ destination: '10.244.2.0/24', gateway: '10.244.2.0', source: '10.244.1.1' }],
    neighbours: [{ address: '10.244.2.0', mac: tunnelMac('10.244.2.0/24'), permanent: true }],
    forwards: [{ mac: tunnelMac('10.244.2.0/24'), destination: '192.0.2.2' }],
  }

  it('does nothing when all is there, and removes what no peer owns', () => {
    expect(planPeers(present, [TWO], SELF)).toEqual({ bridge: [], ip: [], problems: [] })
    expect(planPeers(present, [], SELF)).toEqual({
      bridge: ['fdb del 02:d0:0a:f4:02:00 dev drover.vx dst 192.0.2.2'],
      ip: ['route del 10.244.2.0/24 dev drover.vx', 'neigh del 10.244.2.0 dev drover.vx'],
      problems: [],
    })
  })

  it('touches only the forwarding entry of a peer that moved', () => {
    const plan = planPeers(present, [{ ...TWO, address: '192.0.2.22' }], SELF)
    expect(plan.ip).toEqual([])
    expect(plan.bridge).toEqual([
      'fdb del 02:d0:0a:f4:02:00 dev drover.vx dst 192.0.2.2',
      'fdb replace 02:d0:0a:f4:02:00 dev drover.vx dst 192.0.2.22',
    ])
  })

  it('leaves out peers that cannot be reached, says why, and keeps the rest', () => {
    const rows = [
      { nodeName: 'new', address: '192.0.2.3', podCidr: '' },
      { nodeName: 'six', address: 'fd00::1', podCidr: '10.244.6.0/24' },
      { nodeName: 'bad', address: '192.0.2.4; reboot', podCidr: '10.244.4.0/24' },
      { ...TWO, nodeName: 'zwei' },
    ]
    const plan = planPeers(present, [TWO, ...rows], SELF)
    expect(plan).toMatchObject({ bridge: [], ip: [] })
    expect(plan.problems).toEqual([
      'peer bad: "192.0.2.4; reboot" is not an IP address',
      'peer six: the overlay is IPv4 only, not 10.244.6.0/24 at fd00::1',
      "peer zwei: 10.244.2.0/24 is another node's range already",
    ])
  })
})

const FACTS: NodeFacts = {
  nodeAddress: '192.0.2.1',
  podCidr: '10.244.1.0/24',
  serviceCidr: '10.96.0.0/16',
  mtu: undefined,
  vni: 4097,
  vxlanPort: 4789,
}
const link = (change: Partial<Link>): Link => ({
  name: 'eth0',
  kind: '',
  mac: '',
  mtu: 1500,
  up: true,
  master: '',
  alias: '',
  hairpin: false,
  addresses: [],
  data: {},
  ...change,
})
const UNDERLAY = link({ mtu: 9000, addresses: [{ address: '192.0.2.1', prefixLength: 24 }] })
const BRIDGE = link({
  name: 'drover0',
  kind: 'bridge',
  mac: '0a:58:0a:f4:01:01',
  mtu: 8950,
  addresses: [{ address: '10.244.1.1', prefixLength: 24 }],
})
const TUNNEL = link({
  name: 'drover.vx',
  kind: 'vxlan',
  mac: '02:d0:0a:f4:01:00',
  mtu: 8950,
  addresses: [{ address: '10.244.1.0', prefixLength: 32 }],
  data: { id: 4097, local: '192.0.2.1', port: 4789, learning: false },
})
const ROUTES = [{ destination: '10.96.0.0/16', source: '10.244.1.1' }]

describe('planNode', () => {
  it('leaves devices alone that are as they should be', () => {
    expect(planNode([UNDERLAY, BRIDGE, TUNNEL], ROUTES, FACTS)).toEqual({ commands: [], mtu: 8950 })
  })

  it('recreates a tunnel whose attributes differ, corrects what can be corrected', () => {
    const { commands } = planNode(
      [UNDERLAY, { ...BRIDGE, mtu: 1400 }, { ...TUNNEL, data: { ...TUNNEL.data, id: 1 } }],
      ROUTES,
      FACTS,
    )
    expect(commands[0]).toBe('link set dev drover0 mtu 8950')
    expect(commands[1]).toBe('link del drover.vx')
    expect(commands[2]).toContain('type vxlan id 4097 local 192.0.2.1 dstport 4789 nolearning')
  })

  it('replaces a former range on the bridge but leaves single addresses', () => {
    const addresses = [
      { address: '10.244.9.1', prefixLength: 24 },
      { address: '169.254.20.10', prefixLength: 32 },
    ]
    const { commands } = planNode([UNDERLAY, { ...BRIDGE, addresses }, TUNNEL], ROUTES, FACTS)
    expect(commands).toEqual(['addr del 10.244.9.1/24 dev drover0', 'addr add 10.244.1.1/24 dev drover0'])
  })

  it('puts pods back on a bridge that was made anew', () => {
    const pod = link({ name: podLink('u'), alias: 'pod u 10.244.1.2' })
    const { commands } = planNode([UNDERLAY, BRIDGE, TUNNEL, pod], ROUTES, FACTS)
    expect(commands).toEqual([
      `link set dev ${pod.name} master drover0`,
      `link set dev ${pod.name} type bridge_slave hairpin on`,
    ])
  })

  it("says which addresses there are when the node's is not among them", () => {
    expect(() => chooseMtu([UNDERLAY], { ...FACTS, nodeAddress: '192.0.2.9' })).toThrow(
      'node address 192.0.2.9 is on no interface of this host; there are: 192.0.2.1 (eth0)',
    )
  })
})

it('reads links, and whose they are from their alias', () => {
  const [parsed] = parseLinks(
    [
      {
        ifname: 'dv0',
        flags: ['UP'],
        mtu: 1450,
        ifalias: 'pod u-1 10.244.1.2',
        linkinfo: { info_kind: 'veth', info_slave_data: { hairpin: true } },
      },
    ],
    [{ ifname: 'dv0', addr_info: [{ local: '10.0.0.1', prefixlen: 24 }] }],
  )
  expect(parsed).toMatchObject({
    kind: 'veth',
    up: true,
    hairpin: true,
    addresses: [{ address: '10.0.0.1', prefixLength: 24 }],
  })
  expect(parseAlias(parsed?.alias ?? '')).toEqual({ podUid: 'u-1', address: '10.244.1.2' })
  expect(parseAlias('something else entirely')).toBeUndefined()
  expect(podLink('3f0c7f5e-1c60-4a37-9d5e-0b6d1c1ce9a1').length).toBeLessThanOrEqual(15)
})

it('names UDP endpoints that left altogether', () => {
  const row = (name: string, addresses: string[], protocol: 'UDP' | 'TCP' = 'UDP'): ServiceRow => ({
    namespace: 'default',
    name,
    clusterIP: '',
    externalIPs: [],
    sessionAffinitySeconds: 0,
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    ports: [
      {
        name: '',
        protocol,
        port: 53,
        nodePort: 0,
        endpoints: addresses.map((address) => ({ address, port: 53, ready: true })),
      },
    ],
  })
  const before = [row('a', ['10.244.1.2', '10.244.1.3']), row('t', ['10.244.1.9'], 'TCP')]
  expect(goneDatagramEndpoints(before, [row('b', ['10.244.1.3'])])).toEqual(['10.244.1.2'])
})

describe('local hosts', () => {
  it('chooses a range that nothing uses, the same one for the same id', () => {
    const first = chooseSubnet([], 'abc', DEFAULT_AVOID)
    expect(chooseSubnet([], 'abc', DEFAULT_AVOID)).toBe(first)
    expect(first).toMatch(/^10\.(89|9[0-5])\.\d+\.0\/24$/)
    expect(chooseSubnet([parseCidr(first)], 'abc', DEFAULT_AVOID)).not.toBe(first)
    expect(() => chooseSubnet([parseCidr('10.0.0.0/8')], 'abc', [])).toThrow(/no \/24 between/)
  })

  it('reads ranges in use from routes and addresses', () => {
    const routes = [{ dst: 'default' }, { dst: '10.90.0.0/16' }, { dst: '192.0.2.7' }, { type: 'unreachable' }]
    const addresses = [{ addr_info: [{ local: '172.17.0.1', prefixlen: 16 }] }]
    expect(usedRanges(routes, addresses).map(({ prefixLength }) => prefixLength)).toEqual([16, 32, 16])
  })

  it('sees chains that drop forwarded packets', () => {
    const chain = (change: object) => ({
      chain: { family: 'ip', table: 'filter', name: 'FORWARD', hook: 'forward', policy: 'drop', ...change },
    })
    const nftables = [
      { metainfo: {} },
      chain({}),
      chain({ policy: 'accept' }),
      chain({ hook: 'input' }),
      chain({ family: 'ip6' }),
    ]
    expect(droppingChains({ nftables })).toEqual(['ip filter FORWARD'])
  })
})
