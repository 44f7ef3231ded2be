/** `metrics.k8s.io` through the real server, to real kubectl; nodes are functions. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { nodeKind } from '../../src/api/node.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { DroverError } from '../../src/base/errors.ts'
import { CHANNEL } from '../../src/base/stream.ts'
import { type Harness, startHarness } from '../support/apiserver_harness.ts'
import { gatewayOf, type NodeCall } from '../support/frame_pair.ts'

const rates = (cpuNanoCores: number, memoryWorkingSetBytes: number) => ({
  cpuNanoCores,
  memoryWorkingSetBytes,
  windowMs: 12_500,
})

async function answering({ verb, stream }: NodeCall): Promise<void> {
  expect(verb).toBe('usage')
  const answer = {
    atMs: Date.parse('2026-01-01T00:00:00Z'),
    node: rates(1_500_000_000, 4 * 2 ** 30),
    pods: [
      {
        namespace: 'default',
        name: 'web',
        containers: [
          { name: 'app', ...rates(250_000_000, 100 << 20) },
          { name: 'side', ...rates(1, 1) },
        ],
      },
      { namespace: 'kube-system', name: 'dns', containers: [{ name: 'dns', ...rates(5_000_000, 20 << 20) }] },
    ],
  }
  await stream.send({ channel: CHANNEL.stdout, data: Buffer.from(JSON.stringify(answer)) })
}

async function failing(): Promise<void> {
  throw new DroverError('unsupported', 'this agent does not know the stream "usage"')
}

let harness: Harness
const PATH = '/apis/metrics.k8s.io/v1beta1'

beforeAll(async () => {
  harness = await startHarness({ gateway: gatewayOf({ n1: answering, n2: failing }) })
  const { resources } = harness
  for (const name of ['n1', 'n2']) {
    await resources.create(nodeKind, {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels: { zone: name } },
      spec: {},
    })
    await resources.modify(nodeKind, '', name, 'status', (node) => ({
      ...node,
      status: {
        capacity: { cpu: '2', memory: '8Gi' },
        allocatable: { cpu: '2', memory: '8Gi' },
        conditions: [
          {
            type: 'Ready',
            status: 'True' as const,
            reason: 'AgentReady',
            message: '',
            lastTransitionTime: '2026-01-01T00:00:00Z',
          },
        ],
      },
    }))
  }
  const pods: [string, string, string][] = [
    ['default', 'web', 'n1'],
    ['default', 'lost', 'n2'],
    ['kube-system', 'dns', 'n1'],
  ]
  for (const [namespace, name, nodeName] of pods) {
    const metadata = { name, namespace, labels: { app: name } }
    await resources.create(podKind, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata,
      spec: { nodeName, containers: [{ name: 'app', image: 'x' }] },
    })
    await resources.modify(podKind, namespace, name, 'status', (pod) => ({
      ...pod,
      status: { phase: 'Running' as const },
    }))
  }
})
afterAll(() => harness.stop())

describe('metrics.k8s.io', () => {
  it('tells of nodes and pods that answer, and is silent of those that do not', async () => {
    const nodes = await harness.call(`${PATH}/nodes`)
    expect(nodes.json).toMatchObject({
      kind: 'NodeMetricsList',
      items: [
        {
          metadata: { name: 'n1', labels: { zone: 'n1' } },
          timestamp: '2026-01-01T00:00:00Z',
          window: '12.500s',
          usage: { cpu: '1500000000n', memory: `${4 << 20}Ki` },
        },
      ],
    })
    const pods = await harness.call(`${PATH}/namespaces/default/pods`)
    expect(pods.json.items).toMatchObject([
      {
        metadata: { name: 'web' },
        containers: [{ name: 'app', usage: { cpu: '250000000n', memory: '102400Ki' } }, { name: 'side' }],
      },
    ])
    expect((await harness.call(`${PATH}/pods`)).json.items).toHaveLength(2)
  })

  it('finds by label and by name', async () => {
    expect((await harness.call(`${PATH}/pods?labelSelector=app%3Ddns`)).json.items).toMatchObject([
      { metadata: { name: 'dns' } },
    ])
    expect((await harness.call(`${PATH}/nodes?labelSelector=zone%3Dn2`)).json.items).toEqual([])
    expect((await harness.call(`${PATH}/namespaces/default/pods/web`)).json).toMatchObject({
      kind: 'PodMetrics',
      metadata: { name: 'web' },
    })
    expect(await harness.call(`${PATH}/namespaces/default/pods/lost`)).toMatchObject({ status: 404 })
    expect(await harness.call(`${PATH}/nodes`, { method: 'POST', body: '{}' })).toMatchObject({ status: 405 })
  })

  it('is what kubectl top reads', async () => {
    const nodes = await harness.kubectl(['top', 'nodes'])
    expect(nodes.stdout).toMatch(/n1\s+1500m\s+75%\s+4096Mi\s+50%/)
    const pods = await harness.kubectl(['top', 'pods', '-A', '--containers'])
    expect(pods.stdout).toMatch(/default\s+web\s+app\s+250m\s+100Mi/)
    expect(pods.stdout).toMatch(/kube-system\s+dns\s+dns\s+5m\s+20Mi/)
  })
})
