/**
 * Drift among thousands of services: a look costs little while nobody else writes rules, and finds at once what somebody did. 2,000
 * services here, DROVER_LONG=1 ten thousand.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { ServiceRow } from '../../src/rpc/tables.ts'
import { NetworkHosts } from '../support/network_hosts.ts'

const SERVICES = process.env.DROVER_LONG === '1' ? 10_000 : 2_000
const LOOKS = 5
const hosts = new NetworkHosts('5')
let aheadMs = 0
const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs }

const addressAt = (index: number): string => `10.96.${(index >> 8) + 1}.${index & 255}`
const middle = addressAt(SERVICES >> 1)

beforeAll(async () => {
  await hosts.open(['one'], { clock })
  await hosts.addPod('a', 0)
  const first = hosts.service({}, ['a'])
  const rows: ServiceRow[] = Array.from({ length: SERVICES }, (_, i) => ({
    ...first,
    name: `s${i}`,
    clusterIP: addressAt(i),
    ports: first.ports.slice(0, 1),
  }))
  await hosts.applyServices(...rows)
})

afterAll(() => hosts.close())

const host = () => hosts.host(0)
const answers = () => hosts.answer(hosts.pod('a').namespace, middle, 80)

async function must(...args: string[]): Promise<void> {
  const { exitCode, stderr } = await host().namespace.exec(args)
  expect(exitCode, `${args.join(' ')}: ${stderr}`).toBe(0)
}

async function timed(work: () => Promise<boolean>, expected: boolean): Promise<number> {
  const startMs = systemClock.monotonicMs()
  expect(await work()).toBe(expected)
  return systemClock.monotonicMs() - startMs
}

/** Somebody else's rules, which are no concern of ours. */
const elsewhere = (action: 'add' | 'delete') => must('nft', action, 'table', 'ip', 'drvt-other')

describe(`among ${SERVICES} services`, () => {
  it('reads the rules only when somebody else has written some', async () => {
    const look = () => host().driver.mendDrift()
    const idle: number[] = []
    for (let i = 0; i < LOOKS; i++) idle.push(await timed(look, false))
    await elsewhere('add')
    const whole = await timed(look, false)
    await elsewhere('delete')
    await look()
    // Writes of our own are no reason to read.
    await host().driver.applyPolicies()
    await hosts.addPod('b', 0)
    idle.push(await timed(look, false))
    expect(Math.max(...idle.sort((a, b) => a - b).slice(0, LOOKS - 1))).toBeLessThan(whole / 2)
  })

  it('mends at the next look what somebody did, again and again', async () => {
    const damage = [
      ['nft', 'delete', 'element', 'ip', 'drover', 'services', `{ ${middle} . tcp . 80 }`],
      ['nft', 'flush', 'map', 'ip', 'drover', 'services'],
      ['nft', 'flush', 'ruleset'],
      ['nft', 'flush', 'chain', 'ip', 'drover', 'dispatch'],
      ['nft', 'flush', 'set', 'bridge', 'drover', 'pods'],
    ]
    expect(await answers()).toBe('a')
    for (const command of damage) {
      await must(...command)
      expect(await host().driver.mendDrift(), command.join(' ')).toBe(true)
      expect(await answers(), command.join(' ')).toBe('a')
    }
    expect(await host().driver.mendDrift()).toBe(false)
  })

  it('rests between looks that find nothing where others write all the time', async () => {
    for (let i = 0; i < 4; i++) {
      await elsewhere(i % 2 === 0 ? 'add' : 'delete')
      expect(await host().driver.mendDrift()).toBe(false)
    }
    await must('nft', 'flush', 'map', 'ip', 'drover', 'services')
    expect(await host().driver.mendDrift()).toBe(false)
    aheadMs += 600_000
    expect(await host().driver.mendDrift()).toBe(true)
    expect(await answers()).toBe('a')
  })
})
