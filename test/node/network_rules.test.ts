/** Changes applied one after the other leave the same rules in the kernel as the last state programmed at once. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createNetworkDriver } from '../../src/agent/network/driver.ts'
import { systemClock } from '../../src/base/clock.ts'
import { isObject } from '../../src/base/json.ts'
import { silentLogger } from '../../src/base/log.ts'
import type { ServicePortRow, ServiceRow } from '../../src/rpc/tables.ts'
import { createNamespace, type TestNamespace } from '../support/netns.ts'

const ID = (process.pid % 0xffff).toString(16)
const CONFIG = {
  cluster: {
    clusterName: 'drvt',
    clusterCidr: '10.244.0.0/16',
    serviceCidr: '10.96.0.0/16',
    nodePortRange: { from: 30000, to: 32767 },
    clusterDomain: 'cluster.local',
  },
  nodeName: 'one',
  nodeAddress: '192.0.2.1',
  podCidr: '10.244.1.0/24',
}

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
    enter: ['nsenter', `--net=${place(index).path}`],
    manageSysctls: true,
  })
  await driver.ensureNode(CONFIG)
  return driver
}

/** The table without handles, in an order that does not depend on history. */
async function rules(index: number): Promise<string[]> {
  const { stdout } = await place(index).exec(['nft', '-j', 'list', 'table', 'ip', 'drover'])
  const listing: unknown = JSON.parse(stdout)
  const items = isObject(listing) && Array.isArray(listing.nftables) ? listing.nftables.filter(isObject) : []
  const perChain = new Map<string, number>()
  const lines = items.flatMap((item) => {
    const [kind = '', value] = Object.entries(item)[0] ?? []
    if (kind === 'metainfo' || !isObject(value)) return []
    const { handle: _, ...rest } = value
    // Order of rules within their chain counts; order of chains, sets and elements is the kernel's.
    const position = kind === 'rule' ? (perChain.get(String(rest.chain)) ?? 0) : 0
    if (kind === 'rule') perChain.set(String(rest.chain), position + 1)
    if (Array.isArray(rest.elem)) rest.elem = rest.elem.map((element) => JSON.stringify(element)).sort()
    return [JSON.stringify([kind, position, rest])]
  })
  return lines.sort()
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

/** Rows of four names; external IPs are shared on purpose: two services may claim the same one. */
const services: fc.Arbitrary<ServiceRow[]> = fc
  .tuple(
    ...[0, 1, 2, 3].map((index) =>
      fc.option(
        fc.record({
          namespace: fc.constant('default'),
          name: fc.constant(`s${index}`),
          clusterIP: fc.constantFrom(`10.96.0.${index + 1}`, '', 'None'),
          externalIPs: fc.subarray(['198.51.100.1', '198.51.100.2']),
          sessionAffinitySeconds: fc.constantFrom(0, 0, 60, 120),
          externalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
          internalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const),
          ports: portsOf(index),
        }),
        { nil: undefined },
      ),
    ),
  )
  .map((rows) => rows.filter((row) => row !== undefined))

it('programs the same rules step by step as at once', { timeout: 60_000 }, async () => {
  const steps = await makeDriver(0)
  await fc.assert(
    fc.asyncProperty(fc.array(services, { minLength: 1, maxLength: 5 }), async (states) => {
      for (const state of states) await steps.applyServices(state)
      expect(await steps.mendDrift()).toBe(false)
      const once = await makeDriver(1)
      await place(1).exec(['nft', 'flush', 'ruleset'])
      await once.applyServices(states.at(-1) ?? [])
      expect(await rules(0)).toEqual(await rules(1))
    }),
    { numRuns: 15 },
  )
  await steps.teardown()
  expect((await place(0).exec(['nft', 'list', 'ruleset'])).stdout).toBe('')
})
