/** What people do with StatefulSets, DaemonSets, Jobs, disruption budgets, and with nodes that they drain. */
import { isPodReady } from '../../src/api/conditions.ts'
import { type DaemonSet, daemonSetKind } from '../../src/api/daemonset.ts'
import type { Deployment } from '../../src/api/deployment.ts'
import { type Job, jobKind } from '../../src/api/job.ts'
import type { Stored } from '../../src/api/meta.ts'
import { ANNOTATION } from '../../src/api/names.ts'
import { nodeKind } from '../../src/api/node.ts'
import type { Pod, PodTemplateSpec } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { podDisruptionBudgetKind } from '../../src/api/poddisruptionbudget.ts'
import { type StatefulSet, statefulSetKind } from '../../src/api/statefulset.ts'
import { timestamp } from '../../src/base/clock.ts'
import { isCode } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import { takeLeave } from '../../src/resources/disruption_leave.ts'
import { type Desk, NAMESPACE } from './desk.ts'
import { between, pick } from './latency.ts'
import { someImage } from './templates.ts'

const MAX_STATEFUL_SETS = 2
const MAX_JOBS = 4
const MAX_REPLICAS = 3
/** How long somebody who drains a node goes on asking for what has to be evicted. */
const DRAIN_ASKS = 20
const ASK_EVERY_MS = 1_000

export type Act = readonly [weight: number, name: string, run: () => void]

export class WorkloadUsers {
  readonly #desk: Desk

  constructor(desk: Desk) {
    this.#desk = desk
  }

  acts(random: Random): Act[] {
    const desk = this.#desk
    return [
      [2, 'create stateful set', () => this.#createStatefulSet(random)],
      [2, 'change stateful set', () => this.#changeStatefulSet(random)],
      [0.5, 'delete stateful set', () => desk.deleteOne('statefulsets', statefulSetKind, random)],
      [0.7, 'create or change daemon set', () => this.#daemonSet(random)],
      [0.2, 'delete daemon set', () => desk.deleteOne('daemonsets', daemonSetKind, random)],
      [1.5, 'create job', () => this.#createJob(random)],
      [0.5, 'suspend or resume job', () => this.#suspendJob(random)],
      [0.3, 'delete job', () => desk.deleteOne('jobs', jobKind, random)],
      [3, 'create budget', () => this.#createBudget(random)],
      [0.3, 'delete budget', () => desk.deleteOne('poddisruptionbudgets', podDisruptionBudgetKind, random)],
      [2, 'drain', () => this.#drain(random)],
      [2, 'evict', () => this.#evict(pick(random, this.#pods(random)), random)],
    ]
  }

  makeAllPossible(hosts: number): void {
    for (const intent of this.#desk.intents.values()) {
      if (intent.deleted === 'yes') continue
      if (intent.plural === 'statefulsets') {
        this.#desk.change(statefulSetKind, intent, ({ spec, ...set }) => {
          const replicas = Math.min(spec.replicas ?? 1, hosts > 2 ? MAX_REPLICAS : 1)
          const updateStrategy = { type: 'RollingUpdate' as const }
          return { ...set, spec: { ...spec, replicas, updateStrategy, template: mended(spec.template) } }
        })
      } else if (intent.plural === 'daemonsets') {
        this.#desk.change(daemonSetKind, intent, ({ spec, ...set }) => ({
          ...set,
          spec: { ...spec, template: mended(spec.template) },
        }))
      } else if (intent.plural === 'jobs') {
        this.#desk.change(jobKind, intent, (job) => ({ ...job, spec: { ...job.spec, suspend: false } }))
      }
    }
  }

  #pods(random: Random): Stored<Pod>[] {
    return this.#desk.api(random)?.list(podKind, { namespace: NAMESPACE }) ?? []
  }

  #createStatefulSet(random: Random): void {
    if (this.#desk.living('statefulsets').length >= MAX_STATEFUL_SETS) {
      this.#changeStatefulSet(random)
      return
    }
    const name = `db-${this.#desk.number()}`
    const set: StatefulSet = {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name, namespace: NAMESPACE },
      spec: {
        replicas: between(random, 1, MAX_REPLICAS),
        serviceName: name,
        selector: { matchLabels: { app: name } },
        podManagementPolicy: random.next() < 0.4 ? 'Parallel' : 'OrderedReady',
        template: small(name, someImage(random), between(random, 1, 8)),
      },
    }
    this.#desk.create(statefulSetKind, set, random)
  }

  #changeStatefulSet(random: Random): void {
    const intent = pick(random, this.#desk.living('statefulsets'))
    if (intent === undefined) return
    const image = someImage(random)
    const replicas = between(random, 0, MAX_REPLICAS)
    const partition = between(random, 0, 2)
    const what = pick(random, ['image', 'image', 'scale', 'partition'])
    this.#desk.change(
      statefulSetKind,
      intent,
      ({ spec, ...set }) => {
        if (what === 'scale') return { ...set, spec: { ...spec, replicas } }
        if (what === 'image') return { ...set, spec: { ...spec, template: withImage(spec.template, image) } }
        const updateStrategy = { type: 'RollingUpdate' as const, rollingUpdate: { partition } }
        return { ...set, spec: { ...spec, updateStrategy } }
      },
      random,
    )
  }

  #daemonSet(random: Random): void {
    const image = someImage(random)
    const surge = random.next() < 0.4
    const [intent] = this.#desk.living('daemonsets')
    if (intent !== undefined) {
      this.#desk.change(
        daemonSetKind,
        intent,
        ({ spec, ...set }) => ({ ...set, spec: { ...spec, template: withImage(spec.template, image) } }),
        random,
      )
      return
    }
    const name = `log-${this.#desk.number()}`
    const rollingUpdate = surge ? { maxSurge: 1, maxUnavailable: 0 } : { maxUnavailable: 1 }
    const set: DaemonSet = {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name, namespace: NAMESPACE },
      spec: {
        selector: { matchLabels: { app: name } },
        // It asks for nothing: a machine that others have filled has room for it.
        template: withoutRequests(small(name, image, between(random, 1, 5))),
        updateStrategy: { type: 'RollingUpdate', rollingUpdate },
      },
    }
    this.#desk.create(daemonSetKind, set, random)
  }

  #createJob(random: Random): void {
    if (this.#desk.living('jobs').length >= MAX_JOBS) return
    const name = `job-${this.#desk.number()}`
    const template = small(name, `${pick(random, ['task', 'task', 'flaky'])}:1`, 3)
    const [container] = template.spec.containers
    const { readinessProbe: _probe, ...main } = container ?? { name: 'main' }
    const completions = between(random, 1, 5)
    const indexed = random.next() < 0.4
    const restartPolicy = random.next() < 0.3 ? ('OnFailure' as const) : ('Never' as const)
    const ownLimits = indexed && restartPolicy === 'Never' && random.next() < 0.5
    const job: Job = {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name, namespace: NAMESPACE },
      spec: {
        completions,
        parallelism: between(random, 1, 3),
        ...(ownLimits ? { backoffLimitPerIndex: 2 } : { backoffLimit: 3 }),
        completionMode: indexed ? 'Indexed' : 'NonIndexed',
        template: {
          ...template,
          spec: { ...template.spec, restartPolicy, containers: [main] },
        },
      },
    }
    this.#desk.create(jobKind, job, random)
  }

  #suspendJob(random: Random): void {
    const intent = pick(random, this.#desk.living('jobs'))
    if (intent === undefined) return
    const change = (job: Job): Job => ({ ...job, spec: { ...job.spec, suspend: job.spec.suspend !== true } })
    this.#desk.change(jobKind, intent, change, random)
  }

  #createBudget(random: Random): void {
    const target = pick(random, this.#desk.living('deployments'))
    if (target !== undefined) this.#budgetFor(target.name, random)
  }

  #budgetFor(name: string, random: Random): void {
    if (this.#desk.living('poddisruptionbudgets').some((budget) => budget.name === name)) return
    const deployment = this.#desk.world.watcher
      .list<Deployment>('deployments')
      .find(({ metadata }) => metadata.name === name)
    const replicas = deployment?.spec.replicas ?? 1
    const budget = {
      apiVersion: 'policy/v1' as const,
      kind: 'PodDisruptionBudget' as const,
      metadata: { name, namespace: NAMESPACE },
      spec: {
        minAvailable: between(random, 1, Math.max(1, replicas)),
        selector: { matchLabels: { app: name } },
      },
    }
    this.#desk.create(podDisruptionBudgetKind, budget, random)
  }

  /** As `drover drain`: the node is marked, and what has no ReplicaSet is evicted, again until it may go. */
  #drain(random: Random): void {
    const { world } = this.#desk
    const api = this.#desk.api(random)
    // Half of the time where a budget has something to say.
    const deployments = new Set(this.#desk.living('deployments').map(({ name }) => name))
    const pods = this.#pods(random).filter((each) => isPodReady(each) && deployments.has(appOf(each)))
    const pod = random.next() < 0.5 ? pick(random, pods) : undefined
    if (pod !== undefined) this.#budgetFor(appOf(pod), random)
    const chosen = pod?.spec.nodeName ?? pick(random, world.agents)?.name
    const agent = world.agents.find(({ name }) => name === chosen)
    if (agent === undefined || api?.get(nodeKind, '', agent.name) === undefined) return
    const draining = timestamp(Date.parse('2026-01-01T00:00:00Z') + world.time.nowMs)
    const mark = api.modify(nodeKind, '', agent.name, 'main', (node) => ({
      ...node,
      metadata: { ...node.metadata, annotations: { ...node.metadata.annotations, [ANNOTATION.draining]: draining } },
      spec: { ...node.spec, unschedulable: true },
    }))
    this.#desk.send(`drain ${agent.name}`, mark, () => undefined)
    let asks = 0
    const ask = (): void => {
      const node = world.watcher.list('nodes').find(({ metadata }) => metadata.name === agent.name)
      if (++asks > DRAIN_ASKS || node?.metadata.annotations?.[ANNOTATION.draining] !== draining) return
      const kinds = this.#pods(random).filter(({ spec }) => spec.nodeName === agent.name)
      const left = kinds.filter(({ metadata }) => ['StatefulSet', 'Job'].includes(ownerKind(metadata)))
      const [pod] = left.filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      this.#evict(pod, random)
      world.time.schedule(ASK_EVERY_MS, ask)
    }
    world.time.schedule(ASK_EVERY_MS, ask)
  }

  #evict(pod: Stored<Pod> | undefined, random: Random): void {
    const api = this.#desk.api(random)
    if (api === undefined || pod === undefined || this.#desk.intents.has(`pods/${pod.metadata.name}`)) return
    const { world } = this.#desk
    const { name, uid } = pod.metadata
    const evict = async (): Promise<void> => {
      const current = api.get(podKind, NAMESPACE, name)
      if (current?.metadata.uid !== uid) return
      try {
        await takeLeave(api, current, { nowMs: Date.parse('2026-01-01T00:00:00Z') + world.time.nowMs })
      } catch (error) {
        if (isCode(error, 'tooManyRequests') || isCode(error, 'notFound')) return
        throw error
      }
      world.watcher.rollouts.evicted.add(uid)
      world.watcher.rollouts.deletedByUsers.add(uid)
      await api.delete(podKind, NAMESPACE, name, { preconditions: { uid } })
    }
    this.#desk.send(`evict ${name}`, evict(), () => undefined)
  }
}

const appOf = ({ metadata }: Pod): string => metadata.labels?.app ?? ''

function ownerKind({ ownerReferences }: Pod['metadata']): string {
  return ownerReferences?.find(({ controller }) => controller === true)?.kind ?? ''
}

function small(app: string, image: string, graceSeconds: number): PodTemplateSpec {
  const requests = { cpu: '50m', memory: '32Mi' }
  const readinessProbe = { exec: { command: ['ready'] }, periodSeconds: 2 }
  return {
    metadata: { labels: { app } },
    spec: {
      terminationGracePeriodSeconds: graceSeconds,
      containers: [{ name: 'main', image, resources: { requests }, readinessProbe }],
    },
  }
}

function withoutRequests(template: PodTemplateSpec): PodTemplateSpec {
  const containers = template.spec.containers.map(({ resources: _resources, ...container }) => container)
  return { ...template, spec: { ...template.spec, containers } }
}

function withImage(template: PodTemplateSpec, image: string): PodTemplateSpec {
  const containers = template.spec.containers.map((container) => ({ ...container, image }))
  return { ...template, spec: { ...template.spec, containers } }
}

function mended(template: PodTemplateSpec): PodTemplateSpec {
  const image = template.spec.containers[0]?.image ?? ''
  return /^(app|slow|stubborn):/.test(image) ? template : withImage(template, 'app:9')
}
