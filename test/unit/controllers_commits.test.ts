/** Which writes one change takes, and which of them travel together: each commit that follows another costs the user its time. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { deploymentKind } from '../../src/api/deployment.ts'
import type { KubeObject } from '../../src/api/meta.ts'
import { ANNOTATION } from '../../src/api/names.ts'
import { nodeKind } from '../../src/api/node.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { replicaSetKind } from '../../src/api/replicaset.ts'
import { type ControlPlane, newDeployment, startControlPlane, template } from '../support/control_plane.ts'
import { eventually } from '../support/eventually.ts'

let plane: ControlPlane

beforeEach(async () => {
  plane = await startControlPlane()
  await plane.addNode('n1')
})
afterEach(() => plane.stop())

/** Kinds that were written from now on, commit by commit, events for people left out. */
function recordCommits(): { kinds(): string[][]; stop(): Promise<void> } {
  const stop = new AbortController()
  const commits: string[][] = []
  const watch = async (): Promise<void> => {
    for await (const { events } of plane.test.store.watch('/drover/', plane.resources.revision(), stop.signal)) {
      const kinds = events
        .map((event) => (event.type === 'put' ? (JSON.parse(event.item.value) as KubeObject).kind : 'gone'))
        .filter((kind) => kind !== 'Event')
      if (kinds.length > 0) commits.push(kinds.sort())
    }
  }
  const watching = watch()
  return {
    kinds: () => [...commits],
    async stop() {
      stop.abort()
      await watching
    },
  }
}

/** Pods of "broken" run and never say that they are ready: the test says it. */
async function runUnready(spec: Parameters<typeof newDeployment>[1] = {}): Promise<void> {
  const unready = template({ app: 'web' }, 'broken:1')
  await plane.resources.create(deploymentKind, newDeployment('web', { replicas: 2, template: unready, ...spec }))
  await eventually(() => {
    const pods = plane.pods()
    const { status } = plane.deployment('web')
    return pods.length === 2 && pods.every((pod) => pod.status?.phase === 'Running') && status?.replicas === 2
  })
  // What was written is known, so that nothing more is due.
  await plane.resources.waitForRevision(await plane.resources.currentRevision(), 5_000)
  await eventually(() => plane.resources.list(replicaSetKind)[0]?.status?.replicas === 2)
}

const setReady = (name: string, status: 'True' | 'False', sinceMs = Date.now()) =>
  plane.resources.modify(podKind, 'default', name, 'status', (pod) => {
    const others = (pod.status?.conditions ?? []).filter(({ type }) => type !== 'Ready')
    const lastTransitionTime = new Date(sinceMs).toISOString()
    return { ...pod, status: { ...pod.status, conditions: [...others, { type: 'Ready', status, lastTransitionTime }] } }
  })

describe('a pod that a controller makes', () => {
  it('has its node from its first write on', async () => {
    // Before that a node takes no pods.
    await eventually(() => plane.resources.list(nodeKind)[0]?.spec?.podCIDR !== undefined)
    await plane.resources.waitForRevision(await plane.resources.currentRevision(), 5_000)
    const recorder = recordCommits()
    await plane.resources.create(deploymentKind, newDeployment('web', { replicas: 3 }))
    await eventually(() => plane.deployment('web').status?.availableReplicas === 3)
    // Made and bound; then what its agent says.
    const pods = recorder.kinds().filter((kinds) => kinds.includes('Pod'))
    expect(pods[0]?.filter((kind) => kind === 'Pod')).toHaveLength(3)
    expect(pods.flat().filter((kind) => kind === 'Pod')).toHaveLength(6)
    await recorder.stop()
  })
})

describe('a deployment of one pod', () => {
  it('is written three times on its way, and so is its set', async () => {
    await eventually(() => plane.resources.list(nodeKind)[0]?.spec?.podCIDR !== undefined)
    await plane.resources.waitForRevision(await plane.resources.currentRevision(), 5_000)
    const recorder = recordCommits()
    await plane.resources.create(deploymentKind, newDeployment('web', { replicas: 1 }))
    // The last of all is a note on the set: all its pods have served under this revision.
    const { completedRevision } = ANNOTATION
    await eventually(() => plane.resources.list(replicaSetKind)[0]?.metadata.annotations?.[completedRevision] === '1')
    await plane.resources.waitForRevision(await plane.resources.currentRevision(), 5_000)
    const written = recorder.kinds().flat()
    const times = (kind: string): number => written.filter((each) => each === kind).length
    // As asked for; begun, with its revision's number; available. Its set: made, available, noted.
    expect([times('Deployment'), times('ReplicaSet'), times('Pod')]).toEqual([3, 3, 2])
    expect(recorder.kinds().at(-2)).toEqual(['Deployment', 'ReplicaSet'])
    await recorder.stop()
  })

  it('says that pods are on their way when they take their time', async () => {
    plane.agents.dead.add('n1')
    await plane.resources.create(deploymentKind, newDeployment('web', { replicas: 2 }))
    await eventually(() => plane.deployment('web').status?.updatedReplicas === 2)
    await eventually(() => plane.resources.list(replicaSetKind)[0]?.status?.replicas === 2)
  })
})

describe('a deployment and its set', () => {
  it('say in one commit that a pod serves, and that it does no more', async () => {
    await runUnready()
    const [first, last] = plane.pods().map(({ metadata }) => metadata.name)
    const says = (count: number): boolean =>
      [plane.deployment('web'), plane.resources.list(replicaSetKind)[0]].every(
        (each) => (each?.status?.readyReplicas ?? 0) === count && (each?.status?.availableReplicas ?? 0) === count,
      )
    await setReady(first ?? '', 'True')
    // Of one that is not the last nobody need know at once.
    await eventually(() => says(1))
    await plane.resources.waitForRevision(await plane.resources.currentRevision(), 5_000)
    const recorder = recordCommits()
    await setReady(last ?? '', 'True')
    await eventually(() => recorder.kinds().length >= 3)
    // The last is the note that all have served under this revision.
    expect(recorder.kinds()).toEqual([['Pod'], ['Deployment', 'ReplicaSet'], ['ReplicaSet']])
    expect(says(2)).toBe(true)
    await setReady(last ?? '', 'False')
    await eventually(() => recorder.kinds().length >= 5)
    expect(recorder.kinds().slice(3)).toEqual([['Pod'], ['Deployment', 'ReplicaSet']])
    expect(says(1)).toBe(true)
    await recorder.stop()
  })

  it('both notice that a pod has been ready for long enough, without a change that tells them', async () => {
    await runUnready({ minReadySeconds: 1 })
    for (const { metadata } of plane.pods()) await setReady(metadata.name, 'True')
    await eventually(() => plane.deployment('web').status?.readyReplicas === 2)
    expect(plane.deployment('web').status?.availableReplicas).toBe(0)
    await eventually(() => plane.deployment('web').status?.availableReplicas === 2)
    await eventually(() => plane.resources.list(replicaSetKind)[0]?.status?.availableReplicas === 2)
  })
})
