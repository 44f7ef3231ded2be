/**
 * Controllers and scheduler on a memory store with the real resources layer; nodes are objects, and a stand-in for their
 * agents makes bound pods run, and ends the ones that are to end.
 */
import { isPodFinished, withCondition } from '../../src/api/conditions.ts'
import { type Deployment, deploymentKind } from '../../src/api/deployment.ts'
import type { Stored } from '../../src/api/meta.ts'
import { POD_CONDITION } from '../../src/api/names.ts'
import { type Node, nodeKind } from '../../src/api/node.ts'
import type { Pod, PodTemplateSpec } from '../../src/api/pod.ts'
import { podKind } from '../../src/api/pod_kind.ts'
import { systemClock, timestamp } from '../../src/base/clock.ts'
import { isCode } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { runServices } from '../../src/base/service.ts'
import { createControllers } from '../../src/controllers/manager.ts'
import { createEventRecorder } from '../../src/resources/events.ts'
import type { Resources } from '../../src/resources/resources.ts'
import { createScheduler } from '../../src/scheduler/loop.ts'
import type { Election, Store } from '../../src/store/store.ts'
import { runResources, type TestResources } from './resources.ts'

export interface ControlPlane {
  resources: Resources
  test: TestResources
  election: Election
  agents: FakeAgents
  addNode(name: string, options?: { cpu?: string; labels?: Record<string, string> }): Promise<void>
  setNodeReady(name: string, status: 'True' | 'False' | 'Unknown'): Promise<void>
  deployment(name: string): Stored<Deployment>
  pods(namespace?: string): Stored<Pod>[]
  /** Stops controllers and scheduler and starts new ones, as a failover does. */
  restart(): Promise<void>
  stop(): Promise<void>
}

export async function startControlPlane(
  options: { clusterCidr?: string; store?: Store; gatherMs?: number } = {},
): Promise<ControlPlane> {
  const test = await runResources(options.store === undefined ? {} : { store: options.store })
  const { resources, store } = test
  const election = await store.campaign('/test/leader', 'test', test.signal)
  const context = {
    resources,
    clock: systemClock,
    random: seededRandom(7),
    log: silentLogger,
    fence: election.fence,
  }
  const recorder = (component: string) =>
    createEventRecorder({ ...context, component, gatherMs: options.gatherMs ?? 0 })
  const start = () => {
    const stop = new AbortController()
    const scheduler = createScheduler({ ...context, events: recorder('scheduler') })
    const services = [
      ...createControllers({
        ...context,
        desk: scheduler.desk,
        events: recorder('controllers'),
        clusterCidr: options.clusterCidr ?? '10.244.0.0/16',
        nodeCidrPrefixLength: 24,
      }),
      scheduler,
    ]
    return { stop, done: runServices(services, context, stop.signal) }
  }
  let running = start()
  const end = async (): Promise<void> => {
    running.stop.abort()
    await running.done
  }
  const agents = new FakeAgents(resources)
  return {
    resources,
    test,
    election,
    agents,
    async addNode(name, { cpu = '4', labels = {} } = {}) {
      await resources.create(nodeKind, newNode(name, { cpu, labels }), { internal: true })
    },
    async setNodeReady(name, status) {
      const value = { type: 'Ready', status, reason: 'Test' } as const
      await resources.modify(nodeKind, '', name, 'status', (node) => ({
        ...node,
        status: { ...node.status, conditions: [...withCondition(node.status?.conditions, value, systemClock.now())] },
      }))
    },
    deployment(name) {
      const found = resources.get(deploymentKind, 'default', name)
      if (found === undefined) throw new Error(`no deployment ${name}`)
      return found
    },
    pods: (namespace = 'default') => resources.list(podKind, { namespace }),
    async restart() {
      await end()
      running = start()
    },
    async stop() {
      await end()
      await agents.stop()
      await test.stop()
    },
  }
}

export function newNode(name: string, options: { cpu?: string; labels?: Record<string, string> } = {}): Node {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { 'kubernetes.io/hostname': name, ...options.labels } },
    spec: {},
    status: {
      allocatable: { cpu: options.cpu ?? '4', memory: '8Gi', pods: '110' },
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  }
}

export function template(labels: Record<string, string>, image = 'web:1'): PodTemplateSpec {
  return { metadata: { labels }, spec: { containers: [{ name: 'main', image }] } }
}

export function newDeployment(name: string, spec: Partial<Deployment['spec']> = {}): Deployment {
  const labels = { app: name }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: 'default' },
    spec: { replicas: 3, selector: { matchLabels: labels }, template: template(labels), ...spec },
  }
}

/**
 * What the agents of all nodes would do. Pods whose image holds "broken" never become ready; those of "task" succeed as soon
 * as they run, those of "crash" fail.
 */
export class FakeAgents {
  readonly #resources: Resources
  readonly #stopListening: () => void
  readonly #work = new Set<Promise<void>>()
  /** Nodes that nobody answers for. */
  readonly dead = new Set<string>()
  #address = 1

  constructor(resources: Resources) {
    this.#resources = resources
    this.#stopListening = resources.subscribe(podKind, (event) => {
      if (event.type !== 'DELETED') this.#track(this.#attend(event.object))
    })
  }

  async stop(): Promise<void> {
    this.#stopListening()
    await Promise.all(this.#work)
  }

  #track(work: Promise<void>): void {
    const quiet = work.catch((error: unknown) => {
      if (!isCode(error, 'notFound') && !isCode(error, 'conflict')) throw error
    })
    this.#work.add(quiet)
    void quiet.finally(() => this.#work.delete(quiet))
  }

  async #attend(pod: Stored<Pod>): Promise<void> {
    const { namespace = '', name, uid, deletionTimestamp } = pod.metadata
    const { nodeName } = pod.spec
    if (!nodeName || this.dead.has(nodeName)) return
    if (deletionTimestamp !== undefined) {
      await this.#resources.delete(podKind, namespace, name, { gracePeriodSeconds: 0, preconditions: { uid } })
      return
    }
    if (isPodFinished(pod)) return
    if (pod.status?.phase === 'Running') return this.#end(pod)
    const ready = !pod.spec.containers.some(({ image }) => image?.includes('broken'))
    const podIP = `10.244.0.${this.#address++}`
    await this.#resources.modify(podKind, namespace, name, 'status', (current) => {
      if (current.metadata.uid !== uid || current.status?.phase === 'Running') return undefined
      const status = ready ? 'True' : 'False'
      const conditions = [POD_CONDITION.containersReady, POD_CONDITION.ready].reduce(
        (list, type) => [...withCondition(list, { type, status }, systemClock.now())],
        current.status?.conditions ?? [],
      )
      const running = { phase: 'Running' as const, podIP, podIPs: [{ ip: podIP }], conditions }
      return { ...current, status: { ...current.status, ...running } }
    })
  }

  /** Ends a pod that is to end. */
  async #end(pod: Stored<Pod>): Promise<void> {
    const { namespace = '', name, uid } = pod.metadata
    const { name: container = '', image = '' } = pod.spec.containers[0] ?? {}
    const exitCode = image.includes('task') ? 0 : image.includes('crash') ? 1 : undefined
    if (exitCode === undefined) return
    const finishedAt = timestamp(systemClock.now())
    const state = { terminated: { exitCode, finishedAt, reason: exitCode === 0 ? 'Completed' : 'Error' } }
    const containerStatuses = [{ name: container, image, imageID: '', ready: false, restartCount: 0, state }]
    const phase = exitCode === 0 ? ('Succeeded' as const) : ('Failed' as const)
    await this.#resources.modify(podKind, namespace, name, 'status', (current) => {
      if (current.metadata.uid !== uid || isPodFinished(current)) return undefined
      return { ...current, status: { ...current.status, phase, containerStatuses } }
    })
  }
}
