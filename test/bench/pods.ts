/**
 * From sending a Deployment to its pods being ready in the API, beside a shell loop that does the same with bare runc.
 * Both sides alternate on the same machine with the same root file system, and medians are compared.
 */
import { sampleRootfs } from '../../src/local/sample_image.ts'
import { output } from '../support/local_cluster.ts'
import { BenchCluster } from './bench_cluster.ts'
import { createPlainLoop, type PlainLoop } from './plain_loop.ts'
import { type BenchResult, median, secondsOf } from './result.ts'

const LIMIT = 2
const ROUNDS: Readonly<Record<number, number>> = { 1: 9, 50: 3 }

export async function benchPods(): Promise<BenchResult[]> {
  const plain = await createPlainLoop(await sampleRootfs())
  const cluster = new BenchCluster()
  try {
    await cluster.start()
    // Neither side pays for cold caches.
    await round(cluster, plain, 1)
    const one = await rounds(cluster, plain, 1)
    const fifty = await rounds(cluster, plain, 50)
    return [result(1, one, 'Swarm 0.6-0.9 s'), result(50, fifty, 'Swarm 8.6 s')]
  } finally {
    await cluster.remove()
    await plain.remove()
  }
}

interface Times {
  cluster: number[]
  plain: number[]
  /** Two loops side by side. */
  plainTwo: number[]
}

async function rounds(cluster: BenchCluster, plain: PlainLoop, count: number): Promise<Times> {
  const times: Times = { cluster: [], plain: [], plainTwo: [] }
  for (let i = 0; i < (ROUNDS[count] ?? 1); i++) {
    const measured = await round(cluster, plain, count)
    times.cluster.push(measured.cluster)
    times.plain.push(measured.plain)
    if (measured.plainTwo !== undefined) times.plainTwo.push(measured.plainTwo)
  }
  return times
}

async function round(cluster: BenchCluster, plain: PlainLoop, count: number) {
  const plainMs = await plain.start(count)
  await plain.stop(count)
  const clusterMs = await cluster.apply('bench', count)
  await cluster.delete('bench')
  if (count < 2) return { plain: plainMs, cluster: clusterMs, plainTwo: undefined }
  const plainTwo = await plain.start(count, 2)
  await plain.stop(count)
  return { plain: plainMs, cluster: clusterMs, plainTwo }
}

function result(count: number, times: Times, swarm: string): BenchResult {
  const two = times.plainTwo.length > 0 ? `, ${secondsOf(times.plainTwo)} in two loops` : ''
  return {
    name: `apply to Ready, ${count} ${count === 1 ? 'pod' : 'pods'}, beside a plain loop`,
    ratio: median(times.cluster) / median(times.plain),
    limit: LIMIT,
    better: 'lower',
    detail: `${secondsOf(times.cluster)}, plain ${secondsOf(times.plain)}${two}; remembered, not of this run: ${swarm}`,
  }
}

/** The first child of the only conmon of the cluster. */
export async function containerInit(cluster: string): Promise<number> {
  const listing = await output('ps', ['-eo', 'pid=,ppid=,args='])
  const rows = listing.split('\n').map((line) => line.trim().split(/\s+/))
  const monitor = rows.find(([, , program, ...args]) => program?.endsWith('conmon') && args.join(' ').includes(cluster))
  const init = rows.find(([, parent]) => parent !== undefined && parent === monitor?.[0])
  if (init?.[0] === undefined) throw new Error(`no container of ${cluster} is running`)
  return Number(init[0])
}
