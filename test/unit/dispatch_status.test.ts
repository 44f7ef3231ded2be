import { describe, expect, test } from 'vitest'
import type { Node } from '../../src/api/node.ts'
import type { PodStatus } from '../../src/api/pod.ts'
import { podReferences } from '../../src/api/pod_references.ts'
import { assignedPod } from '../../src/dispatch/assignments.ts'
import { desiredNode } from '../../src/dispatch/node_object.ts'
import { mergePodStatus } from '../../src/dispatch/pod_status.ts'

const THEN = '2026-01-01T00:00:00Z'
const NOW = '2026-01-01T00:01:00Z'

const reported = (ready: 'True' | 'False', extra: PodStatus = {}): PodStatus => ({
  phase: 'Running',
  conditions: [{ type: 'Ready', status: ready }],
  startTime: NOW,
  ...extra,
})

describe('mergePodStatus', () => {
  test('conditions of others stay, ours get their transition times', () => {
    const current: PodStatus = {
      phase: 'Pending',
      conditions: [
        { type: 'PodScheduled', status: 'True', lastTransitionTime: THEN },
        { type: 'drover.dev/Other', status: 'True' },
        { type: 'Ready', status: 'False', lastTransitionTime: THEN },
      ],
    }
    expect(mergePodStatus(current, reported('True'), { now: NOW })?.conditions).toEqual([
      { type: 'Ready', status: 'True', lastTransitionTime: NOW },
      { type: 'PodScheduled', status: 'True', lastTransitionTime: THEN },
      { type: 'drover.dev/Other', status: 'True' },
    ])
  })

  test('a pod of a service becomes Ready and not yet Routed in one write; one that is not Ready is not Routed', () => {
    const routed = (status: PodStatus | undefined) =>
      status?.conditions?.find(({ type }) => type === 'drover.dev/Routed')?.status
    const ready = mergePodStatus(undefined, reported('True'), { now: THEN, needsRoute: () => true })
    expect(routed(ready)).toBe('False')
    expect(routed(mergePodStatus(undefined, reported('True'), { now: THEN, needsRoute: () => false }))).toBeUndefined()
    const conditions = (ready?.conditions ?? []).map((condition) =>
      condition.type === 'drover.dev/Routed' ? { ...condition, status: 'True' as const } : condition,
    )
    const served = { ...ready, conditions }
    expect(
      routed(mergePodStatus(served, reported('True', { hostIP: '192.0.2.1' }), { now: NOW, needsRoute: () => true })),
    ).toBe('True')
    const failing = mergePodStatus(served, reported('False'), { now: NOW, needsRoute: () => true })
    expect(routed(failing)).toBe('False')
    expect(routed(mergePodStatus(failing, reported('True'), { now: NOW, needsRoute: () => false }))).toBe('False')
  })

  describe('readiness gates', () => {
    const readinessGates = [{ conditionType: 'example.com/a' }, { conditionType: 'example.com/b' }]
    const gate = (name: string, status: 'True' | 'False' | 'Unknown') => ({ type: `example.com/${name}`, status })
    const absent = (name: string) =>
      `corresponding condition of pod readiness gate "example.com/${name}" does not exist.`
    const unmet = (name: string, status: string) =>
      `the status of pod readiness gate "example.com/${name}" is not "True", but ${status}`

    test.each([
      [[], `${absent('a')}, ${absent('b')}`],
      [[gate('a', 'True')], absent('b')],
      [[gate('a', 'False'), gate('b', 'Unknown')], `${unmet('a', 'False')}, ${unmet('b', 'Unknown')}`],
      [[gate('a', 'True'), gate('b', 'True')], undefined],
    ])('with the conditions %j', (conditions, message) => {
      const context = { now: NOW, readinessGates, needsRoute: () => true }
      const merged = mergePodStatus({ conditions }, reported('True'), context)
      const found = (type: string) => merged?.conditions?.find((condition) => condition.type === type)
      if (message === undefined) {
        expect(found('Ready')).toEqual({ type: 'Ready', status: 'True', lastTransitionTime: NOW })
        expect(found('drover.dev/Routed')?.status).toBe('False')
      } else {
        expect(found('Ready')).toMatchObject({ status: 'False', reason: 'ReadinessGatesNotReady', message })
        // It never was Ready: there is nothing to route to.
        expect(found('drover.dev/Routed')).toBeUndefined()
      }
      expect(merged?.conditions).toEqual(expect.arrayContaining(conditions))
    })

    test('containers that are not ready have the first word', () => {
      const word: PodStatus = { conditions: [{ type: 'Ready', status: 'False', reason: 'ContainersNotReady' }] }
      const merged = mergePodStatus(undefined, word, { now: NOW, readinessGates })
      expect(merged?.conditions?.[0]?.reason).toBe('ContainersNotReady')
    })

    test('a gate that closes again takes Ready and the route', () => {
      const context = (now: string) => ({ now, readinessGates: readinessGates.slice(0, 1), needsRoute: () => true })
      const open = mergePodStatus({ conditions: [gate('a', 'True')] }, reported('True'), context(THEN)) ?? {}
      const conditions = open.conditions?.map((one) => (one.type === 'example.com/a' ? gate('a', 'False') : one)) ?? []
      const closed = mergePodStatus({ ...open, conditions }, reported('True'), context(NOW))
      const found = (type: string) => closed?.conditions?.find((condition) => condition.type === type)
      expect(found('Ready')).toMatchObject({ status: 'False', message: unmet('a', 'False'), lastTransitionTime: NOW })
      expect(found('drover.dev/Routed')?.status).toBe('False')
      expect(mergePodStatus(closed, reported('True'), context(NOW))).toBeUndefined()
    })
  })

  test('a report that says nothing new writes nothing, and keeps times', () => {
    const first = mergePodStatus(undefined, reported('True'), { now: THEN })
    expect(first?.startTime).toBe(NOW)
    expect(mergePodStatus(first, reported('True', { startTime: '2026-02-01T00:00:00Z' }), { now: NOW })).toBeUndefined()
    const third = mergePodStatus(first, reported('True', { hostIP: '192.0.2.1' }), { now: NOW })
    expect(third?.conditions?.[0]?.lastTransitionTime).toBe(THEN)
  })

  test('that a pod goes by no fault of its own stays, whoever said it first', () => {
    const said = (reason: string) => ({ type: 'DisruptionTarget', status: 'True' as const, reason })
    const ours = { ...said('TerminationByKubelet'), lastTransitionTime: NOW }
    const evicted = reported('False', { phase: 'Failed' })
    const target = (status: PodStatus | undefined) =>
      status?.conditions?.filter(({ type }) => type === 'DisruptionTarget')
    const word = { ...evicted, conditions: [...(evicted.conditions ?? []), said('TerminationByKubelet')] }
    const first = mergePodStatus({ conditions: [] }, word, { now: NOW })
    expect(target(first)).toEqual([ours])
    // An agent that came back no longer knows; and it does not argue with who was first.
    expect(target(mergePodStatus(first, { ...evicted, hostIP: '192.0.2.1' }, { now: NOW }))).toEqual([ours])
    const byServer = { conditions: [said('DeletionByTaintManager')] }
    expect(target(mergePodStatus(byServer, word, { now: NOW }))).toEqual(byServer.conditions)
    const takenBack = { conditions: [{ ...said('EvictionByEvictionAPI'), status: 'False' as const }] }
    expect(target(mergePodStatus(takenBack, word, { now: NOW }))).toEqual([ours])
  })

  test('a pod that is over stays over, and keeps its address', () => {
    const failed: PodStatus = {
      phase: 'Failed',
      reason: 'Evicted',
      message: 'gone',
      podIP: '10.0.0.1',
      podIPs: [{ ip: '10.0.0.1' }],
    }
    expect(mergePodStatus(failed, reported('False'), { now: NOW })).toMatchObject(failed)
    expect(mergePodStatus({ phase: 'Failed' }, reported('False', { phase: 'Succeeded' }), { now: NOW })?.phase).toBe(
      'Succeeded',
    )
  })
})

describe('assignments', () => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'ns', uid: 'u', resourceVersion: '7' },
    spec: {
      volumes: [
        { name: 'a', configMap: { name: 'm1' } },
        { name: 'b', secret: { secretName: 's1' } },
      ],
      imagePullSecrets: [{ name: 's3' }],
      initContainers: [{ name: 'i', envFrom: [{ configMapRef: { name: 'm2' } }] }],
      containers: [{ name: 'c', env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 's2', key: 'k' } } }] }],
    },
  }

  test('everything that a pod names, and nothing else', () => {
    expect([...podReferences(pod)].sort()).toEqual(
      ['configmap/ns/m1', 'configmap/ns/m2', 'secret/ns/s1', 'secret/ns/s2', 'secret/ns/s3'].sort(),
    )
  })

  test("an echo of the agent's own status is no news", () => {
    const running = { ...pod, status: reported('True') }
    const ready = { ...pod, metadata: { ...pod.metadata, resourceVersion: '9' }, status: reported('False') }
    expect(assignedPod(running)).toEqual(assignedPod(ready))
    expect(assignedPod({ ...pod, status: { phase: 'Failed' as const } }).status).toEqual({ phase: 'Failed' })
  })
})

describe('desiredNode', () => {
  const node: Node = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n', labels: { mine: 'yes' } },
    spec: { unschedulable: true, podCIDR: '10.244.0.0/24' },
    status: { conditions: [{ type: 'Custom', status: 'True' }] },
  }
  const live = {
    liveness: { state: 'live' as const },
    reported: {
      labels: { zone: 'a' },
      status: { capacity: { cpu: '2' }, conditions: [{ type: 'DiskPressure', status: 'False' as const }] },
    },
    serverId: 's1',
    now: THEN,
  }

  test('a live node: labels merged, spec left alone, Ready', () => {
    const desired = desiredNode(node, live)
    expect(desired.metadata.labels).toEqual({ mine: 'yes', zone: 'a' })
    expect(desired.spec).toEqual(node.spec)
    expect(desired.status?.conditions?.map(({ type, status }) => `${type}=${status}`)).toEqual([
      'Custom=True',
      'DiskPressure=False',
      'Ready=True',
    ])
    expect(desiredNode(desired, { ...live, now: NOW })).toEqual(desired)
  })

  test('a lost node: Ready is Unknown since now, the rest stands', () => {
    const lost = desiredNode(desiredNode(node, live), {
      ...live,
      liveness: { state: 'lost' },
      reported: undefined,
      now: NOW,
    })
    const ready = lost.status?.conditions?.find(({ type }) => type === 'Ready')
    expect(ready).toMatchObject({ status: 'Unknown', reason: 'NodeStatusUnknown', lastTransitionTime: NOW })
    expect(lost.status?.capacity).toEqual({ cpu: '2' })
  })
})
