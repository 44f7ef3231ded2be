/**
 * One worker a pod: those that the server wants, and those found on the node that nobody wants. The latter are looked
 * for only after the first COMPLETE: before that, nothing is known to be unwanted.
 */
import type { Pod } from '../api/pod.ts'
import type { Logger } from '../base/log.ts'
import { type ReconcileResult, WorkQueue } from '../base/queue.ts'
import type { AgentContext } from './context.ts'
import type { NodeFailure } from './pod/facts.ts'
import { PodWorker } from './pod/worker.ts'

/** Steps of different pods run side by side; more than this only makes them wait for the disk together. */
const PODS_AT_ONCE = 16

export class PodManager {
  readonly #agent: AgentContext
  readonly #log: Logger
  readonly #workers = new Map<string, PodWorker>()
  readonly #queue: WorkQueue
  #synced = false
  #configRevision = 0

  constructor(agent: AgentContext) {
    this.#agent = agent
    this.#log = agent.log
    const { clock, random, log } = agent
    const backoff = { initialMs: 100, maxMs: 30_000, factor: 2, jitter: 0.2 }
    this.#queue = new WorkQueue(
      { name: 'pods', clock, random, log, concurrency: PODS_AT_ONCE, backoff },
      (uid, signal) => this.#reconcile(uid, signal),
    )
  }

  /** Whether the server has said what this node is to run. */
  get synced(): boolean {
    return this.#synced
  }

  get podCount(): number {
    return this.#workers.size
  }

  async run(signal: AbortSignal): Promise<void> {
    const { runtime } = this.#agent.drivers
    const stop = runtime.onExit((id) => this.#onExit(id))
    try {
      await this.#queue.run(signal)
    } finally {
      stop()
      await Promise.all([...this.#workers.values()].map((worker) => worker.dispose()))
    }
  }

  /** The assignments have changed. */
  sync(): void {
    const { desired } = this.#agent
    if (!desired.known('assignments')) return
    const configChanged = desired.configRevision !== this.#configRevision
    this.#configRevision = desired.configRevision
    const wanted = new Set<string>()
    for (const pod of desired.pods()) {
      const uid = pod.metadata.uid ?? ''
      wanted.add(uid)
      const worker = this.#workers.get(uid) ?? this.#newWorker(uid)
      if (configChanged) worker.configChanged()
      if (worker.pod !== pod) worker.setPod(pod)
      else if (!configChanged) continue
      this.#queue.add(uid)
    }
    // What a table from disk does not name may have come since: only a server's word takes anything down.
    if (!desired.confirmed('assignments')) return
    for (const [uid, worker] of this.#workers) {
      if (wanted.has(uid)) continue
      worker.abandon()
      this.#queue.add(uid)
    }
    if (this.#synced) return
    this.#synced = true
    void this.#findOrphans()
  }

  /** Pods that have a worker. */
  uids(): ReadonlySet<string> {
    return new Set(this.#workers.keys())
  }

  /** Has what is left of a pod taken down; one that somebody wants is left alone. */
  takeDown(uid: string): void {
    if (this.#workers.has(uid)) return
    this.#log.info({ pod: uid }, 'removing what is left of a pod that nobody wants')
    this.#newWorker(uid).abandon()
  }

  /** Ends a pod as failed; one that nobody wants is left alone. */
  fail(uid: string, failure: NodeFailure): void {
    this.#workers.get(uid)?.fail(failure)
  }

  /** Whether a pod has volumes, layers or running containers here. */
  holds(uid: string): boolean {
    return this.#workers.get(uid)?.released === false
  }

  imagesChanged(): void {
    for (const worker of this.#workers.values()) {
      worker.imagesChanged().catch((err: unknown) => {
        this.#log.warn({ err, pod: worker.uid }, 'cannot tell whether an image that a pod waits for has come')
      })
    }
  }

  wakeAll(): void {
    for (const uid of this.#workers.keys()) this.#queue.add(uid)
  }

  podIP(uid: string): string | undefined {
    return this.#workers.get(uid)?.podIP
  }

  /** The pod under this name that runs here. */
  findPod(namespace: string, name: string): Pod | undefined {
    return this.#agent.desired.pod(namespace, name)
  }

  #newWorker(uid: string): PodWorker {
    const worker = new PodWorker({
      agent: this.#agent,
      uid,
      wake: () => this.#queue.add(uid),
      adopted: !this.#synced,
      onFreed: () => {
        for (const other of this.#workers.values()) other.addressFreed()
      },
    })
    this.#workers.set(uid, worker)
    return worker
  }

  async #reconcile(uid: string, signal: AbortSignal): Promise<ReconcileResult> {
    const worker = this.#workers.get(uid)
    if (worker === undefined) return undefined
    const result = await worker.reconcile(signal)
    if (!worker.finished) return result
    this.#workers.delete(uid)
    this.#agent.reporter.forget(uid)
    await worker.dispose()
    return undefined
  }

  #onExit(id: string): void {
    const uid = this.#agent.drivers.runtime.podOf(id)
    if (uid !== undefined) this.#queue.add(uid)
  }

  /** Everything on the node that belongs to a pod which nobody wants gets a worker that takes it down. */
  async #findOrphans(): Promise<void> {
    const { runtime, network, volumes } = this.#agent.drivers
    try {
      const [containers, sandboxes, interfaces, withVolumes] = await Promise.all([
        runtime.listContainers(),
        runtime.listSandboxes(),
        network.listPods(),
        volumes.listPods(),
      ])
      const uids = new Set([
        ...[...containers, ...sandboxes, ...interfaces].map(({ podUid }) => podUid),
        ...withVolumes,
      ])
      for (const uid of uids) this.takeDown(uid)
    } catch (error) {
      this.#log.warn({ err: error }, 'cannot look for pods that nobody wants; will try again')
      this.#agent.clock.schedule(ORPHANS_AGAIN_MS, () => void this.#findOrphans(), true)
    }
  }
}

const ORPHANS_AGAIN_MS = 5_000
