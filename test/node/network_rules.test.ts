/** Changes applied one after the other leave the same rules in the kernel as the last state programmed at once. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createNetworkDriver } from '../../src/agent/network/driver.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { ServiceRow } from '../../src/rpc/tables.ts'
import { createNamespace, type TestNamespace } from '../support/netns.ts'
import { NODE as CONFIG, serviceAt } from '../support/network_changes.ts'
import { rulesOf } from '../support/network_state.ts'

const ID = (process.pid % 0xffff).toString(16)

const places: TestNamespace[] = []
let directory = ''

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drvt-rules-'))
  for (const name of ['steps', 'once']) {
    const place = await createNamespace(`drvt${ID}-${name}`)
    await place.exec(['ip', 'link', 'set', 'lo', 'up'])
    await place.exec(['ip', 'addr', 'add', `${CONFIG.nodeAddress}/32`, 'dev', 'lo'])
    places.push(place)
  }
})

afterAll(async () => {
  for (const place of places) await place.remove()
  await rm(directory, { recursive: true, force: true })
})

function place(index: number): TestNamespace {
  const found = places[index]
  if (found === undefined) throw new Error(`no namespace ${index}`)
  return found
}

async function makeDriver(index: number) {
  const driver = createNetworkDriver({
    dataDir: join(directory, String(index)),
    log: silentLogger,
    clock: systemClock,
    namespacePath: place(index).path,
    manageSysctls: true,
  })
  await driver.ensureNode(CONFIG)
  return driver
}

/** Rows of four names; external IPs are shared on purpose: two services may claim the same one. */
const services: fc.Arbitrary<ServiceRow[]> = fc
  .tuple(...[0, 1, 2, 3].map((index) => fc.option(serviceAt(index), { nil: undefined })))
  .map((rows) => rows.filter((row) => row !== undefined))

it('programs the same rules step by step as at once', { timeout: 60_000 }, async () => {
  const steps = await makeDriver(0)
  await fc.assert(
    fc.asyncProperty(fc.array(services, { minLength: 1, maxLength: 5 }), async (states) => {
      for (const state of states) await steps.applyServices(state)
      expect(await steps.mendDrift()).toBe(false)
      await place(1).exec(['nft', 'flush', 'ruleset'])
      const once = await makeDriver(1)
      await once.applyServices(states.at(-1) ?? [])
      expect(await rulesOf(place(0))).toEqual(await rulesOf(place(1)))
    }),
    { numRuns: 15 },
  )
  await steps.teardown()
  expect((await place(0).exec(['nft', 'list', 'ruleset'])).stdout).toBe('')
})
