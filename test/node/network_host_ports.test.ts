/** Host ports in the kernel, with packets: from outside, from hosts, from pods of this host and another, and back to the pod itself. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { HostPortRow } from '../../src/agent/network/network.ts'
import type { PolicyTableRow } from '../../src/rpc/tables.ts'
import { eventually } from '../support/eventually.ts'
import { ask, TCP_PORT, UDP_PORT } from '../support/netns.ts'
import { NetworkHosts } from '../support/network_hosts.ts'

const REFUSED = 'ECONNREFUSED'
const WEB = 8088
const DNS = 5353
const hosts = new NetworkHosts('8')

beforeAll(async () => {
  await hosts.open(['one', 'two'])
  await hosts.addPod('near', 0)
  await hosts.addPod('far', 1)
  await hosts.applyServices()
})

afterAll(() => hosts.close())

const row = (name: string, change: Partial<HostPortRow> = {}): HostPortRow => ({
  podUid: `uid-${name}-${hosts.id}`,
  hostPort: WEB,
  hostIP: '0.0.0.0',
  protocol: 'TCP',
  containerPort: TCP_PORT,
  ...change,
})
const datagrams = (name: string): HostPortRow => row(name, { hostPort: DNS, protocol: 'UDP', containerPort: UDP_PORT })
const node = () => hosts.host(0).config.nodeAddress
const driver = () => hosts.host(0).driver
const rules = async (): Promise<string> =>
  (await hosts.host(0).namespace.exec(['nft', 'list', 'table', 'ip', 'drover'])).stdout

describe('a host port', () => {
  it('leads to the pod as soon as it is made, from everywhere, with the address of who asks', async () => {
    driver().noteHostPorts([row('web'), datagrams('web')])
    await hosts.addPod('web', 0)
    const { gatewayAddress } = await hosts.observe()
    for (const protocol of ['tcp', 'udp'] as const) {
      const target = { protocol, address: node(), port: protocol === 'tcp' ? WEB : DNS }
      expect(await ask(undefined, target)).toEqual([{ name: 'web', from: gatewayAddress }])
      expect(await ask(hosts.host(1).namespace, target)).toEqual([
        { name: 'web', from: hosts.host(1).config.nodeAddress },
      ])
      expect(await ask(hosts.host(0).namespace, target)).toEqual([{ name: 'web', from: node() }])
      expect(await ask(hosts.pod('near').namespace, target)).toEqual([{ name: 'web', from: hosts.pod('near').address }])
      expect((await ask(hosts.pod('far').namespace, target))[0]?.name).toBe('web')
      // Itself: without masquerading it would answer itself past the host.
      expect((await ask(hosts.pod('web').namespace, target))[0]?.name).toBe('web')
      const loopback = { ...target, address: '127.0.0.1' }
      expect((await ask(hosts.host(0).namespace, loopback))[0]?.name).toBe('web')
    }
  })

  it("is this node's alone, and no way in to loopback for pods", async () => {
    expect(await hosts.answer(undefined, hosts.host(1).config.nodeAddress, WEB)).toBe(REFUSED)
    // A pod that sends to 127.0.0.1 over its interface, which its own kernel would have to be talked into.
    const { namespace } = hosts.pod('near')
    await namespace.exec(['ip', 'link', 'set', 'lo', 'down'])
    await namespace.exec(['ip', 'addr', 'flush', 'dev', 'lo'])
    await namespace.exec(['ip', 'route', 'del', 'table', 'local', '127.0.0.0/8', 'dev', 'lo'])
    await namespace.exec(['sysctl', '-qw', 'net.ipv4.conf.eth0.route_localnet=1'])
    await namespace.exec(['ip', 'route', 'add', '127.0.0.1', 'via', '10.244.1.1', 'dev', 'eth0'])
    const route = await namespace.exec(['ip', 'route', 'get', '127.0.0.1'])
    expect(route.stdout).toContain('via 10.244.1.1 dev eth0')
    // Refused would be an answer; nothing at all is what 124 says.
    const tried = await namespace.exec(['timeout', '1', 'bash', '-c', `: </dev/tcp/127.0.0.1/${WEB}`])
    expect(tried.exitCode).toBe(124)
    await namespace.exec(['ip', 'link', 'set', 'lo', 'up'])
  })

  it("obeys policies of the pod's own address", async () => {
    const uid = hosts.pod('web').uid
    const policies: PolicyTableRow[] = [
      { type: 'policy', key: 'default/none', ingress: [], egress: [] },
      { type: 'pod', podUid: uid, ingress: ['default/none'] },
    ]
    driver().notePolicies(policies)
    await driver().applyPolicies()
    expect(await hosts.answer(undefined, node(), WEB)).toBe('EHOSTUNREACH')
    expect(await hosts.answer(hosts.pod('near').namespace, node(), WEB)).toBe('EHOSTUNREACH')
    expect(await hosts.answer(hosts.host(0).namespace, node(), WEB)).toBe('web')
    driver().notePolicies([])
    await driver().applyPolicies()
    expect(await hosts.answer(undefined, node(), WEB)).toBe('web')
  })

  it('of one address answers there alone', async () => {
    const one = row('web', { hostPort: 8090, hostIP: '127.0.0.1' })
    const other = row('web', { hostPort: 8091, hostIP: node() })
    driver().noteHostPorts([row('web'), datagrams('web'), one, other])
    await driver().applyHostPorts()
    const own = hosts.host(0).namespace
    expect(await hosts.answer(own, '127.0.0.1', 8090)).toBe('web')
    expect(await hosts.answer(own, node(), 8090)).toBe(REFUSED)
    expect(await hosts.answer(undefined, node(), 8091)).toBe('web')
    expect(await hosts.answer(own, '127.0.0.1', 8091)).toBe(REFUSED)
  })

  it('stays over an agent that starts anew, is mended, and is seen by fsck', async () => {
    const { namespace, config } = hosts.host(0)
    driver().noteHostPorts([row('web'), datagrams('web')])
    await driver().applyHostPorts()
    const before = await rules()
    const restarted = hosts.makeDriver(namespace.path, 'one')
    await restarted.initialize()
    await restarted.ensureNode(config)
    expect(await rules()).toBe(before)
    hosts.host(0).driver = restarted
    restarted.noteHostPorts([row('web'), datagrams('web')])
    await restarted.applyHostPorts()
    await restarted.applyServices([])
    await restarted.applyPeers(hosts.peers())
    expect(await rules()).toBe(before)

    await namespace.exec(['nft', 'delete', 'element', 'ip', 'drover', 'host-ports', `{ tcp . ${WEB} }`])
    await namespace.exec(['nft', 'add', 'element', 'ip', 'drover', 'host-ports', '{ tcp . 9999 : goto refuse }'])
    const damage = await restarted.findDamage?.([], new Set([...hosts.pods.values()].map(({ uid }) => uid)))
    expect(damage?.map(({ subject, problem }) => `${subject} ${problem}`).join('\n')).toMatch(
      /nft table.*delete element ip drover host-ports \{ tcp \. 9999 \}[\s\S]*nft table.*add element ip drover host-ports \{ tcp \. 8088/,
    )
    expect(await restarted.mendDrift()).toBe(true)
    expect(await rules()).toBe(before)
    expect(await hosts.answer(undefined, node(), WEB)).toBe('web')
  })

  it('takes a UDP client with it when it moves, that never stopped sending', async () => {
    // One socket: what the kernel remembers of it decides where it goes.
    const client = hosts.host(1).namespace
    const target = { protocol: 'udp' as const, address: node(), port: 5454 }
    const port = (name: string) => row(name, { hostPort: 5454, protocol: 'UDP', containerPort: UDP_PORT })
    const listing = async () =>
      (await hosts.host(0).namespace.exec(['conntrack', '-L', '-p', 'udp', '--orig-port-dst', '5454'])).stdout
    // Before a pod has it: refused by the host, and remembered so.
    expect((await ask(client, target))[0]?.error).toBe(REFUSED)
    expect(await listing()).toContain('dport=5454')
    driver().noteHostPorts([port('web')])
    await driver().applyHostPorts()
    expect(await listing()).not.toContain('dport=5454')
    expect((await ask(client, target))[0]?.name).toBe('web')
    expect(await listing()).toContain(`src=${hosts.pod('web').address}`)
    driver().noteHostPorts([port('near')])
    await driver().applyHostPorts()
    expect(await listing()).not.toContain(`src=${hosts.pod('web').address}`)
    expect((await ask(client, target))[0]?.name).toBe('near')
  })

  it('is gone with the pod, and so are its flows', async () => {
    driver().noteHostPorts([row('web'), datagrams('web')])
    await driver().applyHostPorts()
    const { address } = hosts.pod('web')
    expect((await ask(undefined, { protocol: 'udp', address: node(), port: DNS }))[0]?.name).toBe('web')
    await hosts.removePod('web')
    expect(await rules()).not.toMatch(/hp-|host-hairpin \{[^}]*elements/)
    await eventually(async () => {
      const flows = await hosts.host(0).namespace.exec(['conntrack', '-L', '-p', 'udp', '--orig-port-dst', String(DNS)])
      return !flows.stdout.includes(address)
    })
    expect(await hosts.answer(undefined, node(), WEB)).toBe(REFUSED)
  })
})
