/**
 * One node: pods beside the bare loop, a killed container's way back, what an agent costs at rest with a hundred pods, and
 * pulling beside the tools that do no more than copy and unpack.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram } from '../../src/agent/runtime/handlers.ts'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { localStateDir } from '../../src/base/paths.ts'
import { readText } from '../../src/base/records.ts'
import { sampleRootfs } from '../../src/local/sample_image.ts'
import { letCrunRun } from '../support/crun.ts'
import { eventually } from '../support/eventually.ts'
import { BenchCluster, type PodChoices } from './bench_cluster.ts'
import { perls, status } from './memory.ts'
import { benchPull } from './node_pull.ts'
import { createPlainLoop, type PlainLoop } from './plain_loop.ts'
import { containerInit } from './pods.ts'
import { type BenchResult, median } from './result.ts'

const LIMIT = 1.3
const ONE_ROUNDS = 9
const MANY = 100
const MANY_ROUNDS = 5
const KILLS = 9
const RESTART_LIMIT_MS = 100
const REST_SECONDS = 20
const REST_LIMIT_PERCENT = 1
const RSS_LIMIT_MB = 90
/** Ticks of a processor in /proc/PID/stat. */
const TICKS_PER_SECOND = 100

export async function benchNode(): Promise<BenchResult[]> {
  const plain = await createPlainLoop(await sampleRootfs())
  const cluster = new BenchCluster()
  // Before the agent looks for it.
  const crun = findProgram('crun') === undefined ? undefined : await letCrunRun()
  try {
    await cluster.start('--nodes', '1')
    const withRunc = await besidePlain({ cluster, plain }, 'runc')
    const withCrun = crun === undefined ? [] : await besideCrun(cluster)
    const restarts = await restartTimes(cluster)
    const rest = await atRest(cluster)
    return [
      ...withRunc,
      ...withCrun,
      {
        name: 'exit of a killed container to its successor running (ms / ms)',
        ratio: median(restarts) / RESTART_LIMIT_MS,
        limit: 1,
        better: 'lower',
        detail: `p50 ${median(restarts).toFixed(0)} ms, best ${Math.min(...restarts).toFixed(0)}, worst ${Math.max(...restarts).toFixed(0)}`,
      },
      ...rest,
      await benchPull(),
    ]
  } finally {
    await cluster.remove()
    await plain.remove()
    await crun?.()
  }
}

/** The same with pods of the class crun, beside the loop with crun. */
async function besideCrun(cluster: BenchCluster): Promise<BenchResult[]> {
  const plain = await createPlainLoop(await sampleRootfs(), 'crun')
  try {
    return await besidePlain({ cluster, plain, choices: { runtimeClassName: 'crun' } }, 'crun')
  } finally {
    await plain.remove()
  }
}

interface Loop {
  cluster: BenchCluster
  plain: PlainLoop
  choices?: PodChoices
}

/** A pod by itself; one by way of a Deployment, which is three objects more to write and to count; and many at once. */
async function besidePlain({ cluster, plain, choices = {} }: Loop, runtime: string): Promise<BenchResult[]> {
  const plainly = async (count: number): Promise<number> => {
    const tookMs = await plain.start(count)
    await plain.stop(count)
    return tookMs
  }
  const asPod = async (): Promise<number> => {
    const tookMs = await cluster.applyPod('bench', choices)
    await cluster.deletePod('bench')
    return tookMs
  }
  const deployed = async (count: number): Promise<number> => {
    const tookMs = await cluster.apply('bench', count, choices)
    await cluster.delete('bench')
    return tookMs
  }
  // Neither side pays for cold caches.
  for (const measure of [plainly, asPod, deployed]) await measure(1)
  const [plainOne, pod, one] = await alternate([() => plainly(1), asPod, () => deployed(1)], ONE_ROUNDS)
  const [plainMany, many] = await alternate([() => plainly(MANY), () => deployed(MANY)], MANY_ROUNDS)
  const { limit: _, ...told } = besideLoop(`apply to Ready, a Deployment of 1 with ${runtime}`, one, plainOne)
  return [
    besideLoop(`apply to Ready, 1 pod on one node with ${runtime}, beside a plain loop`, pod, plainOne),
    told,
    besideLoop(`apply to Ready, ${MANY} pods on one node with ${runtime}, beside a plain loop`, many, plainMany),
  ]
}

/** What each takes, in turn. */
async function alternate(measures: readonly (() => Promise<number>)[], times: number): Promise<number[][]> {
  const all: number[][] = measures.map(() => [])
  for (let i = 0; i < times; i++) for (const [k, measure] of measures.entries()) all[k]?.push(await measure())
  return all
}

function besideLoop(name: string, own: readonly number[] = [], plain: readonly number[] = []): BenchResult {
  const said = (ms: readonly number[]) => `${median(ms).toFixed(0)} ms (best ${Math.min(...ms).toFixed(0)})`
  const detail = `${said(own)}, plain ${said(plain)}`
  return { name, ratio: median(own) / median(plain), limit: LIMIT, better: 'lower', detail }
}

/** SIGKILL until the successor has written its first line, by the time that its log gives it. */
async function restartTimes(cluster: BenchCluster): Promise<number[]> {
  const times: number[] = []
  const command = ['sh', '-c', 'echo up; trap "exit 0" TERM; sleep 1000000 & wait']
  for (let i = 0; i < KILLS; i++) {
    await cluster.apply('bench', 1, { command })
    const init = await containerInit(cluster.local.name)
    const killedAtMs = systemClock.now()
    process.kill(init, 'SIGKILL')
    const line = await eventually(() => firstLineOfSuccessor(cluster.local.name), { timeoutMs: 60_000, intervalMs: 5 })
    times.push(Date.parse(line.split(' ')[0] ?? '') - killedAtMs)
    await cluster.delete('bench')
  }
  return times
}

/** Looks at logs alone: a walk through what containers see takes more of the machine than what is measured. */
function firstLineOfSuccessor(cluster: string): string | undefined {
  const logs = join(localStateDir(cluster), 'hosts', `${cluster}-1`, 'logs')
  const pod = readdirSync(logs).find((name) => name.startsWith('default_bench-'))
  const text = pod === undefined ? '' : readText(join(logs, pod, 'main', '1.log'))
  return text?.includes(' up') ? text : undefined
}

/** Of the agent with what starts its programs: a hundred pods stand, and nobody wants anything. */
async function atRest(cluster: BenchCluster): Promise<BenchResult[]> {
  await cluster.apply('bench', MANY)
  const host = cluster.local.record().hosts[0]?.name ?? ''
  const agent = cluster.local.pid(`agent-${host}`)
  const pids = [agent, ...(await perls()).filter(([, parent]) => parent === agent).map(([pid]) => pid)]
  const ticks = () => pids.reduce((sum, pid) => sum + ticksOf(pid), 0)
  // What came with the start settles first.
  await sleep(systemClock, 5_000)
  const before = ticks()
  const startedMs = systemClock.monotonicMs()
  await sleep(systemClock, REST_SECONDS * 1000)
  const seconds = (systemClock.monotonicMs() - startedMs) / 1000
  const percent = ((ticks() - before) / TICKS_PER_SECOND / seconds) * 100
  const rssMb = pids.reduce((sum, pid) => sum + status(pid, 'VmRSS'), 0)
  await cluster.delete('bench')
  return [
    {
      name: `processor of an agent at rest with ${MANY} pods (% / %)`,
      ratio: percent / REST_LIMIT_PERCENT,
      limit: 1,
      better: 'lower',
      detail: `${percent.toFixed(2)} % of a core over ${seconds.toFixed(0)} s`,
    },
    {
      name: `memory of an agent at rest with ${MANY} pods (MB / MB)`,
      ratio: rssMb / RSS_LIMIT_MB,
      limit: 1,
      better: 'lower',
      detail: `${rssMb.toFixed(0)} MB of ${RSS_LIMIT_MB} MB resident`,
    },
  ]
}

/** Fields 14 and 15: in user and kernel mode. */
function ticksOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}
