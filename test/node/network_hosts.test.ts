/** Networks of local clusters' hosts: made, completed after damage, removed without a trace. */
import { afterAll, expect, it } from 'vitest'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { isCode } from '../../src/base/errors.ts'
import { lockFile } from '../../src/base/file_lock.ts'
import { run, runOk } from '../../src/base/process.ts'
import { createHostsNetwork } from '../../src/local/hosts_network.ts'
import { eventually } from '../support/eventually.ts'

const ID = (process.pid % 0xfff).toString(16)
const NAME = `drvt${ID}`
const OPTIONS = { clusterName: NAME, id: `a${ID}`, clock: systemClock }
const network = createHostsNetwork(OPTIONS)
/** Its namespaces' names start like the other's. */
const lookalike = createHostsNetwork({ clusterName: `${NAME}-b`, id: `b${ID}`, clock: systemClock })

afterAll(async () => {
  await network.remove()
  await lookalike.remove()
})

/** What of ours is on the machine; others' clusters come and go meanwhile. */
async function machine(): Promise<string> {
  const parts = await Promise.all([
    runOk('ip', ['-br', 'link']),
    runOk('ip', ['-4', 'route', 'show', 'table', 'all']),
    runOk('ip', ['netns', 'list']),
    runOk('sysctl', ['net.ipv4.ip_forward']),
  ])
  const mine = (line: string) => [NAME, `-a${ID}`, 'ip_forward'].some((mark) => line.includes(mark))
  return parts.flatMap((part) => part.split('\n').filter(mine).sort()).join('\n')
}

const ping = async (path: string, address: string) =>
  (await run('nsenter', [`--net=${path}`, 'busybox', 'ping', '-c1', '-w3', address])).exitCode

it('joins hosts with each other and with this machine, keeps addresses, and leaves nothing', async () => {
  const before = await machine()
  const state = await network.ensure(['one', 'two'])
  const [one, two] = state.hosts
  if (one === undefined || two === undefined) throw new Error('two hosts expected')
  expect(await ping(one.namespacePath, two.address)).toBe(0)
  expect(await ping(one.namespacePath, state.gatewayAddress)).toBe(0)
  expect((await run('busybox', ['ping', '-c1', '-w3', two.address])).exitCode).toBe(0)
  expect((await runOk('ip', ['netns', 'list'])).includes(`drover-${NAME}-one`)).toBe(true)

  expect(await network.ensure(['two', 'one'])).toEqual(state)
  const grown = await network.ensure(['zero', 'one'])
  expect(grown.hosts.map(({ name }) => name)).toEqual(['one', 'two', 'zero'])
  expect(grown.hosts.slice(0, 2)).toEqual(state.hosts)

  await network.remove()
  await network.remove()
  expect((await network.observe()).hosts).toEqual([])
  expect(await machine()).toBe(before)
})

it('completes what was damaged or half made, and removes it too', async () => {
  const before = await machine()
  const { subnet } = await network.ensure(['one', 'two'])
  // As a recorded cluster does: its range is its own also while its link is gone.
  const recorded = createHostsNetwork({ ...OPTIONS, subnet })
  const state = await recorded.ensure(['one', 'two'])
  const enter = ['nsenter', `--net=${state.switchNamespacePath}`]
  const damage: string[][] = [
    ['ip', 'netns', 'del', `drover-${NAME}-one`],
    ['ip', 'netns', 'del', `drover-${NAME}-switch`],
    ['ip', 'link', 'del', state.bridge],
    ['umount', `/run/netns/drover-${NAME}-two`],
    [...enter, 'ip', 'link', 'del', 'bridge'],
    [...enter, 'ip', 'link', 'del', `dvh-a${ID}-1`],
    ['nsenter', `--net=/run/netns/drover-${NAME}-one`, 'ip', 'route', 'del', 'default'],
    ['nsenter', `--net=/run/netns/drover-${NAME}-one`, 'ip', 'link', 'set', 'eth0', 'down'],
  ]
  for (const [program = '', ...args] of damage) {
    await runOk(program, args)
    const mended = await recorded.ensure(['one', 'two'])
    const [one, two] = mended.hosts
    expect(mended.subnet).toBe(state.subnet)
    expect(await ping(one?.namespacePath ?? '', two?.address ?? ''), [program, ...args].join(' ')).toBe(0)
    expect((await run('busybox', ['ping', '-c1', '-w3', one?.address ?? ''])).exitCode, args.join(' ')).toBe(0)
  }
  for (const [program = '', ...args] of damage) {
    await recorded.ensure(['one', 'two'])
    await runOk(program, args)
    await recorded.remove()
    expect(await machine(), args.join(' ')).toBe(before)
  }
})

it('gives clusters that come up at once ranges of their own, and no range to two', async () => {
  // What is left is 10.95.0.0/20, so that all look for the same range first.
  const left = ['128.0/17', '64.0/18', '32.0/19', '16.0/20'].map((rest) => `10.95.${rest}`)
  const avoid = ['10.88.0.0/14', '10.92.0.0/15', '10.94.0.0/16', ...left]
  const rival = (mark: string, subnet?: string) => {
    const options = { clusterName: `${NAME}-${mark}`, id: `${mark}${ID}`, avoid, clock: systemClock }
    return createHostsNetwork({ ...options, ...(subnet === undefined ? {} : { subnet }) })
  }
  const rivals = ['1', '2', '3'].map((mark) => rival(mark))
  try {
    const subnets = (await Promise.all(rivals.map((one) => one.ensure([])))).map(({ subnet }) => subnet)
    expect(new Set(subnets).size).toBe(3)
    const remembers = rival('4', subnets[0])
    rivals.push(remembers)
    await expect(remembers.ensure([])).rejects.toThrow(/overlaps .* end that use, or remove this cluster/)
  } finally {
    for (const one of rivals) await one.remove()
  }
})

/** What is done while nobody may make a network; others that are just at it are waited for. */
async function whileLocked(work: (waits: () => number, clock: Clock) => Promise<void>): Promise<void> {
  const { lock } = await lockFile('/run/drover-ranges.lock', { role: 'test', clock: systemClock, patienceMs: 50_000 })
  if (lock === undefined) throw new Error('others hold the lock')
  let waits = 0
  const schedule: Clock['schedule'] = (...args) => {
    waits++
    return systemClock.schedule(...args)
  }
  try {
    await work(() => waits, { ...systemClock, schedule })
  } finally {
    lock.release()
  }
}

it('is made once where two make it at the same time', async () => {
  const { subnet } = await network.ensure(['one'])
  await network.remove()
  let both: Promise<unknown>[] = []
  await whileLocked(async (waits, clock) => {
    both = [0, 1].map(() => createHostsNetwork({ ...OPTIONS, subnet, clock }).ensure(['one', 'two']))
    await eventually(() => waits() >= 2)
  })
  const [first, second] = await Promise.all(both)
  expect(second).toEqual(first)
  const { hosts, gatewayAddress } = await network.observe()
  expect(await ping(hosts[0]?.namespacePath ?? '', hosts[1]?.address ?? '')).toBe(0)
  expect(await ping(hosts[1]?.namespacePath ?? '', gatewayAddress)).toBe(0)
  await network.remove()
})

it('need not be waited for, and says who makes one where it was', async () => {
  await whileLocked(async (waits, clock) => {
    const stop = new AbortController()
    const waiting = createHostsNetwork({ ...OPTIONS, clock, signal: stop.signal }).ensure([])
    waiting.catch(() => undefined)
    await eventually(() => waits() >= 1)
    stop.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' })
    const hasty = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() * 1000 }
    await expect(createHostsNetwork({ ...OPTIONS, clock: hasty }).ensure([])).rejects.toThrow(
      new RegExp(`\\(process ${process.pid}, since 20.*\\) has been in the making for a minute`),
    )
  })
})

it('changes nothing where somebody else has its range, so that all of it is still found', async () => {
  const before = await machine()
  const { subnet, bridge, switchNamespacePath } = await network.ensure([])
  const rival = subnet.replace('/24', '/25')
  const enter = [`--net=${switchNamespacePath}`, 'ip', 'link']
  await runOk('ip', ['route', 'add', 'blackhole', rival])
  try {
    // As a crash between the namespace and its mark leaves it.
    await runOk('nsenter', [...enter, 'del', 'bridge'])
    await runOk('nsenter', [...enter, 'set', 'lo', 'alias', ''])
    const recorded = createHostsNetwork({ ...OPTIONS, subnet })
    await expect(recorded.ensure([])).rejects.toThrow(/overlaps/)
    expect(await runOk('ip', ['-4', 'addr', 'show', bridge])).toContain(subnet.replace('.0/24', '.1/24'))
    // What is just going is waited for.
    const ensuring = recorded.ensure([])
    await runOk('ip', ['route', 'del', 'blackhole', rival])
    expect((await ensuring).subnet).toBe(subnet)
  } finally {
    await run('ip', ['route', 'del', 'blackhole', rival])
  }
  await network.remove()
  expect(await machine()).toBe(before)
})

it('tells clusters with similar names apart', async () => {
  await lookalike.ensure(['one'])
  const error = await network.ensure(['b-one']).catch((thrown: unknown) => thrown)
  expect(isCode(error, 'alreadyExists')).toBe(true)
  await network.remove()
  const { hosts } = await lookalike.observe()
  expect(await ping(hosts[0]?.namespacePath ?? '', (await lookalike.observe()).gatewayAddress)).toBe(0)
  await lookalike.remove()
})
