/** Indexes with limits of their own, and what counts as success: a job's planners over pods that end as told. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isPodFinished } from '../../src/api/conditions.ts'
import {
  COMPLETION_INDEX,
  INDEX_FAILURES,
  type Job,
  jobKind,
  jobOutcome,
  TRACKING_FINALIZER,
} from '../../src/api/job.ts'
import type { Stored } from '../../src/api/meta.ts'
import type { Pod } from '../../src/api/pod.ts'
import { timestamp } from '../../src/base/clock.ts'
import { seededRandom } from '../../src/base/random.ts'
import { planStatus } from '../../src/controllers/job/account.ts'
import { indexOfPod } from '../../src/controllers/job/indexes.ts'
import { planJob } from '../../src/controllers/job/plan.ts'

const START_MS = Date.parse('2026-01-01T00:00:00Z')
const MINUTE_MS = 60_000

function newJob(spec: Partial<Job['spec']>): Stored<Job> {
  const job: Stored<Job> = {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name: 'pi',
      namespace: 'default',
      uid: 'job',
      resourceVersion: '1',
      creationTimestamp: timestamp(START_MS),
    },
    spec: {
      completions: 4,
      parallelism: 2,
      completionMode: 'Indexed',
      template: { spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'task:1' }] } },
      ...spec,
    },
  }
  jobKind.applyDefaults(job)
  return job
}

class World {
  job: Stored<Job>
  pods: Stored<Pod>[] = []
  nowMs = START_MS
  /** Indexes of pods in the order in which they were made. */
  readonly made: number[] = []

  constructor(spec: Partial<Job['spec']>) {
    this.job = newJob(spec)
    expect(jobKind.validate?.(this.job) ?? []).toEqual([])
  }

  get failed(): { reason: string | undefined; indexes: string | undefined } {
    const { conditions = [], failedIndexes } = this.job.status ?? {}
    return { reason: conditions.find(({ type }) => type === 'Failed')?.reason, indexes: failedIndexes }
  }

  attempts(index: number): number {
    return this.made.filter((each) => each === index).length
  }

  /** One pass; `exitCode` says how the pods that run end, undefined while they go on. */
  step(exitCode: (index: number, attempt: number) => number | undefined, passMs = MINUTE_MS * 15): void {
    this.nowMs += passMs
    this.job = { ...this.job, status: planStatus(this) }
    const plan = planJob(this)
    const released = new Set(plan.release.map(({ metadata }) => metadata.uid))
    const given = new Set(plan.delete.map(({ metadata }) => metadata.uid))
    this.pods = this.pods
      .filter(({ metadata }) => !given.has(metadata.uid))
      .map((pod) => (released.has(pod.metadata.uid) ? withoutFinalizer(pod) : pod))
    for (const index of plan.create) this.#make(index ?? -1, plan.failures.get(index ?? -1))
    this.pods = this.pods.map((pod) => {
      const index = indexOfPod(pod) ?? -1
      const code = isPodFinished(pod) ? undefined : exitCode(index, Number(pod.metadata.labels?.attempt))
      return code === undefined ? pod : ended(pod, code, this.nowMs)
    })
  }

  #make(index: number, failures = 0): void {
    this.made.push(index)
    const uid = `pod-${this.made.length}`
    this.pods.push({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: uid,
        namespace: 'default',
        uid,
        resourceVersion: '1',
        creationTimestamp: timestamp(this.nowMs),
        finalizers: [TRACKING_FINALIZER],
        labels: { attempt: String(this.attempts(index)) },
        annotations: { [COMPLETION_INDEX]: String(index), [INDEX_FAILURES]: String(failures) },
      },
      spec: { containers: [{ name: 'main', image: 'task:1' }] },
      status: { phase: 'Running' },
    })
  }
}

function withoutFinalizer(pod: Stored<Pod>): Stored<Pod> {
  const { finalizers: _gone, ...metadata } = pod.metadata
  return { ...pod, metadata }
}

function ended(pod: Stored<Pod>, exitCode: number, nowMs: number): Stored<Pod> {
  const state = {
    terminated: { exitCode, finishedAt: timestamp(nowMs), reason: exitCode === 0 ? 'Completed' : 'Error' },
  }
  const containerStatuses = [{ name: 'main', image: 'task:1', imageID: '', ready: false, restartCount: 0, state }]
  return { ...pod, status: { phase: exitCode === 0 ? 'Succeeded' : 'Failed', containerStatuses } }
}

function runToEnd(world: World, exitCode: (index: number, attempt: number) => number | undefined): void {
  for (let pass = 0; pass < 100 && jobOutcome(world.job) === undefined; pass++) world.step(exitCode)
}

describe('a job whose indexes have limits of their own', () => {
  it('goes on with the others when one has failed for good, and fails in the end with its number', () => {
    const world = new World({ backoffLimitPerIndex: 2 })
    runToEnd(world, (index) => (index === 1 ? 1 : 0))
    expect(jobOutcome(world.job)).toBe('Failed')
    expect(world.failed).toEqual({ reason: 'FailedIndexes', indexes: '1' })
    expect(world.job.status?.completedIndexes).toBe('0,2-3')
    expect([0, 1, 2, 3].map((index) => world.attempts(index))).toEqual([1, 3, 1, 1])
    expect(world.pods.every(({ metadata }) => metadata.finalizers === undefined)).toBe(true)
  })

  it('counts an index that mends itself as done', () => {
    const world = new World({ backoffLimitPerIndex: 2 })
    runToEnd(world, (index, attempt) => (index === 1 && attempt < 3 ? 1 : 0))
    expect(jobOutcome(world.job)).toBe('Complete')
    expect(world.failed).toEqual({ reason: undefined, indexes: '' })
  })

  it('remembers how often an index has failed though its failed pods are deleted, whenever that is', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = seededRandom(seed)
        const world = new World({ backoffLimitPerIndex: 3, completions: 2 })
        for (let pass = 0; pass < 200 && jobOutcome(world.job) === undefined; pass++) {
          world.step((index) => (index === 0 ? 1 : random.next() < 0.3 ? 0 : undefined))
          // Whoever deletes finished pods: those that the job still tracks stay.
          world.pods = world.pods.filter(
            (pod) => !isPodFinished(pod) || pod.metadata.finalizers !== undefined || random.next() < 0.5,
          )
        }
        expect(world.failed).toEqual({ reason: 'FailedIndexes', indexes: '0' })
        expect(world.attempts(0)).toBe(4)
      }),
      { numRuns: 50 },
    )
  })

  it('gives up when too many indexes have failed', () => {
    const world = new World({ backoffLimitPerIndex: 0, maxFailedIndexes: 1, completions: 6 })
    runToEnd(world, () => 1)
    expect(world.failed.reason).toBe('MaxFailedIndexesExceeded')
    expect(world.made.length).toBeLessThanOrEqual(4)
  })

  it('gives up an index at once where a rule says so', () => {
    const rules = [{ action: 'FailIndex' as const, onExitCodes: { operator: 'In' as const, values: [42] } }]
    const world = new World({ backoffLimitPerIndex: 5, podFailurePolicy: { rules } })
    runToEnd(world, (index) => (index === 2 ? 42 : 0))
    expect(world.failed).toEqual({ reason: 'FailedIndexes', indexes: '2' })
    expect(world.attempts(2)).toBe(1)
  })

  it('waits longer after each failure, each index for itself', () => {
    const world = new World({ backoffLimitPerIndex: 5, completions: 2 })
    world.step((index) => (index === 0 ? 1 : undefined), 0)
    world.step(() => undefined, 5_000)
    expect(world.made).toEqual([0, 1])
    expect(planJob(world).againAfterMs).toBe(5_000)
    world.step(() => undefined, 5_000)
    expect(world.made).toEqual([0, 1, 0])
  })
})

describe('a success policy', () => {
  it.each([
    ['named indexes', { succeededIndexes: '0,2-3' }, '0-3'],
    ['so many of them', { succeededCount: 1 }, '0-1'],
    ['so many of the named', { succeededIndexes: '1-3', succeededCount: 1 }, '0-1'],
  ])('ends the job as complete: %s', (_what, rule, completedIndexes) => {
    const world = new World({ successPolicy: { rules: [rule] }, completions: 6 })
    runToEnd(world, () => 0)
    expect(jobOutcome(world.job)).toBe('Complete')
    expect(world.job.status?.completedIndexes).toBe(completedIndexes)
    const complete = world.job.status?.conditions?.find(({ type }) => type === 'Complete')
    expect(complete).toMatchObject({ reason: 'SuccessPolicy', message: 'Matched rules at index 0' })
    expect(world.pods.every(isPodFinished)).toBe(true)
  })

  it('is refused where it cannot be meant', () => {
    const errors = (spec: Partial<Job['spec']>) =>
      (jobKind.validate?.(newJob(spec)) ?? []).map(({ path, message }) => `${path} ${message}`)
    expect(errors({ completionMode: 'NonIndexed', successPolicy: { rules: [{ succeededCount: 1 }] } })).toEqual([
      'spec.successPolicy is for Indexed jobs',
    ])
    expect(errors({ successPolicy: { rules: [{ succeededIndexes: '1,x' }] } })).toEqual([
      'spec.successPolicy.rules[0].succeededIndexes "1,x" is no list of indexes such as 0,2-4',
    ])
    expect(errors({ successPolicy: { rules: [{}] } })[0]).toContain('give succeededIndexes, succeededCount or both')
    expect(errors({ maxFailedIndexes: 1 })).toEqual(['spec.maxFailedIndexes needs backoffLimitPerIndex'])
    expect(errors({ backoffLimitPerIndex: 1, maxFailedIndexes: 9 })).toEqual([
      'spec.maxFailedIndexes is more than completions',
    ])
  })
})
