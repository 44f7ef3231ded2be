/**
 * The whole path on one cluster of three hosts, from the built program: what a user does in the first hour, with
 * drover and with kubectl.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Deployment } from '../../src/api/deployment.ts'
import type { Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { Service } from '../../src/api/service.ts'
import { eventually } from '../support/eventually.ts'
import { LocalCluster, output, runProgram } from '../support/local_cluster.ts'

const IMAGE = 'drover.local/hello:1'
const WAIT = { timeoutMs: 60_000, intervalMs: 100 }
const cluster = new LocalCluster()
let firstUp = ''

interface List<T> {
  items: T[]
}

const curl = (url: string): Promise<string> => output('curl', ['-sS', '--max-time', '5', url])

/** A deployment whose pods sleep, with a shell that heeds SIGTERM. */
function deployment(
  name: string,
  replicas: number,
  script: string,
  podSpec: object = {},
  container: object = {},
): object {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          containers: [
            { name: 'main', image: IMAGE, command: ['sh', '-c', `trap 'exit 0' TERM; ${script}`], ...container },
          ],
          ...podSpec,
        },
      },
    },
  }
}

const STAY = 'while true; do sleep 1 & wait; done'

async function rolledOut(name: string): Promise<void> {
  await cluster.ask('rollout', 'status', `deploy/${name}`, '--timeout', '60')
}

async function pods(app: string): Promise<Pod[]> {
  const { items } = await cluster.json<List<Pod>>('get', 'pods', '-l', `app=${app}`)
  return items.filter((pod) => pod.metadata.deletionTimestamp === undefined)
}

beforeAll(async () => {
  const { stdout } = await cluster.start('--sample')
  firstUp = stdout
})

afterAll(() => cluster.remove())

describe('drover up --sample', () => {
  it('prints a curl line that answers, from every replica', async () => {
    const url = /curl (http:\S+)/.exec(firstUp)?.[1]
    expect(url).toBeDefined()
    const answers = new Set<string>()
    await eventually(async () => {
      answers.add(await curl(url ?? ''))
      return answers.size === 3
    }, WAIT)
    for (const answer of answers) expect(answer).toMatch(/^Hello from hello-\S+ on \S+-[123]\n$/)
  })

  it('has its three pods on three nodes, as kubectl sees it', async () => {
    const table = await cluster.kubectl('get', 'pods', '-o', 'wide', '--no-headers')
    const rows = table.trim().split('\n')
    expect(rows).toHaveLength(3)
    for (const row of rows) expect(row).toMatch(/\s1\/1\s+Running\s/)
    const { items } = await cluster.json<List<Pod>>('get', 'pods')
    expect(new Set(items.map((pod) => pod.spec.nodeName)).size).toBe(3)
  })

  it('changes nothing when run again', async () => {
    const before = await cluster.json<List<Pod>>('get', 'all')
    const again = await cluster.up('--sample')
    expect(again.code).toBe(0)
    const versions = (list: List<Pod>): (string | undefined)[] => list.items.map(({ metadata }) => metadata.uid)
    expect(versions(await cluster.json<List<Pod>>('get', 'all'))).toEqual(versions(before))
  })

  it('answers on the node port of every host, and on the cluster address from a pod', async () => {
    for (const index of [1, 2, 3]) {
      expect(await curl(`http://${cluster.hostAddress(index)}:30080/`)).toContain('Hello from')
    }
    const service = await cluster.json<Service>('get', 'svc/hello')
    const answer = await cluster.ask('exec', 'deploy/hello', '--', 'wget', '-qO-', `http://${service.spec.clusterIP}/`)
    expect(answer).toContain('Hello from')
  })
})

describe('kubectl', () => {
  it('applies, scales, waits and deletes', async () => {
    const manifest = JSON.stringify(deployment('kube', 1, STAY))
    const apply = await runProgram(
      'kubectl',
      ['--kubeconfig', (await cluster.ask('kubeconfig')).trim(), 'apply', '-f', '-'],
      { input: manifest },
    )
    expect(apply.stdout).toContain('deployment.apps/kube created')
    expect(await cluster.kubectl('rollout', 'status', 'deploy/kube', '--timeout=60s')).toContain(
      'successfully rolled out',
    )
    await cluster.kubectl('scale', 'deploy/kube', '--replicas=3')
    await cluster.kubectl('rollout', 'status', 'deploy/kube', '--timeout=60s')
    expect((await cluster.json<Deployment>('get', 'deploy/kube')).status?.readyReplicas).toBe(3)
    await cluster.kubectl('delete', 'deploy/kube', '--timeout=60s')
    await eventually(async () => (await pods('kube')).length === 0, WAIT)
  })

  it('reads logs and runs programs in containers', async () => {
    const [pod] = await pods('hello')
    const name = pod?.metadata.name ?? ''
    await curl(`http://${cluster.hostAddress(1)}:30080/`)
    expect(await cluster.kubectl('exec', name, '--', 'cat', '/www/index.html')).toContain(name)
    await eventually(
      async () =>
        (await cluster.kubectl('logs', name)).includes('GET /') ||
        (await cluster.kubectl('logs', name)).includes('response:200'),
      WAIT,
    )
  })

  it('attaches and copies both ways, over WebSockets and over SPDY as before 1.30', async () => {
    const reads = (name: string) => ({ name, image: IMAGE, stdin: true, command: ['sh', '-c', 'read l; echo got $l'] })
    const stays = { name: 'stays', image: IMAGE, command: ['sh', '-c', `trap 'exit 0' TERM; ${STAY}`] }
    const spec = { restartPolicy: 'Never', containers: [reads('websocket'), reads('spdy'), stays] }
    await cluster.apply([{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'read' }, spec }])
    await cluster.kubectl('wait', '--for=condition=Ready', 'pod/read', '--timeout=60s')
    const kubeconfig = (await cluster.ask('kubeconfig')).trim()
    const directory = await mkdtemp(join(tmpdir(), 'drvt-cp-'))
    try {
      const data = randomBytes(3 << 20)
      await writeFile(join(directory, 'there'), data)
      for (const way of ['websocket', 'spdy']) {
        const env = way === 'spdy' ? { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false' } : {}
        const kubectl = (args: string[], input = '') =>
          output('kubectl', ['--kubeconfig', kubeconfig, ...args], { env, input, timeoutMs: 60_000 })
        expect(await kubectl(['attach', '-i', 'read', '-c', way], `${way}\n`)).toBe(`got ${way}\n`)
        await kubectl(['cp', join(directory, 'there'), `read:/tmp/${way}`, '-c', 'stays'])
        await kubectl(['cp', `read:/tmp/${way}`, join(directory, way), '-c', 'stays'])
        expect((await readFile(join(directory, way))).equals(data)).toBe(true)
      }
    } finally {
      await rm(directory, { recursive: true, force: true })
      await cluster.kubectl('delete', 'pod', 'read', '--now', '--wait=false')
    }
  })
})

describe('a workload', () => {
  it('gets its configuration as variables and files, and secrets, and sees changes of the files', async () => {
    await cluster.apply([
      {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'settings' },
        data: { COLOR: 'blue', 'app.conf': 'one' },
      },
      { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'door' }, stringData: { key: 'sesame' } },
      deployment(
        'configured',
        1,
        STAY,
        {
          volumes: [
            { name: 'conf', configMap: { name: 'settings' } },
            { name: 'door', secret: { secretName: 'door' } },
            { name: 'scratch', emptyDir: {} },
          ],
        },
        {
          envFrom: [{ configMapRef: { name: 'settings' } }],
          env: [
            { name: 'KEY', valueFrom: { secretKeyRef: { name: 'door', key: 'key' } } },
            { name: 'GREETING', value: 'the $(COLOR) $(KEY)' },
          ],
          volumeMounts: [
            { name: 'conf', mountPath: '/conf' },
            { name: 'door', mountPath: '/door', readOnly: true },
            { name: 'scratch', mountPath: '/scratch' },
          ],
        },
      ),
    ])
    await rolledOut('configured')
    const shell = (script: string): Promise<string> =>
      cluster.ask('exec', 'deploy/configured', '--', 'sh', '-c', script)
    expect(
      await shell(
        'echo $COLOR $KEY; echo $GREETING; cat /conf/app.conf /door/key; echo x > /scratch/f && cat /scratch/f',
      ),
    ).toBe('blue sesame\nthe blue sesame\nonesesamex\n')
    await cluster.apply({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'settings' },
      data: { COLOR: 'blue', 'app.conf': 'two' },
    })
    await eventually(async () => (await shell('cat /conf/app.conf')) === 'two', WAIT)
    await cluster.ask('delete', 'deploy/configured', 'configmap/settings', 'secret/door')
  })

  it('is rolled forward, back, and told about', async () => {
    await cluster.apply(deployment('roll', 2, `echo one; ${STAY}`))
    await rolledOut('roll')
    await cluster.apply(deployment('roll', 2, `echo two; ${STAY}`))
    await rolledOut('roll')
    const logs = (): Promise<string> => cluster.ask('logs', 'deploy/roll')
    expect(await cluster.ask('rollout', 'history', 'deploy/roll')).toMatch(/1\s+<none>\n2\s+<none>/)
    await eventually(async () => (await pods('roll')).length === 2, WAIT)
    expect((await logs()).match(/two/g)).toHaveLength(2)
    await cluster.ask('rollout', 'undo', 'deploy/roll')
    await rolledOut('roll')
    await eventually(
      async () => (await pods('roll')).length === 2 && ((await logs()).match(/one/g) ?? []).length === 2,
      WAIT,
    )
    const before = (await pods('roll')).map((pod) => pod.metadata.uid)
    await cluster.ask('rollout', 'restart', 'deploy/roll')
    await rolledOut('roll')
    await eventually(async () => {
      const now = await pods('roll')
      return now.length === 2 && now.every((pod) => !before.includes(pod.metadata.uid))
    }, WAIT)
    expect(await cluster.ask('describe', 'deploy/roll')).toContain('Events:')
    await cluster.ask('delete', 'deploy', 'roll')
  })

  it('that fails is restarted, and says why it cannot run', async () => {
    await cluster.apply([
      deployment('crash', 1, 'echo boom; exit 3'),
      deployment('noimage', 1, STAY, {}, { image: 'drover.local/absent:1', imagePullPolicy: 'Never' }),
      deployment('toobig', 1, STAY, {}, { resources: { requests: { memory: '900Gi' } } }),
    ])
    await eventually(async () => {
      const [pod] = await pods('crash')
      const status = pod?.status?.containerStatuses?.[0]
      return (status?.restartCount ?? 0) >= 1 && status?.lastState?.terminated?.exitCode === 3
    }, WAIT)
    await eventually(async () => (await cluster.ask('logs', 'deploy/crash', '--previous')).includes('boom'), WAIT)
    await eventually(
      async () => (await cluster.ask('get', 'pods', '-l', 'app=noimage')).includes('ErrImageNeverPull'),
      WAIT,
    )
    await eventually(async () => {
      const [pod] = await pods('toobig')
      const condition = pod?.status?.conditions?.find(({ type }) => type === 'PodScheduled')
      return (
        condition?.reason === 'Unschedulable' &&
        /0\/3 nodes are available: 3 Insufficient memory/.test(condition.message ?? '')
      )
    }, WAIT)
    await eventually(async () => /FailedScheduling/.test(await cluster.ask('events', '--types', 'Warning')), WAIT)
    await cluster.ask('delete', 'deploy', 'crash', 'noimage', 'toobig')
  })

  it('is held to its probes and limits', async () => {
    await cluster.apply([
      deployment(
        'live',
        1,
        `touch /tmp/ok; ${STAY}`,
        {},
        {
          livenessProbe: { exec: { command: ['test', '-f', '/tmp/ok'] }, periodSeconds: 1, failureThreshold: 1 },
          readinessProbe: { exec: { command: ['test', '-f', '/tmp/ready'] }, periodSeconds: 1 },
        },
      ),
      deployment('hungry', 1, 'head -c 64m /dev/zero | tail', {}, { resources: { limits: { memory: '16Mi' } } }),
    ])
    await eventually(async () => (await pods('live'))[0]?.status?.phase === 'Running', WAIT)
    expect((await cluster.json<Deployment>('get', 'deploy/live')).status?.readyReplicas ?? 0).toBe(0)
    await cluster.ask('exec', 'deploy/live', '--', 'touch', '/tmp/ready')
    await rolledOut('live')
    await cluster.ask('exec', 'deploy/live', '--', 'rm', '/tmp/ok')
    await eventually(
      async () => ((await pods('live'))[0]?.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 1,
      WAIT,
    )
    await eventually(async () => {
      const status = (await pods('hungry'))[0]?.status?.containerStatuses?.[0]
      return [status?.state, status?.lastState].some((state) => state?.terminated?.reason === 'OOMKilled')
    }, WAIT)
    // conmon leaves a file where it stands when a container runs out of memory: not in our working directory.
    expect(existsSync('oom')).toBe(false)
    await cluster.ask('delete', 'deploy', 'live', 'hungry')
  })
})

describe('namespaces and nodes', () => {
  it('deletes a namespace with all that is in it', async () => {
    await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } })
    await cluster.apply({ ...deployment('till', 2, STAY), metadata: { name: 'till', namespace: 'shop' } })
    await cluster.ask('rollout', 'status', 'deploy/till', '-n', 'shop', '--timeout', '60')
    await cluster.ask('delete', 'ns', 'shop', '--timeout', '60')
    expect(await cluster.ask('get', 'pods,deploy,rs', '-n', 'shop', '--ignore-not-found')).toBe('')
  })

  it('tells what nodes are', async () => {
    const { items } = await cluster.json<List<Node>>('get', 'nodes')
    expect(items).toHaveLength(3)
    for (const node of items) {
      expect(node.spec?.podCIDR).toMatch(/^10\.244\.\d+\.0\/24$/)
      expect(node.status?.conditions?.find(({ type }) => type === 'Ready')?.status).toBe('True')
      expect(node.status?.nodeInfo?.containerRuntimeVersion).toMatch(/^runc:\/\//)
    }
  })
})

describe('bad input changes nothing and says what to do', () => {
  const apply = (input: string) => cluster.drover(['apply', '-f', '-'], { input })

  it.each<[string, string, number, RegExp]>([
    ['malformed YAML', 'kind: [', 2, /stdin:1:\d+: not valid YAML/],
    ['an unknown kind', 'apiVersion: v1\nkind: Widget\nmetadata: {name: a}', 2, /unknown kind Widget/],
    [
      'an unknown field',
      'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nspices: {a: b}',
      2,
      /unknown field "spices"/,
    ],
    [
      'an invalid value',
      'apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 70000}]}',
      2,
      /spec\.ports\[0\]\.port/,
    ],
    [
      'a taken node port',
      'apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: NodePort, ports: [{port: 1, nodePort: 30080}]}',
      2,
      /30080.*already allocated/,
    ],
  ])('%s', async (_title, input, code, message) => {
    const outcome = await apply(input)
    expect(outcome.stderr).toMatch(message)
    expect(outcome.code).toBe(code)
    expect((await cluster.drover(['get', 'configmap,service', 'a', '--ignore-not-found'])).stdout).toBe('')
  })

  it('no such object, no such cluster, a cluster that is down, a stale kubeconfig', async () => {
    expect(await cluster.drover(['get', 'pod', 'absent'])).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('not found'),
    })
    const nowhere = await new LocalCluster('drvt-none').drover(['get', 'pods'])
    expect(nowhere).toMatchObject({ code: 3, stderr: expect.stringContaining('there is no local cluster "drvt-none"') })
    const kubeconfig = await cluster.ask('kubeconfig', '--raw')
    const dead = kubeconfig.replace(/server: .*/, 'server: https://127.0.0.1:9')
    const write = async (text: string): Promise<string> =>
      (await output('sh', ['-c', 'f=$(mktemp) && cat > "$f" && echo "$f"'], { input: text })).trim()
    const deadFile = await write(dead)
    const staleFile = await write(
      kubeconfig
        .replace(/client-certificate-data: .*/, '')
        .replace(/client-key-data: .*/, 'token: not-a-valid-token-at-all'),
    )
    try {
      const down = await runProgram(process.execPath, ['dist/drover.js', '--kubeconfig', deadFile, 'get', 'pods'])
      expect(down).toMatchObject({
        code: 4,
        stderr: expect.stringMatching(/cannot reach https:\/\/127\.0\.0\.1:9.*drover up/),
      })
      const stale = await runProgram(process.execPath, ['dist/drover.js', '--kubeconfig', staleFile, 'get', 'pods'])
      expect(stale).toMatchObject({ code: 4, stderr: expect.stringContaining('credentials') })
    } finally {
      await output('rm', ['-f', deadFile, staleFile])
    }
  })

  it('a port in use, and wrong words', async () => {
    const other = new LocalCluster()
    const busy = await other.up('--api-port', String(cluster.record().apiPort))
    expect(busy).toMatchObject({ code: 2, stderr: expect.stringMatching(/port \d+ is in use/) })
    expect(await cluster.drover(['frobnicate'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('unknown command'),
    })
    expect(await cluster.drover(['get', 'pods', '-o', 'xml'])).toMatchObject({ code: 2 })
  })

  it('without root', async () => {
    const asNobody = (...args: string[]) =>
      runProgram('setpriv', [
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        process.execPath,
        'dist/drover.js',
        ...args,
      ])
    const outcome = await asNobody('up', '--cluster', 'drvt-nobody')
    expect(outcome.code).not.toBe(0)
    expect(outcome.stderr).toMatch(/root/)
  })
})
