/** Why a pod waits, what would help, and what a plan says: on snapshots, without a cluster. */
import { describe, expect, it } from 'vitest'
import type { Stored } from '../../src/api/meta.ts'
import type { Node } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { causesOf, endingEvent, stateOf, summaryOf } from '../../src/apiserver/why_causes.ts'
import { diff, exitCodeOf, surgeOf } from '../../src/cli/plan.ts'
import { whyLines } from '../../src/cli/why.ts'
import { Snapshot } from '../../src/scheduler/snapshot.ts'
import { explainPlacement } from '../../src/scheduler/why.ts'

function node(name: string, change: (node: Stored<Node>) => void = () => undefined): Stored<Node> {
  const made: Stored<Node> = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, uid: name, resourceVersion: '1', creationTimestamp: '', labels: {} },
    spec: { podCIDR: '10.244.0.0/24' },
    status: {
      allocatable: { cpu: '2', memory: '1Gi', pods: '10' },
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  }
  change(made)
  return made
}

function pod(spec: Partial<Pod['spec']> = {}, requests: Record<string, string> = {}): Stored<Pod> {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default', uid: 'p', resourceVersion: '1', creationTimestamp: '' },
    spec: { containers: [{ name: 'main', image: 'x', resources: { requests } }], ...spec },
  }
}

function snapshotOf(...nodes: Stored<Node>[]): Snapshot {
  const snapshot = new Snapshot()
  for (const one of nodes) snapshot.putNode(one)
  return snapshot
}

describe('why a pod waits', () => {
  it('names all that is in the way on each node, and the smallest change first', () => {
    const tainted = node('tainted', ({ spec }) => {
      Object.assign(spec ?? {}, {
        taints: [{ key: 'team', value: 'red', effect: 'NoSchedule' }],
        unschedulable: true,
      })
    })
    const cordoned = node('cordoned', ({ spec, metadata }) => {
      Object.assign(spec ?? {}, { unschedulable: true })
      metadata.labels = { disk: 'ssd' }
    })
    const answer = explainPlacement(
      snapshotOf(
        tainted,
        node('small', ({ metadata }) => {
          metadata.labels = { disk: 'ssd' }
        }),
        cordoned,
      ),
      pod({ nodeSelector: { disk: 'ssd' } }, { memory: '1224Mi' }),
    )
    expect(answer.message).toMatch(/^0\/3 nodes are available: /)
    const obstacles = Object.fromEntries(answer.nodes.map((one) => [one.node, one.obstacles.map(({ type }) => type)]))
    expect(obstacles).toEqual({
      small: ['resource'],
      cordoned: ['cordoned', 'resource'],
      tainted: ['cordoned', 'taint', 'labels', 'resource'],
    })
    expect(answer.changes[0]).toEqual({ node: 'small', text: '200Mi more memory on node small' })
    expect(answer.changes[1]?.text).toBe('uncordon node cordoned, and 200Mi more memory on node cordoned')
    expect(answer.changes[2]?.text).toContain('remove the taint team=red:NoSchedule from node tainted')
  })

  it('says that no node offers a runtime handler, and why where the nodes said so: no label would help', () => {
    const refusing = node('refusing', ({ metadata, status }) => {
      metadata.labels = { 'runtime.drover.dev/crun': 'false' }
      Object.assign(status ?? {}, { handlerProblems: { crun: 'there is no crun: install it' } })
    })
    const ask = (nodeSelector: Record<string, string>) =>
      explainPlacement(snapshotOf(refusing, node('silent')), pod({ nodeSelector }))
    const answer = ask({ 'runtime.drover.dev/crun': 'true' })
    expect(answer.message).toBe('0/2 nodes are available: 2 node(s) had no runtime handler crun.')
    expect(answer.nodes.map(({ obstacles }) => obstacles)).toEqual([
      [{ type: 'handler', handler: 'crun', problem: 'there is no crun: install it' }],
      [{ type: 'handler', handler: 'crun' }],
    ])
    expect(answer.changes.map(({ text }) => text)).toEqual([
      'the runtime handler crun on node refusing (there is no crun: install it)',
      'the runtime handler crun on node silent (its agent was given no such handler (drover agent --runtime-handler NAME=PROGRAM))',
    ])
    const pair = ask({ 'runtime.drover.dev/crun': 'true', disk: 'ssd' }).nodes[0]?.obstacles.map(({ type }) => type)
    expect(pair).toEqual(['labels', 'handler'])
    // Who asks for nodes without it asks by a label like any other.
    expect(ask({ 'runtime.drover.dev/runc': 'false' }).nodes[0]?.obstacles[0]?.type).toBe('labels')
  })

  it('orders nodes that fit as the scheduler does, and proposes nothing', () => {
    const full = snapshotOf(node('a'), node('b'))
    full.putPod({ ...pod({}, { cpu: '1' }), metadata: { ...pod().metadata, uid: 'other' } }, 'a')
    const { nodes, changes, message } = explainPlacement(full, pod({}, { cpu: '500m' }))
    expect(nodes.map((one) => one.node)).toEqual(['b', 'a'])
    expect(nodes[0]?.score?.fullness).toBeLessThan(nodes[1]?.score?.fullness ?? 0)
    expect([changes, message]).toEqual([[], '2/2 nodes fit'])
  })

  it('has no node to speak of in an empty cluster', () => {
    expect(explainPlacement(new Snapshot(), pod())).toMatchObject({ nodes: [], changes: [] })
  })
})

describe('what has become of a pod', () => {
  it('killed for memory, with its limit', () => {
    const made: Pod = {
      ...pod({ nodeName: 'a' }),
      status: {
        phase: 'Running',
        conditions: [{ type: 'Ready', status: 'False', reason: 'ContainersNotReady', message: 'unready' }],
        containerStatuses: [
          {
            name: 'main',
            image: 'x',
            imageID: '',
            ready: false,
            restartCount: 3,
            state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 20s' } },
            lastState: { terminated: { exitCode: 137, reason: 'OOMKilled', finishedAt: '2026-01-01T00:00:00Z' } },
          },
        ],
      },
    }
    const [container] = made.spec.containers
    if (container !== undefined) container.resources = { limits: { memory: '64Mi' } }
    const causes = causesOf(made, node('a'), [])
    expect(causes.map(({ reason }) => reason)).toEqual(['CrashLoopBackOff', 'OOMKilled', 'ContainersNotReady'])
    expect(causes[1]?.message).toBe(
      'container main used more memory than its limit of 64Mi and was killed, restarted 3 times',
    )
    expect(summaryOf(made, stateOf(made), causes, undefined)).toBe(
      'runs on a but is not ready: container main: back-off 20s',
    )
  })

  it('its node is lost or gone', () => {
    const placed = pod({ nodeName: 'a' })
    const lost = node('a', ({ status }) => {
      if (status) status.conditions = [{ type: 'Ready', status: 'Unknown', message: 'silent' }]
    })
    expect(causesOf(placed, lost, [])[0]?.message).toBe('its node a is lost: silent')
    expect(causesOf(placed, undefined, [])[0]?.reason).toBe('NodeGone')
  })

  it('gone: the decisive event tells', () => {
    const event = (reason: string) => ({
      apiVersion: 'v1' as const,
      kind: 'Event' as const,
      metadata: { name: reason },
      involvedObject: {},
      reason,
    })
    expect(endingEvent([event('TaintManagerEviction'), event('Killing'), event('Started')])?.reason).toBe(
      'TaintManagerEviction',
    )
    expect(endingEvent([])).toBeUndefined()
  })

  it('is printed for people', () => {
    const lines = whyLines(
      {
        apiVersion: 'drover.dev/v1',
        kind: 'PodWhy',
        metadata: { namespace: 'default', name: 'p' },
        state: 'pending',
        summary: 'waits for a node: 0/1',
        causes: [],
        placement: {
          message: '0/1',
          nodes: [
            { node: 'a', obstacles: [{ type: 'resource', resource: 'memory', requested: 2 ** 30, free: 2 ** 29 }] },
          ],
          changes: [{ node: 'a', text: '512Mi more memory on node a' }],
        },
      },
      0,
    )
    expect(lines[0]).toBe('pod/p waits for a node: 0/1')
    expect(lines).toContain('The smallest change that would help: 512Mi more memory on node a')
    expect(lines.at(-1)).toMatch(/a +no +memory: asks for 1Gi, 512Mi free/)
  })
})

describe('a plan', () => {
  it('tells leaves that differ, with items of lists by their name', () => {
    const old = {
      spec: {
        replicas: 1,
        containers: [
          { name: 'a', image: 'x:1' },
          { name: 'b', image: 'y' },
        ],
      },
    }
    const next = {
      spec: {
        replicas: 2,
        containers: [
          { name: 'b', image: 'y' },
          { name: 'a', image: 'x:2', tty: true },
        ],
      },
    }
    expect(diff(old, next)).toEqual([
      { path: 'spec.replicas', old: 1, new: 2 },
      { path: 'spec.containers.[a].image', old: 'x:1', new: 'x:2' },
      { path: 'spec.containers.[a].tty', new: true },
    ])
    expect(diff(next, next)).toEqual([])
  })

  it('ends with a code for scripts', () => {
    const placement = (refused: number, wanted: number, placed: number) => ({
      name: 'web',
      placements: {},
      refused,
      message: '',
      surge: { wanted, placed, message: '' },
    })
    expect(exitCodeOf([{ action: 'none' }])).toBe(0)
    expect(exitCodeOf([{ action: 'none' }, { action: 'change', placement: placement(0, 2, 1) }])).toBe(10)
    expect(exitCodeOf([{ action: 'create', placement: placement(1, 0, 0) }])).toBe(11)
    expect(exitCodeOf([{ action: 'change', placement: placement(0, 1, 0) }])).toBe(11)
    expect(exitCodeOf([{ action: 'create', placement: placement(1, 0, 0) }, { action: 'refused' }])).toBe(2)
  })

  it('knows how many pods a rollout adds', () => {
    expect(surgeOf(undefined, 5)).toBe(2)
    expect(surgeOf({ type: 'RollingUpdate', rollingUpdate: { maxSurge: 3 } }, 5)).toBe(3)
    expect(surgeOf({ type: 'Recreate' }, 5)).toBe(0)
  })
})
