/** The deployment planner: tables for its arithmetic, and rollouts under a random world for its promises. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { findCondition } from '../../src/api/conditions.ts'
import type { Deployment } from '../../src/api/deployment.ts'
import type { Stored } from '../../src/api/meta.ts'
import { ANNOTATION } from '../../src/api/names.ts'
import type { ReplicaSet } from '../../src/api/replicaset.ts'
import { PutOff } from '../../src/controllers/common/put_off.ts'
import { sameTemplate, templateHash } from '../../src/controllers/deployment/hash.ts'
import { type DeploymentPlan, type DeploymentStep, planDeployment } from '../../src/controllers/deployment/plan.ts'
import { planScale } from '../../src/controllers/deployment/scaling.ts'
import { boundsOf, replicasOf, type StoredSet } from '../../src/controllers/deployment/sets.ts'
import { mayPutOff } from '../../src/controllers/deployment/status.ts'

const NOW_MS = Date.parse('2026-01-01T12:00:00Z')
const labels = { app: 'web' }

function deployment(spec: Partial<Deployment['spec']> = {}, generation = 1): Stored<Deployment> {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: {
      name: 'web',
      namespace: 'default',
      uid: 'deployment',
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
      generation,
    },
    spec: {
      replicas: 3,
      progressDeadlineSeconds: 600,
      revisionHistoryLimit: 10,
      selector: { matchLabels: labels },
      template: templateOf('web:1'),
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: '25%', maxUnavailable: '25%' } },
      ...spec,
    },
    status: {},
  }
}

const templateOf = (image: string) => ({ metadata: { labels }, spec: { containers: [{ name: 'main', image }] } })

/** Deployments, sets and pods as numbers: what the store and the ReplicaSet controller would make of the plans. */
class World {
  deployment: Stored<Deployment>
  sets: StoredSet[] = []
  nowMs = NOW_MS
  #serial = 0
  /** Pods that were told to end and run on, by uid of their set. */
  readonly #ending = new Map<string, number>()

  constructor(spec: Partial<Deployment['spec']>) {
    this.deployment = deployment(spec)
  }

  change(spec: Partial<Deployment['spec']>): void {
    const { metadata } = this.deployment
    this.deployment = {
      ...this.deployment,
      metadata: { ...metadata, generation: (metadata.generation ?? 0) + 1 },
      spec: { ...this.deployment.spec, ...spec },
    }
  }

  plan(): DeploymentPlan {
    const left = this.sets.map((set) => [set.metadata.uid, this.podsOf(set)] as const)
    const podsLeft = new Map(left.filter(([, count]) => count > 0))
    return planDeployment({ deployment: this.deployment, sets: this.sets, podsLeft, nowMs: this.nowMs })
  }

  /** Pods that have not ended. */
  podsOf(set: StoredSet): number {
    return (set.status?.replicas ?? 0) + (this.#ending.get(set.metadata.uid) ?? 0)
  }

  get running(): number {
    return this.sets.reduce((sum, set) => sum + this.podsOf(set), 0)
  }

  /** The ReplicaSet controller where pods take their time: those given up end later, and exclusive ones are waited for. */
  startWhatMay(set: StoredSet): void {
    const { uid } = set.metadata
    const { replicas: now = 0, availableReplicas = 0 } = set.status ?? {}
    const ending = this.#ending.get(uid) ?? 0
    const size = replicasOf(set)
    if (size < now) this.#ending.set(uid, ending + now - size)
    const replicas = size < now ? size : now + Math.max(0, size - now - ending)
    const next = this.#withStatus(set, { replicas, availableReplicas: Math.min(availableReplicas, replicas) })
    this.sets = this.sets.map((other) => (other.metadata.uid === uid ? next : other))
  }

  endOne(set: StoredSet): void {
    const ending = this.#ending.get(set.metadata.uid) ?? 0
    if (ending > 0) this.#ending.set(set.metadata.uid, ending - 1)
  }

  /** Plans and applies; the steps, for looking at. */
  step(): DeploymentStep[] {
    const { steps } = this.plan()
    for (const step of steps) this.#apply(step)
    return steps
  }

  /** The ReplicaSet controller: pods come and go, new ones are not available yet. */
  settleSizes(): void {
    this.sets = this.sets.map((set) => {
      const replicas = replicasOf(set)
      const availableReplicas = Math.min(set.status?.availableReplicas ?? 0, replicas)
      return this.#withStatus(set, { replicas, availableReplicas })
    })
  }

  setAvailable(set: StoredSet, available: number): void {
    const replicas = set.status?.replicas ?? 0
    const next = this.#withStatus(set, { replicas, availableReplicas: Math.min(available, replicas) })
    this.sets = this.sets.map((other) => (other === set ? next : other))
  }

  /** Runs to the end with pods that become available at once. */
  converge(limit = 200): void {
    for (let round = 0; round < limit; round++) {
      const steps = this.step()
      this.settleSizes()
      for (const set of this.sets) this.setAvailable(set, replicasOf(set))
      const idle = steps.every(({ type }) => type === 'setStatus' || type === 'annotate')
      if (idle && this.reason('Progressing') === 'NewReplicaSetAvailable') return
    }
    throw new Error(`no end after ${limit} rounds: ${JSON.stringify(this.sizes())}`)
  }

  sizes(): Record<string, number> {
    return Object.fromEntries(
      this.sets.map((set) => [set.spec.template.spec.containers[0]?.image ?? '', replicasOf(set)]),
    )
  }

  revisions(): Record<string, string | undefined> {
    return Object.fromEntries(
      this.sets.map((set) => [
        set.spec.template.spec.containers[0]?.image ?? '',
        set.metadata.annotations?.[ANNOTATION.revision],
      ]),
    )
  }

  reason(type: string): string | undefined {
    return findCondition(this.deployment.status?.conditions, type)?.reason
  }

  get wanted(): number {
    return this.sets.reduce((sum, set) => sum + replicasOf(set), 0)
  }

  get available(): number {
    return this.sets.reduce((sum, set) => sum + Math.min(set.status?.availableReplicas ?? 0, replicasOf(set)), 0)
  }

  #withStatus(set: StoredSet, counts: { replicas: number; availableReplicas: number }): StoredSet {
    const status = { ...counts, readyReplicas: counts.availableReplicas }
    return { ...set, status: { ...status, observedGeneration: set.metadata.generation ?? 0 } }
  }

  #apply(step: DeploymentStep): void {
    switch (step.type) {
      case 'createSet':
        this.#create(step.set)
        return
      case 'updateSet': {
        const { set, replicas, minReadySeconds, annotations } = step
        const metadata = { ...set.metadata, annotations: { ...set.metadata.annotations, ...annotations } }
        const next = { ...set, metadata, spec: { ...set.spec, replicas, minReadySeconds } }
        this.sets = this.sets.map((other) => (other === set ? next : other))
        return
      }
      case 'deleteSet':
        this.sets = this.sets.filter((set) => set !== step.set)
        return
      case 'annotate':
        return
      case 'setStatus':
        this.deployment = { ...this.deployment, status: step.status }
    }
  }

  #create(set: ReplicaSet): void {
    const second = String(this.#serial++).padStart(2, '0')
    const metadata = {
      ...set.metadata,
      name: set.metadata.name ?? '',
      uid: `set-${second}`,
      resourceVersion: '1',
      creationTimestamp: `2026-01-01T00:00:${second}Z`,
      generation: 1,
    }
    this.sets.push({ ...set, metadata })
  }
}

describe('template hash', () => {
  it('does not see the order of keys', () => {
    const one = { metadata: { labels: { a: '1', b: '2' } }, spec: { containers: [{ name: 'm', image: 'i' }] } }
    const two = { spec: { containers: [{ image: 'i', name: 'm' }] }, metadata: { labels: { b: '2', a: '1' } } }
    expect(templateHash(one, 0)).toBe(templateHash(two, 0))
    expect(templateHash(one, 1)).not.toBe(templateHash(one, 0))
  })

  it('is not part of the comparison', () => {
    const hashed = templateOf('web:1')
    expect(
      sameTemplate({ ...hashed, metadata: { labels: { ...labels, 'pod-template-hash': 'x' } } }, templateOf('web:1')),
    ).toBe(true)
    expect(sameTemplate(templateOf('web:1'), templateOf('web:2'))).toBe(false)
  })
})

describe('bounds', () => {
  const cases: [number, string | number, string | number, number, number][] = [
    [4, '25%', '25%', 1, 1],
    [3, '25%', '25%', 1, 0],
    [10, '25%', '25%', 3, 2],
    [1, '25%', '25%', 1, 0],
    [3, 0, '10%', 0, 1],
    [10, 2, 0, 2, 0],
    [2, 0, 5, 0, 2],
    [0, '25%', '25%', 0, 0],
  ]
  it.each(cases)('%i replicas, surge %s, unavailable %s', (replicas, maxSurge, maxUnavailable, surge, unavailable) => {
    const strategy = { type: 'RollingUpdate' as const, rollingUpdate: { maxSurge, maxUnavailable } }
    const bounds = boundsOf(deployment({ replicas, strategy }))
    expect([bounds.maxSurge, bounds.maxUnavailable]).toEqual([surge, replicas === 0 ? 0 : unavailable])
  })
})

describe('exclusive pods', () => {
  const exclusive = (image: string) => ({
    metadata: { labels, annotations: { [ANNOTATION.exclusive]: 'true' } },
    spec: { containers: [{ name: 'main', image }] },
  })

  it('have no surge', () => {
    const bounds = boundsOf(deployment({ replicas: 3, template: exclusive('web:1') }))
    expect(bounds).toEqual({ replicas: 3, maxSurge: 0, maxUnavailable: 1 })
  })

  it('never run beyond their number, whatever is asked and however late they end; and all is done in the end', {
    timeout: 30_000,
  }, () => {
    const step = fc.record({
      act: fc.constantFrom('plan', 'start', 'end', 'available', 'image', 'scale', 'pause'),
      which: fc.nat({ max: 7 }),
    })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.array(step, { maxLength: 60 }), (replicas, steps) => {
        const world = new World({ replicas, template: exclusive('web:1') })
        world.step()
        for (const set of world.sets) world.startWhatMay(set)
        let planned = replicas
        for (const { act, which } of steps) {
          const set = world.sets[which % Math.max(1, world.sets.length)]
          if (act === 'image') world.change({ template: exclusive(`web:${which % 3}`) })
          if (act === 'pause') world.change({ paused: world.deployment.spec.paused !== true })
          if (act === 'scale') world.change({ replicas: which % 4 })
          const before = world.running
          if (act === 'plan') {
            world.step()
            planned = world.deployment.spec.replicas ?? 1
          }
          if (set !== undefined && act === 'start') world.startWhatMay(set)
          if (set !== undefined && act === 'end') world.endOne(set)
          if (set !== undefined && act === 'available') world.setAvailable(set, which)
          // Pods from before a scale-down may still be there; none may be added to them.
          expect(world.running).toBeLessThanOrEqual(Math.max(planned, before))
        }
        world.change({ paused: false })
        for (let round = 0; round < 60; round++) {
          world.step()
          for (const set of world.sets) world.startWhatMay(set)
          for (const set of world.sets) for (let pod = 0; pod < 4; pod++) world.endOne(set)
          for (const set of world.sets) world.setAvailable(set, replicasOf(set))
        }
        expect(world.running).toBe(world.deployment.spec.replicas)
        expect(world.reason('Progressing')).toBe('NewReplicaSetAvailable')
      }),
      { numRuns: 100 },
    )
  })
})

describe('a rollout', () => {
  it('makes the first set whole at once', () => {
    const world = new World({ replicas: 3 })
    const [create] = world.step()
    expect(create?.type).toBe('createSet')
    expect(world.sizes()).toEqual({ 'web:1': 3 })
    expect(world.reason('Progressing')).toBe('NewReplicaSetCreated')
    expect(world.reason('Available')).toBe('MinimumReplicasUnavailable')
    world.converge()
    expect(world.reason('Available')).toBe('MinimumReplicasAvailable')
  })

  it('goes a step at a time: surge first, then the old give way', () => {
    const world = new World({ replicas: 4 })
    world.converge()
    world.change({ template: templateOf('web:2') })
    const seen: Record<string, number>[] = []
    for (let i = 0; i < 12; i++) {
      world.step()
      world.settleSizes()
      for (const set of world.sets) world.setAvailable(set, replicasOf(set))
      seen.push(world.sizes())
    }
    expect(seen.slice(0, 7)).toEqual([
      { 'web:1': 4, 'web:2': 1 },
      { 'web:1': 2, 'web:2': 1 },
      { 'web:1': 2, 'web:2': 3 },
      { 'web:1': 0, 'web:2': 3 },
      { 'web:1': 0, 'web:2': 4 },
      { 'web:1': 0, 'web:2': 4 },
      { 'web:1': 0, 'web:2': 4 },
    ])
    expect(world.revisions()).toEqual({ 'web:1': '1', 'web:2': '2' })
  })

  it('does not count on pods that it has given up, while statuses lag behind', () => {
    const world = new World({ replicas: 4 })
    world.converge()
    world.change({ template: templateOf('web:2') })
    for (let i = 0; i < 8; i++) world.step()
    expect(world.sizes()).toEqual({ 'web:1': 3, 'web:2': 2 })
  })

  it('gives a set that comes back the highest revision', () => {
    const world = new World({})
    for (const image of ['web:1', 'web:2', 'web:1', 'web:3', 'web:2']) {
      world.change({ template: templateOf(image) })
      world.converge()
    }
    expect(world.revisions()).toEqual({ 'web:1': '3', 'web:2': '5', 'web:3': '4' })
  })

  it('does not reach its end with pods that never serve, and says so after its deadline', () => {
    const world = new World({ replicas: 4, progressDeadlineSeconds: 60 })
    world.converge()
    world.change({ template: templateOf('broken') })
    for (let i = 0; i < 20; i++) {
      world.step()
      world.settleSizes()
    }
    expect(world.available).toBe(3)
    expect(world.plan().againAfterMs).toBe(60_000)
    world.nowMs += 60_000
    world.step()
    expect(world.reason('Progressing')).toBe('ProgressDeadlineExceeded')
    world.change({ template: templateOf('web:1') })
    world.converge()
    expect(world.sizes()).toEqual({ 'web:1': 4, broken: 0 })
  })

  it('keeps as many old sets as it is told', () => {
    const world = new World({ revisionHistoryLimit: 2 })
    for (const image of ['web:1', 'web:2', 'web:3', 'web:4', 'web:5']) {
      world.change({ template: templateOf(image) })
      world.converge()
    }
    world.step()
    expect(Object.keys(world.sizes())).toEqual(['web:3', 'web:4', 'web:5'])
  })

  it('shares a change of scale between sets in the middle of a rollout', () => {
    const strategy = { type: 'RollingUpdate' as const, rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } }
    const world = new World({ replicas: 10, strategy })
    world.converge()
    world.change({ template: templateOf('web:2') })
    for (let i = 0; i < 6; i++) {
      world.step()
      world.settleSizes()
    }
    expect(world.sizes()).toEqual({ 'web:1': 8, 'web:2': 5 })
    world.change({ replicas: 15 })
    world.step()
    // The figures of Kubernetes' documentation, "Proportional scaling".
    expect(world.sizes()).toEqual({ 'web:1': 11, 'web:2': 7 })
    world.change({ replicas: 0 })
    world.step()
    expect(world.sizes()).toEqual({ 'web:1': 0, 'web:2': 0 })
  })

  it('gives up what does not serve first when it shrinks in the middle of a rollout', () => {
    const set = (name: string, replicas: number, availableReplicas: number): StoredSet => ({
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: {
        name,
        namespace: 'default',
        uid: name,
        resourceVersion: '1',
        creationTimestamp: '2026-01-01T00:00:00Z',
        annotations: { [ANNOTATION.desiredReplicas]: '4', [ANNOTATION.maxReplicas]: '4' },
      },
      spec: { replicas, selector: { matchLabels: {} }, template: templateOf('web:1') },
      status: { replicas, availableReplicas },
    })
    const [serving, broken, newest] = [set('a', 2, 2), set('b', 1, 0), set('c', 1, 0)]
    const sizes = planScale({ replicas: 2, maxSurge: 0, maxUnavailable: 1 }, newest, [serving, broken])
    const left = [serving, broken, newest].map((each) => sizes.get(each) ?? each.spec.replicas)
    expect(left[0]).toBeGreaterThanOrEqual(1)
    expect(left.reduce((sum: number, size) => sum + (size ?? 0), 0)).toBe(2)
  })

  it('with Recreate waits for the last old pod', () => {
    const world = new World({ strategy: { type: 'Recreate' } })
    world.converge()
    world.change({ template: templateOf('web:2') })
    world.step()
    expect(world.sizes()).toEqual({ 'web:1': 0 })
    world.step()
    expect(world.sizes()).toEqual({ 'web:1': 0 })
    world.settleSizes()
    world.step()
    expect(world.sizes()).toEqual({ 'web:1': 0, 'web:2': 3 })
  })

  it('while paused scales but makes no new set', () => {
    const world = new World({ replicas: 2 })
    world.converge()
    world.change({ paused: true, template: templateOf('web:2'), replicas: 5 })
    world.step()
    expect(world.sizes()).toEqual({ 'web:1': 5 })
    expect(world.reason('Progressing')).toBe('DeploymentPaused')
    world.change({ paused: false })
    world.converge()
    expect(world.sizes()).toEqual({ 'web:1': 0, 'web:2': 5 })
  })
})

/** What may happen between two passes of the controller. */
const act = fc.oneof(
  { weight: 10, arbitrary: fc.constant({ type: 'reconcile' as const }) },
  { weight: 3, arbitrary: fc.constant({ type: 'settle' as const }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('available' as const), set: fc.nat(), part: fc.nat(100) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('template' as const), image: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('scale' as const), replicas: fc.nat(12) }) },
)
const amount = fc.oneof(
  fc.nat(2),
  fc.nat(100).map((percent) => `${percent}%`),
)

describe('for any rollout', () => {
  it('our own acts keep its bounds, and it ends', { timeout: 30_000 }, () => {
    fc.assert(
      fc.property(
        fc.nat(10),
        amount,
        amount,
        fc.array(act, { maxLength: 60 }),
        (replicas, maxSurge, maxUnavailable, acts) => {
          const strategy = { type: 'RollingUpdate' as const, rollingUpdate: { maxSurge, maxUnavailable } }
          const world = new World({ replicas, strategy })
          world.converge()
          for (const next of acts) happen(world, next)
          world.converge()
          const bounds = boundsOf(world.deployment)
          expect(world.wanted).toBe(bounds.replicas)
          expect(world.sets.filter((set) => replicasOf(set) > 0).length).toBe(bounds.replicas > 0 ? 1 : 0)
        },
      ),
      { numRuns: 1000 },
    )
  })
})

type Act = typeof act extends fc.Arbitrary<infer T> ? T : never

function happen(world: World, next: Act): void {
  if (next.type === 'settle') world.settleSizes()
  else if (next.type === 'template') world.change({ template: templateOf(`web:${next.image}`) })
  else if (next.type === 'scale') world.change({ replicas: next.replicas })
  else if (next.type === 'available') {
    const set = world.sets[next.set % Math.max(1, world.sets.length)]
    if (set !== undefined) world.setAvailable(set, Math.round(((set.status?.replicas ?? 0) * next.part) / 100))
  } else {
    const { replicas, maxSurge, maxUnavailable } = boundsOf(world.deployment)
    const before = { wanted: world.wanted, available: world.available }
    const scaled = world.sets.some(
      (set) => replicasOf(set) > 0 && set.metadata.annotations?.[ANNOTATION.desiredReplicas] !== String(replicas),
    )
    world.step()
    if (world.wanted > before.wanted) expect(world.wanted).toBeLessThanOrEqual(replicas + maxSurge)
    // When the user asks for fewer, fewer it is; a rollout alone takes nothing that is counted on.
    if (scaled || world.available >= before.available) return
    expect(world.available).toBeGreaterThanOrEqual(replicas - maxUnavailable)
  }
}

describe('a status that may be put off', () => {
  const condition = (type: string, status: 'True' | 'False', reason: string, at = '12:00:00') => ({
    type,
    status,
    reason,
    lastUpdateTime: `2026-01-01T${at}Z`,
  })
  const begun = [condition('Available', 'False', 'x'), condition('Progressing', 'True', 'NewReplicaSetCreated')]
  const before = { observedGeneration: 2, replicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: begun }
  const moved = [begun[0] as (typeof begun)[0], condition('Progressing', 'True', 'ReplicaSetUpdated', '12:00:01')]
  const cases: [string, object, boolean][] = [
    ['pods were made', { replicas: 3, conditions: moved }, true],
    ['pods were made, and nothing is said of it', { replicas: 3 }, true],
    ['pods went', { replicas: 0, conditions: moved }, false],
    ['a pod serves, and more are to come', { replicas: 3, readyReplicas: 2, conditions: moved }, true],
    ['the last one serves', { replicas: 3, readyReplicas: 3, conditions: moved }, false],
    ['a pod is available, and more are to serve', { readyReplicas: 2, availableReplicas: 2, conditions: moved }, true],
    ['the last one is available', { readyReplicas: 3, availableReplicas: 3, conditions: moved }, false],
    ['a pod serves no more', { replicas: 3, readyReplicas: 0, conditions: moved }, false],
    ['a pod is not available any more', { readyReplicas: 2, availableReplicas: 0, conditions: moved }, false],
    ['a generation was seen', { replicas: 3, observedGeneration: 3, conditions: moved }, false],
    [
      'a rollout began',
      { replicas: 3, conditions: [begun[0], condition('Progressing', 'True', 'New', '12:01:00')] },
      false,
    ],
    [
      'it failed',
      { replicas: 3, conditions: [begun[0], condition('Progressing', 'False', 'ReplicaSetUpdated')] },
      false,
    ],
    ['there is one more condition', { replicas: 3, conditions: [...moved, condition('Other', 'True', 'x')] }, false],
  ]
  it.each(cases)('%s', (_what, change, may) => {
    expect(mayPutOff(before, { ...before, ...change }, 3)).toBe(may)
  })

  it('is due when it has waited, and waits anew when it was written', () => {
    const putOff = new PutOff()
    expect([putOff.waitMs('a', 0), putOff.waitMs('a', 30), putOff.waitMs('b', 30)]).toEqual([100, 70, 100])
    expect([putOff.waitMs('a', 100), putOff.waitMs('a', 500)]).toEqual([0, 0])
    putOff.end('a')
    expect(putOff.waitMs('a', 500)).toBe(100)
  })
})
