/** Dispatch and agent over real gRPC with mutual TLS; store and hosts in memory. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { configMapKind } from '../../src/api/configmap.ts'
import { isNodeReady, nodeCondition, nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { FakeHost } from '../support/fake_drivers.ts'
import { addressOf, holds, SessionHarness } from '../support/node_session.ts'

let harness: SessionHarness

beforeEach(async () => {
  harness = new SessionHarness()
  await harness.open()
})

afterEach(() => harness.close())

function pod(name: string, spec: Partial<Pod['spec']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: { containers: [{ name: 'app', image: 'app:1', imagePullPolicy: 'IfNotPresent' }], ...spec },
  }
}

async function bind(name: string, nodeName = 'n1'): Promise<void> {
  await harness.resources.modify<Pod>(podKind, 'default', name, 'all', (object) => ({
    ...object,
    spec: { ...object.spec, nodeName },
    status: { ...object.status, conditions: [{ type: 'PodScheduled', status: 'True' }] },
  }))
}

const getPod = (name: string) => harness.resources.get(podKind, 'default', name)
const conditionOf = (name: string, type: string) =>
  getPod(name)?.status?.conditions?.find((condition) => condition.type === type)?.status

describe('one node', () => {
  test('a bound pod runs and is Ready, and goes when it is deleted', async () => {
    const dispatch = await harness.startDispatch()
    const host = new FakeHost()
    await harness.startAgent('n1', host, addressOf(dispatch))
    await harness.giveCidr('n1')
    await harness.resources.create(podKind, pod('a'))
    await bind('a')
    await holds(() => expect(getPod('a')?.status?.phase).toBe('Running'))
    await holds(() => expect(conditionOf('a', 'Ready')).toBe('True'))
    expect(conditionOf('a', 'PodScheduled')).toBe('True')
    expect(getPod('a')?.status).toMatchObject({
      podIP: '10.244.0.2',
      hostIP: '127.0.0.1',
      containerStatuses: [{ name: 'app', ready: true, restartCount: 0 }],
    })
    expect(host.running('app')).toHaveLength(1)

    await harness.resources.delete(podKind, 'default', 'a', { gracePeriodSeconds: 5 })
    await holds(() => expect(getPod('a')).toBeUndefined())
    expect([host.containers.size, host.sandboxes.size, host.interfaces.size, host.volumes.size]).toEqual([0, 0, 0, 0])
  })
})
