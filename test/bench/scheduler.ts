/**
 * What placing costs, as ratios measured in one run: a thousand replicas beside one pass over a thousand nodes, the batch beside
 * placing one pod after another, and with twice the nodes beside with once.
 */
import type { Stored } from '../../src/api/meta.ts'
import type { Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { systemClock } from '../../src/base/clock.ts'
import { place } from '../../src/scheduler/place.ts'
import { Snapshot } from '../../src/scheduler/snapshot.ts'

export interface BenchResult {
  name: string
  ratio: number
  limit: number
  better: 'lower' | 'higher'
  detail: string
}

const NODES = 1000
const REPLICAS = 1000
const SINGLES = 20
const ROUNDS = 7

function nodeOf(index: number): Stored<Node> {
  const name = `node-${index}`
  const labels = { 'kubernetes.io/hostname': name, 'topology.kubernetes.io/zone': `zone-${index % 3}` }
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, uid: name, resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z', labels },
    spec: { podCIDR: '10.244.0.0/24' },
    status: {
      allocatable: { cpu: '16', memory: '64Gi', pods: '110' },
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  }
}

function podOf(index: number): Stored<Pod> {
  const name = `pod-${index}`
  const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'set', uid: 'set', controller: true }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'default',
      uid: name,
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels: { app: 'web' },
      ownerReferences: [owner],
    },
    spec: {
      containers: [
        { name: 'main', image: 'web:1', resources: { requests: { cpu: '100m', memory: '128Mi' } } },
        { name: 'side', image: 'side:1', resources: { requests: { cpu: '10m', memory: '32Mi' } } },
      ],
    },
  }
}

function snapshotOf(nodes: number): Snapshot {
  const snapshot = new Snapshot()
  for (let index = 0; index < nodes; index++) snapshot.putNode(nodeOf(index))
  return snapshot
}

/** The best of several rounds: the one that the machine disturbed least. */
function timeMs(work: () => void): number {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) {
    const startedMs = systemClock.monotonicMs()
    work()
    best = Math.min(best, systemClock.monotonicMs() - startedMs)
  }
  return best
}

export function benchScheduler(): BenchResult[] {
  const snapshot = snapshotOf(NODES)
  const double = snapshotOf(2 * NODES)
  const pods = Array.from({ length: REPLICAS }, (_, index) => podOf(index))
  const first = pods.slice(0, 1)
  const passMs = timeMs(() => place(snapshot, first, 1))
  const batchMs = timeMs(() => place(snapshot, pods, 1))
  const doubleMs = timeMs(() => place(double, pods, 1))
  const singlesMs = timeMs(() => {
    for (const pod of pods.slice(0, SINGLES)) place(snapshot, [pod], 1)
  })
  const eachMs = (singlesMs / SINGLES) * REPLICAS
  const round = (value: number): number => Math.round(value * 100) / 100
  return [
    {
      name: `scheduler: ${REPLICAS} replicas on ${NODES} nodes, beside placing one`,
      ratio: round(batchMs / passMs),
      limit: 60,
      better: 'lower',
      detail: `${round(batchMs)} ms for the batch, ${round(passMs)} ms for one pod`,
    },
    {
      name: 'scheduler: one pod after another, beside the batch',
      ratio: round(eachMs / batchMs),
      limit: 10,
      better: 'higher',
      detail: `${round(eachMs)} ms one by one, ${round(batchMs)} ms together`,
    },
    {
      name: `scheduler: ${REPLICAS} replicas on ${2 * NODES} nodes, beside ${NODES}`,
      ratio: round(doubleMs / batchMs),
      limit: 2.5,
      better: 'lower',
      detail: `${round(doubleMs)} ms beside ${round(batchMs)} ms`,
    },
  ]
}
