/**
 * One run: a cluster starts, users and faults work on it for a while, all heals, and everything must come to rest as it
 * was asked for. Each action draws from randomness of its own number, so that leaving some out changes no other: that
 * is how a failing run is made short.
 */
import { cacheDifferences, lostIntents, whatIsOpen } from './convergence.ts'
import { Faults } from './faults.ts'
import { between, pick, randomOf } from './latency.ts'
import { Users } from './users.ts'
import { type Seams, type Violation, World, type WorldSettings } from './world.ts'

export interface RunOptions {
  seed: number
  seams?: Seams
  /** Actions left out, by number. */
  skip?: ReadonlySet<number>
  /** Every line of the trace as it comes. */
  print?: (line: string) => void
}

export interface RunResult {
  seed: number
  violation: Violation | undefined
  /** The last of what happened. */
  tail: string[]
  hash: string
  simulatedMs: number
  steps: number
  actions: number
  faults: Record<string, number>
  operations: Record<string, number>
}

const START_MS = 8_000
/** Longer than any back-off that the faults of a run can have built up. */
const CONVERGE_MS = 600_000
const LOOK_MS = 500
const SETTLE_MS = 10_000
const QUIET_MS = 30_000

function settingsOf(seed: number): { settings: WorldSettings; actions: number } {
  const random = randomOf(seed, 'settings')
  const settings = {
    servers: between(random, 1, 3),
    hosts: between(random, 2, 5),
    storeLatencyMs: pick(random, [2, 10, 60]) ?? 10,
    networkLatencyMs: pick(random, [2, 20, 200]) ?? 20,
  }
  return { settings, actions: between(random, 20, 70) }
}

export async function runSeed({ seed, seams, skip = new Set(), print }: RunOptions): Promise<RunResult> {
  const { settings, actions } = settingsOf(seed)
  const world = new World({ seed, settings, seams: seams ?? {}, print })
  const users = new Users(world)
  const faults = new Faults(world)
  world.trace.add(`seed ${seed}: ${JSON.stringify(settings)}, ${actions} actions`)
  world.start()
  await world.runUntil(START_MS)
  for (let number = 0; number < actions && world.violation === undefined; number++) {
    const random = randomOf(seed, `action ${number}`)
    const pauseMs = random.next() ** 3 * 8_000
    await world.runUntil(world.time.nowMs + pauseMs)
    if (skip.has(number)) continue
    if (random.next() < 0.5 || number < 4) users.act(random)
    else faults.strike(random)
  }
  faults.healAll()
  await world.runUntil(world.time.nowMs + 20_000)
  users.makeAllPossible(settings.hosts - faults.lost.size)
  await converge(world, users, faults)
  world.time.assertNoRealWork()
  return {
    seed,
    violation: world.violation,
    tail: world.trace.tail(),
    hash: world.trace.hash,
    simulatedMs: world.time.nowMs,
    steps: world.time.steps,
    actions,
    faults: faults.counts,
    operations: users.counts,
  }
}

async function converge(world: World, users: Users, faults: Faults): Promise<void> {
  const untilMs = world.time.nowMs + CONVERGE_MS
  let open = ['nothing was looked at']
  while (world.violation === undefined && world.time.nowMs < untilMs) {
    await world.runUntil(world.time.nowMs + LOOK_MS)
    open = whatIsOpen(world, faults.lost)
    if (open.length === 0) break
  }
  if (open.length > 0) world.fail('converges', `${CONVERGE_MS / 1000} s after healing: ${open.slice(0, 5).join('; ')}`)
  await world.runUntil(world.time.nowMs + SETTLE_MS)
  const changes = world.watcher.changes
  await world.runUntil(world.time.nowMs + QUIET_MS)
  if (world.watcher.changes !== changes) {
    world.fail('comes to rest', `${world.watcher.changes - changes} writes while nothing was to be done`)
  }
  const wrong = [...whatIsOpen(world, faults.lost), ...cacheDifferences(world), ...lostIntents(world, users)]
  if (wrong.length > 0) world.fail('is as was asked for', wrong.slice(0, 5).join('; '))
}
