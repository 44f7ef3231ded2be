/**
 * One pod's worker: look, plan, do one step, look again, until there is nothing to do. It is called through a queue
 * that never runs it twice at once, and may be called at any time.
 */
import { isExclusive } from '../../api/exclusive.ts'
import type { Pod, PodStatus } from '../../api/pod.ts'
import { forbiddenSysctl } from '../../api/pod_sysctls.ts'
import { DroverError, isCode } from '../../base/errors.ts'
import type { ReconcileResult } from '../../base/queue.ts'
import type { AgentContext } from '../context.ts'
import type { ContainerState } from '../runtime/runtime.ts'
import { hasStorageLimit } from '../usage/pod_storage.ts'
import { dismissOrLeave } from './begin.ts'
import { drainFact } from './drain.ts'
import { containerOf, EXECUTORS, type StepContext } from './execute.ts'
import {
  awaitsPostStart,
  EVICTED,
  exitTimes,
  isAttemptOf,
  isRunning,
  isSidecar,
  NO_POD_ADDRESS,
  NOTE,
  type NodeFailure,
  outcome,
  type PodFacts,
} from './facts.ts'
import { LAST_LOG_BYTES, lastWords } from './last_words.ts'
import { newNotes, type PodNotes } from './notes.ts'
import { type Plan, planPod, type Step, type StepArguments } from './plan_pod.ts'
import { areVolumesStale } from './pod_volumes.ts'
import { Prober } from './prober.ts'
import { isReadinessKnown, podStatus } from './status.ts'
import { UsageWatch } from './usage_watch.ts'

/** More steps in one call than any pod needs: a plan that goes in circles is our defect. */
const MAX_STEPS = 1_000
/** What a pod is given to end when it has vanished without a word of how long it may take. */
const ORPHAN_GRACE_MS = 2_000
/** A pod that takes more than it may is given no time to take more. As in Kubernetes. */
const EVICTION_GRACE_SECONDS = 1

export interface WorkerOptions {
  agent: AgentContext
  uid: string
  /** Has the queue call `reconcile`. */
  wake(): void
  /** The containers were here before this agent was. */
  adopted: boolean
  /** It has given its address back. */
  onFreed?(): void
}

export class PodWorker {
  readonly uid: string
  readonly #agent: AgentContext
  readonly #wake: () => void
  readonly #onFreed: () => void
  readonly #notes: PodNotes
  readonly #adopted: boolean
  #pod: Pod | undefined
  #activeSinceMs: number | undefined
  #abandoned = false
  #terminateByMs: number | undefined
  /** Raised when what is under way no longer serves: the pod is to go, or the agent stops. */
  #starting = new AbortController()
  /** Raised when this worker is no more: hooks end with it. */
  readonly #lifetime = new AbortController()

  constructor({ agent, uid, wake, adopted, onFreed = () => undefined }: WorkerOptions) {
    this.#agent = agent
    this.uid = uid
    this.#wake = wake
    this.#onFreed = onFreed
    this.#adopted = adopted
    this.#notes = newNotes(agent.clock.now())
  }

  get pod(): Pod | undefined {
    return this.#pod
  }

  /** Whether nothing of it is left and nobody wants it: the worker may be forgotten. */
  get finished(): boolean {
    return this.#abandoned && this.#notes.removed
  }

  /** It has given back what it held. */
  get released(): boolean {
    return this.#notes.released || this.#notes.cleaned
  }

  get podIP(): string | undefined {
    return this.#notes.prepared?.podIP
  }

  /** The pod as the server wants it; a change of the same uid. */
  setPod(pod: Pod): void {
    const cameBack = this.#adopted && this.#pod === undefined
    this.#pod = pod
    this.#abandoned = false
    const forbidden = forbiddenSysctl(pod.spec, this.#agent.allowedSysctls)
    if (forbidden !== undefined) this.fail({ reason: 'SysctlForbidden', message: forbidden })
    const { deletionTimestamp, deletionGracePeriodSeconds } = pod.metadata
    if (deletionTimestamp === undefined) return
    const nowMs = this.#agent.clock.monotonicMs()
    const graceMs = (deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30) * 1000
    // Counted on this node's clock from when it heard, so that clocks that differ cost no grace; but never longer than
    // before, and an agent that comes back and finds the deletion there does not start the count anew.
    const heardMs = Math.min(nowMs + graceMs, this.#terminateByMs ?? Number.POSITIVE_INFINITY)
    const leftMs = Math.max(0, Date.parse(deletionTimestamp) - this.#agent.clock.now())
    this.#terminateBy(cameBack ? Math.min(heardMs, nowMs + leftMs) : heardMs)
  }

  /** Nobody wants the pod any more. */
  abandon(): void {
    if (this.#abandoned) return
    this.#abandoned = true
    this.#terminateBy(
      Math.min(this.#terminateByMs ?? Number.POSITIVE_INFINITY, this.#agent.clock.monotonicMs() + ORPHAN_GRACE_MS),
    )
  }

  /** Ends the pod as failed: its containers are stopped, and it is not started again. */
  fail(failure: NodeFailure): void {
    if (this.#notes.failed !== undefined || this.#pod === undefined) return
    this.#notes.failed = failure
    this.#agent.events.record(this.#pod, 'Warning', failure.reason, failure.message)
    this.#wake()
  }

  /** ConfigMaps or Secrets have changed: what failed for want of them is tried again now. */
  configChanged(): void {
    const notes = this.#notes
    if (notes.preparing !== undefined) notes.preparing = { ...notes.preparing, retryAtMs: 0 }
    for (const [key, waiting] of notes.blocked) {
      if (waiting.reason === 'CreateContainerConfigError') notes.blocked.set(key, { ...waiting, retryAtMs: 0 })
    }
  }

  /** Images have come or gone: whoever waits to pull one that is here by now (`image load`) waits no longer. */
  async imagesChanged(): Promise<void> {
    const { images } = this.#notes
    const { initContainers = [], containers = [] } = this.#pod?.spec ?? {}
    for (const { name, image = '', imagePullPolicy } of [...initContainers, ...containers]) {
      const waiting = [...images].filter(([key, { state }]) => state === 'failed' && isAttemptOf(key, name))
      if (waiting.length === 0 || imagePullPolicy === 'Always') continue
      if ((await this.#agent.drivers.images.find(image)) === undefined) continue
      for (const [key] of waiting) images.set(key, { state: 'present' })
      this.#wake()
    }
  }

  /** Another pod has given its address back: who waits for one asks again. */
  addressFreed(): void {
    const { preparing } = this.#notes
    if (preparing?.reason !== NO_POD_ADDRESS) return
    this.#notes.preparing = { ...preparing, retryAtMs: 0 }
    this.#wake()
  }

  /** Stops timers and background work; containers run on. */
  async dispose(): Promise<void> {
    this.#starting.abort()
    this.#lifetime.abort()
    for (const prober of this.#notes.probers.values()) prober.stop()
    this.#notes.probers.clear()
    this.#notes.usageWatch?.stop()
    await dismissOrLeave({ agent: this.#agent, notes: this.#notes })
  }

  async reconcile(signal: AbortSignal): Promise<ReconcileResult> {
    for (let steps = 0; steps < MAX_STEPS; steps++) {
      if (signal.aborted) return undefined
      const facts = await this.#observe()
      await this.#ensureGuarded(facts, signal)
      this.#syncProbers(facts)
      this.#syncUsageWatch(facts)
      this.#endInTime({ ...facts, probes: this.#probeFacts() })
      const observed = { ...facts, probes: this.#probeFacts(), failed: this.#notes.failed }
      await this.#readMessages(observed)
      this.#report(observed)
      const plan = planPod(observed)
      if (plan.step === undefined || this.#isOver(plan.step)) return this.#waitFor(plan)
      await this.#execute(plan.step, { agent: this.#agent, facts: observed, notes: this.#notes })
    }
    throw new DroverError('internal', `pod ${this.#name()} took ${MAX_STEPS} steps without coming to rest`)
  }

  #terminateBy(atMs: number): void {
    this.#terminateByMs = atMs
    this.#starting.abort()
    this.#wake()
  }

  #isOver(step: Step): boolean {
    return step.type === 'reportRemoved' && this.#notes.removed
  }

  #waitFor({ againAtMs }: Plan): ReconcileResult {
    if (againAtMs === undefined) return undefined
    return { againAfterMs: Math.max(1, againAtMs - this.#agent.clock.monotonicMs()) }
  }

  async #execute(step: Step, context: Omit<StepContext, 'signal' | 'lifetime' | 'wake'>): Promise<void> {
    const { type, ...args } = step
    this.#agent.log.debug({ pod: this.#name(), step }, 'pod step')
    const execute = EXECUTORS[type] as (args: StepArguments[typeof type], context: StepContext) => Promise<void>
    try {
      await execute(args as StepArguments[typeof type], {
        ...context,
        signal: this.#starting.signal,
        lifetime: this.#lifetime.signal,
        wake: this.#wake,
      })
      if (type === 'cleanUp' || type === 'release') this.#onFreed()
    } catch (error) {
      // The pod is to go: what was under way has been cut off on purpose.
      if (!isCode(error, 'cancelled') || !this.#starting.signal.aborted) throw error
    }
  }

  async #observe(): Promise<PodFacts> {
    const { drivers, clock, desired, fence } = this.#agent
    const own = await drivers.runtime.listContainers(this.uid)
    const notes = this.#notes
    const exclusive = this.#pod !== undefined && isExclusive(this.#pod)
    const nowMs = clock.monotonicMs()
    notes.exits = exitTimes(own, { nowMs, wallMs: clock.now() }, notes.exits)
    return {
      pod: this.#pod,
      uid: this.uid,
      terminateByMs: this.#terminateByMs,
      drain: this.#drain(),
      networkReady: this.#agent.networkReady(),
      prepared: notes.prepared !== undefined,
      volumesStale:
        areVolumesStale(this.#pod, notes.prepared, desired.configRevision) ||
        (notes.prepared?.due() ?? Number.POSITIVE_INFINITY) <= nowMs,
      volumesDueMs: notes.prepared?.due(),
      preparing: notes.preparing,
      released: notes.released,
      cleaned: notes.cleaned,
      containers: own,
      images: notes.images,
      blocked: notes.blocked,
      probes: new Map(),
      stops: notes.stops,
      hooks: notes.hooks,
      failed: notes.failed,
      activeUntilMs: this.#activeUntilMs(nowMs),
      fenced: exclusive && fence?.mayRun() === false,
      fencedAtMs: exclusive ? fence?.fencer.killedAtMs(this.uid) : undefined,
      exitedAtMs: notes.exits,
      nowMs,
    }
  }

  /**
   * When the pod's time is over. Counted on the monotonic clock from when this agent first saw it; of a pod that an earlier
   * agent had begun, what the stored start says has passed already is taken off.
   */
  #activeUntilMs(nowMs: number): number | undefined {
    const limit = this.#pod?.spec.activeDeadlineSeconds
    if (limit === undefined) return undefined
    const { status } = this.#pod ?? {}
    // Written in whole seconds, cut off: the end of that second counts, so that no time is lost.
    const startedMs = this.#adopted && status?.startTime !== undefined ? Date.parse(status.startTime) + 999 : undefined
    this.#activeSinceMs ??= startedMs === undefined ? nowMs : nowMs - Math.max(0, this.#agent.clock.now() - startedMs)
    return this.#activeSinceMs + limit * 1000
  }

  /** Once a pod's time is over it has failed, however its containers end. */
  #endInTime(facts: PodFacts): void {
    const { pod, activeUntilMs, nowMs } = facts
    if (pod === undefined || this.#terminateByMs !== undefined || outcome(facts) !== undefined) return
    if (activeUntilMs === undefined || activeUntilMs > nowMs) return
    const message = 'Pod was active on the node longer than the specified deadline'
    this.fail({ reason: 'DeadlineExceeded', message })
  }

  /** A pod that became exclusive while it ran. */
  async #ensureGuarded({ pod, containers }: PodFacts, signal: AbortSignal): Promise<void> {
    const fencer = this.#agent.fence?.fencer
    if (fencer === undefined || pod === undefined || fencer.guards(this.uid) || !isExclusive(pod)) return
    if (containers.some(isRunning)) await fencer.guard(this.uid, signal)
  }

  #drain(): PodFacts['drain'] {
    const terminateByMs = this.#terminateByMs
    if (this.#pod === undefined || this.#abandoned || terminateByMs === undefined) return undefined
    return drainFact(this.#pod, { terminateByMs, looked: this.#notes.looked })
  }

  #probeFacts(): PodFacts['probes'] {
    return new Map([...this.#notes.probers].map(([id, prober]) => [id, prober.fact]))
  }

  /** One prober for each running container of a wanted pod: one that ends is still ready until it says otherwise. */
  #syncProbers(facts: PodFacts): void {
    const { pod, containers } = facts
    const { probers, prepared } = this.#notes
    const wanted = this.#abandoned ? [] : containers.filter(isRunning)
    for (const [id, prober] of probers) {
      if (wanted.some((container) => container.id === id)) continue
      prober.stop()
      probers.delete(id)
    }
    if (pod === undefined || prepared === undefined) return
    const serving = [...(pod.spec.initContainers ?? []).filter(isSidecar), ...pod.spec.containers]
    for (const running of wanted) {
      const container = serving.find(({ name }) => name === running.name)
      if (container === undefined || probers.has(running.id) || awaitsPostStart(facts, container, running.id)) continue
      probers.set(running.id, this.#newProber(pod, running, prepared.podIP))
    }
  }

  /** Limits of what it takes of the disk hold while the pod runs. */
  #syncUsageWatch({ pod, prepared, failed, terminateByMs }: PodFacts): void {
    const agent = this.#agent
    const notes = this.#notes
    const wanted = pod !== undefined && prepared && failed === undefined && terminateByMs === undefined
    if (!wanted) {
      notes.usageWatch?.stop()
      notes.usageWatch = undefined
    } else if (notes.usageWatch === undefined && hasStorageLimit(pod)) {
      const onOver = (message: string): void =>
        this.fail({ reason: EVICTED, message, graceSeconds: EVICTION_GRACE_SECONDS })
      notes.usageWatch = new UsageWatch({ agent, pod, onOver })
    }
  }

  #newProber(pod: Pod, running: ContainerState, podIP: string): Prober {
    const { clock, drivers, events } = this.#agent
    const startedAtMs = running.startedAtMs ?? clock.now()
    return new Prober({
      clock,
      target: {
        container: containerOf(pod, running.name),
        containerId: running.id,
        podIP,
        runtime: drivers.runtime,
        clock,
      },
      adopted: this.#adopted && startedAtMs < this.#notes.firstSeenMs,
      startedAtMs,
      onChange: this.#wake,
      onFailure: (kind, message) => {
        const title = `${kind.slice(0, 1).toUpperCase()}${kind.slice(1)}`
        events.record(pod, 'Warning', 'Unhealthy', `${title} probe failed: ${message}`)
      },
    })
  }

  async #readMessages({ pod, containers }: PodFacts): Promise<void> {
    const { messages } = this.#notes
    for (const container of containers) {
      if (container.phase !== 'exited' || messages.has(container.id)) continue
      const message = await this.#agent.drivers.runtime.terminationMessage(container.id).catch(() => '')
      messages.set(container.id, message === '' ? await this.#lastWords(pod, container) : message)
    }
  }

  /** Of a container that failed without a message, where its last lines shall stand for one. */
  async #lastWords(pod: Pod | undefined, { name, exit, annotations }: ContainerState): Promise<string> {
    const { initContainers = [], containers = [] } = pod?.spec ?? {}
    const policy = [...initContainers, ...containers].find((each) => each.name === name)?.terminationMessagePolicy
    const path = annotations[NOTE.logPath]
    if (policy !== 'FallbackToLogsOnError' || exit?.code === 0 || path === undefined) return ''
    return lastWords(await this.#agent.files.end(path, LAST_LOG_BYTES))
  }

  #report(facts: PodFacts): void {
    const { pod } = facts
    if (pod === undefined || this.#notes.removed || this.#abandoned) return
    if (!this.#isWorthSaying(facts, pod)) return
    const { name = '', namespace = '' } = pod.metadata
    const status = podStatus(facts, pod, {
      podIP: this.#notes.prepared?.podIP || undefined,
      hostIP: this.#agent.nodeAddress,
      startedAtMs: this.#notes.firstSeenMs,
      messages: this.#notes.messages,
    })
    this.#agent.reporter.report({ namespace, name, uid: this.uid }, status)
    this.#tellBackOff(pod, status)
  }

  /** An event for each wait that begins; the container's status says how long it is. */
  #tellBackOff(pod: Pod, status: PodStatus): void {
    for (const { name, restartCount, state, image } of [
      ...(status.initContainerStatuses ?? []),
      ...(status.containerStatuses ?? []),
    ]) {
      const reason = state?.waiting?.reason
      if (reason !== 'CrashLoopBackOff' && reason !== 'ImagePullBackOff') continue
      const wait = `${name}/${restartCount}/${reason}`
      if (this.#notes.backOffsTold.has(wait)) continue
      this.#notes.backOffsTold.add(wait)
      const what = reason === 'CrashLoopBackOff' ? `restarting failed container ${name}` : `pulling image "${image}"`
      this.#agent.events.record(pod, 'Warning', 'BackOff', `Back-off ${what} in pod ${this.#name()}`)
    }
  }

  #isWorthSaying(facts: PodFacts, pod: Pod): boolean {
    // While it is taken down, what is already removed must not look as if it had never started.
    if (facts.terminateByMs !== undefined) {
      return pod.spec.containers.every(({ name }) => facts.containers.some((container) => container.name === name))
    }
    // An adopted pod is looked at whole before anything is said of it: an agent's restart is no pod's change. One that
    // stands still (the machine was booted) does not serve: that is said at once, before its address is another's.
    const { prepared, preparing } = this.#notes
    const unseen = this.#adopted && prepared === undefined && preparing === undefined
    if (unseen && facts.containers.some(isRunning) && outcome(facts) === undefined) return false
    return isReadinessKnown(facts) && !(this.#adopted && this.#awaitsMarks(facts, pod))
  }

  /** Whether it is still to be seen that a postStart hook was over before this agent came. */
  #awaitsMarks({ containers, hooks, terminateByMs }: PodFacts, pod: Pod): boolean {
    if (terminateByMs !== undefined) return false
    const hooked = [...(pod.spec.initContainers ?? []), ...pod.spec.containers].filter(
      ({ lifecycle }) => lifecycle?.postStart !== undefined,
    )
    return hooked.some(({ name }) =>
      containers.some((container) => container.name === name && isRunning(container) && !hooks.has(container.id)),
    )
  }

  #name(): string {
    const { namespace, name } = this.#pod?.metadata ?? {}
    return name === undefined ? this.uid : `${namespace}/${name}`
  }
}
