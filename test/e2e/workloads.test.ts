/** Each kind of workload for real, on two hosts, as kubectl and drover show it: containers run, volumes keep their data. */
import { readdirSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Job } from '../../src/api/job.ts'
import type { PersistentVolume } from '../../src/api/persistentvolume.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { PodDisruptionBudget } from '../../src/api/poddisruptionbudget.ts'
import { localKubeconfig, localStateDir } from '../../src/base/paths.ts'
import { eventually } from '../support/eventually.ts'
import { LocalCluster, runProgram } from '../support/local_cluster.ts'

const IMAGE = 'drover.local/hello:1'
const WAIT = { timeoutMs: 60_000, intervalMs: 100 }
const STAY = "trap 'exit 0' TERM; while true; do sleep 1 & wait; done"
const cluster = new LocalCluster()

beforeAll(() => cluster.start('--nodes', '2', '--sample'))
afterAll(() => cluster.remove())

interface List<T> {
  items: T[]
}

function template(app: string, script: string, podSpec: object = {}, container: object = {}) {
  return {
    metadata: { labels: { app } },
    spec: {
      terminationGracePeriodSeconds: 5,
      containers: [{ name: 'main', image: IMAGE, command: ['sh', '-c', script], ...container }],
      ...podSpec,
    },
  }
}

async function pods(app: string): Promise<Pod[]> {
  const { items } = await cluster.json<List<Pod>>('get', 'pods', '-l', `app=${app}`)
  return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined)
}

const dataDirs = (): string[] =>
  readdirSync(localStateDir(cluster.name), { recursive: true, encoding: 'utf8' }).filter((path) =>
    /\/pv\/[^/]+$/.test(path),
  )

describe('a StatefulSet with claims', () => {
  const script = `cat /data/name 2>/dev/null; hostname >> /data/name; ${STAY}`
  const set = (image: object = {}) => ({
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'db' },
    spec: {
      replicas: 2,
      serviceName: 'db',
      selector: { matchLabels: { app: 'db' } },
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Retain' },
      template: template('db', script, {}, { volumeMounts: [{ name: 'data', mountPath: '/data' }], ...image }),
      volumeClaimTemplates: [
        {
          metadata: { name: 'data' },
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
        },
      ],
    },
  })

  it('comes up in order, and a deleted pod finds its data again on its node', async () => {
    await cluster.apply(set())
    const told = await cluster.kubectl('rollout', 'status', 'sts/db', '--timeout=60s')
    expect(told).toContain('roll out complete: 2 new pods have been updated')
    expect((await pods('db')).map(({ metadata }) => metadata.name)).toEqual(['db-0', 'db-1'])
    expect(await cluster.kubectl('get', 'pvc', '--no-headers')).toMatch(
      /^data-db-0\s+Bound\s+pvc-\S+\s+1Mi\s+RWO\s+local/,
    )
    const [before] = await pods('db')
    await cluster.kubectl('delete', 'pod', 'db-0')
    await cluster.kubectl('rollout', 'status', 'sts/db', '--timeout=60s')
    await eventually(async () => (await cluster.ask('logs', 'db-0')).trim() === 'db-0', WAIT)
    const [after] = await pods('db')
    expect(after?.metadata.uid).not.toBe(before?.metadata.uid)
    expect(after?.spec.nodeName).toBe(before?.spec.nodeName)
    expect(await cluster.ask('exec', 'db-0', '--', 'cat', '/data/name')).toBe('db-0\ndb-0\n')
  })

  it('rolls over, remembers, goes back, and takes its data with it', async () => {
    await cluster.apply(set({ env: [{ name: 'VERSION', value: '2' }] }))
    expect(await cluster.ask('rollout', 'status', 'sts/db', '--timeout', '60')).toContain('successfully rolled out')
    await cluster.kubectl('rollout', 'undo', 'sts/db')
    await cluster.kubectl('rollout', 'status', 'sts/db', '--timeout=60s')
    expect((await pods('db')).map(({ spec }) => spec.containers[0]?.env)).toEqual([undefined, undefined])
    expect((await cluster.ask('rollout', 'history', 'sts/db')).trim().split('\n')).toHaveLength(3)
    expect(dataDirs()).toHaveLength(2)
    await cluster.ask('delete', 'sts/db')
    await eventually(async () => (await cluster.json<List<PersistentVolume>>('get', 'pv')).items.length === 0, WAIT)
    expect(dataDirs()).toEqual([])
  })
})

describe('a DaemonSet', () => {
  it('runs on every host and rolls over', async () => {
    const set = (version: string) => ({
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'log' },
      spec: {
        selector: { matchLabels: { app: 'log' } },
        template: template('log', STAY, {}, { env: [{ name: 'VERSION', value: version }] }),
      },
    })
    await cluster.apply(set('1'))
    expect(await cluster.kubectl('rollout', 'status', 'ds/log', '--timeout=60s')).toContain('successfully rolled out')
    expect(new Set((await pods('log')).map(({ spec }) => spec.nodeName)).size).toBe(2)
    await cluster.apply(set('2'))
    expect(await cluster.ask('rollout', 'status', 'ds/log', '--timeout', '60')).toContain('successfully rolled out')
    const versions = (await pods('log')).map(({ spec }) => spec.containers[0]?.env?.[0]?.value)
    expect(versions).toEqual(['2', '2'])
    await cluster.ask('delete', 'ds/log')
  })
})

describe('a Job', () => {
  it('runs each index once, and kubectl sees it complete', async () => {
    await cluster.apply({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'sum' },
      spec: {
        completions: 3,
        parallelism: 3,
        completionMode: 'Indexed',
        template: template('sum', 'echo index $JOB_COMPLETION_INDEX', { restartPolicy: 'Never' }),
      },
    })
    await cluster.kubectl('wait', '--for=condition=complete', 'job/sum', '--timeout=60s')
    const { status } = await cluster.json<Job>('get', 'job/sum')
    expect(status).toMatchObject({ succeeded: 3, completedIndexes: '0-2' })
    const lines = (await cluster.ask('logs', 'job/sum')).match(/index \d/g)
    expect(lines?.sort()).toEqual(['index 0', 'index 1', 'index 2'])
    expect(await cluster.kubectl('get', 'job', 'sum', '--no-headers')).toMatch(/^sum\s+Complete\s+3\/3\s/)
  })

  it('stops at once where its failure policy says so', async () => {
    await cluster.apply({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'bad' },
      spec: {
        podFailurePolicy: { rules: [{ action: 'FailJob', onExitCodes: { operator: 'In', values: [42] } }] },
        template: template('bad', 'exit 42', { restartPolicy: 'Never' }),
      },
    })
    await cluster.kubectl('wait', '--for=condition=failed', 'job/bad', '--timeout=60s')
    const { status } = await cluster.json<Job>('get', 'job/bad')
    expect(status?.failed).toBe(1)
    expect(status?.conditions?.find(({ type }) => type === 'Failed')?.reason).toBe('PodFailurePolicy')
  })
})

describe('a CronJob', () => {
  it('is started by hand with what kubectl has for that', async () => {
    await cluster.apply({
      apiVersion: 'batch/v1',
      kind: 'CronJob',
      metadata: { name: 'nightly' },
      spec: {
        schedule: '0 3 * * *',
        timeZone: 'Europe/Berlin',
        jobTemplate: { spec: { template: template('nightly', 'echo done', { restartPolicy: 'OnFailure' }) } },
      },
    })
    expect(await cluster.kubectl('get', 'cronjob', 'nightly', '--no-headers')).toMatch(
      /^nightly\s+0 3 \* \* \*\s+Europe\/Berlin\s+False\s+0\s+<none>/,
    )
    await cluster.kubectl('create', 'job', 'now', '--from=cronjob/nightly')
    await cluster.kubectl('wait', '--for=condition=complete', 'job/now', '--timeout=60s')
  })
})

describe('a PodDisruptionBudget', () => {
  it('holds back evictions, and kubectl says why', async () => {
    await cluster.apply({
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: 'hello' },
      spec: { minAvailable: '100%', selector: { matchLabels: { app: 'hello' } } },
    })
    await eventually(async () => {
      const { status } = await cluster.json<PodDisruptionBudget>('get', 'pdb/hello')
      return status?.currentHealthy === 3 && status.desiredHealthy === 3
    }, WAIT)
    const [pod] = await pods('hello')
    const refused = await runProgram('kubectl', [
      '--kubeconfig',
      localKubeconfig(cluster.name),
      'drain',
      pod?.spec.nodeName ?? '',
      '--ignore-daemonsets',
      '--timeout=3s',
    ])
    expect(refused.code).not.toBe(0)
    expect(refused.stderr).toContain("Cannot evict pod as it would violate the pod's disruption budget.")
    expect((await pods('hello')).length).toBe(3)
    await cluster.kubectl('uncordon', pod?.spec.nodeName ?? '')
  })
})
