/**
 * A node's rules, routes, neighbours, forwarding entries, pods' ports and names are the same after thousands of random changes
 * as when the final state is programmed once. Compared every hundred changes; 300 here, DROVER_LONG=1 (npm run faults) ten
 * thousand, DROVER_ROUNDS=N so many; DROVER_SEED=N repeats what failed.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { failure } from '../../src/agent/dns/answer.ts'
import { Resolver } from '../../src/agent/dns/resolver.ts'
import { Responder } from '../../src/agent/dns/responder.ts'
import { RCODE, TYPE } from '../../src/agent/dns/wire.ts'
import { Zone } from '../../src/agent/dns/zone.ts'
import { createNetworkDriver } from '../../src/agent/network/driver.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { parseReply, question, show } from '../support/dns.ts'
import { eventually } from '../support/eventually.ts'
import { createNamespace, type TestNamespace } from '../support/netns.ts'
import { type Change, change, NODE, PODS, Tables } from '../support/network_changes.ts'
import { networkState } from '../support/network_state.ts'

const CHANGES = Number(process.env.DROVER_ROUNDS ?? (process.env.DROVER_LONG === '1' ? 10_000 : 300))
const COMPARED_EVERY = 100
const SEED = Number(process.env.DROVER_SEED ?? systemClock.now() % 0x7fffffff)
const ID = `2${(process.pid % 0xffff).toString(16)}`

type Driver = ReturnType<typeof createNetworkDriver>

/** A host and places for its pods. */
interface Stage {
  place: TestNamespace
  pods: Map<string, TestNamespace>
}

const stages: Stage[] = []
let directory = ''

async function makeStage(name: string): Promise<Stage> {
  const place = await createNamespace(`drvt${ID}-${name}`)
  const stage: Stage = { place, pods: new Map() }
  stages.push(stage)
  const commands = [
    'ip link set lo up',
    'ip link add under type bridge',
    'ip link set under up',
    `ip addr add ${NODE.nodeAddress}/24 dev under`,
  ]
  for (const command of commands) expect((await place.exec(command.split(' '))).exitCode, command).toBe(0)
  for (const uid of PODS) stage.pods.set(uid, await createNamespace(`drvt${ID}-${name}-${uid}`))
  return stage
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drvt-changes-'))
})

afterAll(async () => {
  for (const { place, pods } of stages) for (const each of [place, ...pods.values()]) await each.remove()
  await rm(directory, { recursive: true, force: true })
})

async function makeDriver({ place }: Stage, dataDir: string): Promise<Driver> {
  const driver = createNetworkDriver({
    dataDir,
    log: silentLogger,
    clock: systemClock,
    namespacePath: place.path,
    manageSysctls: true,
  })
  await driver.initialize()
  await driver.ensureNode(NODE)
  return driver
}

async function applyTables(driver: Driver, tables: Tables): Promise<void> {
  await driver.applyPeers([...tables.peers.values()])
  driver.notePolicies([...tables.policies.values()])
  await driver.applyPolicies()
  await driver.applyServices([...tables.services.values()])
}

function pathOf(stage: Stage, podUid: string): string {
  const place = stage.pods.get(podUid)
  if (place === undefined) throw new Error(`no place for pod ${podUid}`)
  return place.path
}

/** A name server's table, kept as the agent's driver keeps it. */
class Names {
  readonly #zone = new Zone({ config: NODE.cluster, serverAddress: '169.254.20.10' })
  readonly #responder: Responder

  constructor() {
    const outside = {
      resolve: () => ({ answer: failure(RCODE.servFail), storedMs: 0, expiresMs: 0 }),
      searchDomains: () => [],
    }
    const resolver = new Resolver({ zone: () => this.#zone, outside, nowMs: () => 0 })
    const counts = { known: 0, resolved: 0, refused: 0 }
    this.#responder = new Responder({ resolver, counts, maxReplies: 1_000, nowMs: () => 0, complete: true })
  }

  apply(tables: Tables): void {
    if (this.#zone.apply([...tables.services.values()])) this.#responder.forget()
  }

  answers(): string[] {
    return QUESTIONS.map(([name, type]) => {
      const reply = this.#responder.respond(question(name, type), 'tcp')
      if (!Buffer.isBuffer(reply)) throw new Error(`${name} was asked outside`)
      const { rcode, answers, authority } = parseReply(reply)
      return `${name} ${type}: ${rcode} ${[...answers, ...authority].map(show).sort().join(', ')}`
    })
  }
}

const QUESTIONS: [string, number][] = [
  ...[0, 1, 2, 3, 4, 5].flatMap((i): [string, number][] => {
    const service = `s${i}.${i % 2 === 0 ? 'default' : 'shop'}.svc.cluster.local`
    return [
      [service, TYPE.A],
      [service, TYPE.SRV],
      [`_http._tcp.${service}`, TYPE.SRV],
      [`_http._udp.${service}`, TYPE.SRV],
      [`db-0.${service}`, TYPE.A],
      [`10-244-2-5.${service}`, TYPE.A],
      [`${i + 1}.0.96.10.in-addr.arpa`, TYPE.PTR],
    ]
  }),
  ...['5.1', '5.2', '9.3'].map((tail): [string, number] => [`${tail}.244.10.in-addr.arpa`, TYPE.PTR]),
  ['default.svc.cluster.local', TYPE.A],
  ['shop.svc.cluster.local', TYPE.A],
  ['svc.cluster.local', TYPE.A],
]

/** The final state, programmed once, on a host that was empty; pods get the addresses that they have on the other one. */
async function programOnce(stage: Stage, tables: Tables, pods: ReadonlyMap<string, string>): Promise<Driver> {
  const dataDir = join(directory, `once-${systemClock.monotonicMs()}`)
  await mkdir(dataDir)
  const addresses = { podCidr: NODE.podCidr, next: 255, held: {}, freed: [...pods.values()] }
  await writeFile(join(dataDir, 'addresses.json'), JSON.stringify(addresses))
  const driver = await makeDriver(stage, dataDir)
  for (const [uid, address] of pods) {
    expect((await driver.ensurePod(uid, pathOf(stage, uid))).address).toBe(address)
  }
  await applyTables(driver, tables)
  return driver
}

it(`is the same after ${CHANGES} changes as programmed once (DROVER_SEED=${SEED})`, {
  timeout: 30_000 + CHANGES * 500,
}, async () => {
  const [long, short] = [await makeStage('steps'), await makeStage('once')]
  const dataDir = join(directory, 'steps')
  const tables = new Tables()
  const names = new Names()
  const pods = new Map<string, string>()
  let driver = await makeDriver(long, dataDir)

  const perform = async (given: Change): Promise<void> => {
    tables.apply(given)
    if (given.type === 'service' || given.type === 'serviceGone') {
      names.apply(tables)
      await driver.applyServices([...tables.services.values()])
    } else if (given.type === 'peer' || given.type === 'peerGone') {
      await driver.applyPeers([...tables.peers.values()])
    } else if (given.type === 'policy' || given.type === 'policyGone') {
      driver.notePolicies([...tables.policies.values()])
      await driver.applyPolicies()
    } else if (given.type === 'pod') {
      pods.set(given.podUid, (await driver.ensurePod(given.podUid, pathOf(long, given.podUid))).address)
    } else if (given.type === 'podGone') {
      await driver.removePod(given.podUid)
      pods.delete(given.podUid)
    } else if (given.type === 'damage') {
      await long.place.exec(given.command)
      await driver.mendDrift()
    } else {
      driver = await makeDriver(long, dataDir)
      await applyTables(driver, tables)
    }
  }

  await applyTables(driver, tables)
  const changes = fc.sample(change, { numRuns: CHANGES, seed: SEED })
  for (const [i, given] of changes.entries()) {
    await perform(given)
    if ((i + 1) % COMPARED_EVERY !== 0 && i + 1 !== changes.length) continue
    const told = `after change ${i + 1}`
    expect(await driver.mendDrift(), told).toBe(false)
    const once = await programOnce(short, tables, pods)
    // Whether a bridge without ports is up the kernel says up to a second later (net/core/link_watch.c), and its routes with it.
    await eventually(async () => expect(await networkState(long.place), told).toEqual(await networkState(short.place)))
    const fresh = new Names()
    fresh.apply(tables)
    expect(names.answers(), told).toEqual(fresh.answers())
    await once.teardown()
  }
  await driver.teardown()
  expect((await long.place.exec(['nft', 'list', 'ruleset'])).stdout).toBe('')
})
