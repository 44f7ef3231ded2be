/** What the launcher hears of a network namespace: each kind of change, once, and nothing when nothing happens. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { NetworkNews } from '../../src/base/network_news.ts'
import { parseNews } from '../../src/base/network_news.ts'
import { type Listening, listenIn } from '../support/namespace_news.ts'
import { createNamespace, type TestNamespace } from '../support/netns.ts'

let namespace: TestNamespace
let listening: Listening

beforeAll(async () => {
  namespace = await createNamespace(`drvt-news-${process.pid}`)
  for (const command of [
    'ip link add left type veth peer name right',
    'ip link set left up',
    'ip link set right up',
    'ip addr add 10.1.0.1/24 dev left',
  ]) {
    await must(command)
  }
  listening = listenIn(namespace.path)
})

afterAll(async () => {
  listening.close()
  await namespace.remove()
})

async function must(command: string): Promise<void> {
  const { exitCode, stderr } = await namespace.exec(command.split(' '))
  expect(exitCode, `${command}: ${stderr}`).toBe(0)
}

async function ask(): Promise<NetworkNews> {
  const news = await listening.ask()
  if (news === undefined) throw new Error('nobody listens')
  return news
}

/** Until what an earlier change brings about (a carrier, an address of IPv6) is over. */
async function quiet(): Promise<NetworkNews> {
  for (;;) {
    const news = await ask()
    if (!news.changed && news.neighboursOf.length === 0) return news
  }
}

it('knows nothing at first, then what changes', async () => {
  expect((await ask()).changed).toBe(true)
  const { generation } = await quiet()
  expect(generation).toBeGreaterThan(0)
  for (const command of [
    'ip link set left alias some',
    'ip link set left mtu 1400',
    'ip addr add 10.1.0.9/32 dev left',
    'ip addr del 10.1.0.9/32 dev left',
    'ip route add 10.2.0.0/24 dev left',
    'ip route replace 10.2.0.0/24 dev left src 10.1.0.1',
    'ip link set left down',
  ]) {
    await quiet()
    await must(command)
    expect((await ask()).changed, command).toBe(true)
  }
  expect((await quiet()).generation).toBe(generation)
})

it('tells neighbours and forwarding entries by their device', async () => {
  await must('ip link set left up')
  const index = Number((await namespace.exec(['ip', '-o', 'link', 'show', 'left'])).stdout.split(':')[0])
  for (const command of [
    'ip neigh replace 10.1.0.7 lladdr 02:00:00:00:00:07 dev left nud permanent',
    'ip neigh del 10.1.0.7 dev left',
    'bridge fdb add 02:00:00:00:00:08 dev left self',
  ]) {
    await quiet()
    await must(command)
    const news = await ask()
    expect(news.neighboursOf, command).toEqual([index])
    expect(news.changed, command).toBe(false)
  }
})

it('counts transactions on the rules', async () => {
  const before = (await quiet()).generation ?? 0
  await must('nft add table ip drvt-news')
  await must('nft delete table ip drvt-news')
  const after = await ask()
  expect(after.generation).toBe(before + 2)
  expect(after.changed).toBe(false)
})

it('says so when more has happened than it could hear', async () => {
  await quiet()
  const flood = Array.from({ length: 3_000 }, (_, i) => {
    const address = `10.3.${i >> 8}.${i & 255}`
    return `neigh replace ${address} lladdr 02:00:00:00:00:07 dev left nud permanent`
  })
  const { exitCode, stderr } = await namespace.exec(['ip', '-batch', '-'], `${flood.join('\n')}\n`)
  expect(exitCode, stderr).toBe(0)
  expect((await ask()).changed).toBe(true)
  await quiet()
})

it('takes no other words for news', () => {
  expect(() => parseNews('')).toThrow('heard')
  expect(parseNews('all changed neighbour:-1 neighbour:7\n')).toEqual({
    generation: undefined,
    changed: true,
    neighboursOf: [-1, 7],
  })
})
