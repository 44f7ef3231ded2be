/**
 * A node with a small disk of its own that runs short, by the flags of its agent: condition, taint, eviction, no new pods, and
 * all well again. Its pods have host ports, which go with them. On demand: DROVER_LONG=1 (`npm run faults`); what the agent
 * does is in test/node/agent_pressure.test.ts each time.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { runOk } from '../../src/base/process.ts'
import { SAMPLE_IMAGE, sampleRootfs } from '../../src/local/sample_image.ts'
import { eventually } from '../support/eventually.ts'
import { JoinedCluster } from '../support/joined_cluster.ts'
import { runProgram } from '../support/local_cluster.ts'

const WAIT = { timeoutMs: 60_000, intervalMs: 200 }
const PORT = 18_080

describe.runIf(process.env.DROVER_LONG === '1')('a node with a small disk', () => {
  const cluster = new JoinedCluster()
  beforeAll(async () => {
    await cluster.open(['h1'])
    await cluster.startServer()
    const data = join(cluster.directory, 'h1')
    await mkdir(data, { recursive: true })
    await runOk('mount', ['-t', 'tmpfs', '-o', 'size=200m', 'drvt-disk', data])
    const token = (await cluster.ask(['token', 'create', '--token-only'])).trim()
    const joined = ['--join', token, '--server', cluster.nodeAddress, '--node-name', 'h1']
    // Images are a part of the disk, and stay.
    const flags = [
      '--leave-disk',
      '60Mi',
      '--pressure-hold',
      '15',
      '--image-high-percent',
      '99',
      '--image-low-percent',
      '98',
    ]
    cluster.startAgent('h1', ...joined, ...flags)
    await eventually(async () => (await condition('Ready')) === 'True', WAIT)
  })
  afterAll(() => cluster.close())

  const node = async (): Promise<Node> => JSON.parse(await cluster.ask(['get', 'node', 'h1', '-o', 'json'])) as Node
  const condition = async (type: string): Promise<string | undefined> =>
    (await node()).status?.conditions?.find((each) => each.type === type)?.status
  const pod = async (name: string): Promise<Pod> =>
    JSON.parse(await cluster.ask(['get', 'pod', name, '-o', 'json'])) as Pod
  const phase = async (name: string): Promise<string | undefined> => (await pod(name)).status?.phase
  const taints = async (): Promise<string[]> => ((await node()).spec?.taints ?? []).map(({ key }) => key)
  const create = (name: string, container: object): Promise<string> => {
    const spec = { containers: [{ name: 'main', image: SAMPLE_IMAGE, imagePullPolicy: 'IfNotPresent', ...container }] }
    const object = { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec }
    return cluster.ask(['apply', '-f', '-'], { input: JSON.stringify(object) })
  }
  const answers = async (): Promise<boolean> => {
    const url = `http://${cluster.host('h1').address}:${PORT}/`
    return (await runProgram('curl', ['-sS', '--max-time', '2', url])).code === 0
  }

  it('says so, evicts who takes most, keeps others away, and recovers', async () => {
    const archive = join(cluster.directory, 'image.tar')
    await writeFile(archive, await buffer(await sampleRootfs()))
    await cluster.ask(['image', 'import', archive, SAMPLE_IMAGE])
    await create('web', {
      command: ['/bin/busybox', 'httpd', '-f', '-p', '8080', '-h', '/www'],
      ports: [{ containerPort: 8080, hostPort: PORT }],
    })
    await create('hog', {
      command: ['/bin/busybox', 'sh', '-c', 'dd if=/dev/zero of=/big bs=1048576 count=150; sleep 1000'],
    })
    await eventually(async () => (await pod('hog')).status?.reason === 'Evicted', WAIT)
    const { status } = await pod('hog')
    expect(status?.message).toMatch(
      /^The node was low on resource: ephemeral-storage\. Threshold quantity: 60Mi, available/,
    )
    await eventually(async () => (await taints()).includes('node.kubernetes.io/disk-pressure'), WAIT)
    await create('late', { command: ['/bin/busybox', 'sleep', '1000'] })
    const refused = async (): Promise<boolean> =>
      ((await pod('late')).status?.conditions ?? []).some(({ message }) => message?.includes('disk-pressure'))
    await eventually(refused, WAIT)
    await eventually(async () => (await phase('late')) === 'Running', WAIT)
    expect(await taints()).not.toContain('node.kubernetes.io/disk-pressure')
    expect(await condition('DiskPressure')).toBe('False')
    expect(await phase('web')).toBe('Running')
    await eventually(answers, WAIT)
    await cluster.ask(['delete', 'pod', 'web'])
    expect(await answers()).toBe(false)
  })
})
