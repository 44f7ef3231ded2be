/** Planners of workloads under properties: seeded worlds in which pods come, fail and go, and what may never happen. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isPodFinished, isPodReady, isTerminating } from '../../src/api/conditions.ts'
import type { CronJob } from '../../src/api/cronjob.ts'
import type { DaemonSet } from '../../src/api/daemonset.ts'
import { healthyPods } from '../../src/api/disruption.ts'
import { type Job, jobKind, jobOutcome, TRACKING_FINALIZER } from '../../src/api/job.ts'
import type { Stored } from '../../src/api/meta.ts'
import type { Node } from '../../src/api/node.ts'
import type { PersistentVolume } from '../../src/api/persistentvolume.ts'
import type { PersistentVolumeClaim } from '../../src/api/persistentvolumeclaim.ts'
import type { Pod } from '../../src/api/pod.ts'
import type { PodDisruptionBudget } from '../../src/api/poddisruptionbudget.ts'
import { type StatefulSet, statefulSetKind } from '../../src/api/statefulset.ts'
import { timestamp } from '../../src/base/clock.ts'
import { type Random, randomInt, seededRandom } from '../../src/base/random.ts'
import { planCronJob } from '../../src/controllers/cronjob/plan.ts'
import { eligibility, specForNode } from '../../src/controllers/daemonset/nodes.ts'
import { planDaemonSet } from '../../src/controllers/daemonset/plan.ts'
import { planBudget } from '../../src/controllers/disruption/plan.ts'
import { planStatus as planBooks } from '../../src/controllers/job/account.ts'
import { formatIndexes, indexOfPod, parseIndexes } from '../../src/controllers/job/indexes.ts'
import { planJob } from '../../src/controllers/job/plan.ts'
import { newPod, ordinalOf, revisionOf } from '../../src/controllers/statefulset/identity.ts'
import { maxUnavailableOf, planStatefulSet } from '../../src/controllers/statefulset/plan.ts'
import { planClaim, planVolume } from '../../src/controllers/volume/plan.ts'
import { spend } from '../../src/resources/disruption_leave.ts'

const START_MS = Date.parse('2026-01-01T12:00:00Z')
let uids = 0
const meta = (name: string) => ({
  name,
  namespace: 'default',
  uid: `uid-${uids++}`,
  resourceVersion: '1',
  creationTimestamp: timestamp(START_MS),
  generation: 1,
})
const podSpec = (image: string): Pod['spec'] => ({ containers: [{ name: 'main', image }] })

/** Pods as a node would have them: made, running, ready, ended, ending, gone. */
class PodWorld {
  pods: Stored<Pod>[] = []
  readonly random: Random

  constructor(seed: number) {
    this.random = seededRandom(seed)
  }

  add(pod: Pod): void {
    expect(this.pods.map(({ metadata }) => metadata.name)).not.toContain(pod.metadata.name)
    const stored = { ...pod, metadata: { ...pod.metadata, ...meta(pod.metadata.name ?? '') } }
    this.pods.push({ ...stored, status: { phase: 'Pending' } } as Stored<Pod>)
  }

  change(pod: Stored<Pod>, change: (pod: Stored<Pod>) => Stored<Pod>): void {
    this.pods = this.pods.map((each) => (each.metadata.uid === pod.metadata.uid ? change(each) : each))
  }

  delete(pod: Stored<Pod>, graceSeconds = 30): void {
    this.change(pod, (each) => ({
      ...each,
      metadata: { ...each.metadata, deletionTimestamp: timestamp(START_MS), deletionGracePeriodSeconds: graceSeconds },
    }))
  }

  /** One thing happens to one pod. */
  step(options: { ends: boolean; broken?: (pod: Pod) => boolean }): void {
    const pod = this.pods[randomInt(this.random, Math.max(1, this.pods.length))]
    if (pod === undefined) return
    const ready = (status: 'True' | 'False') => [
      { type: 'Ready', status, lastTransitionTime: timestamp(START_MS - 3_600_000) },
    ]
    if (isTerminating(pod)) {
      if (pod.metadata.finalizers === undefined) this.pods = this.pods.filter((each) => each !== pod)
      else this.delete(pod, 0)
      return
    }
    const phase = pod.status?.phase
    const dice = this.random.next()
    if (phase === 'Pending') {
      this.change(pod, (each) => ({
        ...each,
        spec: { ...each.spec, nodeName: 'n' },
        status: { phase: 'Running', conditions: ready('False') },
      }))
    } else if (phase === 'Running' && options.ends && dice < 0.6) {
      const ended = this.random.next() < 0.7 ? 'Succeeded' : 'Failed'
      this.change(pod, (each) => ({ ...each, status: { ...each.status, phase: ended } }))
    } else if (phase === 'Running' && options.broken?.(pod) !== true) {
      this.change(pod, (each) => ({
        ...each,
        status: { ...each.status, conditions: ready(dice < 0.9 ? 'True' : 'False') },
      }))
    }
  }
}

const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 })

describe('a StatefulSet', () => {
  const set = (replicas: number, image: string, spec: Partial<StatefulSet['spec']>): Stored<StatefulSet> => {
    const made: Stored<StatefulSet> = {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { ...meta('db'), uid: 'set' },
      spec: {
        replicas,
        selector: { matchLabels: { app: 'db' } },
        template: { metadata: { labels: { app: 'db' } }, spec: podSpec(image) },
        ...spec,
      },
    }
    statefulSetKind.applyDefaults(made)
    return made
  }

  it('never doubles an ordinal, keeps its order and its bound of pods away, and gets there', {
    timeout: 30_000,
  }, () => {
    fc.assert(
      fc.property(
        seeds,
        fc.record({
          podManagementPolicy: fc.constantFrom('OrderedReady' as const, 'Parallel' as const),
          maxUnavailable: fc.integer({ min: 1, max: 3 }),
          partition: fc.integer({ min: 0, max: 3 }),
        }),
        fc.integer({ min: 1, max: 5 }),
        (seed, { podManagementPolicy, maxUnavailable, partition }, size) => {
          const world = new PodWorld(seed)
          const updateStrategy = { type: 'RollingUpdate' as const, rollingUpdate: { maxUnavailable, partition } }
          const versions = ['v1', 'broken', 'v3']
          let current = set(size, 'v1', { podManagementPolicy, updateStrategy })
          const broken = (pod: Pod): boolean => pod.spec.containers[0]?.image === 'broken'
          const snapshot = () => ({
            set: current,
            pods: world.pods,
            claims: [],
            updateRevision: current.spec.template.spec.containers[0]?.image ?? '',
            hasRevision: () => true,
            nowMs: START_MS,
          })
          const act = (): void => {
            const { steps, status } = planStatefulSet(snapshot())
            const away = (): number =>
              Math.max(
                0,
                (current.spec.replicas ?? 0) -
                  world.pods.filter((pod) => isPodReady(pod) && !isTerminating(pod)).length,
              )
            for (const step of steps) {
              if (step.type === 'createPod') {
                const template = { ...current.spec.template, spec: podSpec(step.revision) }
                world.add(newPod(current, step.ordinal, { name: step.revision, template }))
              } else if (step.type === 'deletePod') {
                const wasReady = isPodReady(step.pod)
                world.delete(step.pod)
                // Own acts take only what the bound leaves, but for pods that scale-down removes.
                const wanted = (ordinalOf(current, step.pod.metadata.name) ?? 0) < (current.spec.replicas ?? 0)
                if (wasReady && wanted && !isPodFinished(step.pod)) {
                  expect(away()).toBeLessThanOrEqual(Math.max(maxUnavailableOf(current), 1))
                }
              }
            }
            current = { ...current, status }
            const names = world.pods.map(({ metadata }) => metadata.name)
            expect(new Set(names).size).toBe(names.length)
          }
          for (let turn = 0; turn < 240; turn++) {
            if (turn === 60 || turn === 120) {
              current = {
                ...current,
                spec: {
                  ...current.spec,
                  template: { ...current.spec.template, spec: podSpec(versions[turn / 60] ?? '') },
                },
              }
            }
            if (turn === 180) current = { ...current, spec: { ...current.spec, replicas: randomInt(world.random, 6) } }
            act()
            for (let event = 0; event < 3; event++) world.step({ ends: false, broken })
          }
          // Nothing fails any more: it comes to rest where it should.
          for (let turn = 0; turn < 400; turn++) {
            act()
            for (const pod of world.pods) {
              if (isTerminating(pod)) world.pods = world.pods.filter((each) => each.metadata.uid !== pod.metadata.uid)
              else if (!broken(pod)) {
                const conditions = [{ type: 'Ready', status: 'True' as const, lastTransitionTime: timestamp(0) }]
                world.change(pod, (each) => ({
                  ...each,
                  spec: { ...each.spec, nodeName: 'n' },
                  status: { phase: 'Running', conditions },
                }))
              }
            }
          }
          expect(world.pods).toHaveLength(current.spec.replicas ?? 0)
          for (const pod of world.pods) {
            const ordinal = ordinalOf(current, pod.metadata.name) ?? 0
            if (ordinal >= partition) expect(revisionOf(pod)).toBe('v3')
          }
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('a Job', () => {
  it.each(['NonIndexed', 'Indexed'] as const)(
    '%s never loses or doubles a completion, whatever is deleted',
    (completionMode) => {
      fc.assert(
        fc.property(
          seeds,
          fc.integer({ min: 1, max: 6 }),
          fc.integer({ min: 1, max: 4 }),
          (seed, completions, parallelism) => {
            const world = new PodWorld(seed)
            let job: Stored<Job> = {
              apiVersion: 'batch/v1',
              kind: 'Job',
              metadata: { ...meta('pi'), uid: `job-${seed}` },
              spec: {
                completions,
                parallelism,
                completionMode,
                backoffLimit: 1000,
                template: { spec: { ...podSpec('task'), restartPolicy: 'Never' } },
              },
            }
            jobKind.applyDefaults(job)
            /** What truly happened: uids of pods that ended well while they counted. */
            const truth = new Set<string>()
            const doneIndexes = new Set<number>()
            let made = 0
            const untrack = (pod: Stored<Pod>): void =>
              world.change(pod, (each) => {
                const { finalizers: _gone, ...metadata } = each.metadata
                return { ...each, metadata }
              })
            const sweep = (): void => {
              world.pods = world.pods.filter(
                ({ metadata }) =>
                  metadata.deletionTimestamp === undefined ||
                  metadata.finalizers !== undefined ||
                  (metadata.deletionGracePeriodSeconds ?? 0) > 0,
              )
            }
            const note = (): void => {
              for (const pod of world.pods) {
                if (pod.status?.phase !== 'Succeeded' || pod.metadata.finalizers === undefined) continue
                if (completionMode === 'Indexed') doneIndexes.add(indexOfPod(pod) ?? -1)
                else truth.add(pod.metadata.uid)
              }
            }
            let nowMs = START_MS
            for (let turn = 0; turn < 1500 && jobOutcome(job) === undefined; turn++) {
              // Back-off is long over: only the books are looked at here.
              nowMs += 3_600_000
              job = { ...job, status: planBooks({ job, pods: world.pods, nowMs }) }
              // A crash after any write: what follows is planned anew from what is stored.
              if (world.random.next() < 0.3) continue
              // Pods go on ending while the books are written.
              world.step({ ends: true })
              note()
              const plan = planJob({ job, pods: world.pods, nowMs })
              for (const pod of plan.release) if (world.random.next() < 0.7) untrack(pod)
              for (const pod of plan.delete) {
                const now = world.pods.find(({ metadata }) => metadata.uid === pod.metadata.uid)
                if (now === undefined || isPodFinished(now)) continue
                untrack(now)
                world.delete(now)
              }
              for (const index of plan.create) {
                world.add({
                  apiVersion: 'v1',
                  kind: 'Pod',
                  metadata: {
                    name: `pi-${made++}`,
                    finalizers: [TRACKING_FINALIZER],
                    ...(index !== undefined && {
                      annotations: { 'batch.kubernetes.io/job-completion-index': String(index) },
                    }),
                  },
                  spec: podSpec('task'),
                })
              }
              for (let event = 0; event < 3; event++) {
                world.step({ ends: true })
                note()
                const victim = world.pods[randomInt(world.random, Math.max(1, world.pods.length))]
                // Users and garbage collection delete pods, finished ones too.
                if (victim !== undefined && world.random.next() < 0.2 && !isTerminating(victim)) {
                  world.delete(victim, isPodFinished(victim) ? 0 : 30)
                }
                sweep()
              }
              const counted =
                (job.status?.succeeded ?? 0) + (job.status?.uncountedTerminatedPods?.succeeded?.length ?? 0)
              const real = completionMode === 'Indexed' ? doneIndexes.size : truth.size
              expect(counted).toBeLessThanOrEqual(real)
            }
            expect(jobOutcome(job)).toBe('Complete')
            if (completionMode === 'Indexed') {
              expect(job.status?.succeeded).toBe(completions)
              expect(parseIndexes(job.status?.completedIndexes, completions)).toEqual(
                new Set(Array.from({ length: completions }, (_, index) => index)),
              )
            } else expect(job.status?.succeeded).toBe(truth.size)
            expect(job.status?.uncountedTerminatedPods).toEqual({})
          },
        ),
        { numRuns: 60 },
      )
    },
  )

  it('writes sets of indexes and reads them back', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 40 })), (list) => {
        const indexes = new Set(list)
        expect(parseIndexes(formatIndexes(indexes), 41)).toEqual(indexes)
      }),
    )
    expect(formatIndexes(new Set([0, 2, 3, 4, 7]))).toBe('0,2-4,7')
  })
})

const node = (name: string, spec: Node['spec'] = {}, labels: Record<string, string> = {}): Stored<Node> => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { ...meta(name), labels: { 'kubernetes.io/hostname': name, ...labels } },
  spec,
  status: { conditions: [{ type: 'Ready', status: 'True' }], allocatable: { 'ephemeral-storage': '10Gi' } },
})

describe('a DaemonSet', () => {
  it.each([
    ['a plain node', {}, {}, { runs: true, stays: true }],
    [
      'a cordoned node',
      {},
      { taints: [{ key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' as const }] },
      { runs: true, stays: true },
    ],
    [
      'a node that is lost',
      {},
      { taints: [{ key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' as const }] },
      { runs: true, stays: true },
    ],
    ["somebody's node", {}, { taints: [{ key: 'own', effect: 'NoSchedule' as const }] }, { runs: false, stays: true }],
    [
      'a node that throws out',
      {},
      { taints: [{ key: 'own', effect: 'NoExecute' as const }] },
      { runs: false, stays: false },
    ],
    ['a node it does not select', { nodeSelector: { gpu: 'yes' } }, {}, { runs: false, stays: false }],
  ])('on %s', (_what, spec, nodeSpec, expected) => {
    expect(eligibility({ ...podSpec('x'), ...spec }, node('n1', nodeSpec))).toEqual(expected)
  })

  it('never has two pods of one template on a node, nor takes more than it may, and gets there', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 4 }), fc.boolean(), (seed, amount, surges) => {
        const world = new PodWorld(seed)
        const nodes = Array.from({ length: 5 }, (_, index) => node(`n${index}`))
        const rollingUpdate = surges ? { maxSurge: amount, maxUnavailable: 0 } : { maxSurge: 0, maxUnavailable: amount }
        const current: Stored<DaemonSet> = {
          apiVersion: 'apps/v1',
          kind: 'DaemonSet',
          metadata: meta('log'),
          spec: {
            selector: { matchLabels: { app: 'log' } },
            template: { metadata: { labels: { app: 'log' } }, spec: podSpec('v1') },
            updateStrategy: { type: 'RollingUpdate', rollingUpdate },
          },
        }
        let made = 0
        let hash = 'v1'
        const serving = (): number =>
          new Set(
            world.pods
              .filter((pod) => isPodReady(pod) && !isTerminating(pod))
              .map((pod) => pod.metadata.annotations?.node),
          ).size
        const act = (): void => {
          const plan = planDaemonSet({ set: current, pods: world.pods, nodes, updateHash: hash, nowMs: START_MS })
          const before = serving()
          for (const { pod } of plan.delete) world.delete(pod)
          if (serving() < before) expect(serving()).toBeGreaterThanOrEqual(nodes.length - (surges ? 0 : amount))
          for (const nodeName of plan.create) {
            world.add({
              apiVersion: 'v1',
              kind: 'Pod',
              metadata: {
                name: `log-${made++}`,
                labels: { 'controller-revision-hash': hash },
                annotations: { node: nodeName },
              },
              spec: specForNode(podSpec(hash), nodeName),
            })
          }
          const places = world.pods
            .filter((pod) => !isTerminating(pod))
            .map((pod) => `${pod.metadata.annotations?.node} ${pod.metadata.labels?.['controller-revision-hash']}`)
          expect(new Set(places).size).toBe(places.length)
        }
        const settle = (): void => {
          for (const pod of world.pods) {
            if (isTerminating(pod)) world.pods = world.pods.filter((each) => each.metadata.uid !== pod.metadata.uid)
            else {
              const conditions = [{ type: 'Ready', status: 'True' as const, lastTransitionTime: timestamp(0) }]
              world.change(pod, (each) => ({ ...each, status: { phase: 'Running', conditions } }))
            }
          }
        }
        for (let turn = 0; turn < 100; turn++) {
          if (turn === 40) hash = 'v2'
          act()
          for (let event = 0; event < 3; event++) world.step({ ends: false })
          // The world binds by the pod's own wish.
          world.pods = world.pods.map((pod) =>
            pod.spec.nodeName ? { ...pod, spec: { ...pod.spec, nodeName: pod.metadata.annotations?.node ?? '' } } : pod,
          )
        }
        for (let turn = 0; turn < 40; turn++) {
          act()
          settle()
        }
        expect(world.pods.map((pod) => pod.metadata.labels?.['controller-revision-hash'])).toEqual(Array(5).fill('v2'))
      }),
      { numRuns: 60 },
    )
  })
})

describe('a CronJob', () => {
  const cron = (spec: Partial<CronJob['spec']>, status: CronJob['status'] = {}): Stored<CronJob> => ({
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: meta('tick'),
    spec: { schedule: '*/10 * * * *', jobTemplate: { spec: { template: { spec: podSpec('x') } } }, ...spec },
    status,
  })
  const job = (name: string, outcome?: 'Complete' | 'Failed'): Stored<Job> => ({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: meta(name),
    spec: { template: { spec: podSpec('x') } },
    status:
      outcome === undefined
        ? {}
        : { conditions: [{ type: outcome, status: 'True', lastTransitionTime: timestamp(START_MS + name.length) }] },
  })
  const at = (minutes: number): number => START_MS + minutes * 60_000
  const minute = (minutes: number): string => `tick-${at(minutes) / 60_000}`

  it.each([
    ['nothing before its time', {}, {}, [], 5, undefined],
    ['when it is due', {}, {}, [], 10, 10],
    ['the last of many that it missed', {}, {}, [], 65, 60],
    ['none twice', {}, { lastScheduleTime: timestamp(at(10)) }, [], 15, undefined],
    ['none that is too late', { startingDeadlineSeconds: 60 }, {}, [], 15, undefined],
    ['one that is late but not too late', { startingDeadlineSeconds: 400 }, {}, [], 15, 10],
    ['none while suspended', { suspend: true }, {}, [], 15, undefined],
    [
      'none beside one that runs, when it forbids',
      { concurrencyPolicy: 'Forbid' as const },
      {},
      [job('a')],
      15,
      undefined,
    ],
    ['one beside it, when it allows', {}, {}, [job('a')], 15, 10],
    ['one in its place, when it replaces', { concurrencyPolicy: 'Replace' as const }, {}, [job('a')], 15, 10],
  ] as [string, Partial<CronJob['spec']>, CronJob['status'], Stored<Job>[], number, number | undefined][])(
    'starts %s',
    (_what, spec, status, jobs, now, due) => {
      const plan = planCronJob({ cron: cron(spec, status), jobs, nowMs: at(now) })
      expect(plan.start?.name).toBe(due === undefined ? undefined : minute(due))
      expect(plan.held).toBe(jobs.length > 0 && due === undefined)
      expect(plan.replace).toHaveLength(spec.concurrencyPolicy === 'Replace' ? 1 : 0)
    },
  )

  it('keeps as many as it is told', () => {
    const jobs = ['a', 'bb', 'ccc', 'dddd']
      .map((name) => job(name, 'Complete'))
      .concat(job('e', 'Failed'), job('ff', 'Failed'))
    const plan = planCronJob({ cron: cron({}), jobs, nowMs: at(0) })
    expect(plan.forget.map(({ metadata }) => metadata.name)).toEqual(['a', 'e'])
  })
})

describe('budgets', () => {
  it('evictions and the controller together never go below what must stay', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 6 }), (seed, size, minAvailable) => {
        const random = seededRandom(seed)
        const pods = Array.from(
          { length: size },
          (_, index): Stored<Pod> => ({
            apiVersion: 'v1',
            kind: 'Pod',
            metadata: { ...meta(`p${index}`), labels: { app: 'web' } },
            spec: podSpec('x'),
            status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
          }),
        )
        let budget: Stored<PodDisruptionBudget> = {
          apiVersion: 'policy/v1',
          kind: 'PodDisruptionBudget',
          metadata: meta('web'),
          spec: { minAvailable, selector: { matchLabels: { app: 'web' } } },
        }
        let world = pods
        for (let turn = 0; turn < 60; turn++) {
          const dice = random.next()
          const pod = world[randomInt(random, world.length)]
          if (pod === undefined) break
          if (dice < 0.4) {
            budget = {
              ...budget,
              status: planBudget({ budget, pods: world, expected: (ours) => ({ pods: ours.length }), nowMs: START_MS })
                .status,
            }
          } else if (dice < 0.8) {
            try {
              budget = { ...spend(budget, { pod, pods: world, nowMs: START_MS }), metadata: budget.metadata }
            } catch {
              continue
            }
            // The deletion follows later, or at once.
            if (random.next() < 0.5) world = world.filter((each) => each !== pod)
            const left = healthyPods(world, budget.status?.disruptedPods ?? {})
            expect(left).toBeGreaterThanOrEqual(minAvailable)
          } else if (dice < 0.9) {
            // It falls ill, and nobody has counted it yet.
            const status = { phase: 'Running' as const, conditions: [{ type: 'Ready', status: 'False' as const }] }
            world = world.map((each) => (each === pod ? { ...each, status } : each))
          } else {
            const name = Object.keys(budget.status?.disruptedPods ?? {})[0]
            world = world.filter(({ metadata }) => metadata.name !== name)
          }
        }
      }),
      { numRuns: 200 },
    )
  })

  it('allow nothing that cannot be worked out', () => {
    const budget: Stored<PodDisruptionBudget> = {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: meta('web'),
      spec: { maxUnavailable: 1, selector: {} },
    }
    const { status } = planBudget({ budget, pods: [], expected: () => ({ fault: 'no scale' }), nowMs: START_MS })
    expect(status).toMatchObject({ disruptionsAllowed: 0 })
    expect(status.conditions?.[0]).toMatchObject({ status: 'False', reason: 'SyncFailed', message: 'no scale' })
  })
})

describe('volumes', () => {
  const claim = (
    spec: Partial<PersistentVolumeClaim['spec']> = {},
    selected?: string,
  ): Stored<PersistentVolumeClaim> => ({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      ...meta('data'),
      ...(selected !== undefined && { annotations: { 'volume.kubernetes.io/selected-node': selected } }),
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '1Gi' } },
      storageClassName: 'local',
      ...spec,
    },
  })
  const local = {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { ...meta('local'), annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
    provisioner: 'local.drover.dev',
    volumeBindingMode: 'WaitForFirstConsumer' as const,
  }
  const volume = (
    name: string,
    storage: string,
    spec: Partial<PersistentVolume['spec']> = {},
  ): Stored<PersistentVolume> => ({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: meta(name),
    spec: {
      capacity: { storage },
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'local',
      hostPath: { path: '/x' },
      ...spec,
    },
  })
  const step = (one: Stored<PersistentVolumeClaim>, volumes: Stored<PersistentVolume>[] = []) =>
    planClaim({ claim: one, volumes, classes: [local], node: (name) => (name === 'n1' ? node('n1') : undefined) })

  it('are chosen, made, or waited for', () => {
    expect(step(claim())).toMatchObject({ type: 'wait', reason: 'WaitForFirstConsumer' })
    const { storageClassName: _none, ...spec } = claim().spec
    expect(step({ ...claim(), spec })).toEqual({ type: 'setClass', name: 'local' })
    expect(step(claim({}, 'n1'))).toMatchObject({
      type: 'provision',
      volume: { spec: { persistentVolumeReclaimPolicy: 'Delete' } },
    })
    expect(step(claim({}, 'gone'))).toMatchObject({ type: 'unselect' })
    expect(step(claim({ resources: { requests: { storage: '11Gi' } } }, 'n1'))).toMatchObject({
      type: 'unselect',
      reason: 'node n1 has 10Gi of 10Gi left for volumes, 11Gi are wanted',
    })
    expect(step(claim({ accessModes: ['ReadWriteMany'] }))).toMatchObject({ reason: 'ProvisioningFailed' })
    expect(step(claim({ accessModes: ['ReadWriteMany'] }, 'n1'))).toMatchObject({ type: 'unselect' })
    expect(
      step(claim(), [volume('taken', '1Gi', { claimRef: { namespace: 'default', name: 'data', uid: 'other' } })]),
    ).toMatchObject({ type: 'wait' })
    expect(step({ ...claim({ volumeName: 'lost' }), status: { phase: 'Bound' } })).toEqual({ type: 'lost' })
  })

  it('that users declared wait for the node, and are then bound if it can use them', () => {
    const on = (name: string) => ({
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In' as const, values: [name] }] },
          ],
        },
      },
    })
    const small = volume('small', '1Gi', on('n1'))
    const big = volume('big', '5Gi', on('n2'))
    const declared = [volume('huge', '9Gi'), big, small, volume('tiny', '1Mi')]
    const labelled = (name: string) => ({
      ...node(name),
      metadata: { ...meta(name), labels: { 'kubernetes.io/hostname': name } },
    })
    const planned = (one: Stored<PersistentVolumeClaim>, volumes = declared, provisioner = local.provisioner) =>
      planClaim({
        claim: one,
        volumes,
        classes: [{ ...local, provisioner }],
        node: (name) => (name === 'gone' ? undefined : labelled(name)),
      })
    expect(planned(claim())).toMatchObject({ type: 'wait', reason: 'WaitForFirstConsumer' })
    expect(planned(claim({}, 'n1'))).toEqual({ type: 'bind', volume: small })
    expect(planned(claim({}, 'n2'))).toEqual({ type: 'bind', volume: big })
    expect(planned(claim({}, 'n2'), [small])).toMatchObject({ type: 'provision' })
    const none = 'kubernetes.io/no-provisioner'
    expect(planned(claim({}, 'n2'), [small], none)).toEqual({
      type: 'unselect',
      reason: 'no free volume of class local will do on node n2',
    })
    expect(planned(claim({}, 'gone'), [small], none)).toMatchObject({ type: 'unselect' })
    expect(planned(claim(), [], none)).toMatchObject({ type: 'wait', reason: 'WaitForFirstConsumer' })
    // One that names the claim has been given to it: nobody else decides.
    const kept = volume('kept', '2Gi', { ...on('n1'), claimRef: { namespace: 'default', name: 'data' } })
    expect(planned(claim(), [small, kept])).toEqual({ type: 'bind', volume: kept })
    const atOnce = { ...local, volumeBindingMode: 'Immediate' as const, provisioner: none }
    const given = { claim: claim(), volumes: declared, classes: [atOnce], node: labelled }
    expect(planClaim(given)).toEqual({ type: 'bind', volume: small })
    const { storageClassName: _none, ...spec } = claim().spec
    const plain = volume('plain', '1Gi', { storageClassName: '' })
    expect(planClaim({ ...given, claim: { ...claim(), spec }, volumes: [plain], classes: [] })).toEqual({
      type: 'bind',
      volume: plain,
    })
  })

  it('keep their data until nobody claims them and their node has removed it', () => {
    const owner = claim({ volumeName: 'pvc' })
    const claimRef = { namespace: 'default', name: 'data', uid: owner.metadata.uid }
    const csi = { driver: 'local.drover.dev', volumeHandle: 'pvc' }
    const { hostPath: _path, ...rest } = volume('pvc', '1Gi', {
      claimRef,
      csi,
      persistentVolumeReclaimPolicy: 'Delete',
    }).spec
    const made = volume('pvc', '1Gi')
    const held = ['drover.dev/local-data', 'kubernetes.io/pv-protection']
    const ours = { ...made, metadata: { ...made.metadata, finalizers: held }, spec: rest }
    const ending = {
      ...ours,
      metadata: { ...ours.metadata, deletionTimestamp: timestamp(START_MS), finalizers: ['drover.dev/local-data'] },
    }
    const removed = { ...node('n1'), status: { removedVolumes: ['pvc'] } }
    const deleted = { ...ending, metadata: { ...ending.metadata, finalizers: held } }
    expect(planVolume({ volume: { ...ours, metadata: made.metadata }, claim: owner, node: node('n1') })).toEqual({
      type: 'protect',
    })
    expect(planVolume({ volume: deleted, claim: owner, node: removed })).toEqual({ type: 'wait' })
    expect(planVolume({ volume: deleted, claim: undefined, node: removed })).toEqual({ type: 'unprotect' })
    expect(planVolume({ volume: ours, claim: owner, node: node('n1') })).toMatchObject({ phase: 'Bound' })
    expect(planVolume({ volume: ours, claim: undefined, node: node('n1') })).toEqual({ type: 'delete' })
    expect(planVolume({ volume: ours, claim: claim(), node: node('n1') })).toEqual({ type: 'delete' })
    const kept = { ...ours, spec: { ...rest, persistentVolumeReclaimPolicy: 'Retain' as const } }
    expect(planVolume({ volume: kept, claim: undefined, node: node('n1') })).toMatchObject({ phase: 'Released' })
    expect(planVolume({ volume: ending, claim: owner, node: removed })).toEqual({ type: 'wait' })
    expect(planVolume({ volume: ending, claim: undefined, node: node('n1') })).toEqual({ type: 'wait' })
    expect(planVolume({ volume: ending, claim: undefined, node: removed })).toMatchObject({ type: 'release' })
    expect(planVolume({ volume: ending, claim: undefined, node: undefined })).toMatchObject({ type: 'release' })
  })
})
