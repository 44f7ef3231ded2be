/**
 * How long until all is well again: a killed container, a frozen host, a leader that is killed or frozen, and a
 * rollout. Each beside its limit or beside what of it cannot be avoided, measured in the same run.
 */
import { get } from 'node:http'
import { isPodReady } from '../../src/api/conditions.ts'
import { type Deployment, deploymentKind } from '../../src/api/deployment.ts'
import { isNodeReady, type Node, nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { serviceKind } from '../../src/api/service.ts'
import { systemClock } from '../../src/base/clock.ts'
import { type ObjectList, resourcePath } from '../../src/cli/rest_client.ts'
import { Chaos } from '../../src/local/chaos.ts'
import { loadCluster } from '../../src/local/cluster.ts'
import { SAMPLE_IMAGE, sampleRootfs } from '../../src/local/sample_image.ts'
import { eventually } from '../support/eventually.ts'
import { BenchCluster, COMMAND } from './bench_cluster.ts'
import { benchLeader } from './heal_leader.ts'
import { createPlainLoop, type PlainLoop } from './plain_loop.ts'
import { containerInit } from './pods.ts'
import { type BenchResult, median, secondsOf } from './result.ts'

const NAMESPACE = 'default'
const NODE_PORT = 30_190
const WAIT = { timeoutMs: 120_000, intervalMs: 10 }
const KILLS = 5
const FREEZES = 3
const FROZEN_LIMIT_MS = 5_000
const SERVER = ['httpd', '-f', '-p', '8080', '-h', '/etc']
const ROLLOUT = { replicas: 50, atOnce: 10, rounds: 2 }

export async function benchHeal(): Promise<BenchResult[]> {
  const plain = await createPlainLoop(await sampleRootfs())
  const cluster = new BenchCluster()
  const results: BenchResult[] = []
  try {
    await cluster.start()
    await cluster.client.call('POST', resourcePath(serviceKind, NAMESPACE), { body: service() })
    results.push(await killedContainer(cluster, plain))
    results.push(await frozenHost(cluster))
    results.push(await rollout(cluster))
  } finally {
    await cluster.remove()
    await plain.remove()
  }
  return [...results, ...(await benchLeader())]
}

const service = (): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'heal' },
  spec: { type: 'NodePort', selector: { app: 'heal' }, ports: [{ port: 80, targetPort: 8080, nodePort: NODE_PORT }] },
})

function deployment(replicas: number, command: readonly string[]): object {
  const labels = { app: 'heal' }
  const container = { name: 'main', image: SAMPLE_IMAGE, command }
  const strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: ROLLOUT.atOnce, maxUnavailable: 0 } }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'heal' },
    spec: {
      replicas,
      strategy,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [container] } },
    },
  }
}

const path = (): string => resourcePath(deploymentKind, NAMESPACE, 'heal')

async function create(cluster: BenchCluster, replicas: number, command: readonly string[]): Promise<void> {
  await cluster.client.call('POST', resourcePath(deploymentKind, NAMESPACE), { body: deployment(replicas, command) })
  await settled(cluster, replicas)
}

/** Until as many serve, all of the newest template, and no node misses one of them. */
function settled(cluster: BenchCluster, replicas: number): Promise<unknown> {
  return eventually(async () => {
    const { metadata, status } = await cluster.client.call<Deployment>('GET', path())
    return (
      (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0) &&
      (status?.availableReplicas ?? 0) === replicas &&
      (status?.updatedReplicas ?? 0) === replicas &&
      (status?.replicas ?? 0) === replicas
    )
  }, WAIT)
}

function answers(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = get(`http://${host}:${NODE_PORT}/passwd`, { agent: false, timeout: 500 }, (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode === 200))
      response.on('error', () => resolve(false))
    })
    asked.on('timeout', () => asked.destroy())
    asked.on('error', () => resolve(false))
  })
}

async function killedContainer(cluster: BenchCluster, plain: PlainLoop): Promise<BenchResult> {
  const times: number[] = []
  const plainTimes: number[] = []
  const host = cluster.local.hostAddress(1)
  for (let i = 0; i < KILLS; i++) {
    plainTimes.push(await plain.start(1))
    await plain.stop(1)
    // A container that fails again and again waits longer each time: a new pod for each kill.
    await create(cluster, 1, SERVER)
    await eventually(() => answers(host), WAIT)
    const init = await containerInit(cluster.local.name)
    const startedMs = systemClock.monotonicMs()
    process.kill(init, 'SIGKILL')
    await eventually(async () => {
      const status = (await cluster.pods()).items[0]?.status?.containerStatuses?.[0]
      return status?.restartCount === 1 && status.ready === true && (await answers(host))
    }, WAIT)
    times.push(systemClock.monotonicMs() - startedMs)
    await cluster.delete('heal')
  }
  return {
    name: 'killed container serving again, beside a plain start',
    ratio: median(times) / median(plainTimes),
    limit: 3,
    better: 'lower',
    detail: `${secondsOf(times)}, plain ${secondsOf(plainTimes)}; remembered, not of this run: Swarm 5.7 s`,
  }
}

async function frozenHost(cluster: BenchCluster): Promise<BenchResult> {
  const record = loadCluster(cluster.local.name)
  if (record === undefined) throw new Error('the cluster has no record')
  const chaos = await Chaos.open(record, systemClock)
  const times: number[] = []
  await create(cluster, 3, SERVER)
  for (let i = 0; i < FREEZES; i++) {
    const running = (await cluster.pods()).items
    const frozen = running[0]?.spec.nodeName ?? ''
    const other = record.hosts.findIndex(({ name }) => name !== frozen) + 1
    const target = { type: 'host', host: chaos.host(frozen) } as const
    const startedMs = systemClock.monotonicMs()
    await chaos.freeze(target)
    try {
      await eventually(async () => {
        const { items } = await cluster.pods()
        if (!replaced(items, frozen)) return false
        // Each time another endpoint may be asked; none of them may be the frozen one.
        for (let turn = 0; turn < 9; turn++) if (!(await answers(cluster.local.hostAddress(other)))) return false
        return true
      }, WAIT)
      times.push(systemClock.monotonicMs() - startedMs)
    } finally {
      chaos.thaw(target)
    }
    await eventually(async () => {
      const { items } = await cluster.client.call<ObjectList<Node>>('GET', resourcePath(nodeKind, undefined))
      return items.every(isNodeReady) && (await cluster.pods()).items.length === 3
    }, WAIT)
  }
  await cluster.delete('heal')
  return {
    name: `frozen host to replacements serving, beside ${FROZEN_LIMIT_MS / 1000} s`,
    ratio: median(times) / FROZEN_LIMIT_MS,
    limit: 1,
    better: 'lower',
    detail: `${secondsOf(times)}, worst ${(Math.max(...times) / 1000).toFixed(3)}, of which up to 4 s are the wait for heartbeats`,
  }
}

function replaced(pods: readonly Pod[], frozen: string): boolean {
  const good = pods.filter((pod) => isPodReady(pod) && pod.spec.nodeName !== frozen)
  return good.length === 3 && pods.length === 3
}

/**
 * Each batch of a rollout has to start its pods until all nodes route to them, and to end as many: both measured alone,
 * as often as there are batches, are what cannot be avoided.
 */
async function rollout(cluster: BenchCluster): Promise<BenchResult> {
  const { replicas, atOnce, rounds } = ROLLOUT
  const starts: number[] = []
  const stops: number[] = []
  for (let i = 0; i < rounds; i++) {
    let startedMs = systemClock.monotonicMs()
    await create(cluster, atOnce, COMMAND)
    starts.push(systemClock.monotonicMs() - startedMs)
    startedMs = systemClock.monotonicMs()
    await cluster.delete('heal')
    stops.push(systemClock.monotonicMs() - startedMs)
  }
  await create(cluster, replicas, COMMAND)
  const times: number[] = []
  for (let i = 0; i < rounds; i++) {
    const startedMs = systemClock.monotonicMs()
    const body = { spec: { template: { metadata: { annotations: { round: String(i) } } } } }
    await cluster.client.call('PATCH', path(), { body, contentType: 'application/merge-patch+json' })
    await settled(cluster, replicas)
    times.push(systemClock.monotonicMs() - startedMs)
  }
  await cluster.delete('heal')
  const unavoidable = (replicas / atOnce) * (median(starts) + median(stops))
  return {
    name: `rollout of ${replicas} pods, ${atOnce} at a time, start first, beside its parts`,
    ratio: median(times) / unavoidable,
    limit: 1.5,
    better: 'lower',
    detail:
      `${secondsOf(times)}; ${replicas / atOnce} times ${atOnce} pods started and routed to in ${secondsOf(starts)}, ` +
      `ended in ${secondsOf(stops)}; remembered, not of this run: Swarm 16.4 s`,
  }
}
