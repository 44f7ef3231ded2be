/**
 * Nothing is lost: rollouts, scale-downs, deletions and nodes that leave, under load on three hosts, with zero failed requests. A few
 * rounds here; DROVER_LONG=1 (npm run faults) does a hundred.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Deployment } from '../../src/api/deployment.ts'
import { isNodeReady, type Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { eventually } from '../support/eventually.ts'
import { keepAliveServer } from '../support/http_server.ts'
import { failuresOf, Load, type LoadStream } from '../support/load.ts'
import { LocalCluster } from '../support/local_cluster.ts'

const LONG = process.env.DROVER_LONG === '1'
const ROUNDS = Number(process.env.DROVER_ROUNDS ?? (LONG ? 100 : 1))
const IMAGE = 'drover.local/hello:1'
const WAIT = { timeoutMs: 60_000, intervalMs: 100 }
const PLAIN_PORT = 30_181
const ALIVE_PORT = 30_182
const cluster = new LocalCluster()

function served(name: string, nodePort: number, podSpec: object): object[] {
  const labels = { app: name }
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name },
      spec: { replicas: 3, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: podSpec } },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name },
      spec: { type: 'NodePort', selector: labels, ports: [{ port: 80, targetPort: 8080, nodePort }] },
    },
  ]
}

/** busybox's httpd as process 1: it does not hear SIGTERM, and is killed when its grace is over. */
const PLAIN = {
  terminationGracePeriodSeconds: 2,
  containers: [
    {
      name: 'main',
      image: IMAGE,
      command: ['httpd', '-f', '-p', '8080', '-h', '/etc'],
      readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
    },
  ],
}

const names = ['plain', 'alive']

async function settled(name: string, replicas = 3): Promise<void> {
  await cluster.ask('rollout', 'status', `deploy/${name}`, '--timeout', '60')
  await eventually(async () => {
    const { status } = await cluster.json<Deployment>('get', `deploy/${name}`)
    return status?.availableReplicas === replicas && status.replicas === replicas
  }, WAIT)
}

const both = (act: (name: string) => Promise<unknown>): Promise<unknown> => Promise.all(names.map(act))

const isStaying = ({ metadata }: Pod): boolean => metadata.deletionTimestamp === undefined

async function pods(app: string): Promise<Pod[]> {
  const { items } = await cluster.json<{ items: Pod[] }>('get', 'pods', '-l', `app=${app}`)
  return items.filter(isStaying)
}

function streams(hosts: readonly number[]): LoadStream[] {
  const urls = (port: number, path: string): string[] =>
    hosts.map((host) => `http://${cluster.hostAddress(host)}:${port}${path}`)
  const timeoutMs = 15_000
  return [
    { name: 'fresh', urls: urls(PLAIN_PORT, '/passwd'), workers: 3, keepAlive: false, thinkMs: 5, timeoutMs },
    { name: 'kept', urls: urls(ALIVE_PORT, '/'), workers: 3, keepAlive: true, thinkMs: 20, timeoutMs },
    { name: 'long', urls: urls(ALIVE_PORT, '/?ms=1000'), workers: 4, keepAlive: false, thinkMs: 0, timeoutMs },
  ]
}

/** Runs the changes under load, which enters through the hosts; fails with what was lost. */
async function underLoad(changes: () => Promise<void>, hosts: readonly number[] = [1, 2, 3]): Promise<void> {
  const load = await Load.start(streams(hosts))
  const problems: string[] = []
  try {
    await changes()
    // Those that end do so under load too.
    await eventually(async () => (await cluster.json<{ items: Pod[] }>('get', 'pods')).items.every(isStaying), WAIT)
  } catch (error) {
    problems.push(String(error))
  }
  const reports = await load.stop()
  for (const { name, ok, connections, slowestMs } of reports) {
    console.info(`${name}: ${ok} answers over ${connections} connections, slowest ${slowestMs} ms`)
  }
  expect([...problems, ...failuresOf(reports)]).toEqual([])
  for (const { ok } of reports) expect(ok).toBeGreaterThan(3)
}

beforeAll(async () => {
  await cluster.start('--sample')
  const { container, volumes } = await keepAliveServer(IMAGE)
  const alive = { terminationGracePeriodSeconds: 4, containers: [container], volumes }
  await cluster.apply([...served('plain', PLAIN_PORT, PLAIN), ...served('alive', ALIVE_PORT, alive)])
  await both((name) => settled(name))
})

afterAll(() => cluster.remove())

describe(`no request is lost (${ROUNDS} rounds each)`, () => {
  it(
    'in consecutive rollouts',
    async () => {
      await underLoad(async () => {
        for (let round = 0; round < ROUNDS + 1; round++) {
          await both((name) => cluster.ask('rollout', 'restart', `deploy/${name}`))
          await both((name) => settled(name))
        }
      })
    },
    LONG ? 3_600_000 : 180_000,
  )

  it('in a rollout that fails and goes back', async () => {
    const patch = (command: string[], rollback: string | null): Promise<string> => {
      const containers = PLAIN.containers.map((container) => ({ ...container, command }))
      const body = {
        metadata: { annotations: { 'drover.dev/auto-rollback': rollback } },
        spec: { progressDeadlineSeconds: rollback === null ? 600 : 2, template: { spec: { containers } } },
      }
      return cluster.kubectl('patch', 'deploy/plain', '--type=merge', '-p', JSON.stringify(body))
    }
    const command = PLAIN.containers.flatMap((container) => container.command)
    await underLoad(async () => {
      await patch(['sleep', '600'], 'true')
      const status = await cluster.drover(['rollout', 'status', 'deploy/plain', '--timeout', '60'])
      expect(status).toMatchObject({ code: 1, stderr: expect.stringContaining('was rolled back: Revision') })
      await eventually(async () => {
        const now = await pods('plain')
        return now.length === 3 && now.every(({ spec }) => spec.containers[0]?.command?.[0] === command[0])
      }, WAIT)
      await patch(command, null)
      await settled('plain')
    })
  })

  it(
    'when scaled down and up',
    async () => {
      await underLoad(async () => {
        for (let round = 0; round < ROUNDS; round++) {
          for (const replicas of [1, 3]) {
            await both((name) => cluster.ask('scale', `deploy/${name}`, '--replicas', String(replicas)))
            await both((name) => settled(name, replicas))
          }
        }
      })
    },
    LONG ? 3_600_000 : 180_000,
  )

  it(
    'when the only pod of a service is deleted, and its node is drained by drover and by kubectl',
    async () => {
      await both((name) => cluster.ask('scale', `deploy/${name}`, '--replicas', '1'))
      await both((name) => settled(name, 1))
      await underLoad(async () => {
        for (let round = 0; round < ROUNDS; round++) {
          const [doomed] = await pods('alive')
          await cluster.ask('delete', 'pod', doomed?.metadata.name ?? '', '--timeout', '60')
          await settled('alive', 1)

          const [pod] = await pods('alive')
          const node = pod?.spec.nodeName ?? ''
          const said = await cluster.ask('drain', node, '--timeout', '60')
          expect(said).toContain(`node/${node} drained`)
          expect((await pods('alive'))[0]?.spec.nodeName).not.toBe(node)
          await both((name) => settled(name, 1))
          await cluster.ask('node', 'uncordon', node)

          const second = (await pods('alive'))[0]?.spec.nodeName ?? ''
          await cluster.kubectl('drain', second, '--ignore-daemonsets', '--delete-emptydir-data', '--timeout=60s')
          await both((name) => settled(name, 1))
          await cluster.kubectl('uncordon', second)
        }
      })
    },
    LONG ? 3_600_000 : 180_000,
  )

  it(
    'when a node leaves the cluster and another takes its place',
    async () => {
      const leaver = `${cluster.name}-3`
      await both((name) => cluster.ask('scale', `deploy/${name}`, '--replicas', '3'))
      await both((name) => settled(name))
      // Clients do not call the host that leaves.
      await underLoad(async () => {
        for (let round = 0; round < ROUNDS; round++) {
          await both((name) => cluster.ask('rollout', 'restart', `deploy/${name}`))
          await both((name) => settled(name))
          const here = (await Promise.all(names.map(pods))).flat().filter(({ spec }) => spec.nodeName === leaver)
          expect(here.length).toBeGreaterThan(0)
          await cluster.ask('drain', leaver, '--timeout', '60')
          const { metadata } = await cluster.json<Node>('get', `node/${leaver}`)
          await cluster.ask('node', 'rm', leaver)
          expect((await cluster.drover(['get', `node/${leaver}`])).code).not.toBe(0)
          await cluster.start()
          const back = await cluster.json<Node>('get', `node/${leaver}`)
          expect(isNodeReady(back) && back.metadata.uid !== metadata.uid).toBe(true)
          await both((name) => settled(name))
        }
      }, [1, 2])
    },
    LONG ? 3_600_000 : 180_000,
  )

  it('a pod that nobody would replace keeps its node from being drained', async () => {
    const bare = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'bare' }, spec: PLAIN }
    await cluster.apply(bare)
    const node = await eventually(async () => (await cluster.json<Pod>('get', 'pod/bare')).spec.nodeName, WAIT)
    const refused = await cluster.drover(['drain', node])
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/nobody would replace default\/bare.*--force/)
    expect((await cluster.json<Node>('get', `node/${node}`)).spec?.unschedulable).toBeUndefined()
    await cluster.ask('drain', node, '--force', '--timeout', '60')
    expect((await cluster.drover(['get', 'pod/bare', '--ignore-not-found'])).stdout).toBe('')
    await cluster.ask('node', 'uncordon', node)
  })
})
