/** Network policies in the kernel: pods of one host and of two, services, clients from outside, an agent that starts anew. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { PolicyRow, PolicyRule, PolicyTableRow } from '../../src/rpc/tables.ts'
import { eventually } from '../support/eventually.ts'
import { ask, UDP_PORT } from '../support/netns.ts'
import { CLUSTER_IP, NetworkHosts } from '../support/network_hosts.ts'

const DENIED = 'EHOSTUNREACH'
const PEERS = 'peers-0123456789ab'
const PORTS = 'ports-0123456789ab'
const hosts = new NetworkHosts('a')

beforeAll(async () => {
  await hosts.open(['one', 'two'])
  for (const [name, index] of [
    ['a', 0],
    ['b', 0],
    ['c', 1],
  ] as const) {
    await hosts.addPod(name, index)
  }
})

afterAll(() => hosts.close())

const from = (name: string) => hosts.pod(name).namespace
const to = (client: string, server: string) => hosts.answer(from(client), hosts.pod(server).address)

interface Selected {
  ingress?: PolicyRule[]
  egress?: PolicyRule[]
}

/** One policy over these pods. */
async function apply(selected: Record<string, Selected>, members: [string, string][] = []): Promise<void> {
  const rows: PolicyTableRow[] = members.map(([set, element]) => ({ type: 'member', set, element }))
  for (const [name, { ingress, egress }] of Object.entries(selected)) {
    const key = `default/of-${name}`
    const policy: PolicyRow = { type: 'policy', key, ingress: ingress ?? [], egress: egress ?? [] }
    rows.push(policy, {
      type: 'pod',
      podUid: hosts.pod(name).uid,
      ...(ingress === undefined ? {} : { ingress: [key] }),
      ...(egress === undefined ? {} : { egress: [key] }),
    })
  }
  for (const { driver } of hosts.hosts) {
    driver.notePolicies(rows)
    await driver.applyPolicies()
  }
}

describe('isolation', () => {
  it('refuses at once what nothing lets in, on one host and across; hosts reach their own pods all the same', async () => {
    await apply({ b: { ingress: [] } })
    for (const client of ['a', 'c']) expect(await to(client, 'b')).toBe(DENIED)
    const [datagram] = await ask(from('a'), { protocol: 'udp', address: hosts.pod('b').address, port: UDP_PORT })
    expect(datagram?.error).toBe(DENIED)
    expect(await hosts.answer(hosts.host(0).namespace, hosts.pod('b').address)).toBe('b')
    expect(await to('b', 'a')).toBe('a')
    expect(await to('a', 'c')).toBe('c')
    expect(await to('b', 'b')).toBe('b')
  })

  it('refuses what nothing lets out, to pods, services and the world, but not answers', async () => {
    await apply({ a: { egress: [] } })
    await hosts.applyServices(hosts.service({}, ['b', 'c']))
    expect(await to('a', 'b')).toBe(DENIED)
    expect(await to('a', 'c')).toBe(DENIED)
    expect(await hosts.answer(from('a'), CLUSTER_IP, 80)).toBe(DENIED)
    const { gatewayAddress } = await hosts.observe()
    expect(await hosts.answer(from('a'), gatewayAddress, 1)).toBe(DENIED)
    expect(await to('b', 'a')).toBe('a')
    expect(await to('c', 'a')).toBe('a')
  })

  it('lets pods be when policies go', async () => {
    await apply({})
    expect(await to('a', 'b')).toBe('b')
    const { stdout } = await hosts.host(0).namespace.exec(['nft', 'list', 'table', 'ip', 'drover'])
    expect(stdout).not.toMatch(/jump (in|eg)-/)
  })
})

describe('rules', () => {
  it('lets in members of a set, on ports of one protocol', async () => {
    const rule: PolicyRule = { peers: [{ set: PEERS }], ports: [{ protocol: 'TCP', from: 8000, to: 8090 }] }
    await apply({ b: { ingress: [rule] } }, [[PEERS, hosts.pod('c').address]])
    expect(await to('c', 'b')).toBe('b')
    expect(await to('a', 'b')).toBe(DENIED)
    const target = { protocol: 'udp' as const, address: hosts.pod('b').address, port: UDP_PORT }
    expect((await ask(from('c'), target))[0]?.error).toBe(DENIED)
    await apply({ b: { ingress: [rule] } }, [[PEERS, hosts.pod('a').address]])
    expect(await to('c', 'b')).toBe(DENIED)
    expect(await to('a', 'b')).toBe('b')
  })

  it('lets in datagrams alone, on one port or a range that holds it, in both directions', async () => {
    const target = { protocol: 'udp' as const, address: hosts.pod('b').address, port: UDP_PORT }
    const datagram = async (): Promise<string | undefined> => {
      const [{ name, error } = {}] = await ask(from('a'), target)
      return name ?? error
    }
    const rule = (first: number, last = first): PolicyRule => ({
      ports: [{ protocol: 'UDP', from: first, to: last }],
    })
    for (const selected of [
      (rules: PolicyRule[]) => ({ b: { ingress: rules } }),
      (rules: PolicyRule[]) => ({ a: { egress: rules } }),
    ]) {
      for (const [rules, answer] of [
        [[rule(UDP_PORT)], 'b'],
        [[rule(UDP_PORT - 1, UDP_PORT + 1)], 'b'],
        [[rule(UDP_PORT + 1, UDP_PORT + 9)], DENIED],
      ] as const) {
        await apply(selected([...rules]))
        // The kernel sends one client only so many refusals in a while: a datagram may have to be sent again to hear its own.
        await eventually(async () => (await datagram()) === answer, { timeoutMs: 15_000 })
      }
      // Of the other protocol nothing was said.
      expect(await to('a', 'b')).toBe(DENIED)
    }
  })

  it('judges services by the endpoint behind them, and a named port by the number it has there', async () => {
    await hosts.applyServices(hosts.service({}, ['b']))
    const named: PolicyRule = { peers: [{ set: PEERS }], ports: [{ protocol: 'TCP', named: PORTS }] }
    const b = hosts.pod('b').address
    await apply({ a: { egress: [named] } }, [
      [PEERS, b],
      [PORTS, `${b} . tcp . 8080`],
    ])
    expect(await hosts.answer(from('a'), CLUSTER_IP, 80)).toBe('b')
    await apply({ a: { egress: [named] } }, [
      [PEERS, b],
      [PORTS, `${b} . tcp . 8081`],
    ])
    expect(await hosts.answer(from('a'), CLUSTER_IP, 80)).toBe(DENIED)
  })

  it('knows clients from outside by their own address, with exceptions', async () => {
    const { gatewayAddress, subnet } = await hosts.observe()
    const service = hosts.service({}, ['b'])
    const ports = service.ports.map((port) => ({ ...port, nodePort: port.port + 30_000 }))
    await hosts.applyServices({ ...service, ports })
    const node = hosts.host(0).config.nodeAddress
    const block = (except: string[]): PolicyRule => ({ peers: [{ cidr: subnet, except }] })
    await apply({ b: { ingress: [block([])] } })
    expect(await hosts.answer(undefined, node, 30_080)).toBe('b')
    expect(await to('c', 'b')).toBe(DENIED)
    await apply({ b: { ingress: [block([`${gatewayAddress}/32`])] } })
    expect(await hosts.answer(undefined, node, 30_080)).toBe(DENIED)
    await apply({ b: { ingress: [{ peers: [{ cidr: '0.0.0.0/0', except: [] }] }] } })
    expect(await to('c', 'b')).toBe('b')
    await apply({ b: { ingress: [{ peers: [{ cidr: '::/0', except: [] }] }] } })
    expect(await to('c', 'b')).toBe(DENIED)
  })

  it('adds up policies, and asks both ends of one connection', async () => {
    const c = hosts.pod('c').address
    const rows: PolicyTableRow[] = [
      { type: 'policy', key: 'default/none', ingress: [], egress: [] },
      { type: 'policy', key: 'default/some', ingress: [{ peers: [{ set: PEERS }] }], egress: [] },
      { type: 'pod', podUid: hosts.pod('b').uid, ingress: ['default/none', 'default/some'] },
      { type: 'pod', podUid: hosts.pod('a').uid, egress: ['default/none'] },
      { type: 'member', set: PEERS, element: c },
      { type: 'member', set: PEERS, element: hosts.pod('a').address },
    ]
    const { driver } = hosts.host(0)
    driver.notePolicies(rows)
    await driver.applyPolicies()
    expect(await to('c', 'b')).toBe('b')
    expect(await to('a', 'b')).toBe(DENIED)
    driver.notePolicies(rows.filter((row) => row.type !== 'pod' || row.egress === undefined))
    await driver.applyPolicies()
    expect(await to('a', 'b')).toBe('b')
  })
})

describe('over time', () => {
  it('binds a pod from its first moment, and not the next holder of its address', async () => {
    const { driver, config } = hosts.host(0)
    const key = 'default/early'
    driver.notePolicies([
      { type: 'policy', key, ingress: [], egress: [] },
      { type: 'pod', podUid: `uid-early-${hosts.id}`, ingress: [key] },
    ])
    await hosts.addPod('early', 0)
    const { address } = hosts.pod('early')
    expect(await to('a', 'early')).toBe(DENIED)
    await hosts.removePod('early')
    const { stdout } = await hosts.host(0).namespace.exec(['nft', 'list', 'map', 'ip', 'drover', 'policy-ingress'])
    expect(stdout).not.toContain(address)
    expect(config.nodeName).toBe('one')
  })

  it('stays in force while an agent starts anew, before and after it is given services', async () => {
    await apply({ b: { ingress: [] } })
    const host = hosts.host(0)
    const rules = async () => (await host.namespace.exec(['nft', '-a', 'list', 'ruleset'])).stdout
    const before = await rules()
    const restarted = hosts.makeDriver(host.namespace.path, host.name)
    await restarted.initialize()
    await restarted.ensureNode(host.config)
    expect(await rules()).toBe(before)
    await restarted.applyServices([hosts.service({}, ['a'])])
    expect(await to('a', 'b')).toBe(DENIED)
    restarted.notePolicies([])
    await restarted.applyPolicies()
    expect(await to('a', 'b')).toBe('b')
    host.driver = restarted
    await restarted.applyPeers(hosts.peers())
  })

  it('is mended when it was changed by hand', async () => {
    const rule: PolicyRule = { peers: [{ set: PEERS }] }
    await apply({ b: { ingress: [rule] } }, [[PEERS, hosts.pod('c').address]])
    const { driver, namespace } = hosts.host(0)
    const damage = [
      ['nft', 'flush', 'ruleset'],
      ['nft', 'flush', 'map', 'ip', 'drover', 'policy-ingress'],
      ['nft', 'flush', 'set', 'ip', 'drover', PEERS],
      ['nft', 'flush', 'chain', 'ip', 'drover', 'policies'],
    ]
    for (const args of damage) {
      expect((await namespace.exec(args)).exitCode, args.join(' ')).toBe(0)
      expect(await driver.mendDrift(), args.join(' ')).toBe(true)
      expect(await to('a', 'b'), args.join(' ')).toBe(DENIED)
      expect(await to('c', 'b'), args.join(' ')).toBe('b')
      expect(await driver.mendDrift(), `again after ${args.join(' ')}`).toBe(false)
    }
  })
})
