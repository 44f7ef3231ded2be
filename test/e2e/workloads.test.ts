/** Each kind of workload for real, on two hosts, as kubectl and drover show it: containers run, volumes keep their data. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Job } from '../../src/api/job.ts'
import type { PersistentVolume } from '../../src/api/persistentvolume.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { PodDisruptionBudget } from '../../src/api/poddisruptionbudget.ts'
import type { PlannedWorkload, WhyAnswer } from '../../src/api/why.ts'
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

describe('claims of their own', () => {
  const claim = (name: string, storageClassName: string, storage: string): object => ({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: { storageClassName, accessModes: ['ReadWriteOnce'], resources: { requests: { storage } } },
  })
  const user = (name: string): object => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name } },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'main',
          image: IMAGE,
          command: ['sh', '-c', `echo precious > /data/file; ${STAY}`],
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
        },
      ],
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: name } }],
    },
  })
  const volumeOf = async (name: string): Promise<PersistentVolume | undefined> =>
    (await cluster.json<List<PersistentVolume>>('get', 'pv')).items.find(({ spec }) => spec.claimRef?.name === name)

  it('leave their data or take it along, as their class says; what no node has room for waits and says so', async () => {
    await cluster.apply([
      {
        apiVersion: 'storage.k8s.io/v1',
        kind: 'StorageClass',
        metadata: { name: 'keep' },
        provisioner: 'local.drover.dev',
        reclaimPolicy: 'Retain',
        volumeBindingMode: 'WaitForFirstConsumer',
      },
      claim('kept', 'keep', '1Mi'),
      claim('brief', 'local', '1Mi'),
      claim('vast', 'local', '900Ti'),
      ...['kept', 'brief', 'vast'].map(user),
    ])
    for (const name of ['kept', 'brief']) {
      await cluster.kubectl('wait', '--for=condition=Ready', '--timeout=60s', `pod/${name}`)
      await eventually(async () => (await volumeOf(name))?.status?.phase === 'Bound', WAIT)
    }
    const fileOf = async (name: string): Promise<string> => {
      const volume = (await volumeOf(name))?.metadata.name ?? ''
      const place = dataDirs().find((path) => path.endsWith(`/pv/${volume}`)) ?? ''
      return join(localStateDir(cluster.name), place, 'file')
    }
    const [kept, brief] = [await fileOf('kept'), await fileOf('brief')]
    for (const path of [kept, brief]) expect(readFileSync(path, 'utf8')).toBe('precious\n')
    await eventually(async () => {
      const [pod] = await pods('vast')
      const scheduled = pod?.status?.conditions?.find(({ type }) => type === 'PodScheduled')
      return scheduled?.message?.includes('2 Insufficient storage')
    }, WAIT)
    expect(await volumeOf('vast')).toBeUndefined()

    await cluster.ask('delete', 'pod', 'kept', 'brief', 'vast')
    await cluster.ask('delete', 'pvc', 'kept', 'brief', 'vast')
    await eventually(async () => (await volumeOf('brief')) === undefined, WAIT)
    await eventually(async () => (await volumeOf('kept'))?.status?.phase === 'Released', WAIT)
    expect(existsSync(brief)).toBe(false)
    expect(readFileSync(kept, 'utf8')).toBe('precious\n')
    // Whoever deletes the volume too has its directory still.
    await cluster.ask('delete', 'pv', (await volumeOf('kept'))?.metadata.name ?? '')
    expect(readFileSync(kept, 'utf8')).toBe('precious\n')
    await cluster.ask('delete', 'storageclass', 'keep')
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

describe('a pod with a readiness gate', () => {
  const GATE = 'example.com/registered'
  const set = async (status: string): Promise<void> => {
    const patch = JSON.stringify({ status: { conditions: [{ type: GATE, status }] } })
    await cluster.kubectl('patch', 'pod/gated', '--subresource=status', '-p', patch)
  }
  const addresses = async (): Promise<string> =>
    cluster.kubectl(
      'get',
      'endpointslices',
      '-l',
      'kubernetes.io/service-name=gated',
      '-o',
      'jsonpath={..conditions.ready}',
    )

  it('is ready, and served, only while others say so', async () => {
    const service = { selector: { app: 'gated' }, ports: [{ port: 80 }] }
    await cluster.apply({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'gated' }, spec: service })
    const { metadata, spec } = template('gated', STAY, { readinessGates: [{ conditionType: GATE }] })
    await cluster.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name: 'gated' }, spec })
    await cluster.kubectl('wait', '--for=condition=ContainersReady', '--timeout=60s', 'pod/gated')
    const wide = async (): Promise<string> => cluster.kubectl('get', 'pod/gated', '-o', 'wide', '--no-headers')
    expect(await wide()).toMatch(/^gated +1\/1 +Running .*<none> +0\/1\s*$/)
    expect(await cluster.ask('why', 'pod/gated')).toMatch(
      /ReadinessGatesNotReady +corresponding condition of pod readiness gate "example\.com\/registered" does not exist\./,
    )
    expect(await addresses()).toBe('false')
    await set('True')
    await cluster.kubectl('wait', '--for=condition=Ready', '--timeout=10s', 'pod/gated')
    expect(await wide()).toMatch(/ 1\/1\s*$/)
    await eventually(async () => (await addresses()) === 'true', WAIT)
    await set('False')
    await cluster.kubectl('wait', '--for=condition=Ready=false', '--timeout=10s', 'pod/gated')
    await eventually(async () => (await addresses()) === 'false', WAIT)
    expect(await cluster.ask('why', 'pod/gated')).toContain(`readiness gate "${GATE}" is not "True", but False`)
    await cluster.kubectl('delete', 'pod/gated', 'service/gated')
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

describe('a drain that a budget forbids', () => {
  it('waits, says which budget and what it needs, and ends with its own exit code', async () => {
    await cluster.kubectl('patch', 'pdb/hello', '--type=merge', '-p', '{"spec":{"minAvailable":5}}')
    const [pod] = await pods('hello')
    const node = pod?.spec.nodeName ?? ''
    const refused = await cluster.drover(['drain', node, '--timeout', '4'])
    expect(refused.code).toBe(5)
    expect(refused.stderr).toMatch(/pod\/default\/hello-\S+ waits: .*The disruption budget hello needs 5 healthy pods/)
    expect((await pods('hello')).filter(({ spec }) => spec.nodeName === node).length).toBeGreaterThan(0)
    await cluster.ask('node', 'uncordon', node)
    await cluster.kubectl('delete', 'pdb/hello')
    await eventually(async () => (await pods('hello')).length === 3, WAIT)
  })
})

describe('drover why', () => {
  const why = async (name: string) => cluster.json<WhyAnswer>('why', `pod/${name}`)

  it('counts what keeps a pod waiting, and names the smallest change that would help', async () => {
    await cluster.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'huge' },
      spec: template('huge', STAY, {}, { resources: { requests: { memory: '900Ti' } } }).spec,
    })
    const told = await eventually(async () => {
      const text = await cluster.ask('why', 'pod/huge')
      return /0\/2 nodes/.test(text) && text
    }, WAIT)
    expect(told).toMatch(/^pod\/huge waits for a node: 0\/2 nodes .*2 insufficient memory/i)
    expect(told).toMatch(/The smallest change that would help: \S+ more memory on node \S+/)
    expect(await why('huge')).toMatchObject({
      state: 'pending',
      placement: { nodes: [{ obstacles: [{ type: 'resource', resource: 'memory' }] }, {}] },
    })
    await cluster.kubectl('delete', 'pod', 'huge')
  })

  it('says that no node has the runtime handler that a pod asks for, and advises no label', async () => {
    await cluster.apply({
      apiVersion: 'node.k8s.io/v1',
      kind: 'RuntimeClass',
      metadata: { name: 'missing' },
      handler: 'missing',
      scheduling: { nodeSelector: { 'runtime.drover.dev/missing': 'true' } },
    })
    await cluster.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'apart' },
      spec: template('apart', STAY, { runtimeClassName: 'missing' }).spec,
    })
    const told = await eventually(async () => {
      const text = await cluster.ask('why', 'pod/apart')
      return /0\/2 nodes/.test(text) && text
    }, WAIT)
    expect(told).toContain('0/2 nodes are available: 2 node(s) had no runtime handler missing.')
    expect(told).toContain('its agent was given no such handler (drover agent --runtime-handler NAME=PROGRAM)')
    expect(told).not.toMatch(/label node/)
    await cluster.kubectl('delete', 'pod/apart', 'runtimeclass/missing')
  })

  it('tells the scores of one that is placed, and the end of one that is gone', async () => {
    const [pod] = await pods('hello')
    const name = pod?.metadata.name ?? ''
    const answer = await why(name)
    expect(answer).toMatchObject({
      state: 'ready',
      node: pod?.spec.nodeName,
      summary: expect.stringContaining('is ready'),
    })
    expect(answer.placement?.nodes.every(({ score }) => typeof score?.fullness === 'number')).toBe(true)
    expect(await cluster.ask('why', `pod/${name}`)).toContain('Nodes, if it were placed now (best first):')
    await cluster.kubectl('delete', 'pod', name)
    const gone = await eventually(async () => {
      const now = await why(name)
      return now.state === 'gone' && now
    }, WAIT)
    expect(gone.causes[0]?.reason).toMatch(/Killing|SuccessfulDelete/)
  })

  it('tells how often a container was restarted and how it ended, and why a rollout went back', async () => {
    const crashing = (script: string) => ({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'fragile', annotations: { 'drover.dev/auto-rollback': 'true' } },
      spec: {
        replicas: 1,
        minReadySeconds: 1,
        progressDeadlineSeconds: 3,
        selector: { matchLabels: { app: 'fragile' } },
        template: template('fragile', script),
      },
    })
    await cluster.apply(crashing(STAY))
    await cluster.kubectl('rollout', 'status', 'deploy/fragile', '--timeout=60s')
    const crashy = template('crashy', 'exit 3').spec
    await cluster.apply([
      crashing('exit 3'),
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'crashy' }, spec: crashy },
    ])
    const restarted = await eventually(async () => {
      const { causes } = await why('crashy')
      return causes.find(({ message }) => /ended with exit code 3, restarted \d+ times/.test(message))
    }, WAIT)
    expect(restarted.reason).toBe('Error')
    const told = await eventually(async () => {
      const text = await cluster.ask('why', 'deploy/fragile')
      return text.includes('stands in until the template changes') && text
    }, WAIT)
    expect(told).toMatch(
      /^deployment\/fragile: (ProgressDeadlineExceeded|CrashLoop): Revision 2 \(fragile-\S+\) failed: /m,
    )
    await cluster.kubectl('delete', 'deploy/fragile', 'pod/crashy', '--wait=false')
  })
})

describe('drover plan', () => {
  const planned = (replicas: number, change: { image?: string; memory?: string; name?: string } = {}) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: change.name ?? 'planned' },
    spec: {
      replicas,
      strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      selector: { matchLabels: { app: 'planned' } },
      template: template(
        'planned',
        STAY,
        {},
        {
          ...(change.image === undefined ? {} : { image: change.image }),
          ...(change.memory === undefined ? {} : { resources: { requests: { memory: change.memory } } }),
        },
      ),
    },
  })
  const plan = (manifest: object, ...flags: string[]) =>
    cluster.drover(['plan', '-f', '-', ...flags], { input: JSON.stringify(manifest) })

  it('shows what would change, where pods would go and whether a rollout has room; scripts read its exit code', async () => {
    const created = await plan(planned(2))
    expect([created.code, created.stdout.split('\n')[0]]).toEqual([10, '+ deployment.apps/planned'])
    expect((await cluster.drover(['get', 'deploy/planned'])).code).not.toBe(0)
    await cluster.apply(planned(2))
    await cluster.kubectl('rollout', 'status', 'deploy/planned', '--timeout=60s')
    expect((await plan(planned(2))).code).toBe(0)
    const changed = await plan(planned(3, { image: 'drover.local/hello:2' }), '-o', 'json')
    expect(changed.code).toBe(10)
    const { items } = JSON.parse(changed.stdout) as {
      items: { changes: { path: string; old?: unknown; new?: unknown }[]; placement: PlannedWorkload }[]
    }
    const [item] = items
    expect(item?.changes).toContainEqual({ path: 'spec.replicas', old: 2, new: 3 })
    expect(item?.changes.find(({ path }) => path.endsWith('.image'))).toMatchObject({ new: 'drover.local/hello:2' })
    expect(Object.values(item?.placement.placements ?? {}).reduce((sum, count) => sum + count, 0)).toBe(3)
    expect(item?.placement).toMatchObject({ refused: 0, surge: { wanted: 1, placed: 1 } })
    const tooBig = await plan(planned(2, { memory: '900Ti' }))
    expect(tooBig.code).toBe(11)
    expect(tooBig.stdout).toMatch(/insufficient memory/i)
    const refused = await plan(planned(-1))
    expect(refused.code).toBe(2)
    expect(refused.stdout).toMatch(/^! deployment\.apps\/planned: .*replicas/)
    expect((await cluster.json<{ spec: { replicas: number } }>('get', 'deploy/planned')).spec.replicas).toBe(2)
    await cluster.kubectl('delete', 'deploy', 'planned', '--wait=false')
  })
})
