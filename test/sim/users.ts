/** People at work: what they do with deployments, services, pods and nodes. Other workloads: workload_users.ts. */
import { configMapKind } from '../../src/api/configmap.ts'
import { type Deployment, deploymentKind } from '../../src/api/deployment.ts'
import { isExclusive } from '../../src/api/exclusive.ts'
import { ANNOTATION } from '../../src/api/names.ts'
import { nodeKind } from '../../src/api/node.ts'
import type { Pod } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { serviceKind } from '../../src/api/service.ts'
import { parseBytes, parseCpuMillis } from '../../src/base/quantity.ts'
import type { Random } from '../../src/base/random.ts'
import { Desk, type Intent, NAMESPACE } from './desk.ts'
import { between, pick } from './latency.ts'
import { boundsOf } from './rollouts.ts'
import { HOST } from './sim_host.ts'
import { newContainer, someImage } from './templates.ts'
import { WorkloadUsers } from './workload_users.ts'
import type { World } from './world.ts'

const MAX_DEPLOYMENTS = 4
const MAX_REPLICAS = 6
/** The share of all machines that deployments get in the end: others need some, and it does not divide evenly. */
const ROOM = 0.5

export class Users {
  readonly #world: World
  readonly #desk: Desk
  readonly #workloads: WorkloadUsers
  readonly counts: Record<string, number> = {}

  constructor(world: World) {
    this.#world = world
    this.#desk = new Desk(world)
    this.#workloads = new WorkloadUsers(this.#desk)
  }

  get intents(): ReadonlyMap<string, Intent> {
    return this.#desk.intents
  }

  /** One thing that somebody does. */
  act(random: Random): void {
    const acts: readonly (readonly [number, string, () => void])[] = [
      [3, 'create deployment', () => this.#createDeployment(random)],
      [4, 'change image', () => this.#changeDeployment(random, 'image')],
      [4, 'scale', () => this.#changeDeployment(random, 'scale')],
      [1, 'change strategy', () => this.#changeDeployment(random, 'strategy')],
      [1, 'pause or resume', () => this.#changeDeployment(random, 'pause')],
      [1, 'delete deployment', () => this.#desk.deleteOne('deployments', deploymentKind, random)],
      [2, 'cordon', () => this.#cordon(random)],
      [3, 'delete pod', () => this.#deletePod(random)],
      [1, 'create service', () => this.#createService(random)],
      [1, 'delete service', () => this.#desk.deleteOne('services', serviceKind, random)],
      [2, 'change config', () => this.#changeConfig(random)],
      [1, 'create pod', () => this.#createPod(random)],
      [1, 'delete own pod', () => this.#desk.deleteOne('pods', podKind, random)],
      [0.4, 'delete node', () => this.#deleteNode(random)],
      ...this.#workloads.acts(random),
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
    this.#workloads.makeAllPossible(hosts)
    const most = this.#mostReplicas(hosts)
    for (const intent of this.intents.values()) {
      if (intent.plural !== 'deployments' || intent.deleted === 'yes') continue
      this.#desk.change(deploymentKind, intent, (deployment) => {
        const { paused: _paused, ...spec } = deployment.spec
        const [container, ...others] = spec.template.spec.containers
        if (container === undefined) return deployment
        const replicas = Math.min(spec.replicas ?? 1, most)
        const good = /^(app|slow|stubborn):/.test(container.image ?? '') ? container : { ...container, image: 'app:9' }
        const template = { ...spec.template, spec: { ...spec.template.spec, containers: [good, ...others] } }
        return { ...deployment, spec: { ...spec, replicas, template } }
      })
    }
    for (const agent of this.#world.agents) this.#setCordon(agent.name, false)
  }

  /** With few machines left there may be no room for all, and for what a rollout adds for a while. */
  #mostReplicas(hosts: number): number {
    const deployments = this.#world.watcher.list<Deployment>('deployments')
    const takes = (resource: 'cpu' | 'memory', replicas: number): number =>
      deployments.reduce((sum, deployment) => {
        const wanted = Math.min(deployment.spec.replicas ?? 1, replicas)
        const { most } = boundsOf({ ...deployment, spec: { ...deployment.spec, replicas: wanted } })
        const request = deployment.spec.template.spec.containers[0]?.resources?.requests?.[resource] ?? '0'
        return sum + most * (resource === 'cpu' ? parseCpuMillis(request) : parseBytes(request))
      }, 0)
    for (let replicas = MAX_REPLICAS; replicas > 1; replicas--) {
      const cpu = takes('cpu', replicas) <= hosts * parseCpuMillis(HOST.cpu) * ROOM
      if (cpu && takes('memory', replicas) <= hosts * parseBytes(HOST.memory) * ROOM) return replicas
    }
    return 1
  }

  #createDeployment(random: Random): void {
    if (this.#desk.living('deployments').length >= MAX_DEPLOYMENTS) {
      this.#changeDeployment(random, 'image')
      return
    }
    const name = `web-${this.#desk.number()}`
    const exclusive = random.next() < 0.2
    const deployment = newDeployment(name, random)
    const intent = this.#desk.create(deploymentKind, exclusive ? asExclusive(deployment) : deployment, random)
    if (intent !== undefined) intent.exclusive = exclusive
    if (random.next() < 0.6) this.#desk.create(serviceKind, newService(name), random)
  }

  #changeDeployment(random: Random, what: 'image' | 'scale' | 'strategy' | 'pause'): void {
    const intent = pick(random, this.#desk.living('deployments'))
    if (intent === undefined) return
    const image = someImage(random)
    const replicas = between(random, 0, intent.exclusive === true ? 1 : MAX_REPLICAS)
    const strategy = someStrategy(random)
    this.#desk.change(
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
    const agent = pick(random, this.#desk.world.agents)
    if (agent !== undefined) this.#setCordon(agent.name, random.next() < 0.5, random)
  }

  #setCordon(name: string, unschedulable: boolean, random?: Random): void {
    const api = random === undefined ? this.#desk.anyApi() : this.#desk.api(random)
    if (api?.get(nodeKind, '', name) === undefined) return
    const write = api.modify(nodeKind, '', name, 'main', (node) => {
      const { unschedulable: _old, ...spec } = node.spec ?? {}
      return { ...node, spec: unschedulable ? { ...spec, unschedulable } : spec }
    })
    this.#desk.send(`${unschedulable ? 'cordon' : 'uncordon'} ${name}`, write, () => undefined)
  }

  #deletePod(random: Random): void {
    const api = this.#desk.api(random)
    const pod = pick(random, api?.list(podKind, { namespace: NAMESPACE }) ?? [])
    if (api === undefined || pod === undefined || this.#desk.intents.has(`pods/${pod.metadata.name}`)) return
    const { name, uid } = pod.metadata
    this.#desk.world.watcher.rollouts.deletedByUsers.add(uid)
    // Who forces an exclusive pod says that it has ended; here nobody looks, so nobody says so.
    const force = random.next() < 0.2 && !isExclusive(pod) ? { gracePeriodSeconds: 0 } : {}
    const work = api.delete(podKind, NAMESPACE, name, { preconditions: { uid }, ...force })
    this.#desk.send(`delete pod ${name}`, work, () => undefined)
  }

  #createService(random: Random): void {
    const target = pick(random, this.#desk.living('deployments'))
    if (target !== undefined)
      this.#desk.create(serviceKind, newService(`${target.name}-${this.#desk.number()}`, target.name), random)
  }

  #changeConfig(random: Random): void {
    const intent = this.#desk.intents.get('configmaps/settings')
    const value = String(between(random, 0, 1e6))
    if (intent === undefined) {
      const metadata = { name: 'settings', namespace: NAMESPACE }
      this.#desk.create(configMapKind, { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { value } }, random)
    } else this.#desk.change(configMapKind, intent, (config) => ({ ...config, data: { value } }), random)
  }

  #createPod(random: Random): void {
    // Two that want the same port find two machines.
    if (this.#desk.living('pods').length >= 2) return
    const name = `single-${this.#desk.number()}`
    const ports = [{ containerPort: 80, hostPort: between(random, 8080, 8081) }]
    const pod: Pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: NAMESPACE, labels: { app: name } },
      spec: { terminationGracePeriodSeconds: 5, containers: [{ ...newContainer('app:1', random), ports }] },
    }
    // Its node may be lost and the pod with it: then nobody makes it anew.
    const intent = this.#desk.create(podKind, pod, random)
    if (intent !== undefined) intent.plural = 'pods'
  }

  #deleteNode(random: Random): void {
    const agent = pick(random, this.#desk.world.agents)
    const api = this.#desk.api(random)
    if (agent === undefined || api?.get(nodeKind, '', agent.name) === undefined) return
    this.#desk.send(`delete node ${agent.name}`, api.delete(nodeKind, '', agent.name), () => undefined)
  }
}

function someStrategy(random: Random): Partial<Deployment['spec']> {
  if (random.next() < 0.15) return { strategy: { type: 'Recreate' } }
  const maxSurge = pick(random, [0, 1, 2, '25%', '50%']) ?? 1
  const maxUnavailable = pick(random, [0, 1, '25%', '50%']) ?? 0
  if (maxSurge === 0 && maxUnavailable === 0) return { minReadySeconds: between(random, 0, 5) }
  return { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge, maxUnavailable } } }
}

/** One pod that may never run twice. */
function asExclusive(deployment: Deployment): Deployment {
  const { spec } = deployment
  const metadata = { ...spec.template.metadata, annotations: { [ANNOTATION.exclusive]: 'true' } }
  return { ...deployment, spec: { ...spec, replicas: 1, template: { ...spec.template, metadata } } }
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
