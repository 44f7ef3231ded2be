/**
 * A look for drift starts no program while nobody touches the network, and still finds whatever others change, because the kernel
 * tells of it.
 */
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { AskNews } from '../../src/base/network_news.ts'
import { type Listening, listenIn } from '../support/namespace_news.ts'
import { type Driver, NetworkHosts } from '../support/network_hosts.ts'

const hosts = new NetworkHosts('6')
let directory = ''
let listening: Listening
let driver: Driver
let hears = true
let aheadMs = 0
const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs }
const news: AskNews = async () =>
  hears ? listening.ask() : { generation: undefined, changed: false, neighboursOf: [] }

const programs = (): string[] => readFileSync(join(directory, 'programs'), 'utf8').trim().split('\n')

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drvt-listening-'))
  await hosts.open(['one', 'two'])
  await hosts.addPod('a', 0)
  const { namespace, config } = hosts.host(0)
  listening = listenIn(namespace.path)
  // The agent has been started anew, so to speak, and each program that it starts is noted.
  const note = `echo "$1" >> ${join(directory, 'programs')}; exec nsenter --net=${namespace.path} "$@"`
  driver = hosts.makeDriver(namespace.path, 'one', { enter: ['sh', '-c', note, 'enter'], news, clock })
  await driver.initialize()
  await driver.ensureNode(config)
  await driver.applyPeers(hosts.peers())
})

afterAll(async () => {
  listening.close()
  await hosts.close()
  await rm(directory, { recursive: true, force: true })
})

async function must(command: string): Promise<void> {
  const { exitCode, stderr } = await hosts.host(0).namespace.exec(command.split(' '))
  expect(exitCode, `${command}: ${stderr}`).toBe(0)
}

/** Until the kernel has told all that an earlier change brings about. */
async function quiet(): Promise<void> {
  for (let count = -1; count !== programs().filter((name) => name !== 'cat').length; ) {
    count = programs().filter((name) => name !== 'cat').length
    expect(await driver.mendDrift()).toBe(false)
  }
}

async function podLinkName(): Promise<string> {
  const { stdout } = await hosts.host(0).namespace.exec(['ip', '-o', 'link', 'show', 'master', 'drover0'])
  return /^\d+: (dv[^@:]+)/m.exec(stdout)?.[1] ?? ''
}

it('starts nothing while nobody touches anything', async () => {
  await quiet()
  const before = programs().length
  for (let i = 0; i < 5; i++) expect(await driver.mendDrift()).toBe(false)
  // In another namespace than its own it reads settings through a program.
  expect(new Set(programs().slice(before))).toEqual(new Set(['cat']))
})

it('finds at the next look what others have changed', async () => {
  const pod = await podLinkName()
  const peer = hosts.host(1).config
  const { stdout } = await hosts.host(0).namespace.exec(['bridge', 'fdb', 'show', 'dev', 'drover.vx'])
  const port = await hosts.host(0).namespace.exec(['bridge', '-d', 'link', 'show', 'dev', pod])
  const isolated = port.stdout.includes('isolated on') ? 'off' : 'on'
  const mac = /^(02:d0:\S+) .*dst/m.exec(stdout)?.[1] ?? ''
  for (const damage of [
    'ip link set drover0 down',
    'ip link set drover0 mtu 1200',
    `ip addr flush dev drover0`,
    'ip link set drover.vx address 02:00:00:00:00:01',
    `ip route del ${peer.podCidr}`,
    'ip neigh flush nud permanent dev drover.vx',
    `bridge fdb del ${mac} dev drover.vx dst ${peer.nodeAddress} self`,
    `ip link set ${pod} nomaster`,
    `ip link set ${pod} mtu 1300`,
    `bridge link set dev ${pod} isolated ${isolated}`,
    `bridge link set dev ${pod} hairpin off`,
    'ip link del drover.vx',
    'ip link del drover0',
    'nft delete table ip drover',
    'sysctl -qw net.ipv4.ip_forward=0',
  ]) {
    await quiet()
    await must(damage)
    expect(await driver.mendDrift(), damage).toBe(true)
    expect(await driver.mendDrift(), `again after ${damage}`).toBe(false)
  }
  const answer = await hosts.host(0).namespace.exec(['busybox', 'ping', '-c1', '-w3', hosts.pod('a').address])
  expect(answer.exitCode).toBe(0)
})

it('looks once in a while though nothing is heard', async () => {
  await quiet()
  hears = false
  await must('ip link set drover0 mtu 1200')
  expect(await driver.mendDrift()).toBe(false)
  aheadMs += 30_000
  expect(await driver.mendDrift()).toBe(true)
})
