/** SIGKILL of any one process heals without help, and what should survive it does. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Deployment } from '../../src/api/deployment.ts'
import type { Pod } from '../../src/api/pod.ts'
import { identify } from '../../src/base/process_table.ts'
import { eventually } from '../support/eventually.ts'
import { DROVER, LocalCluster, output } from '../support/local_cluster.ts'

const WAIT = { timeoutMs: 60_000, intervalMs: 100 }
const cluster = new LocalCluster()

beforeAll(() => cluster.start('--nodes', '2', '--sample'))
afterAll(() => cluster.remove())

async function pods(): Promise<Pod[]> {
  const { items } = await cluster.json<{ items: Pod[] }>('get', 'pods', '-l', 'app=hello')
  return items
}

/** Process ids by a mark in the command line. */
async function pidsOf(...marks: string[]): Promise<number[]> {
  const listing = await output('ps', ['-eo', 'pid=,args='])
  return listing
    .split('\n')
    .filter((line) => marks.every((mark) => line.includes(mark)))
    .map((line) => Number(line.trim().split(' ')[0]))
}

/** Containers' inits: children of their conmon. */
async function containerInits(): Promise<number[]> {
  const monitors = await pidsOf('conmon', cluster.name)
  const inits = monitors.flatMap((pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' '))
  return inits.filter((pid) => pid !== '').map(Number)
}

const answers = async (): Promise<boolean> => {
  const text = await output('curl', ['-sS', '--max-time', '2', `http://${cluster.hostAddress(1)}:30080/`])
  return text.includes('Hello from')
}

async function kill(pid: number): Promise<void> {
  const before = identify(pid)
  process.kill(pid, 'SIGKILL')
  await eventually(() => identify(pid)?.startTicks !== before?.startTicks, WAIT)
}

/** A change goes all the way from the API to a container. */
async function clusterWorks(replicas: number): Promise<void> {
  await eventually(
    async () => (await cluster.drover(['scale', 'deploy/hello', '--replicas', String(replicas)])).code === 0,
    WAIT,
  )
  await cluster.ask('rollout', 'status', 'deploy/hello', '--timeout', '60')
  await eventually(
    async () => (await cluster.json<Deployment>('get', 'deploy/hello')).status?.readyReplicas === replicas,
    WAIT,
  )
}

describe('after SIGKILL', () => {
  it('of an agent, its containers run on and are adopted', async () => {
    const before = await pods()
    const inits = (await containerInits()).sort()
    const agent = `agent-${cluster.name}-1`
    const old = cluster.pid(agent)
    await kill(old)
    expect(await answers()).toBe(true)
    await eventually(() => cluster.pid(agent) !== old && identify(cluster.pid(agent)) !== undefined, WAIT)
    await clusterWorks(4)
    const after = await pods()
    for (const pod of before) {
      const same = after.find((other) => other.metadata.uid === pod.metadata.uid)
      expect(same?.status?.containerStatuses?.[0]?.restartCount).toBe(0)
      expect(same?.status?.containerStatuses?.[0]?.containerID).toBe(pod.status?.containerStatuses?.[0]?.containerID)
    }
    const now = await containerInits()
    for (const pid of inits) expect(now).toContain(pid)
  })

  it('of the server, etcd is adopted, nothing is lost, and a watch goes on', async () => {
    const [etcd] = await pidsOf('etcd', `/${cluster.name}/server`, '--data-dir')
    const watch = spawn(process.execPath, [DROVER, '--cluster', cluster.name, 'get', 'deploy', 'hello', '-w'])
    let seen = ''
    watch.stdout.on('data', (chunk: Buffer) => {
      seen += chunk.toString()
    })
    try {
      await eventually(() => seen.includes('hello'), WAIT)
      await kill(cluster.pid('server'))
      expect(await answers()).toBe(true)
      await clusterWorks(3)
      await eventually(() => /hello\s+3\/3/.test(seen), WAIT)
    } finally {
      watch.kill('SIGKILL')
    }
    expect(await pidsOf('etcd', `/${cluster.name}/server`, '--data-dir')).toEqual([etcd])
  })

  it('of etcd, it is started again', async () => {
    const [etcd = 0] = await pidsOf('etcd', `/${cluster.name}/server`, '--data-dir')
    await kill(etcd)
    expect(await answers()).toBe(true)
    await clusterWorks(4)
  })

  it('of the supervisor, everything runs on, and up brings it back', async () => {
    const server = cluster.pid('server')
    await kill(cluster.pid('supervisor'))
    expect(await answers()).toBe(true)
    await cluster.start('--sample')
    expect(cluster.pid('server')).toBe(server)
    await clusterWorks(3)
  })

  it("of a container's init, it is started again at once", async () => {
    const [init = 0] = await containerInits()
    await kill(init)
    await eventually(async () => {
      const now = await pods()
      const statuses = now.map((pod) => pod.status?.containerStatuses?.[0])
      const restarted = statuses.filter((status) => (status?.restartCount ?? 0) > 0)
      return restarted.length === 1 && statuses.every((status) => status?.ready === true)
    }, WAIT)
    const killed = (await pods())
      .map((pod) => pod.status?.containerStatuses?.[0])
      .find((status) => (status?.restartCount ?? 0) > 0)
    expect(killed?.lastState?.terminated?.exitCode).toBe(137)
    await eventually(answers, WAIT)
  })
})
