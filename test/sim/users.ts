/**
 * People at work: they create, change and delete objects through whatever server answers. What a server has
 * acknowledged is remembered: it must still be so in the end.
 */
import { configMapKind } from '../../src/api/configmap.ts'
import { type Deployment, deploymentKind } from '../../src/api/deployment.ts'
import type { KindDefinition } from '../../src/api/kind.ts'
import type { KubeObject } from '../../src/api/meta.ts'
import { nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { serviceKind } from '../../src/api/service.ts'
import { DroverError } from '../../src/base/errors.ts'
import type { Random } from '../../src/base/random.ts'
import type { DeleteOptions, Resources } from '../../src/resources/resources.ts'
import { between, pick } from './latency.ts'
import type { World } from './world.ts'

const NAMESPACE = 'default'
/** Counts a user's writes of one object. */
export const WRITE = 'sim/write'
const MAX_DEPLOYMENTS = 4
const MAX_REPLICAS = 6

/** What a user has asked of one object. */
export interface Intent {
  plural: string
  name: string
  /** Number of the last write that was acknowledged. */
  acknowledged: number
  /** Number of the last write that was sent. */
  sent: number
  /** `maybe`: asked for, and no answer has come. */
  deleted: 'no' | 'maybe' | 'yes'
}

export class Users {
  readonly #world: World
  readonly intents = new Map<string, Intent>()
  #made = 0
  readonly counts: Record<string, number> = {}

  constructor(world: World) {
    this.#world = world
  }

  /** One thing that somebody does. */
  act(random: Random): void {
    const acts: readonly (readonly [number, string, () => void])[] = [
      [3, 'create deployment', () => this.#createDeployment(random)],
      [4, 'change image', () => this.#changeDeployment(random, 'image')],
      [4, 'scale', () => this.#changeDeployment(random, 'scale')],
      [1, 'change strategy', () => this.#changeDeployment(random, 'strategy')],
      [1, 'pause or resume', () => this.#changeDeployment(random, 'pause')],
      [1, 'delete deployment', () => this.#deleteOne('deployments', deploymentKind, random)],
      [2, 'cordon', () => this.#cordon(random)],
      [3, 'delete pod', () => this.#deletePod(random)],
      [1, 'create service', () => this.#createService(random)],
      [1, 'delete service', () => this.#deleteOne('services', serviceKind, random)],
      [2, 'change config', () => this.#changeConfig(random)],
      [1, 'create pod', () => this.#createPod(random)],
      [1, 'delete own pod', () => this.#deleteOne('pods', podKind, random)],
      [0.4, 'delete node', () => this.#deleteNode(random)],
    ]
    let at = random.next() * acts.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, name, run] of acts) {
      at -= weight
      if (at > 0) continue
      this.counts[name] = (this.counts[name] ?? 0) + 1
      run()
      return
    }
  }

  /** Nobody asks for what cannot be any more: the end of a run. */
  makeAllPossible(hosts: number): void {
    for (const intent of this.intents.values()) {
      if (intent.plural !== 'deployments' || intent.deleted === 'yes') continue
      this.#change(deploymentKind, intent, (deployment) => {
        const { paused: _paused, ...spec } = deployment.spec
        const [container, ...others] = spec.template.spec.containers
        if (container === undefined) return deployment
        // With few machines left there may be no room for all.
        const replicas = Math.min(spec.replicas ?? 1, hosts > 2 ? MAX_REPLICAS : 2)
        const good = /^(app|slow|stubborn):/.test(container.image ?? '') ? container : { ...container, image: 'app:9' }
        const template = { ...spec.template, spec: { ...spec.template.spec, containers: [good, ...others] } }
        return { ...deployment, spec: { ...spec, replicas, template } }
      })
    }
    for (const agent of this.#world.agents) this.#setCordon(agent.name, false)
  }

  #living(plural: string): Intent[] {
    return [...this.intents.values()].filter((intent) => intent.plural === plural && intent.deleted === 'no')
  }

  /** A server that answers, if any does. */
  #api(random: Random): Resources | undefined {
    return pick(
      random,
      this.#world.servers.flatMap(({ api, process }) => (api === undefined || process?.frozen ? [] : [api])),
    )
  }

  #anyApi(): Resources | undefined {
    return this.#world.servers.find(({ api, process }) => api !== undefined && !process?.frozen)?.api
  }

  #send(what: string, work: Promise<unknown>, done: () => void): void {
    this.#world.trace.add(`user: ${what}`)
    work.then(
      () => {
        this.#world.trace.add(`user: ${what}: done`)
        done()
      },
      (error: unknown) => {
        const coded = DroverError.from(error)
        this.#world.trace.add(`user: ${what}: ${coded.message}`)
        if (coded.code === 'internal' || coded.code === 'invalid')
          this.#world.fail('defect', `user: ${what}: ${coded.stack}`)
      },
    )
  }

  #create<T extends KubeObject>(kind: KindDefinition<T>, object: T, random: Random): Intent | undefined {
    const api = this.#api(random)
    if (api === undefined) return undefined
    const { name = '' } = object.metadata
    const intent: Intent = { plural: kind.plural, name, acknowledged: 0, sent: 1, deleted: 'no' }
    const annotated = { ...object, metadata: { ...object.metadata, annotations: { [WRITE]: '1' } } }
    this.intents.set(`${kind.plural}/${name}`, intent)
    this.#send(`create ${kind.plural}/${name}`, api.create(kind, annotated), () => {
      intent.acknowledged = Math.max(intent.acknowledged, 1)
    })
    return intent
  }

  #change<T extends KubeObject>(
    kind: KindDefinition<T>,
    intent: Intent,
    change: (object: T) => T,
    random?: Random,
  ): void {
    const api = random === undefined ? this.#anyApi() : this.#api(random)
    // What was created without an answer may be there all the same.
    if (api?.get(kind, NAMESPACE, intent.name) === undefined) return
    const number = ++intent.sent
    const write = api.modify(kind, NAMESPACE, intent.name, 'main', (object: T) => {
      const { annotations = {} } = object.metadata
      // A write that was delayed may not undo a later one.
      if (Number(annotations[WRITE] ?? 0) > number) return undefined
      const changed = change(object)
      return { ...changed, metadata: { ...changed.metadata, annotations: { ...annotations, [WRITE]: String(number) } } }
    })
    this.#send(`change ${intent.plural}/${intent.name} (${number})`, write, () => {
      intent.acknowledged = Math.max(intent.acknowledged, number)
    })
  }

  #deleteOne(plural: string, kind: KindDefinition, random: Random, options: DeleteOptions = {}): void {
    const intent = pick(
      random,
      this.#living(plural).filter(({ acknowledged }) => acknowledged > 0),
    )
    const api = this.#api(random)
    if (intent === undefined || api === undefined) return
    intent.deleted = 'maybe'
    const uid = api.get(kind, NAMESPACE, intent.name)?.metadata.uid
    if (uid !== undefined) this.#world.watcher.rollouts.deletedByUsers.add(uid)
    this.#send(`delete ${plural}/${intent.name}`, api.delete(kind, NAMESPACE, intent.name, options), () => {
      intent.deleted = 'yes'
    })
  }

  #createDeployment(random: Random): void {
    if (this.#living('deployments').length >= MAX_DEPLOYMENTS) {
      this.#changeDeployment(random, 'image')
      return
    }
    const name = `web-${++this.#made}`
    this.#create(deploymentKind, newDeployment(name, random), random)
    if (random.next() < 0.6) this.#create(serviceKind, newService(name), random)
  }

  #changeDeployment(random: Random, what: 'image' | 'scale' | 'strategy' | 'pause'): void {
    const intent = pick(random, this.#living('deployments'))
    if (intent === undefined) return
    const image = someImage(random)
    const replicas = between(random, 0, MAX_REPLICAS)
    const strategy = someStrategy(random)
    this.#change(
      deploymentKind,
      intent,
      (deployment) => {
        const { spec } = deployment
        const { template } = spec
        const [container, ...others] = template.spec.containers
        if (what === 'scale') return { ...deployment, spec: { ...spec, replicas } }
        if (what === 'strategy') return { ...deployment, spec: { ...spec, ...strategy } }
        if (what === 'pause') return { ...deployment, spec: { ...spec, paused: spec.paused !== true } }
        if (container === undefined) return deployment
        const containers = [{ ...container, image }, ...others]
        return { ...deployment, spec: { ...spec, template: { ...template, spec: { ...template.spec, containers } } } }
      },
      random,
    )
  }

  #cordon(random: Random): void {
    const agent = pick(random, this.#world.agents)
    if (agent !== undefined) this.#setCordon(agent.name, random.next() < 0.5, random)
  }

  #setCordon(name: string, unschedulable: boolean, random?: Random): void {
    const api = random === undefined ? this.#anyApi() : this.#api(random)
    if (api?.get(nodeKind, '', name) === undefined) return
    const write = api.modify(nodeKind, '', name, 'main', (node) => {
      const { unschedulable: _old, ...spec } = node.spec ?? {}
      return { ...node, spec: unschedulable ? { ...spec, unschedulable } : spec }
    })
    this.#send(`${unschedulable ? 'cordon' : 'uncordon'} ${name}`, write, () => undefined)
  }

  #deletePod(random: Random): void {
    const api = this.#api(random)
    const pod = pick(random, api?.list(podKind, { namespace: NAMESPACE }) ?? [])
    if (api === undefined || pod === undefined || this.intents.has(`pods/${pod.metadata.name}`)) return
    const { name, uid } = pod.metadata
    this.#world.watcher.rollouts.deletedByUsers.add(uid)
    const force = random.next() < 0.2 ? { gracePeriodSeconds: 0 } : {}
    const work = api.delete(podKind, NAMESPACE, name, { preconditions: { uid }, ...force })
    this.#send(`delete pod ${name}`, work, () => undefined)
  }

  #createService(random: Random): void {
    const target = pick(random, this.#living('deployments'))
    if (target !== undefined)
      this.#create(serviceKind, newService(`${target.name}-${++this.#made}`, target.name), random)
  }

  #changeConfig(random: Random): void {
    const intent = this.intents.get('configmaps/settings')
    const value = String(between(random, 0, 1e6))
    if (intent === undefined) {
      const metadata = { name: 'settings', namespace: NAMESPACE }
      this.#create(configMapKind, { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { value } }, random)
    } else this.#change(configMapKind, intent, (config) => ({ ...config, data: { value } }), random)
  }

  #createPod(random: Random): void {
    if (this.#living('pods').length >= 3) return
    const name = `single-${++this.#made}`
    const ports = [{ containerPort: 80, hostPort: between(random, 8080, 8081) }]
    const pod: Pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: NAMESPACE, labels: { app: name } },
      spec: { terminationGracePeriodSeconds: 5, containers: [{ ...newContainer('app:1', random), ports }] },
    }
    // Its node may be lost and the pod with it: then nobody makes it anew.
    const intent = this.#create(podKind, pod, random)
    if (intent !== undefined) intent.plural = 'pods'
  }

  #deleteNode(random: Random): void {
    const agent = pick(random, this.#world.agents)
    const api = this.#api(random)
    if (agent === undefined || api?.get(nodeKind, '', agent.name) === undefined) return
    this.#send(`delete node ${agent.name}`, api.delete(nodeKind, '', agent.name), () => undefined)
  }
}

function someImage(random: Random): string {
  const kind = pick(random, ['app', 'app', 'app', 'app', 'slow', 'stubborn', 'crash', 'broken', 'missing']) ?? 'app'
  return `${kind}:${between(random, 1, 5)}`
}

function someStrategy(random: Random): Partial<Deployment['spec']> {
  if (random.next() < 0.15) return { strategy: { type: 'Recreate' } }
  const maxSurge = pick(random, [0, 1, 2, '25%', '50%']) ?? 1
  const maxUnavailable = pick(random, [0, 1, '25%', '50%']) ?? 0
  if (maxSurge === 0 && maxUnavailable === 0) return { minReadySeconds: between(random, 0, 5) }
  return { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge, maxUnavailable } } }
}

function newContainer(image: string, random: Random): Pod['spec']['containers'][number] {
  const cpu = `${pick(random, [50, 100, 200])}m`
  const memory = `${pick(random, [64, 256, 512])}Mi`
  const readinessProbe = { exec: { command: ['ready'] }, periodSeconds: between(random, 1, 5) }
  return { name: 'main', image, resources: { requests: { cpu, memory } }, readinessProbe }
}

function newDeployment(name: string, random: Random): Deployment {
  const labels = { app: name }
  const withConfig = random.next() < 0.3
  const container = newContainer(someImage(random), random)
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: NAMESPACE },
    spec: {
      replicas: between(random, 1, MAX_REPLICAS),
      ...someStrategy(random),
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: between(random, 1, 8),
          containers: [
            withConfig ? { ...container, volumeMounts: [{ name: 'settings', mountPath: '/settings' }] } : container,
          ],
          ...(withConfig ? { volumes: [{ name: 'settings', configMap: { name: 'settings', optional: true } }] } : {}),
        },
      },
    },
  }
}

function newService(name: string, target = name) {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: NAMESPACE },
    spec: { selector: { app: target }, ports: [{ port: 80, targetPort: 8080 }] },
  }
}
