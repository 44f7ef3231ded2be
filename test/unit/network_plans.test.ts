import { describe, expect, it } from 'vitest'
import { type Link, parseAlias, parseLinks } from '../../src/agent/network/links.ts'
import { podLink } from '../../src/agent/network/names.ts'
import { chooseMtu, type NodeFacts, planNode } from '../../src/agent/network/plan_node.ts'
import { planPeers, tunnelMac } from '../../src/agent/network/plan_peers.ts'
import { losesDatagrams, parseFlows, staleFlows } from '../../src/agent/network/stale_flows.ts'
import { parseCidr } from '../../src/base/cidr.ts'
import { droppingChains } from '../../src/local/net_bridge_filter.ts'
import { chooseSubnet, DEFAULT_AVOID, usedRanges } from '../../src/local/net_subnet.ts'
import type { PeerRow, ServicePortRow, ServiceRow } from '../../src/rpc/tables.ts'

const SELF = { nodeName: 'one', source: '10.244.1.1', overlay: 'vxlan' as const }
const NOTHING = { routes: [], neighbours: [], forwards: [] }
const TWO = { nodeName: 'two', address: '192.0.2.2', podCidr: '10.244.2.0/24' }

describe('planPeers', () => {
  it('makes one route, one neighbour and one forwarding entry, none for itself', () => {
    const plan = planPeers(NOTHING, [{ nodeName: 'one', address: '192.0.2.1', podCidr: '10.244.1.0/24' }, TWO], SELF)
    expect(plan).toEqual({
      bridge: ['fdb replace 02:d0:0a:f4:02:00 dev drover.vx dst 192.0.2.2'],
      ip: [
        'neigh replace 10.244.2.0 lladdr 02:d0:0a:f4:02:00 dev drover.vx nud permanent',
        'route replace 10.244.2.0/24 via 10.244.2.0 dev drover.vx onlink src 10.244.1.1 proto 208',
      ],
      problems: [],
    })
  })

  const present = {
    routes: [{ destination: '10.244.2.0/24', gateway: '10.244.2.0', source: '10.244.1.1', device: 'drover.vx' }],
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

  describe('without tunnels', () => {
    const underlay = { device: 'eth0', subnet: parseCidr('192.0.2.0/24') }
    const far = { nodeName: 'far', address: '198.51.100.9', podCidr: '10.244.9.0/24' }

    it('routes through peers of the same subnet, in one step and without tunnel entries', () => {
      const plan = planPeers(present, [TWO], { ...SELF, overlay: 'host-gw', underlay })
      expect(plan).toEqual({
        bridge: ['fdb del 02:d0:0a:f4:02:00 dev drover.vx dst 192.0.2.2'],
        ip: [
          'neigh del 10.244.2.0 dev drover.vx',
          'route replace 10.244.2.0/24 via 192.0.2.2 dev eth0 src 10.244.1.1 proto 208',
        ],
        problems: [],
      })
    })

    it('takes the tunnel to the others, or says that they cannot be reached', () => {
      const mixed = planPeers(NOTHING, [TWO, far], { ...SELF, overlay: 'auto', underlay })
      expect(mixed.bridge).toEqual(['fdb replace 02:d0:0a:f4:09:00 dev drover.vx dst 198.51.100.9'])
      expect(mixed.ip.filter((line) => line.startsWith('route'))).toEqual([
        'route replace 10.244.9.0/24 via 10.244.9.0 dev drover.vx onlink src 10.244.1.1 proto 208',
        'route replace 10.244.2.0/24 via 192.0.2.2 dev eth0 src 10.244.1.1 proto 208',
      ])
      const direct = planPeers(NOTHING, [TWO, far], { ...SELF, overlay: 'host-gw', underlay })
      expect(direct.bridge).toEqual([])
      expect(direct.problems).toEqual([expect.stringContaining("198.51.100.9 is not on this node's subnet")])
    })

    it('removes its own routes to peers that left, on whatever device', () => {
      const routes = [{ destination: '10.244.2.0/24', gateway: '192.0.2.2', source: '10.244.1.1', device: 'eth0' }]
      const plan = planPeers({ ...NOTHING, routes }, [], { ...SELF, overlay: 'auto', underlay })
      expect(plan.ip).toEqual(['route del 10.244.2.0/24 dev eth0'])
    })
  })

  it('touches one peer of a thousand', () => {
    const rows = Array.from({ length: 1_000 }, (_, i) => {
      const [high, low] = [i >> 8, i & 255]
      return { nodeName: `n${i}`, address: `192.168.${high}.${low}`, podCidr: `10.${high}.${low}.0/24` }
    })
    const first = planPeers(NOTHING, rows, SELF)
    expect([first.ip.length, first.bridge.length]).toEqual([2_000, 1_000])
    const observed = {
      routes: rows.map(({ podCidr }) => ({
        destination: podCidr,
        gateway: podCidr.replace('/24', ''),
        source: SELF.source,
        device: 'drover.vx',
      })),
      neighbours: rows.map(({ podCidr }) => ({
        address: podCidr.replace('/24', ''),
        mac: tunnelMac(podCidr),
        permanent: true,
      })),
      forwards: rows.map(({ podCidr, address }) => ({ mac: tunnelMac(podCidr), destination: address })),
    }
    const without = planPeers(observed, rows.slice(1), SELF)
    expect([without.ip.length, without.bridge.length]).toEqual([2, 1])
    const [moved, ...others] = rows
    const change = planPeers(observed, [{ ...moved, address: '192.0.2.77' } as PeerRow, ...others], SELF)
    expect([change.ip.length, change.bridge.length]).toEqual([0, 2])
    const more = planPeers(observed, [...rows, TWO], SELF)
    expect([more.ip.length, more.bridge.length]).toEqual([2, 1])
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
  tunnel: true,
  isolate: true,
  vni: 4097,
  vxlanPort: 4789,
}
const link = (change: Partial<Link>): Link => ({
  index: 1,
  name: 'eth0',
  kind: '',
  mac: '',
  mtu: 1500,
  up: true,
  master: '',
  alias: '',
  hairpin: false,
  isolated: false,
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
    const pod = link({ name: podLink('u'), alias: 'pod u 10.244.1.2', mtu: 8950 })
    const { commands } = planNode([UNDERLAY, BRIDGE, TUNNEL, pod], ROUTES, FACTS)
    expect(commands).toEqual([
      `link set dev ${pod.name} master drover0`,
      `link set dev ${pod.name} type bridge_slave hairpin on isolated on`,
    ])
  })

  it('follows the underlay, in pods too, and makes no tunnel where none is needed', () => {
    const underlay = { ...UNDERLAY, mtu: 1500 }
    const port = { master: 'drover0', hairpin: true, isolated: true }
    const pod = link({ name: podLink('u'), alias: 'pod u 10.244.1.2', mtu: 8950, ...port })
    const smaller = planNode([underlay, BRIDGE, TUNNEL, pod], ROUTES, FACTS)
    expect(smaller).toEqual({
      commands: ['drover0', 'drover.vx', pod.name].map((name) => `link set dev ${name} mtu 1450`),
      mtu: 1450,
    })
    const direct = planNode([underlay, { ...BRIDGE, mtu: 1500 }, TUNNEL], ROUTES, { ...FACTS, tunnel: false })
    expect(direct).toEqual({ commands: ['link del drover.vx'], mtu: 1500 })
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

describe('stale UDP flows', () => {
  const row = (endpoints: string[], change: Partial<ServicePortRow> = {}): ServiceRow => ({
    namespace: 'default',
    name: 'dns',
    clusterIP: '10.96.0.10',
    externalIPs: ['198.51.100.1'],
    sessionAffinitySeconds: 0,
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    ports: [
      {
        name: '',
        protocol: 'UDP',
        port: 53,
        nodePort: 30053,
        endpoints: endpoints.map((address) => ({ address, port: 5353, ready: true })),
        ...change,
      },
    ],
  })

  it('are looked for when a frontend lost an endpoint or is gone', () => {
    const before = [row(['10.244.1.2', '10.244.1.3'])]
    expect(losesDatagrams(before, before)).toBe(false)
    expect(losesDatagrams(before, [row(['10.244.1.2', '10.244.1.3', '10.244.1.4'])])).toBe(false)
    expect(losesDatagrams(before, [row(['10.244.1.2'])])).toBe(true)
    expect(losesDatagrams(before, [row(['10.244.1.2', '10.244.1.3'], { nodePort: 0 })])).toBe(true)
    expect(losesDatagrams(before, [row(['10.244.1.2', '10.244.1.3'], { port: 54 })])).toBe(true)
    expect(losesDatagrams([row(['10.244.1.2'], { protocol: 'TCP' })], [])).toBe(false)
  })

  it("are told from live ones and from others' translations", () => {
    const line = (to: string, port: number, by: string) =>
      `udp      17 27 src=10.244.1.9 dst=${to} sport=4000 dport=${port} [UNREPLIED] src=${by} dst=10.244.1.9 sport=5353 dport=4000 mark=0 use=1`
    const listing = [
      line('10.96.0.10', 53, '10.244.1.2'),
      line('10.96.0.10', 53, '10.244.1.3'),
      line('10.96.0.99', 53, '10.244.1.2'),
      line('198.51.100.1', 53, '10.244.1.3'),
      line('192.0.2.1', 30053, '10.244.1.3'),
      line('192.0.2.1', 30054, '10.244.1.2'),
      line('192.0.2.1', 4000, '172.17.0.2'),
      line('203.0.113.5', 53, '172.17.0.2'),
      line('192.0.2.1', 5353, '10.244.1.4'),
      line('192.0.2.1', 5354, '10.244.1.4'),
      'conntrack v1.4.7 (conntrack-tools): 10 flow entries have been shown.',
    ].join('\n')
    const flows = parseFlows(listing)
    expect(flows).toHaveLength(10)
    const stale = staleFlows(flows, {
      services: [row(['10.244.1.2'])],
      hostPorts: [
        { address: undefined, port: 5353, protocol: 'udp', endpoint: '10.244.1.4', endpointPort: 5353 },
        // The same port and pod, of another address: nobody leads there any more.
        { address: undefined, port: 53, protocol: 'udp', endpoint: '10.244.1.3', endpointPort: 5353 },
      ],
      isOwnPod: (address) => address.startsWith('10.244.1.'),
      isServiceAddress: (address) => address.startsWith('10.96.'),
      localAddresses: new Set(['192.0.2.1']),
      nodePortRange: { from: 30000, to: 32767 },
    })
    expect(stale.map(({ address, port, endpoint }) => `${address}:${port} ${endpoint}`)).toEqual([
      '10.96.0.10:53 10.244.1.3',
      '10.96.0.99:53 10.244.1.2',
      '198.51.100.1:53 10.244.1.3',
      '192.0.2.1:30053 10.244.1.3',
      '192.0.2.1:30054 10.244.1.2',
      '192.0.2.1:5354 10.244.1.4',
    ])
  })
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
    const own = {
      dev: 'drv-x',
      ifname: 'drv-x',
      dst: '10.91.0.0/24',
      addr_info: [{ local: '10.91.0.1', prefixlen: 24 }],
    }
    const ranges = usedRanges([...routes, own], [...addresses, own], 'drv-x')
    expect(ranges.map(({ prefixLength }) => prefixLength)).toEqual([16, 32, 16])
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
