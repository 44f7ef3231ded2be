/** The overlay by direct routes, an underlay whose MTU changes, and bridge ports that reach only their host. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { CLUSTER_IP, NetworkHosts } from '../support/network_hosts.ts'

const hosts = new NetworkHosts('e', { overlay: 'auto' })

beforeAll(async () => {
  await hosts.open(['one', 'two'])
  await hosts.addPod('a', 0)
  await hosts.addPod('b', 0)
  await hosts.addPod('c', 1)
})

afterAll(() => hosts.close())

const mtuOf = async (name: string): Promise<number> => {
  const { stdout } = await hosts.pod(name).namespace.exec(['ip', '-j', 'link', 'show', 'eth0'])
  return (JSON.parse(stdout) as [{ mtu: number }])[0].mtu
}

it('routes through peers on the same subnet, shows pods each other, and mends a route that was deleted', async () => {
  const { namespace, driver } = hosts.host(0)
  const peer = hosts.host(1).config
  const route = async () => (await namespace.exec(['ip', 'route', 'show', peer.podCidr])).stdout
  expect(await route()).toContain(`via ${peer.nodeAddress} dev eth0`)
  expect((await namespace.exec(['bridge', 'fdb', 'show', 'dev', 'drover.vx'])).stdout).not.toContain(peer.nodeAddress)
  expect(await hosts.answer(hosts.pod('a').namespace, hosts.pod('c').address)).toBe('c')
  expect(await hosts.answer(namespace, hosts.pod('c').address)).toBe('c')
  await namespace.exec(['ip', 'route', 'del', peer.podCidr])
  expect(await driver.mendDrift()).toBe(true)
  expect(await route()).toContain(peer.nodeAddress)
  expect(await driver.mendDrift()).toBe(false)
})

it('says which peers it cannot reach where all must share a subnet, as long as that is so', async () => {
  const { driver, config } = hosts.host(0)
  const far = { nodeName: 'far', address: '192.0.2.9', podCidr: '10.244.9.0/24' }
  await driver.ensureNode({ ...config, cluster: { ...config.cluster, overlay: 'host-gw' } })
  await driver.applyPeers([...hosts.peers(), far])
  expect(driver.peerProblems?.()).toEqual([expect.stringMatching(/^peer far: 192.0.2.9 .*--overlay auto$/)])
  await driver.mendDrift()
  expect(driver.peerProblems?.()).toHaveLength(1)
  expect(await hosts.answer(hosts.pod('a').namespace, hosts.pod('c').address)).toBe('c')
  await driver.ensureNode(config)
  await driver.applyPeers([...hosts.peers(), far])
  expect(driver.peerProblems?.()).toEqual([])
  await driver.applyPeers(hosts.peers())
})

it('follows the MTU of the underlay, in pods too', async () => {
  const { namespace, driver } = hosts.host(0)
  expect(await mtuOf('a')).toBe(1450)
  await namespace.exec(['ip', 'link', 'set', 'eth0', 'mtu', '1400'])
  expect(await driver.mendDrift()).toBe(true)
  expect(await mtuOf('a')).toBe(1350)
  await namespace.exec(['ip', 'link', 'set', 'eth0', 'mtu', '1500'])
  expect(await driver.mendDrift()).toBe(true)
  expect(await mtuOf('a')).toBe(1450)
  expect(await driver.mendDrift()).toBe(false)
})

it('isolates ports where bridged frames pass no filter; services of one host and policies hold all the same', async () => {
  const { namespace, driver } = hosts.host(0)
  const setting = 'net.bridge.bridge-nf-call-iptables'
  const before = await namespace.exec(['sysctl', '-n', setting])
  await hosts.applyServices(hosts.service({}, ['b']))
  const client = hosts.pod('a').namespace
  const key = 'default/shut'
  for (const value of before.exitCode === 0 ? ['0', '1'] : ['']) {
    if (value !== '') await namespace.exec(['sysctl', '-q', '-w', `${setting}=${value}`])
    await driver.mendDrift()
    const { stdout } = await namespace.exec(['bridge', '-d', 'link', 'show'])
    if (value === '1') expect(stdout).not.toContain('isolated on')
    else expect(stdout.match(/isolated on/g)).toHaveLength(2)
    expect(await hosts.answer(client, CLUSTER_IP, 80)).toBe('b')
    driver.notePolicies([
      { type: 'policy', key, ingress: [], egress: [] },
      { type: 'pod', podUid: hosts.pod('b').uid, ingress: [key] },
    ])
    await driver.applyPolicies()
    expect(await hosts.answer(client, CLUSTER_IP, 80)).toBe('EHOSTUNREACH')
    driver.notePolicies([])
    await driver.applyPolicies()
  }
})

it('keeps the MTU of a bridge whose last port goes', async () => {
  const { namespace, driver } = hosts.host(1)
  const bridge = async () => (await namespace.exec(['ip', 'link', 'show', 'drover0'])).stdout
  expect(await bridge()).toContain('mtu 1450')
  await hosts.removePod('c')
  expect(await bridge()).toContain('mtu 1450')
  expect(await driver.mendDrift()).toBe(false)
})
