/** Pods that may make up frames: what they send under others' addresses arrives nowhere and is learned by nobody. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GUARD_TABLE } from '../../src/agent/network/names.ts'
import { addressMac } from '../../src/agent/network/plan_node.ts'
import { eventually } from '../support/eventually.ts'
import { ask, type TestNamespace, UDP_PORT } from '../support/netns.ts'
import { CLUSTER_IP, NetworkHosts } from '../support/network_hosts.ts'

const PORT = 9753
const hosts = new NetworkHosts('9')

/** Writes the sources of what it hears, one a line, until it hears "end". */
const LISTEN = `
const socket = require('node:dgram').createSocket('udp4')
const heard = new Set()
socket.on('message', (text, from) => {
  heard.add(from.address)
  if (String(text) === 'end') { console.log(JSON.stringify([...heard])); process.exit(0) }
})
socket.bind(Number(process.argv[1]), '0.0.0.0')
setTimeout(() => process.exit(3), 12_000)
`
/** One datagram from each source, in order. */
const SEND = `
const [address, port, text, ...sources] = process.argv.slice(1)
const send = (source) => new Promise((resolve) => {
  const socket = require('node:dgram').createSocket('udp4')
  socket.bind(0, source, () => socket.send(text, Number(port), address, () => { socket.close(); resolve() }))
})
const main = async () => { for (const source of sources) await send(source) }
main()
`

const place = (name: string): TestNamespace => hosts.pod(name).namespace

async function must(where: TestNamespace, ...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await where.exec(args)
  expect(exitCode, `${args.join(' ')}: ${stderr}`).toBe(0)
  return stdout
}

/** Whom pod `to` hears when pod `from` sends as each of `sources` and then as itself. */
async function heard(from: string, to: string, sources: readonly string[]): Promise<string[]> {
  const target = hosts.pod(to)
  const listener = target.namespace.exec([process.execPath, '-e', LISTEN, String(PORT)])
  await eventually(async () => (await target.namespace.exec(['ss', '-Hlun', `sport = :${PORT}`])).stdout !== '', {
    timeoutMs: 10_000,
  })
  const send = (text: string, ...list: string[]) =>
    must(place(from), process.execPath, '-e', SEND, target.address, String(PORT), text, ...list)
  await send('forged', ...sources)
  await send('end', hosts.pod(from).address)
  const { exitCode, stdout } = await listener
  expect(exitCode).toBe(0)
  return JSON.parse(stdout) as string[]
}

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

describe('a pod that forges', () => {
  it('is not heard under a neighbour, a pod of another host, its gateway, or a stranger', async () => {
    const [a, b] = [hosts.pod('a').address, hosts.pod('b').address]
    const strangers = ['10.244.1.99', '10.244.2.77', '198.51.100.5']
    const forged = [...strangers, b, '10.244.1.1']
    for (const source of forged) await must(place('a'), 'ip', 'addr', 'add', `${source}/32`, 'dev', 'eth0')
    // Or the pod would ask for its gateway under the address that it sends from, and get no answer for itself either.
    const gateway = ['10.244.1.1', 'lladdr', addressMac('10.244.1.1'), 'dev', 'eth0', 'nud', 'permanent']
    await must(place('a'), 'ip', 'neigh', 'replace', ...gateway)
    expect(await heard('a', 'c', forged)).toEqual([a])
    // Without the guard all this arrives: the test can fail.
    const host = hosts.host(0)
    await must(host.namespace, 'nft', 'delete', 'table', ...GUARD_TABLE.split(' '))
    expect(await heard('a', 'c', ['10.244.1.99'])).toEqual(['10.244.1.99', a])
    expect(await host.driver.mendDrift()).toBe(true)
    expect(await host.driver.mendDrift()).toBe(false)
    for (const source of [b, '10.244.1.1']) await must(place('a'), 'ip', 'addr', 'del', `${source}/32`, 'dev', 'eth0')
    for (const to of ['b', 'c']) expect(await heard('a', to, strangers)).toEqual([a])
    for (const source of strangers) await must(place('a'), 'ip', 'addr', 'del', `${source}/32`, 'dev', 'eth0')
  })

  it("claims no other's address by ARP and draws no other's frames by its MAC", async () => {
    const b = hosts.pod('b')
    const host = hosts.host(0).namespace
    expect(await hosts.answer(host, b.address)).toBe('b')
    const neighbour = () => must(host, 'ip', 'neigh', 'show', b.address, 'dev', 'drover0')
    const before = await neighbour()
    expect(before).toContain(addressMac(b.address))
    await must(place('a'), 'ip', 'addr', 'add', `${b.address}/32`, 'dev', 'eth0')
    // -U: unasked for; -A: as an answer.
    for (const kind of ['-U', '-A']) {
      await must(place('a'), 'busybox', 'arping', kind, '-c', '2', '-I', 'eth0', '-s', b.address, '10.244.1.1')
    }
    expect((await neighbour()).includes(addressMac(hosts.pod('a').address))).toBe(false)
    await must(place('a'), 'ip', 'addr', 'del', `${b.address}/32`, 'dev', 'eth0')

    const port = async () => {
      const lines = (await must(host, 'bridge', 'fdb', 'show', 'br', 'drover0')).split('\n')
      return lines.filter((line) => line.startsWith(addressMac(b.address)) && !line.includes('permanent'))
    }
    expect(await hosts.answer(host, b.address)).toBe('b')
    const learned = await port()
    expect(learned).toHaveLength(1)
    await must(place('a'), 'ip', 'link', 'set', 'dev', 'eth0', 'address', addressMac(b.address))
    await place('a').exec(['busybox', 'arping', '-c', '2', '-w', '2', '-I', 'eth0', '10.244.1.1'])
    expect(await port()).toEqual(learned)
    await must(place('a'), 'ip', 'link', 'set', 'dev', 'eth0', 'address', addressMac(hosts.pod('a').address))
    expect(await hosts.answer(place('a'), b.address)).toBe('b')
  })

  it("cannot put packets into the overlay through a tunnel's end", async () => {
    const { config, namespace } = hosts.host(1)
    const counted = async () => {
      const text = await must(namespace, 'nft', 'list', 'table', 'ip', 'drvt-count')
      return Number(/packets (\d+)/.exec(text)?.[1])
    }
    await must(namespace, 'nft', 'add table ip drvt-count')
    await must(namespace, 'nft', 'add chain ip drvt-count c { type filter hook input priority 0; }')
    await must(namespace, 'nft', `add rule ip drvt-count c udp dport 4789 @th,64,32 0x12345678 counter`)
    const send = (from: TestNamespace, source: string, to = config.nodeAddress) =>
      must(from, process.execPath, '-e', SEND, to, '4789', '\x124Vx', source)
    for (const name of ['a', 'c']) {
      for (const to of [config.nodeAddress, '10.244.2.1', '10.244.2.0']) {
        await send(place(name), hosts.pod(name).address, to)
      }
    }
    // A host may; by when this has come, what pods sent would have.
    await send(hosts.host(0).namespace, '0.0.0.0')
    await eventually(async () => (await counted()) > 0, { timeoutMs: 10_000 })
    expect(await counted()).toBe(1)
    await must(namespace, 'nft', 'delete table ip drvt-count')
  })
})

describe('the guard', () => {
  it('lets a pod that was removed and its successor be told apart, and goes when a pod goes', async () => {
    const host = hosts.host(1)
    const listing = () => must(host.namespace, 'nft', 'list', 'table', ...GUARD_TABLE.split(' '))
    await hosts.addPod('d', 1)
    const { address } = hosts.pod('d')
    expect(await listing()).toContain(address)
    await hosts.removePod('d')
    expect(await listing()).not.toContain(address)
  })

  it('lets services, self-connections and datagrams pass', async () => {
    await hosts.applyServices(hosts.service({}, ['a']))
    for (const name of ['a', 'b', 'c']) {
      expect(await hosts.answer(place(name), CLUSTER_IP, 80)).toBe('a')
      const target = { protocol: 'udp' as const, address: hosts.pod('a').address, port: UDP_PORT }
      expect((await ask(place(name), target))[0]?.name).toBe('a')
    }
  })
})
