/** A job's pods that end while the controller writes: a completion is neither lost nor counted as something else as well. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Job, jobKind, TRACKING_FINALIZER } from '../../src/api/job.ts'
import type { KindDefinition } from '../../src/api/kind.ts'
import type { Stored } from '../../src/api/meta.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { planStatus } from '../../src/controllers/job/account.ts'
import { createJobController } from '../../src/controllers/job/controller.ts'
import { verdictOn } from '../../src/controllers/job/verdict.ts'
import { createEventRecorder } from '../../src/resources/events.ts'
import type { Resources } from '../../src/resources/resources.ts'
import { eventually } from '../support/eventually.ts'
import { runResources, type TestResources } from '../support/resources.ts'

let test: TestResources

beforeEach(async () => {
  test = await runResources({})
})
afterEach(() => test.stop())

const job: Job = {
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name: 'pi', namespace: 'default' },
  spec: {
    completions: 1,
    template: { spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'task:1' }] } },
  },
}

const endWell = (name: string) =>
  test.resources.modify(podKind, 'default', name, 'status', (pod) => ({
    ...pod,
    status: { ...pod.status, phase: 'Succeeded' as const },
  }))

/** Resources through which a pod that loses its finalizer has just ended well. */
function endingFirst(resources: Resources): Resources {
  let ended = false
  const modify = async (...args: Parameters<Resources['modify']>): ReturnType<Resources['modify']> => {
    const [kind, , name, part] = args
    if (!ended && (kind as KindDefinition) === (podKind as unknown as KindDefinition) && part === 'main') {
      ended = true
      await endWell(name)
    }
    return await resources.modify(...args)
  }
  return Object.assign(Object.create(resources) as Resources, { modify })
}

describe('a job pod that was told to end', () => {
  it('and ends well before its finalizer is off, is a completion', async () => {
    const { resources, store, signal } = test
    const election = await store.campaign('/test/leader', 'test', signal)
    const context = {
      clock: systemClock,
      random: seededRandom(7),
      log: silentLogger,
      fence: election.fence,
      resources: endingFirst(resources),
    }
    const events = createEventRecorder({ ...context, resources, component: 'controllers' })
    const done = createJobController({ ...context, events }).run(signal)
    done.catch(() => undefined)
    await resources.create(jobKind, job)
    const pod = await eventually(() => resources.list(podKind)[0])
    await resources.modify(podKind, 'default', pod.metadata.name, 'all', (each) => ({
      ...each,
      spec: { ...each.spec, nodeName: 'n1' },
      status: { ...each.status, phase: 'Running' as const },
    }))
    await resources.delete(podKind, 'default', pod.metadata.name)
    const status = await eventually(() => {
      const found = resources.get(jobKind, 'default', 'pi')?.status
      return found?.conditions?.some(({ type }) => type === 'Complete') && found
    })
    expect(status).toMatchObject({ succeeded: 1, failed: 0, uncountedTerminatedPods: {} })
    expect(resources.list(podKind)).toHaveLength(1)
  })

  it.each([
    ['NonIndexed', [0, 0, { succeeded: ['pod'] }]],
    ['Indexed', [1, 0, {}]],
  ] as const)('and ends well after all, is a success and no failure: %s', (completionMode, books) => {
    const stored = { resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' }
    const pod: Stored<Pod> = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        ...stored,
        name: 'pi-0',
        namespace: 'default',
        uid: 'pod',
        deletionTimestamp: '2026-01-01T00:00:30Z',
        deletionGracePeriodSeconds: 30,
        finalizers: [TRACKING_FINALIZER],
        annotations: { 'batch.kubernetes.io/job-completion-index': '0' },
      },
      spec: job.spec.template.spec,
      status: { phase: 'Running' },
    }
    const spec = { ...job.spec, completionMode, completions: 2 }
    let current: Stored<Job> = { ...job, metadata: { ...job.metadata, ...stored, uid: 'job' }, spec } as Stored<Job>
    const nowMs = Date.parse('2026-01-01T00:00:10Z')
    current = { ...current, status: planStatus({ job: current, pods: [pod], nowMs }) }
    expect(current.status?.uncountedTerminatedPods).toEqual({ failed: ['pod'] })
    const ended: Stored<Pod> = { ...pod, status: { phase: 'Succeeded' } }
    const { succeeded, failed, uncountedTerminatedPods } = planStatus({ job: current, pods: [ended], nowMs })
    expect([succeeded, failed, uncountedTerminatedPods]).toEqual(books)
  })
})

it('does not count the failure of a pod that was evicted, where its policy says so', () => {
  const rules = [{ action: 'Ignore' as const, onPodConditions: [{ type: 'DisruptionTarget' }] }]
  const patient: Job = { ...job, spec: { ...job.spec, podFailurePolicy: { rules } } }
  const pod = (reason: string | undefined, metadata: Pod['metadata'] = {}): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'pi-1', namespace: 'default', ...metadata },
    spec: { containers: [] },
    status: {
      phase: metadata.deletionTimestamp === undefined ? 'Failed' : 'Running',
      conditions: reason === undefined ? [] : [{ type: 'DisruptionTarget', status: 'True', reason }],
    },
  })
  const lost = { deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 0 }
  expect(verdictOn(patient, pod('TerminationByKubelet'))).toEqual({ end: 'ignored' })
  expect(verdictOn(patient, pod('DeletionByTaintManager', lost))).toEqual({ end: 'ignored' })
  expect(verdictOn(patient, pod(undefined))).toEqual({ end: 'failed' })
  expect(verdictOn(patient, pod(undefined, lost))).toEqual({ end: 'failed' })
})
