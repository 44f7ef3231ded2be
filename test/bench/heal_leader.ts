/**
 * Two servers, and the one that leads is killed or frozen: how long until a pod is bound by the other. (One that is told to
 * stop hands over; in a local cluster etcd would stop with the first.)
 */
import { join } from 'node:path'
import { isNodeReady, type Node, nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { sleep, systemClock } from '../../src/base/clock.ts'
import { localKubeconfig, localStateDir } from '../../src/base/paths.ts'
import { loadKubeconfig } from '../../src/cli/kubeconfig.ts'
import { type ObjectList, RestClient, resourcePath } from '../../src/cli/rest_client.ts'
import { Chaos, type ChaosTarget } from '../../src/local/chaos.ts'
import { loadCluster } from '../../src/local/cluster.ts'
import { SAMPLE_IMAGE } from '../../src/local/sample_image.ts'
import { eventually } from '../support/eventually.ts'
import { BenchCluster, COMMAND } from './bench_cluster.ts'
import { type BenchResult, median, secondsOf } from './result.ts'

const WAIT = { timeoutMs: 120_000, intervalMs: 5 }
const ROUNDS = 5
const LIMIT_MS = 2_000
const FAULTS = ['killed', 'frozen'] as const
type Fault = (typeof FAULTS)[number]

interface Server {
  target: ChaosTarget
  client: RestClient
}

export async function benchLeader(): Promise<BenchResult[]> {
  const cluster = new BenchCluster()
  const { name } = cluster.local
  const clients: RestClient[] = []
  try {
    await cluster.start('--servers', '2')
    const record = loadCluster(name)
    if (record === undefined) throw new Error('the cluster has no record')
    const chaos = await Chaos.open(record, systemClock)
    const files = [localKubeconfig(name), join(localStateDir(name), 'servers', 'server-2', 'kubeconfig')]
    const servers = files.map((file, index): Server => {
      const client = new RestClient(loadKubeconfig({ kubeconfig: file, env: {} }), () => undefined)
      clients.push(client)
      return { client, target: chaos.target(`server-${index + 1}`) }
    })
    const results: BenchResult[] = []
    for (const fault of FAULTS) {
      const times: number[] = []
      for (let round = 0; round < ROUNDS; round++)
        times.push(await nextBind(chaos, servers, `${fault}-${round}`, fault))
      results.push({
        name: `leader ${fault} to next pod bound, beside ${LIMIT_MS / 1000} s`,
        ratio: median(times) / LIMIT_MS,
        limit: 1,
        better: 'lower',
        detail: `${secondsOf(times)}, worst ${(Math.max(...times) / 1000).toFixed(3)}`,
      })
    }
    return results
  } finally {
    for (const client of clients) client.close()
    await cluster.remove()
  }
}

async function leads({ client }: Server): Promise<boolean> {
  const answer = await client.open('GET', '/metrics')
  let text = ''
  for await (const chunk of answer) text += String(chunk)
  return /^leader_election_master_status 1$/m.test(text)
}

/** Both serve, exactly one leads, and all nodes are there. */
async function settled(servers: readonly Server[]): Promise<{ leader: Server; other: Server }> {
  return eventually(async () => {
    const [first, second] = servers
    if (first === undefined || second === undefined) throw new Error('two servers are needed')
    const leading = await Promise.all([leads(first), leads(second)])
    for (const { client } of servers) {
      const { items } = await client.call<ObjectList<Node>>('GET', resourcePath(nodeKind, undefined))
      if (!items.every(isNodeReady)) return undefined
    }
    if (leading[0] === leading[1]) return undefined
    return leading[0] ? { leader: first, other: second } : { leader: second, other: first }
  }, WAIT)
}

/** Milliseconds from the fault to a pod, made just after it, being bound to a node. */
async function nextBind(chaos: Chaos, servers: readonly Server[], name: string, fault: Fault): Promise<number> {
  const { leader, other } = await settled(servers)
  const container = { name: 'main', image: SAMPLE_IMAGE, command: COMMAND }
  const body = { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { containers: [container] } }
  const path = resourcePath(podKind, 'default', name)
  const startedMs = systemClock.monotonicMs()
  const faulty = fault === 'killed' ? chaos.kill(leader.target, false) : chaos.freeze(leader.target)
  await other.client.call('POST', resourcePath(podKind, 'default'), { body })
  await eventually(async () => (await other.client.call<Pod>('GET', path)).spec.nodeName !== undefined, WAIT)
  const boundMs = systemClock.monotonicMs() - startedMs
  await faulty
  // One that is back at once is taken for alive, and the others wait longer from then on: that is not what is measured.
  if (fault === 'frozen') await sleep(systemClock, 3_000)
  await chaos.heal(leader.target)
  await other.client.call('DELETE', path, { query: { gracePeriodSeconds: 0 } })
  return boundMs
}
