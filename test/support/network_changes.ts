/** Random tables for a node's network: services, peers, policies, pods, and what somebody breaks by hand. */
import fc from 'fast-check'
import type {
  PeerRow,
  PolicyRow,
  PolicyRule,
  PolicyTableRow,
  ServicePortRow,
  ServiceRow,
} from '../../src/rpc/tables.ts'

export const NODE = {
  cluster: {
    clusterName: 'drvt',
    clusterCidr: '10.244.0.0/16',
    serviceCidr: '10.96.0.0/16',
    nodePortRange: { from: 30000, to: 32767 },
    clusterDomain: 'cluster.local',
    /** Peers on the node's own subnet by routes, others by tunnels. */
    overlay: 'auto' as const,
  },
  nodeName: 'one',
  nodeAddress: '192.0.2.1',
  podCidr: '10.244.1.0/24',
}

const endpoints = fc.uniqueArray(
  fc.record({
    address: fc.constantFrom('10.244.1.5', '10.244.1.6', '10.244.2.5', '10.244.3.9', '192.0.2.1', '192.0.2.77'),
    port: fc.constantFrom(80, 8080),
    ready: fc.boolean(),
  }),
  { maxLength: 4, selector: (endpoint) => `${endpoint.address}:${endpoint.port}` },
)

function portsOf(index: number): fc.Arbitrary<ServicePortRow[]> {
  const port = (protocol: 'TCP' | 'UDP' | 'SCTP', number: number) =>
    fc.record({
      name: fc.constantFrom('http', ''),
      protocol: fc.constant(protocol),
      port: fc.constant(number),
      nodePort: fc.constantFrom(0, 30000 + index * 10 + number),
      endpoints,
    })
  return fc.tuple(port('TCP', 1), port('UDP', 2), port('SCTP', 3)).chain((all) => fc.subarray(all))
}

const host = fc.record(
  {
    address: fc.constantFrom('10.244.1.5', '10.244.2.5', '10.244.3.9'),
    hostname: fc.constantFrom('db-0', 'db-1'),
  },
  { requiredKeys: ['address'] },
)

/** One of the services; external IPs are shared on purpose: two may claim the same one. */
export function serviceAt(index: number): fc.Arbitrary<ServiceRow> {
  return fc.record(
    {
      namespace: fc.constant(index % 2 === 0 ? 'default' : 'shop'),
      name: fc.constant(`s${index}`),
      clusterIP: fc.constantFrom(`10.96.0.${index + 1}`, '', 'None'),
      externalIPs: fc.subarray(['198.51.100.1', '198.51.100.2']),
      sessionAffinitySeconds: fc.constantFrom(0, 0, 60, 120),
      externalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
      internalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
      ports: portsOf(index),
      hosts: fc.uniqueArray(host, { maxLength: 3, selector: ({ address }) => address }),
    },
    {
      requiredKeys: [
        'namespace',
        'name',
        'clusterIP',
        'externalIPs',
        'sessionAffinitySeconds',
        'externalTrafficPolicy',
        'internalTrafficPolicy',
        'ports',
      ],
    },
  )
}

const SETS = ['peers-0123456789ab', 'peers-ba9876543210']
const PORT_SET = 'ports-0123456789ab'
const POLICIES = ['default/p0', 'default/p1', 'shop/p2']
export const PODS = ['pod-0', 'pod-1', 'pod-2', 'pod-3', 'pod-4']

const policyRule: fc.Arbitrary<PolicyRule> = fc.record(
  {
    peers: fc.array(
      fc.oneof(
        fc.constantFrom(...SETS).map((set) => ({ set })),
        fc.record({
          cidr: fc.constantFrom('0.0.0.0/0', '198.51.100.0/24', '::/0'),
          except: fc.subarray(['198.51.100.0/25', '198.51.100.64/26']),
        }),
      ),
      { maxLength: 2 },
    ),
    ports: fc.array(
      fc.constantFrom(
        { protocol: 'TCP' as const },
        { protocol: 'TCP' as const, from: 80, to: 90 },
        { protocol: 'UDP' as const, from: 53 },
        { protocol: 'TCP' as const, named: PORT_SET },
      ),
      { maxLength: 2 },
    ),
  },
  { requiredKeys: [] },
)

const policyRow: fc.Arbitrary<PolicyRow> = fc.record({
  type: fc.constant('policy' as const),
  key: fc.constantFrom(...POLICIES),
  ingress: fc.array(policyRule, { maxLength: 2 }),
  egress: fc.array(policyRule, { maxLength: 2 }),
})

const selection: fc.Arbitrary<PolicyTableRow> = fc.record(
  {
    type: fc.constant('pod' as const),
    podUid: fc.constantFrom(...PODS),
    ingress: fc.subarray(POLICIES),
    egress: fc.subarray(POLICIES),
  },
  { requiredKeys: ['type', 'podUid'] },
)

const member: fc.Arbitrary<PolicyTableRow> = fc.oneof(
  fc.record({
    type: fc.constant('member' as const),
    set: fc.constantFrom(...SETS),
    element: fc.constantFrom('10.244.1.2', '10.244.1.3', '10.244.2.5', '10.244.3.9'),
  }),
  fc.record({
    type: fc.constant('member' as const),
    set: fc.constant(PORT_SET),
    element: fc.constantFrom('10.244.1.2 . tcp . 80', '10.244.1.3 . tcp . 8080'),
  }),
)

/** Ranges that two peers may claim, addresses near and far, rows that are not complete yet. */
const peer: fc.Arbitrary<PeerRow> = fc.record({
  nodeName: fc.constantFrom('two', 'three', 'four', 'five'),
  address: fc.constantFrom('192.0.2.2', '192.0.2.3', '203.0.113.4', '203.0.113.5', ''),
  podCidr: fc.constantFrom('10.244.2.0/24', '10.244.3.0/24', '10.244.4.0/24', '10.244.5.0/24', ''),
})

/** Run on the node by somebody else; the network must be whole again after the next look. */
const DAMAGE: readonly (readonly string[])[] = [
  ['nft', 'flush', 'ruleset'],
  ['nft', 'flush', 'map', 'ip', 'drover', 'services'],
  ['nft', 'flush', 'chain', 'ip', 'drover', 'policies'],
  ['nft', 'add', 'rule', 'ip', 'drover', 'filter-forward', 'drop'],
  ['nft', 'flush', 'set', 'bridge', 'drover', 'pods'],
  ['ip', 'route', 'flush', 'dev', 'drover.vx'],
  ['ip', 'route', 'flush', 'proto', '208'],
  ['ip', 'neigh', 'flush', 'nud', 'permanent', 'dev', 'drover.vx'],
  ['ip', 'link', 'del', 'drover.vx'],
  ['ip', 'link', 'del', 'drover0'],
]

export type Change =
  | { type: 'service'; row: ServiceRow }
  | { type: 'serviceGone'; namespace: string; name: string }
  | { type: 'peer'; row: PeerRow }
  | { type: 'peerGone'; nodeName: string }
  | { type: 'policy'; row: PolicyTableRow }
  /** Takes away one of the rows that there are. */
  | { type: 'policyGone'; position: number }
  | { type: 'pod'; podUid: string }
  | { type: 'podGone'; podUid: string }
  | { type: 'damage'; command: readonly string[] }
  /** The agent is another one. */
  | { type: 'restart' }

const SERVICES = 6
const index = fc.nat({ max: SERVICES - 1 })

export const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 12, arbitrary: index.chain(serviceAt).map((row): Change => ({ type: 'service', row })) },
  {
    weight: 4,
    arbitrary: index.map(
      (i): Change => ({ type: 'serviceGone', namespace: i % 2 === 0 ? 'default' : 'shop', name: `s${i}` }),
    ),
  },
  { weight: 6, arbitrary: peer.map((row): Change => ({ type: 'peer', row })) },
  {
    weight: 2,
    arbitrary: fc.constantFrom('two', 'three', 'four').map((nodeName): Change => ({ type: 'peerGone', nodeName })),
  },
  { weight: 8, arbitrary: fc.oneof(policyRow, selection, member).map((row): Change => ({ type: 'policy', row })) },
  { weight: 4, arbitrary: fc.nat({ max: 20 }).map((position): Change => ({ type: 'policyGone', position })) },
  { weight: 3, arbitrary: fc.constantFrom(...PODS).map((podUid): Change => ({ type: 'pod', podUid })) },
  { weight: 2, arbitrary: fc.constantFrom(...PODS).map((podUid): Change => ({ type: 'podGone', podUid })) },
  { weight: 1, arbitrary: fc.constantFrom(...DAMAGE).map((command): Change => ({ type: 'damage', command })) },
  { weight: 1, arbitrary: fc.constant<Change>({ type: 'restart' }) },
)

const policyKey = (row: PolicyTableRow): string =>
  row.type === 'pod' ? `pod/${row.podUid}` : row.type === 'policy' ? row.key : `${row.set}/${row.element}`

/** What the tables say after some changes. */
export class Tables {
  readonly services = new Map<string, ServiceRow>()
  readonly peers = new Map<string, PeerRow>()
  readonly policies = new Map<string, PolicyTableRow>()

  constructor() {
    this.peers.set(NODE.nodeName, { nodeName: NODE.nodeName, address: NODE.nodeAddress, podCidr: NODE.podCidr })
  }

  apply(given: Change): void {
    if (given.type === 'service') this.services.set(`${given.row.namespace}/${given.row.name}`, given.row)
    else if (given.type === 'serviceGone') this.services.delete(`${given.namespace}/${given.name}`)
    else if (given.type === 'peer') this.peers.set(given.row.nodeName, given.row)
    else if (given.type === 'peerGone') this.peers.delete(given.nodeName)
    else if (given.type === 'policy') this.policies.set(policyKey(given.row), given.row)
    else if (given.type === 'policyGone') {
      const keys = [...this.policies.keys()]
      const key = keys[given.position % Math.max(1, keys.length)]
      if (key !== undefined) this.policies.delete(key)
    }
  }
}
