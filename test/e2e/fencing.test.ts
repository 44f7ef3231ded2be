/**
 * Two copies of an exclusive pod never run: append-only writers on three hosts that share a file, while hosts are cut off,
 * agents stopped and whole hosts frozen. The file's order is the order of the writes. `npm test` does one round of each;
 * DROVER_LONG=1 two hundred, DROVER_ROUNDS=N so many.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ANNOTATION } from '../../src/api/names.ts'
import { isNodeReady, type Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { eventually } from '../support/eventually.ts'
import { LocalCluster } from '../support/local_cluster.ts'

const WAIT = { timeoutMs: 90_000, intervalMs: 100 }
const ROUNDS = Number(process.env.DROVER_ROUNDS ?? (process.env.DROVER_LONG === '1' ? 200 : 3))
const WRITERS = ['deployed', 'stateful'] as const
const FAULTS = ['partition', 'stop', 'freeze'] as const
type Writer = (typeof WRITERS)[number]
type Fault = (typeof FAULTS)[number]

const cluster = new LocalCluster()
const shared = mkdtempSync(join(tmpdir(), 'drvt-fencing-'))
/** Milliseconds for which a thawed host's writer went on, by round. */
const windows: number[] = []
/** Milliseconds between the last write of one copy and the first of the next. */
const gaps: number[] = []

beforeAll(async () => {
  await cluster.start('--nodes', '3', '--sample')
  await cluster.apply(WRITERS.map(workload))
  await Promise.all(WRITERS.map((writer) => eventually(() => lines(writer).length > 0, WAIT)))
})
afterAll(async () => {
  await cluster.chaos('heal').catch(() => undefined)
  await cluster.remove()
  rmSync(shared, { recursive: true, force: true })
})

/** Twenty times a second: the machine's uptime, whatever the host, and who writes. */
function workload(name: Writer): object {
  const script = `while :; do read up rest < /proc/uptime; echo "$up $POD_UID" >> /shared/${name}; sleep 0.05; done`
  const exclusive = name === 'deployed' ? { annotations: { [ANNOTATION.exclusive]: 'true' } } : {}
  const template = {
    metadata: { labels: { app: name }, ...exclusive },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'writer',
          image: 'drover.local/hello:1',
          command: ['sh', '-c', script],
          env: [{ name: 'POD_UID', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } }],
          volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
        },
      ],
      volumes: [{ name: 'shared', hostPath: { path: shared } }],
    },
  }
  const spec = { replicas: 1, selector: { matchLabels: { app: name } }, template }
  const kind = name === 'deployed' ? { kind: 'Deployment' } : { kind: 'StatefulSet' }
  return {
    apiVersion: 'apps/v1',
    ...kind,
    metadata: { name },
    spec: { ...spec, ...(name === 'stateful' && { serviceName: name }) },
  }
}

interface Line {
  atMs: number
  uid: string
}

function lines(writer: Writer): Line[] {
  let text = ''
  try {
    text = readFileSync(join(shared, writer), 'utf8')
  } catch {
    return []
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [up = '', uid = ''] = line.split(' ')
      return { atMs: Math.round(Number(up) * 1000), uid }
    })
}

/** Who wrote when, in the order in which each wrote first. */
function copies(writer: Writer): { uid: string; times: number[] }[] {
  const found = new Map<string, number[]>()
  for (const { uid, atMs } of lines(writer)) found.set(uid, [...(found.get(uid) ?? []), atMs])
  return [...found].map(([uid, times]) => ({ uid, times }))
}

async function podOf(writer: Writer): Promise<Pod | undefined> {
  const { items } = await cluster.json<{ items: Pod[] }>('get', 'pods', '-l', `app=${writer}`)
  return items.find(({ metadata, status }) => metadata.deletionTimestamp === undefined && status?.phase === 'Running')
}

const settled = (): Promise<unknown> =>
  eventually(async () => {
    const { items } = await cluster.json<{ items: Node[] }>('get', 'nodes')
    const pods = await Promise.all(WRITERS.map(podOf))
    return items.length === 3 && items.every(isNodeReady) && pods.every((pod) => pod?.spec.nodeName !== undefined)
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

/** A host is lost, its writer replaced, and it comes back. */
async function round(fault: Fault, writer: Writer): Promise<void> {
  await settled()
  const pod = await podOf(writer)
  const host = pod?.spec.nodeName ?? ''
  const uid = pod?.metadata.uid ?? ''
  await eventually(() => lines(writer).at(-1)?.uid === uid, WAIT)
  await inject(fault, host)
  try {
    await eventually(() => lines(writer).at(-1)?.uid !== uid, WAIT)
  } finally {
    await undo(fault, host)
  }
  await settled()
  // Two copies are one too many for as long as both write: what the first wrote after the second began.
  const all = copies(writer)
  const old = all.find((copy) => copy.uid === uid)?.times ?? []
  const next = all[all.findIndex((copy) => copy.uid === uid) + 1]?.times[0] ?? Number.NaN
  const before = old.filter((atMs) => atMs < next)
  const after = old.filter((atMs) => atMs >= next)
  gaps.push(next - (before.at(-1) ?? Number.NaN))
  if (fault === 'freeze') windows.push(after.length === 0 ? 0 : (after.at(-1) ?? 0) - (after[0] ?? 0) + 50)
  else expect({ fault, writer, after }).toEqual({ fault, writer, after: [] })
}

describe('an exclusive pod', () => {
  for (let index = 0; index < ROUNDS; index++) {
    const fault = FAULTS[index % FAULTS.length] ?? 'partition'
    const writer = WRITERS[index % WRITERS.length] ?? 'deployed'
    it(`has one copy: ${fault}, ${writer}, round ${index + 1}`, () => round(fault, writer))
  }

  it('went on for no longer than a moment on a host that was thawed', () => {
    const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`
    process.stdout.write(`  gaps between copies: ${gaps.map(seconds).join(', ')}\n`)
    process.stdout.write(`  writing after a thaw: ${windows.map((ms) => `${ms} ms`).join(', ')}\n`)
    expect(Math.max(...windows)).toBeLessThan(1_000)
  })
})
