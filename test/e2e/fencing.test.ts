/**
 * Two copies of an exclusive pod never run: append-only writers that share files of the machine, while hosts are cut off,
 * agents stopped and whole hosts frozen, three at a time of seven, so that most nodes always live. `npm test` does one
 * round of each; DROVER_LONG=1 two hundred, DROVER_ROUNDS=N so many.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isNodeReady, type Node } from '../../src/api/node.ts'
import { eventually } from '../support/eventually.ts'
import { LocalCluster } from '../support/local_cluster.ts'
import { Writer } from '../support/writers.ts'

const WAIT = { timeoutMs: 120_000, intervalMs: 100 }
const FAULTS = ['partition', 'stop', 'freeze'] as const
type Fault = (typeof FAULTS)[number]
const ROUNDS = Number(process.env.DROVER_ROUNDS ?? (process.env.DROVER_LONG === '1' ? 200 : FAULTS.length))
const WAVES = Math.ceil(ROUNDS / FAULTS.length)
const HOSTS = 7

const cluster = new LocalCluster()
const shared = Writer.directory()
const writers = [
  new Writer(shared.path, 'first'),
  new Writer(shared.path, 'second'),
  new Writer(shared.path, 'deployed', 'Deployment'),
]
/** Milliseconds for which a thawed host's writer went on, by round. */
const windows: number[] = []
/** Milliseconds between the last write of one copy and the first of the next. */
const gaps: number[] = []

beforeAll(async () => {
  await cluster.start('--nodes', String(HOSTS), '--sample')
  await cluster.apply(writers.map((writer) => writer.workload()))
  await Promise.all(writers.map((writer) => eventually(() => writer.last() !== undefined, WAIT)))
})
afterAll(async () => {
  await cluster.chaos('heal').catch(() => undefined)
  await cluster.remove()
  shared.remove()
})

const settled = (): Promise<unknown> =>
  eventually(async () => {
    const { items } = await cluster.json<{ items: Node[] }>('get', 'nodes')
    const pods = await Promise.all(writers.map((writer) => writer.pod(cluster)))
    return items.length === HOSTS && items.every(isNodeReady) && pods.every((pod) => pod?.spec.nodeName !== undefined)
  }, WAIT)

async function inject(fault: Fault, host: string): Promise<void> {
  if (fault === 'stop') process.kill(cluster.pid(`agent-${host}`), 'SIGSTOP')
  else await cluster.chaos(fault, host)
}

async function undo(fault: Fault, host: string): Promise<void> {
  if (fault === 'stop') process.kill(cluster.pid(`agent-${host}`), 'SIGCONT')
  else if (fault === 'freeze') await cluster.chaos('thaw', host)
  else await cluster.chaos('heal', host)
}

interface Round {
  fault: Fault
  writer: Writer
  host: string
  uid: string
  fromBytes: number
}

async function prepare(fault: Fault, writer: Writer): Promise<Round> {
  const pod = await writer.pod(cluster)
  const uid = pod?.metadata.uid ?? ''
  await eventually(() => writer.last()?.uid === uid, WAIT)
  return { fault, writer, host: pod?.spec.nodeName ?? '', uid, fromBytes: writer.bytes }
}

/** Each writer's host is lost in its own way, the writer replaced, and the host comes back. */
async function wave(index: number): Promise<void> {
  await settled()
  const rounds = await Promise.all(
    writers.map((writer, at) => prepare(FAULTS[(index + at) % FAULTS.length] as Fault, writer)),
  )
  expect(new Set(rounds.map(({ host }) => host)).size).toBe(rounds.length)
  try {
    await Promise.all(
      rounds.map(async ({ fault, host, writer, uid }) => {
        await inject(fault, host)
        await eventually(() => writer.last()?.uid !== uid, WAIT)
      }),
    )
  } finally {
    await Promise.all(rounds.map(({ fault, host }) => undo(fault, host)))
  }
  await settled()
  for (const round of rounds) judge(round)
}

/** Two copies are one too many for as long as both write: what the first wrote after the second began. */
function judge({ fault, writer, uid, fromBytes }: Round): void {
  const all = writer.copiesSince(fromBytes)
  const old = all.find((copy) => copy.uid === uid)?.times ?? []
  const next = all[all.findIndex((copy) => copy.uid === uid) + 1]?.times[0] ?? Number.NaN
  const before = old.filter((atMs) => atMs < next)
  const after = old.filter((atMs) => atMs >= next)
  expect(before.length).toBeGreaterThan(0)
  gaps.push(next - (before.at(-1) ?? Number.NaN))
  if (fault === 'freeze') windows.push(after.length === 0 ? 0 : (after.at(-1) ?? 0) - (after[0] ?? 0) + 50)
  else expect({ fault, writer: writer.name, after }).toEqual({ fault, writer: writer.name, after: [] })
}

const spread = (values: readonly number[]): string => {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (part: number): string =>
    ((sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN) / 1000).toFixed(2)
  return `${values.length} rounds: least ${at(0)} s, median ${at(0.5)} s, most ${at(1)} s`
}

describe('an exclusive pod', () => {
  for (let index = 0; index < WAVES; index++) {
    it(`has one copy: wave ${index + 1} of ${WAVES}, one host each by ${FAULTS.join(', ')}`, () => wave(index), 300_000)
  }

  it('went on for no longer than a moment on a host that was thawed', () => {
    process.stdout.write(`  gaps between copies, ${spread(gaps)}\n`)
    process.stdout.write(`  writing after a thaw, ${spread(windows)}\n`)
    expect(gaps).toHaveLength(WAVES * FAULTS.length)
    // The containers are thawed first and the fencer last: on a busy machine most of it is the time between them.
    expect(Math.max(...windows)).toBeLessThan(5_000)
  })
})
